"""A picture of a frame, to judge it by: the image, its segments, and the sweep's points."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.overlay import (
    draw_points,
    draw_segments,
    kinds_by_id,
    palette,
)
from drive_segment_ros.ros.frame_builder import BuiltFrame

# Segments let the image shine through; points are drawn in a brighter tone of their segment.
_OPACITY = 0.5
_BRIGHTEN = 0.45


def draw_preview(built: BuiltFrame) -> bytes:
    """Draw a frame at the size of its image.

    Points take the colour of the segment they lie in and are white where there is none.

    Returns:
        The picture as a PNG file.

    Raises:
        ImageError: if the image cannot be decoded.
    """
    frame = built.frame
    colours = palette(kinds_by_id(frame.proposals['id'], frame.proposals['kind']))
    # Already decoded once at working resolution, so it can be.
    image = np.asarray(
        cv2.imdecode(np.frombuffer(frame.image, np.uint8), cv2.IMREAD_COLOR), np.uint8
    )
    height, width = image.shape[:2]
    segment = np.asarray(
        cv2.resize(frame.segment, (width, height), interpolation=cv2.INTER_NEAREST), np.uint16
    )
    picture = draw_segments(image, segment, colours, _OPACITY)
    # Pixel centres are at integers, so what scales is the distance from the image's corner.
    scale = width / frame.segment.shape[1]
    u, v = ((x + 0.5) * scale - 0.5 for x in (built.projected.u, built.projected.v))
    ids = _ids_at(frame.segment, built.projected.u, built.projected.v)
    draw_points(picture, u, v, _bright(colours)[ids])
    return cv2.imencode('.png', picture)[1].tobytes()


def _ids_at(
    segment: NDArray[np.uint16], u: NDArray[np.floating], v: NDArray[np.floating]
) -> NDArray[np.uint16]:
    """Return the segment id under each point; points lie in the image."""
    row, column = np.rint(v).astype(np.intp), np.rint(u).astype(np.intp)
    return segment[row, column]


def _bright(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours mixed with white; that of no segment is white."""
    bright = (colours + (255 - colours) * _BRIGHTEN).astype(np.uint8)
    bright[0] = 255
    return bright
