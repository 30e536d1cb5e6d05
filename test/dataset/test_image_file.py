"""Image files: headers, truncated and padded files, and decompression bombs."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from drive_segment_ros.dataset.image_file import image_header, read_image_file
from drive_segment_ros.errors import ImageError

KINDS = ('jpeg', 'png', 'webp', 'tiff', 'bmp')
SMOOTH = np.stack(np.meshgrid(np.arange(93), np.arange(61)), -1).astype(np.uint8)
PICTURE = np.dstack([2 * SMOOTH[..., 0], 3 * SMOOTH[..., 1], SMOOTH.sum(-1, dtype=np.uint8)])
FILES = {kind: cv2.imencode(f'.{kind}', PICTURE)[1].tobytes() for kind in KINDS}
# An EXIF segment with frame headers and end markers, as from an embedded thumbnail.
EXIF = b'\xff\xe1' + (2 + 304).to_bytes(2, 'big') + b'\xff\xc0\xff\xd9' * 76


def png(width: int, height: int, bits: int = 8) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))
        )

    rows = zlib.compressobj(9)
    content = b''.join(rows.compress(bytes(1 + width * bits // 8)) for _ in range(height))
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0))
    content += rows.flush()
    return b'\x89PNG\r\n\x1a\n' + head + chunk(b'IDAT', content) + chunk(b'IEND', b'')


def claiming(kind: str, width: int, height: int) -> bytes:
    """Return a small file whose header claims another size."""
    data = bytearray(FILES[kind])
    if kind == 'jpeg':
        at = data.index(b'\xff\xc0')
        data[at + 5 : at + 9] = struct.pack('>HH', height, width)
    elif kind == 'png':
        data[16:24] = struct.pack('>II', width, height)
    elif kind == 'webp':
        canvas = (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
        data[12:12] = b'VP8X' + struct.pack('<I', 10) + bytes(4) + canvas
        data[4:8] = struct.pack('<I', len(data) - 8)
    elif kind == 'bmp':
        data[18:26] = struct.pack('<ii', width, -height)
    else:
        (at,) = struct.unpack_from('<I', data, 4)
        for entry in range(at + 2, at + 2 + 12 * int.from_bytes(data[at : at + 2], 'little'), 12):
            tag = int.from_bytes(data[entry : entry + 2], 'little')
            if tag in (256, 257):
                data[entry + 2 : entry + 4] = struct.pack('<H', 4)  # LONG
                data[entry + 8 : entry + 12] = struct.pack('<I', {256: width, 257: height}[tag])
    return bytes(data)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('shape', [(61, 93, 3), (1, 1, 3), (33, 257)])
def test_the_header_tells_kind_and_size(kind, shape):
    data = cv2.imencode(f'.{kind}', np.zeros(shape, np.uint8))[1].tobytes()
    header = image_header(data)
    assert (header.kind, header.height, header.width, header.bits) == (kind, *shape[:2], 8)
    assert read_image_file(data).shape == (*shape[:2], 3)


@pytest.mark.parametrize('kind', ['png', 'tiff'])
def test_the_header_tells_depth_and_channels(kind):
    data = cv2.imencode(f'.{kind}', np.zeros((4, 6), np.uint16))[1].tobytes()
    header = image_header(data)
    assert (header.channels, header.bits) == (1, 16)
    assert read_image_file(data, unchanged=True).dtype == np.uint16
    data = cv2.imencode(f'.{kind}', np.zeros((4, 6, 4), np.uint8))[1].tobytes()
    assert image_header(data).channels == 4


@pytest.mark.parametrize('option', [cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_OPTIMIZE])
def test_other_kinds_of_jpeg(option):
    data = cv2.imencode('.jpg', PICTURE, [option, 1])[1].tobytes()
    data = data[:2] + EXIF + b'\xff' + data[2:]
    assert image_header(data).width == 93
    assert read_image_file(data, reduce=4).shape == (16, 24, 3)
    with pytest.raises(ImageError, match='truncated'):
        read_image_file(data[:-40])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('padding', [1, 100, 100_000])
def test_padding_behind_the_end_does_no_harm(kind, padding):
    expected = read_image_file(FILES[kind])
    for byte in (b'\0', b'\xff'):
        np.testing.assert_array_equal(read_image_file(FILES[kind] + byte * padding), expected)


@pytest.mark.parametrize('kind', KINDS)
def test_a_cut_file_is_refused_padded_or_not(kind):
    data = FILES[kind]
    for length in range(0, len(data) - 1, max(1, len(data) // 40)):
        with pytest.raises(ImageError):
            read_image_file(data[:length])
        if kind == 'jpeg':
            with pytest.raises(ImageError):
                read_image_file(data[:length] + bytes(2 * len(data)))


@pytest.mark.parametrize('kind', KINDS)
def test_a_size_above_the_limit_is_refused_before_decoding(kind, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    size = (16000, 16001)
    with pytest.raises(ImageError, match=r'has 16000 x 16001 px, above the limit max_pixels'):
        read_image_file(claiming(kind, *size))


def test_a_bomb_is_refused_and_the_limit_can_be_set():
    data = png(3000, 2000)
    assert len(data) < 10_000
    with pytest.raises(ImageError, match='has 3000 x 2000 px, above the limit max_pixels 5999999'):
        read_image_file(data, max_pixels=5_999_999)
    assert read_image_file(data, max_pixels=6_000_000).shape == (2000, 3000, 3)


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'', 'is empty'),
        (b'\0' * 40, 'is neither JPEG, PNG, WebP, TIFF nor BMP'),
        (b'GIF89a' * 9, 'is neither'),
        (b'\xff\xd8\xff', 'is truncated or broken'),
        (b'\xff\xd8' + b'\xff' * 1_000_000, 'is truncated or broken'),
        (b'\x89PNG\r\n\x1a\n', 'is truncated or broken'),
        (claiming('png', 0, 5), 'is truncated or broken'),
        (FILES['png'][:60] + bytes(10) + FILES['png'][70:], 'broken png'),
        (b'II+\0\x08\0\0\0' + b'\xff' * 40, 'no size in 48 bytes of tiff'),
        (FILES['jpeg'].replace(b'\xff\xda', b'\xff\xd9'), 'truncated'),
        (
            cv2.imencode('.tiff', np.zeros((4, 6), np.float32))[1].tobytes(),
            '1 channels of 32 bits',
        ),
    ],
)
def test_what_is_no_picture_is_said_in_one_line(data, words):
    with pytest.raises(ImageError, match=words) as error:
        read_image_file(data)
    assert '\n' not in str(error.value)


def test_reduced_and_turned_only_where_asked():
    tiff = b'MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06' + bytes(6)
    exif = b'Exif\x00\x00' + tiff
    data = FILES['jpeg']
    data = data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]
    assert read_image_file(data).shape == (61, 93, 3)
    assert read_image_file(data, reduce=2).shape == (31, 47, 3)
    assert read_image_file(data, upright=True).shape == (93, 61, 3)
