"""Image messages to arrays and back.

Works on rclpy's and rosbags' classes: a message with `format` is compressed, one with `encoding`
is raw.
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.image_file import (
    MAX_PIXELS,
    REDUCTIONS,
    ImageHeader,
    check_image_file,
    decode_checked,
)
from drive_segment_ros.errors import ImageError
from drive_segment_ros.ros.raw_images import decode_raw, demosaic, eight_bits, is_bayer, is_picture

# Files that are stored unchanged.
_STORED = {'jpeg': '.jpg', 'png': '.png'}


def decode_image(
    message: Any, reduce: int = 1, *, bits: int = 0, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Return the picture of a sensor_msgs/Image or CompressedImage.

    Args:
        message: rclpy's or rosbags' class.
        reduce: 1, 2, 4 or 8: divide both sides by this. JPEG decodes straight to the smaller
            size; anything else is averaged over areas.
        bits: number that the sensor uses of 16; see `eight_bits`.
        max_pixels: largest number accepted; checked before anything is decoded.

    Returns:
        (ceil(height / reduce), ceil(width / reduce), 3) uint8 BGR. Of a `bgr8` message it is a
        read-only view.

    Raises:
        ImageError: if the picture is empty, too large, truncated, contradicts itself or has an
            unsupported encoding.
    """
    if reduce not in REDUCTIONS:
        raise ImageError(f'images are reduced by 1, 2, 4 or 8, not by {reduce}')
    if not hasattr(message, 'format'):
        return _shrink(_decode_raw(message, bits, max_pixels), reduce)
    header = _file_header(message, max_pixels)
    return _decode_file(message, header, reduce, bits)


def encoded_image(
    message: Any, *, bits: int = 0, max_pixels: int = MAX_PIXELS
) -> tuple[bytes, str]:
    """Return an image message as the content of an image file, and the file's suffix.

    JPEG and PNG are returned unchanged if any viewer shows them correctly. Everything else becomes
    a PNG of the result of `decode_image`: raw images, other kinds of file,
    mosaics, swapped channels, and images that use fewer than 16 bits.

    Args:
        message: rclpy's or rosbags' class.
        bits, max_pixels: as `decode_image`.

    Raises:
        ImageError: if the image cannot be read.
    """
    import cv2

    if not hasattr(message, 'format'):
        picture = _decode_raw(message, bits, max_pixels)
    else:
        header = _file_header(message, max_pixels)
        as_received = header.kind in _STORED and shows_itself(message)
        if as_received and header.bits <= 8:
            return _content(message), _STORED[header.kind]
        picture = _decode_file(message, header, 1, bits)
        if as_received and bits in (0, 16):
            return _content(message), _STORED[header.kind]
    # Level 1 is three times faster than the default and hardly larger on camera images.
    _, png = cv2.imencode('.png', picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return png.tobytes(), '.png'


def shows_itself(message: Any) -> bool:
    """Return whether any viewer shows a CompressedImage correctly.

    This is not the case if image_transport compressed a mosaic or channels in RGB order.
    """
    encoding, compression = _format(message)
    return not is_bayer(encoding) and 'compressed rgb' not in compression


def image_message(pixels: NDArray[Any], encoding: str, header: Any) -> Any:
    """Build an rclpy sensor_msgs/Image.

    Args:
        pixels: (H, W) or (H, W, C), with the dtype of `encoding`.
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
    """Return an array's bytes in the only type that a message's `data` takes without a check.

    For an ndarray rclpy checks every single byte, which takes long for a 1080p image.
    """
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(values).data.cast('B'))
    return data


def _decode_raw(message: Any, bits: int, max_pixels: int) -> NDArray[np.uint8]:
    if message.width == 0 or message.height == 0:
        raise ImageError(f'{_where(message)} is empty: {message.width} x {message.height}')
    if message.width * message.height > max_pixels:
        raise ImageError(
            f'{_where(message)} has {message.width} x {message.height} px, above the limit '
            f'max_pixels {max_pixels}'
        )
    return decode_raw(message, bits, _where(message))


def _file_header(message: Any, max_pixels: int) -> ImageHeader:
    try:
        return check_image_file(np.frombuffer(message.data, np.uint8), max_pixels)
    except ImageError as err:
        raise ImageError(f'{_where(message)} of format {message.format!r} {err}') from err


def _decode_file(message: Any, header: ImageHeader, reduce: int, bits: int) -> NDArray[np.uint8]:
    plain = header.bits <= 8 and shows_itself(message)
    # The decoder's own reduction would average over a mosaic and keep the upper 8 of 16 bits.
    straight = reduce if plain and header.kind == 'jpeg' else 1
    try:
        image = decode_checked(
            np.frombuffer(message.data, np.uint8),
            header,
            unchanged=header.bits > 8,
            reduce=straight,
        )
    except ImageError as err:
        raise ImageError(f'{_where(message)} of format {message.format!r} {err}') from err
    if not plain:
        if image.dtype == np.uint16:
            encoding, _ = _format(message)
            if encoding and not is_picture(encoding):
                raise ImageError(
                    f'{_where(message)} has encoding {encoding!r}, not that of a picture'
                )
            image = eight_bits(image, bits, _where(message))
        image = _picture(image, message)
    return _shrink(image, reduce // straight)


def _picture(image: NDArray[np.uint8], message: Any) -> NDArray[np.uint8]:
    """Return the picture, (H, W, 3) BGR, of a file written by image_transport."""
    encoding, compression = _format(message)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    image = image[..., :3]
    # Some publishers repeat the mosaic in three channels; a colour picture is kept.
    if is_bayer(encoding) and (image == image[..., :1]).all():
        return demosaic(image[..., 0], encoding)
    # Decoders assume BGR; the channels are in the order named by the format.
    return np.ascontiguousarray(image[..., ::-1] if 'compressed rgb' in compression else image)


def _content(message: Any) -> bytes:
    return np.frombuffer(message.data, np.uint8).tobytes()


def _format(message: Any) -> tuple[str, str]:
    """Return the camera's encoding and how it was compressed, by CompressedImage's convention.

    `ENCODING; CODEC compressed ORDER`, or just a codec: then the encoding is empty.
    """
    encoding, separator, compression = message.format.lower().partition(';')
    return (encoding.strip(), compression) if separator else ('', encoding)


def _shrink(image: Any, reduce: int) -> NDArray[np.uint8]:
    if reduce == 1:
        return image
    import cv2

    height, width = image.shape[:2]
    bottom, right = -height % reduce, -width % reduce
    if bottom or right:
        # JPEG decoders round sizes up and keep the exact scale; done here by repeating the edge.
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = (image.shape[1] // reduce, image.shape[0] // reduce)
    smaller: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller


def _where(message: Any) -> str:
    stamp = message.header.stamp
    return f'image {stamp.sec}.{stamp.nanosec:09d} of {message.header.frame_id or "no frame"}'
