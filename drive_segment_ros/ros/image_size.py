"""The size of an image message and its possible reduction, before it is decoded."""

from __future__ import annotations

from typing import Any

import numpy as np

from drive_segment_ros.dataset.image_file import REDUCTIONS, image_header
from drive_segment_ros.errors import ImageError


def image_size(message: Any) -> tuple[int, int] | None:
    """Return (height, width), px, from the message or the header of its file.

    Args:
        message: sensor_msgs/Image or CompressedImage, of rclpy or rosbags.

    Returns:
        None if the header cannot be read; decoding gives the reason.
    """
    if not hasattr(message, 'format'):
        return message.height, message.width
    try:
        header = image_header(np.frombuffer(message.data, np.uint8))
    except ImageError:
        return None
    return header.height, header.width


def reduction(size: tuple[int, int] | None, needed: tuple[int, int]) -> int:
    """Return the largest factor by which both sides may be divided without losing resolution.

    Args:
        size: (height, width) of the picture, px; None if not known.
        needed: (height, width) wanted of it, px.

    Returns:
        1, 2, 4 or 8: what `decode_image` takes.
    """
    if size is None:
        return 1
    fitting = (
        r
        for r in reversed(REDUCTIONS)
        if all(-(-s // r) >= n for s, n in zip(size, needed, strict=True))
    )
    return next(fitting, 1)
