"""Image messages to arrays and back.

Works on rclpy's and rosbags' classes: a message with `format` is compressed, one with `encoding`
is raw.
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ImageError

# encoding -> (bytes per channel, channels, OpenCV conversion to BGR or None).
# OpenCV names a Bayer pattern by its second row, second column on: RGGB is its `BayerBG`.
# A bare 8UC3 is BGR by OpenCV's convention; `yuv422` is UYVY by ROS's.
_ENCODINGS: dict[str, tuple[int, int, str | None]] = {
    'bgr8': (1, 3, None),
    'rgb8': (1, 3, 'COLOR_RGB2BGR'),
    'bgra8': (1, 4, 'COLOR_BGRA2BGR'),
    'rgba8': (1, 4, 'COLOR_RGBA2BGR'),
    'bgr16': (2, 3, None),
    'rgb16': (2, 3, 'COLOR_RGB2BGR'),
    'mono8': (1, 1, 'COLOR_GRAY2BGR'),
    'mono16': (2, 1, 'COLOR_GRAY2BGR'),
    '8UC1': (1, 1, 'COLOR_GRAY2BGR'),
    '8UC3': (1, 3, None),
    '8UC4': (1, 4, 'COLOR_BGRA2BGR'),
    'yuv422': (1, 2, 'COLOR_YUV2BGR_UYVY'),
    'uyvy': (1, 2, 'COLOR_YUV2BGR_UYVY'),
    'yuv422_yuy2': (1, 2, 'COLOR_YUV2BGR_YUY2'),
    'yuyv': (1, 2, 'COLOR_YUV2BGR_YUY2'),
}
for _pattern, _name in (('rggb', 'BG'), ('bggr', 'RG'), ('gbrg', 'GR'), ('grbg', 'GB')):
    _ENCODINGS[f'bayer_{_pattern}8'] = (1, 1, f'COLOR_Bayer{_name}2BGR')
    _ENCODINGS[f'bayer_{_pattern}16'] = (2, 1, f'COLOR_Bayer{_name}2BGR')

# What a file begins with, its suffix, and what a complete one has near its end.
_FILE_TYPES = ((b'\xff\xd8\xff', '.jpg', b'\xff\xd9'), (b'\x89PNG', '.png', b'IEND'))
_REDUCTIONS = (1, 2, 4, 8)


def decode_image(message: Any, reduce: int = 1) -> NDArray[np.uint8]:
    """Return the picture of a sensor_msgs/Image or CompressedImage.

    Args:
        message: rclpy's or rosbags' class.
        reduce: 1, 2, 4 or 8: divide both sides by this. JPEG decodes straight to the smaller
            size; anything else is averaged over areas.

    Returns:
        (ceil(height / reduce), ceil(width / reduce), 3) uint8 BGR. Of a `bgr8` message it is a
        read-only view.

    Raises:
        ImageError: if the picture is empty, truncated, contradicts itself or has an encoding
            that nothing here can read.
    """
    if reduce not in _REDUCTIONS:
        raise ImageError(f'images are reduced by 1, 2, 4 or 8, not by {reduce}')
    if hasattr(message, 'format'):
        return _decode_file(message, reduce)
    return _shrink(_decode_raw(message), reduce)


def encoded_image(message: Any) -> tuple[bytes, str]:
    """Return an image message as the content of an image file, and the file's suffix.

    Compressed images are returned as they were received, raw ones as PNG: no pixel changes.

    Raises:
        ImageError: if the image cannot be read.
    """
    if hasattr(message, 'format'):
        data = np.frombuffer(message.data, np.uint8).tobytes()
        return data, _file_type(data, message)
    import cv2

    # Level 1 is three times faster than the default and hardly larger on camera images.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    _, png = cv2.imencode('.png', _decode_raw(message), options)
    return png.tobytes(), '.png'


def image_message(pixels: NDArray[Any], encoding: str, header: Any) -> Any:
    """Build an rclpy sensor_msgs/Image.

    Args:
        pixels: (H, W) or (H, W, C), the dtype that `encoding` says.
        encoding: such as `mono8`, `bgr8`.
        header: std_msgs/Header.
    """
    from sensor_msgs.msg import Image

    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, encoding=encoding)
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.strides[0]
    message.is_bigendian = int(pixels.dtype.byteorder == '>')
    message.data = message_bytes(pixels)
    return message


def compressed_message(bgr: NDArray[np.uint8], header: Any, quality: int = 85) -> Any:
    """Build an rclpy sensor_msgs/CompressedImage with a JPEG; for pictures, never for labels.

    Args:
        bgr: (H, W, 3) uint8.
        header: std_msgs/Header.
        quality: 0 to 100.
    """
    import cv2
    from sensor_msgs.msg import CompressedImage

    _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    message = CompressedImage(header=header, format='bgr8; jpeg compressed bgr8')
    message.data = message_bytes(jpeg)
    return message


def message_bytes(values: NDArray[Any]) -> array.array[int]:
    """Return an array's bytes as the one type that a message's `data` takes as it is.

    Of an ndarray rclpy checks every single byte: 0.4 s and more for a 1080p image.
    """
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(values).data.cast('B'))
    return data


def _decode_file(message: Any, reduce: int) -> NDArray[np.uint8]:
    import cv2

    data = np.frombuffer(message.data, np.uint8)
    suffix = _file_type(data.tobytes(), message)
    # A rotation noted in the file would turn the image under the calibration.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if suffix == '.jpg' and reduce > 1:
        reduced = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
        flags |= reduced.get(reduce, cv2.IMREAD_REDUCED_COLOR_8)
    image: Any
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(f'{_where(message)} is a broken {suffix} file')
    return image if suffix == '.jpg' else _shrink(image, reduce)


def _file_type(data: bytes, message: Any) -> str:
    """Return the suffix for an image file's content, told by the content itself."""
    for start, suffix, end in _FILE_TYPES:
        if data.startswith(start):
            # OpenCV fills what is missing with grey and says nothing. Cameras pad their JPEGs, so
            # the end mark need not be last, but one in the first half is a thumbnail's.
            if data.rfind(end, len(data) // 2) < 0:
                raise ImageError(f'{_where(message)} is truncated: {len(data)} bytes of {suffix}')
            return suffix
    raise ImageError(
        f'{_where(message)} has format {message.format!r} and is neither JPEG nor PNG; '
        'republish it as one of them'
    )


def _decode_raw(message: Any) -> NDArray[np.uint8]:
    if message.width == 0 or message.height == 0:
        raise ImageError(f'{_where(message)} is empty: {message.width} x {message.height}')
    if message.encoding not in _ENCODINGS:
        return _decode_with_cv_bridge(message)
    size, channels, conversion = _ENCODINGS[message.encoding]
    row = message.width * channels * size
    data = np.frombuffer(message.data, np.uint8)
    if message.step < row:
        raise ImageError(
            f'{_where(message)}: {message.width} px of {message.encoding} need {row} bytes, '
            f'step is {message.step}; the driver fills in the message wrongly'
        )
    needed = (message.height - 1) * message.step + row
    if len(data) < needed:
        raise ImageError(f'{_where(message)} is truncated: {len(data)} of {needed} bytes')
    rows = np.lib.stride_tricks.as_strided(
        data, (message.height, row), (message.step, 1), writeable=False
    )
    if size == 2:
        # Of 16 bits keep the upper 8, whichever byte of the two holds them.
        rows = rows[:, 0 if message.is_bigendian else 1 :: 2]
    pixels = rows.reshape(message.height, message.width, channels)
    if conversion is None:
        return pixels
    if conversion.startswith('COLOR_YUV') and message.width % 2:
        raise ImageError(f'{_where(message)}: {message.encoding} needs an even width')
    import cv2

    image: Any = cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, conversion))
    return image


def _decode_with_cv_bridge(message: Any) -> NDArray[np.uint8]:
    known = ', '.join(_ENCODINGS)
    try:
        from cv_bridge import CvBridge
    except ImportError as err:
        raise ImageError(
            f'{_where(message)} has encoding {message.encoding!r}; without cv_bridge only '
            f'{known} can be read'
        ) from err
    try:
        return CvBridge().imgmsg_to_cv2(message, 'bgr8')
    except Exception as err:
        raise ImageError(
            f'{_where(message)} has encoding {message.encoding!r}, which cv_bridge cannot turn '
            f'into BGR: {err}'
        ) from err


def _shrink(image: Any, reduce: int) -> NDArray[np.uint8]:
    if reduce == 1:
        return image
    import cv2

    height, width = image.shape[:2]
    bottom, right = -height % reduce, -width % reduce
    if bottom or right:
        # JPEG decoders round sizes up and keep the scale exact; so do we, repeating the edge.
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = (image.shape[1] // reduce, image.shape[0] // reduce)
    smaller: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller


def _where(message: Any) -> str:
    stamp = message.header.stamp
    return f'image {stamp.sec}.{stamp.nanosec:09d} of {message.header.frame_id or "no frame"}'
