"""Safe reading of image files: the header is checked first, size is limited, truncation detected.

For images of any origin: camera messages, untrusted datasets, uploads. The memory that a decoder
allocates is known, and limited, before it is called.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ImageError

# Three times an 8K image; 300 MB once decoded to BGR.
MAX_PIXELS = 100_000_000
REDUCTIONS = (1, 2, 4, 8)

# JPEG's frame headers are the markers C0 to CF, except these three.
_NO_FRAME_HEADER = (0xC4, 0xC8, 0xCC)
# Markers without a length: restart, start and end of image, TEM.
_ALONE = (0x01, *range(0xD0, 0xDA))
_SCAN, _END = 0xDA, b'\xff\xd9'
# Images of thermal cameras have hundreds.
_MAX_SEGMENTS = 10_000
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
# TIFF tags, and the types of their values: SHORT, LONG, and BigTIFF's LONG8.
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 277, 322, 323
_TIFF_TYPES = {3: 'H', 4: 'I', 16: 'Q'}
# A page has about twenty tags.
_MAX_TAGS = 200


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """The header of an image file.

    Attributes:
        kind: `jpeg`, `png`, `webp`, `tiff` or `bmp`.
        height, width: px.
        channels: 1, 2 (grey with alpha), 3 or 4.
        bits: of a channel.
    """

    kind: str
    height: int
    width: int
    channels: int
    bits: int


def image_header(data: bytes | NDArray[np.uint8]) -> ImageHeader:
    """Read the header of an image file, identified by its content; nothing is decoded.

    Args:
        data: the file, or its beginning.

    Raises:
        ImageError: if it is no JPEG, PNG, WebP, TIFF or BMP, or its header is damaged. Messages of
            this module are meant to follow the image's name: `is truncated: ...`.
    """
    view = np.frombuffer(data, np.uint8).data
    kind, read = _kind(view)
    try:
        header = read(view)
    except (struct.error, IndexError, KeyError, OverflowError, ValueError):
        header = None
    if header is None or min(header.height, header.width) < 1:
        raise ImageError(f'is truncated or broken: no size in {len(view)} bytes of {kind}')
    return header


def check_image_file(data: bytes | NDArray[np.uint8], max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Return a file's header if the file is complete and within the limit; nothing is decoded.

    Padding of any length after the end of a file is accepted.

    Raises:
        ImageError: as `image_header`, or if the file is truncated or too large.
    """
    header = image_header(data)
    if header.height * header.width > max_pixels:
        raise ImageError(
            f'has {header.width} x {header.height} px, above the limit max_pixels {max_pixels}'
        )
    if header.channels > 4 or header.bits > 16:
        raise ImageError(
            f'has {header.channels} channels of {header.bits} bits; up to 4 of 8 or 16 can be read'
        )
    content = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
    if not _is_whole(content, header.kind):
        raise ImageError(f'is truncated: {len(content)} bytes of {header.kind} without an end')
    return header


def read_image_file(
    data: bytes | NDArray[np.uint8],
    max_pixels: int = MAX_PIXELS,
    *,
    unchanged: bool = False,
    upright: bool = False,
    reduce: int = 1,
) -> NDArray[Any]:
    """Decode an image file.

    Args:
        data: the file.
        max_pixels: largest number accepted.
        unchanged: keep its channels and depth, as for label images, instead of 8-bit BGR.
        upright: rotate it by its EXIF orientation; wrong for images with calibration or labels.
        reduce: 1, 2, 4 or 8: a JPEG is decoded straight to its sides divided by this, rounded up;
            of other kinds it must be 1.

    Returns:
        (H, W, 3) uint8 BGR, or what the file holds where `unchanged`.

    Raises:
        ImageError: if it is no JPEG, PNG, WebP, TIFF or BMP, too large, truncated or broken.
    """
    header = check_image_file(data, max_pixels)
    return decode_checked(data, header, unchanged=unchanged, upright=upright, reduce=reduce)


def decode_checked(
    data: bytes | NDArray[np.uint8],
    header: ImageHeader,
    *,
    unchanged: bool = False,
    upright: bool = False,
    reduce: int = 1,
) -> NDArray[Any]:
    """Decode a file whose header `check_image_file` returned; see `read_image_file`.

    Raises:
        ImageError: if the file is broken after its header.
    """
    import cv2

    flags = cv2.IMREAD_UNCHANGED if unchanged else cv2.IMREAD_COLOR
    if not unchanged and reduce > 1:
        reduced = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
        flags = reduced.get(reduce, cv2.IMREAD_REDUCED_COLOR_8)
    if not unchanged and not upright:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    image: Any
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError):
        image = None
    size = (-(-header.height // reduce), -(-header.width // reduce))
    if image is None or (image.shape[:2] != size and not upright):
        raise ImageError(f'is a broken {header.kind} file')
    return image


def _kind(data: memoryview) -> tuple[str, Callable[[memoryview], ImageHeader | None]]:
    head = bytes(data[:12])
    if head.startswith(b'\xff\xd8\xff'):
        return 'jpeg', _jpeg
    if head.startswith(b'\x89PNG\r\n\x1a\n'):
        return 'png', _png
    if head.startswith(b'RIFF') and head[8:] == b'WEBP':
        return 'webp', _webp
    if head[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return 'tiff', _tiff
    if head.startswith(b'BM') and len(data) >= 26:
        return 'bmp', _bmp
    raise ImageError(
        'is empty' if not len(data) else 'is neither JPEG, PNG, WebP, TIFF nor BMP by its content'
    )


def _segments(data: memoryview | bytes) -> tuple[int, int]:
    """Return the offsets of a JPEG's frame header and its first scan, 0 if missing."""
    at, frame = 2, 0
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == _SCAN:
            return frame, at
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADER:
                frame = at
            at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return frame, 0


def _jpeg(data: memoryview) -> ImageHeader | None:
    frame, _ = _segments(data)
    if not frame:
        return None
    bits, height, width, channels = struct.unpack_from('>BHHB', data, frame + 4)
    return ImageHeader('jpeg', height, width, channels, bits)


def _png(data: memoryview) -> ImageHeader | None:
    if bytes(data[12:16]) != b'IHDR':
        return None
    width, height, bits, colour = struct.unpack_from('>IIBB', data, 16)
    return ImageHeader('png', height, width, _PNG_CHANNELS[colour], bits)


def _webp(data: memoryview) -> ImageHeader | None:
    chunk = bytes(data[12:16])
    if chunk == b'VP8X':
        width, height = (int.from_bytes(data[at : at + 3], 'little') + 1 for at in (24, 27))
        return ImageHeader('webp', height, width, 4 if data[20] & 0x10 else 3, 8)
    if chunk == b'VP8L':
        (sizes,) = struct.unpack_from('<I', data, 21)
        channels = 4 if sizes >> 28 & 1 else 3
        return ImageHeader('webp', (sizes >> 14 & 0x3FFF) + 1, (sizes & 0x3FFF) + 1, channels, 8)
    if chunk == b'VP8 ' and bytes(data[23:26]) == b'\x9d\x01\x2a':
        width, height = struct.unpack_from('<HH', data, 26)
        return ImageHeader('webp', height & 0x3FFF, width & 0x3FFF, 3, 8)
    return None


def _bmp(data: memoryview) -> ImageHeader:
    (length,) = struct.unpack_from('<I', data, 14)
    if length == 12:
        width, height, _, bits = struct.unpack_from('<HHHH', data, 18)
    else:
        width, height, _, bits = struct.unpack_from('<iiHH', data, 18)
    return ImageHeader('bmp', abs(height), width, 4 if bits == 32 else 3, 8)


def _tiff(data: memoryview) -> ImageHeader | None:
    order = '<' if data[0] == ord('I') else '>'
    big = 43 in data[2:4]
    (at,) = struct.unpack_from(order + ('Q' if big else 'I'), data, 8 if big else 4)
    counter, entry, offset = ('Q', 20, 12) if big else ('H', 12, 8)
    (count,) = struct.unpack_from(order + counter, data, at)
    first = at + struct.calcsize(counter)
    values = {_BITS: 1, _SAMPLES: 1}
    for tag_at in range(first, first + entry * min(count, _MAX_TAGS), entry):
        tag, kind = struct.unpack_from(order + 'HH', data, tag_at)
        (number,) = struct.unpack_from(order + ('Q' if big else 'I'), data, tag_at + 4)
        if tag not in (_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT):
            continue
        code = order + _TIFF_TYPES[kind]
        value_at = tag_at + offset
        if number * struct.calcsize(code) > (8 if big else 4):  # elsewhere, and of each sample
            (value_at,) = struct.unpack_from(order + ('Q' if big else 'I'), data, value_at)
        (value,) = struct.unpack_from(code, data, value_at)
        values[tag] = max(value, values.get(tag, 0))
    # A tile is always decoded completely, even if little of it is in the picture.
    height = max(values[_HEIGHT], values.get(_TILE_HEIGHT, 0) if _TILE_WIDTH in values else 0)
    width = values[_WIDTH]
    return ImageHeader('tiff', height, width, values[_SAMPLES], values[_BITS])


def _is_whole(data: bytes, kind: str) -> bool:
    """Return whether a file is complete; decoders silently fill the missing part with grey."""
    if kind == 'jpeg':
        # Thumbnails also have end markers, but before the first scan, whose data never contains
        # a marker.
        _, scan = _segments(data)
        return scan > 0 and data.rfind(_END, scan) > 0
    if kind == 'png':
        return _has_png_end(data)
    if kind == 'webp':
        return 8 + int.from_bytes(data[4:8], 'little') <= len(data)
    if kind == 'bmp':
        return int.from_bytes(data[2:6], 'little') <= len(data)
    return True  # the TIFF decoder rejects truncated files


def _has_png_end(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b'IEND':
            return True
        at += 12 + int.from_bytes(data[at : at + 4], 'big')
    return False
