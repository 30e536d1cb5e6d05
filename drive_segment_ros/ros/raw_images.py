"""The pixels of sensor_msgs/Image: every encoding that can be converted to BGR."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ImageError

# Bit depths of sensors that are transmitted in the low bits of 16.
_LOW_BITS = (10, 12, 14)


@dataclasses.dataclass(frozen=True)
class _Encoding:
    """The layout of an encoding's pixels in the message.

    Attributes:
        size: bytes of a channel.
        channels: of a pixel.
        conversion: OpenCV's to BGR, None if it is BGR.
        bits: number of low bits used by a channel of 2 bytes; 0 if the encoding does not define
            it.
        rows: of the message for two of the picture; 3 where chroma planes follow.
        even: whether sides must be even: (height, width).
    """

    size: int
    channels: int
    conversion: str | None
    bits: int = 0
    rows: int = 2
    even: tuple[bool, bool] = (False, False)


# A bare 8UC3 is BGR by OpenCV's convention; `yuv422` is UYVY by ROS's. Names in lower case.
_ENCODINGS: dict[str, _Encoding] = {
    'bgr8': _Encoding(1, 3, None),
    'rgb8': _Encoding(1, 3, 'COLOR_RGB2BGR'),
    'bgra8': _Encoding(1, 4, 'COLOR_BGRA2BGR'),
    'rgba8': _Encoding(1, 4, 'COLOR_RGBA2BGR'),
    'bgr16': _Encoding(2, 3, None),
    'rgb16': _Encoding(2, 3, 'COLOR_RGB2BGR'),
    'bgra16': _Encoding(2, 4, 'COLOR_BGRA2BGR'),
    'rgba16': _Encoding(2, 4, 'COLOR_RGBA2BGR'),
    'mono8': _Encoding(1, 1, 'COLOR_GRAY2BGR'),
    'mono16': _Encoding(2, 1, 'COLOR_GRAY2BGR'),
    '8uc1': _Encoding(1, 1, 'COLOR_GRAY2BGR'),
    '8uc3': _Encoding(1, 3, None),
    '8uc4': _Encoding(1, 4, 'COLOR_BGRA2BGR'),
}
for _names, _layout in (
    (('yuv422', 'uyvy'), 'UYVY'),
    (('yuv422_yuy2', 'yuyv', 'yuy2'), 'YUY2'),
    (('yvyu',), 'YVYU'),
):
    for _name in _names:
        _ENCODINGS[_name] = _Encoding(1, 2, f'COLOR_YUV2BGR_{_layout}', even=(False, True))
for _name in ('nv12', 'nv21'):
    _ENCODINGS[_name] = _Encoding(
        1, 1, f'COLOR_YUV2BGR_{_name.upper()}', rows=3, even=(True, True)
    )
# OpenCV names a Bayer pattern from its second row and column: RGGB is its `BayerBG`.
_BAYER = {'rggb': 'BG', 'bggr': 'RG', 'gbrg': 'GR', 'grbg': 'GB'}
for _bits in (8, 16, *_LOW_BITS):
    _size, _low = (1, 0) if _bits == 8 else (2, _bits % 16)
    for _pattern, _name in _BAYER.items():
        _ENCODINGS[f'bayer_{_pattern}{_bits}'] = _Encoding(
            _size, 1, f'COLOR_Bayer{_name}2BGR', _low
        )
    if _low:
        _ENCODINGS[f'mono{_bits}'] = _Encoding(_size, 1, 'COLOR_GRAY2BGR', _low)
_KNOWN = ', '.join(n for n in _ENCODINGS if not n.startswith('bayer')) + ' and 8 to 16 bit bayer_*'


def decode_raw(message: Any, bits: int, where: str) -> NDArray[np.uint8]:
    """Return the picture of a sensor_msgs/Image.

    Args:
        message: rclpy's or rosbags' class.
        bits: see `eight_bits`.
        where: the image's name in errors.

    Returns:
        (H, W, 3) uint8 BGR; of a `bgr8` message it is a read-only view.

    Raises:
        ImageError: if the message contradicts itself or has an unsupported encoding.
    """
    encoding = _ENCODINGS.get(message.encoding.strip().lower())
    if encoding is None:
        return _decode_with_cv_bridge(message, where)
    for even, side, name in zip(
        encoding.even, (message.height, message.width), ('height', 'width'), strict=True
    ):
        if even and side % 2:
            raise ImageError(f'{where}: {message.encoding} needs an even {name}, not {side}')
    height = message.height * encoding.rows // 2
    row = message.width * encoding.channels * encoding.size
    data = np.frombuffer(message.data, np.uint8)
    if message.step < row:
        raise ImageError(
            f'{where}: {message.width} px of {message.encoding} need {row} bytes, '
            f'step is {message.step}; the driver fills in the message incorrectly'
        )
    needed = (height - 1) * message.step + row
    if len(data) < needed:
        raise ImageError(f'{where} is truncated: {len(data)} of {needed} bytes')
    rows: NDArray[Any] = np.lib.stride_tricks.as_strided(
        data, (height, row), (message.step, 1), writeable=False
    )
    if encoding.size == 2:
        values = rows.view('>u2' if message.is_bigendian else '<u2')
        rows = eight_bits(values, encoding.bits or bits, where)
    pixels = rows.reshape(height, message.width, encoding.channels)
    return pixels if encoding.conversion is None else _converted(pixels, encoding.conversion)


def eight_bits(values: NDArray[np.uint16], bits: int, where: str) -> NDArray[np.uint8]:
    """Return the upper 8 of a sensor's bits, by one rule for all images of a drive.

    Args:
        values: uint16 of any shape.
        bits: number of low bits that are used; 0 for all 16, for which an image that uses less
            than a quarter of their range is rejected, as it would be dark. Estimating the bits
            from each image would make brightness flicker.
        where: the image's name in errors.

    Raises:
        ImageError: if the image uses more bits, or far fewer than 16 if none are given.
    """
    highest = int(values.max())
    if bits == 0 and highest < 1 << max(_LOW_BITS):
        likely = next(b for b in _LOW_BITS if highest < 1 << b)
        raise ImageError(
            f'{where} has 16 bit values of at most {highest}, as from a {likely}-bit sensor; '
            f'--set image_bits={likely}, or 16 if the images really are that dark'
        )
    bits = bits or 16
    if highest >> bits:
        raise ImageError(
            f'{where} has values up to {highest}, above the {bits} bits of its encoding or of '
            'image_bits; set image_bits to those of the sensor'
        )
    return (values >> (bits - 8)).astype(np.uint8)


def demosaic(mosaic: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """Return the picture of a Bayer mosaic, (H, W, 3) uint8 BGR, of a known Bayer encoding."""
    return _converted(mosaic, _ENCODINGS[encoding].conversion or '')


def is_picture(encoding: str) -> bool:
    """Return whether an encoding, in lower case, is that of a picture, not of depths."""
    return encoding in _ENCODINGS


def is_bayer(encoding: str) -> bool:
    """Return whether an encoding, in lower case, is a Bayer mosaic that `demosaic` supports."""
    return encoding.startswith('bayer_') and encoding in _ENCODINGS


def _converted(pixels: NDArray[Any], conversion: str) -> NDArray[np.uint8]:
    import cv2

    image: Any = cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, conversion))
    return image


def _decode_with_cv_bridge(message: Any, where: str) -> NDArray[np.uint8]:
    try:
        from cv_bridge import CvBridge
    except ImportError as err:
        raise ImageError(
            f'{where} has encoding {message.encoding!r}; without cv_bridge only {_KNOWN} can be '
            'read'
        ) from err
    try:
        return CvBridge().imgmsg_to_cv2(message, 'bgr8')
    except Exception as err:
        raise ImageError(
            f'{where} has encoding {message.encoding!r}, which cv_bridge cannot convert '
            f'to BGR: {" ".join(str(err).split())}'
        ) from err
