"""A preview of a frame: the image, its segments, and the sweep's points."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.frame.build import BuiltFrame
from drive_segment_ros.perception.overlay import (
    draw_points,
    draw_segments,
    palette,
)
from drive_segment_ros.perception.resizing import resize_labels

# Segments let the image shine through; points are drawn in a brighter tone of their segment.
_OPACITY = 0.5
_BRIGHTEN = 0.45


def draw_preview(built: BuiltFrame, content: bytes) -> bytes:
    """Draw a frame at the size of its image.

    Points have the colour of their proposal, and are white where they have none.

    Args:
        built: the frame.
        content: its image file.

    Returns:
        The picture as a PNG file.

    Raises:
        ImageError: if the image cannot be decoded.
    """
    colours = palette(built.segments.kind())
    label = built.label_image
    # Already decoded once at working resolution, so it can be; not turned then either.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), flags), np.uint8)
    height, width = image.shape[:2]
    picture = draw_segments(image, resize_labels(label, height, width), colours, _OPACITY)
    # Pixel centres are at integers, so what scales is the distance from the image's corner.
    scale = width / label.shape[1]
    u, v = ((x + 0.5) * scale - 0.5 for x in (built.points.u, built.points.v))
    draw_points(picture, u, v, _bright(colours)[built.segments.label[built.points.index]])
    return cv2.imencode('.png', picture)[1].tobytes()


def _bright(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours mixed with white; that of no segment is white."""
    bright = (colours + (255 - colours) * _BRIGHTEN).astype(np.uint8)
    bright[0] = 255
    return bright
