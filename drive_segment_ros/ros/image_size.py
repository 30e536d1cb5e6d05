"""How large an image message's picture is, and how far it may be reduced, before it is decoded."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

# JPEG's frame headers are the markers C0 to CF, but for these three.
_NO_FRAME_HEADER = (0xC4, 0xC8, 0xCC)
# Markers that stand alone, without a length: restart, start and end of image, TEM.
_ALONE = (0x01, *range(0xD0, 0xDA))
_REDUCTIONS = (8, 4, 2)


def image_size(message: Any) -> tuple[int, int] | None:
    """Return (height, width), px, as the message or the head of its file says.

    Args:
        message: sensor_msgs/Image or CompressedImage, of rclpy or rosbags.

    Returns:
        None where the file does not say; decoding it will tell why.
    """
    if not hasattr(message, 'format'):
        return message.height, message.width
    data = np.frombuffer(message.data, np.uint8)
    if data[:4].tobytes() == b'\x89PNG':
        if len(data) < 24:
            return None
        width, height = struct.unpack('>II', data[16:24].tobytes())
        return height, width
    return _jpeg_size(data)


def reduction(size: tuple[int, int] | None, needed: tuple[int, int]) -> int:
    """Return by how much both sides may be divided so that no needed pixel is lost.

    Args:
        size: (height, width) of the picture, px; None if not known.
        needed: (height, width) wanted of it, px.

    Returns:
        1, 2, 4 or 8: what `decode_image` takes.
    """
    if size is None:
        return 1
    fitting = (
        r for r in _REDUCTIONS if all(-(-s // r) >= n for s, n in zip(size, needed, strict=True))
    )
    return next(fitting, 1)


def _jpeg_size(data: NDArray[np.uint8]) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADER:
            height, width = struct.unpack('>HH', data[at + 5 : at + 9].tobytes())
            return (height, width) if height and width else None
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4].tobytes(), 'big')
    return None
