"""Segments and points painted on a camera image, one colour per proposal.

Colours are BGR, as in OpenCV, and depend on a proposal's id and kind only: the node, `extract
--preview` and the docs draw the same frame identically.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.proposals import KINDS
from drive_segment_ros.perception.resizing import resize_image

# Ground and sky have fixed colours, those of road and sky in the Cityscapes palette.
_KIND_COLOURS = {'ground': (128, 64, 128), 'sky': (180, 130, 70)}
# Steps of the golden ratio never bring two ids that lie close together to the same hue.
_GOLDEN_RATIO = 0.6180339887498949
_HUES = 180.0  # OpenCV's hue circle in uint8


def palette(kind: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a colour for each proposal id.

    Args:
        kind: (P + 1,) index into `KINDS` per proposal id; id 0 means no proposal.

    Returns:
        (P + 1, 3) uint8 BGR; black for id 0.
    """
    ids = np.arange(len(kind))
    hsv = np.empty((len(ids), 1, 3), np.uint8)
    hsv[:, 0, 0] = (ids * _GOLDEN_RATIO % 1.0 * _HUES).astype(np.uint8)
    # Two levels of saturation and three of value tell ids of near hue apart.
    hsv[:, 0, 1] = 255 - 90 * (ids % 2)
    hsv[:, 0, 2] = 255 - 50 * (ids % 3)
    colours: Any = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[:, 0, :]
    for name, colour in _KIND_COLOURS.items():
        colours[kind == KINDS.index(name)] = colour
    colours[:1] = 0
    return colours


def draw_segments(
    image: NDArray[np.uint8],
    segment: NDArray[np.integer],
    colours: NDArray[np.uint8],
    opacity: float = 0.55,
) -> NDArray[np.uint8]:
    """Paint segments translucently over an image, with their borders opaque.

    Args:
        image: (H, W, 3) uint8 BGR of any size; it is resized to the segment image.
        segment: (h, w) labels or proposal ids; 0 leaves the image as it is.
        colours: (P, 3) uint8 BGR per label, from `palette`.
        opacity: of the segments' insides, 0 to 1.

    Returns:
        (h, w, 3) uint8 BGR, a new image.
    """
    height, width = segment.shape
    scaled = resize_image(image, height, width)
    paint = np.take(colours, segment, axis=0)
    painted: Any = cv2.addWeighted(scaled, 1.0 - opacity, paint, opacity, 0.0)
    unknown = (segment == 0).astype(np.uint8)
    cv2.copyTo(scaled, unknown, painted)
    cv2.copyTo(paint, _borders(segment), painted)
    return painted


def draw_points(
    image: NDArray[np.uint8],
    u: NDArray[np.floating],
    v: NDArray[np.floating],
    colours: NDArray[np.uint8],
) -> None:
    """Draw points on an image, in place, each as a square of 3 by 3 pixels.

    Args:
        image: (H, W, 3) uint8 BGR.
        u, v: (M,) pixel coordinates, pixel centres at integers; parts outside are clipped.
        colours: (M, 3) uint8 BGR, one per point; later points cover earlier ones.
    """
    height, width = image.shape[:2]
    column, row = np.rint(u).astype(np.intp), np.rint(v).astype(np.intp)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            rows, columns = row + down, column + right
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            image[rows[inside], columns[inside]] = colours[inside]


def _borders(segment: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return a mask of the segments' pixels whose right or lower neighbour has another id."""
    border = np.zeros(segment.shape, np.uint8)
    border[:, :-1] |= segment[:, :-1] != segment[:, 1:]
    border[:-1] |= segment[:-1] != segment[1:]
    border[segment == 0] = 0
    return border
