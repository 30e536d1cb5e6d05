"""A network's label image in colour: by itself, over the camera image, on LiDAR points.

Colours are BGR, as in OpenCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.colours import UNKNOWN_COLOUR
from drive_segment_ros.perception.projected_points import ProjectedPoints
from drive_segment_ros.perception.resizing import resize_labels

Value = TypeVar('Value', np.uint8, np.bool_)


def colour_table(colours: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Return a colour for every label, (256, 3) uint8 BGR, grey beyond the classes.

    Args:
        colours: red, green, blue of each class, 0..255.
    """
    table = np.empty((256, 3), np.uint8)
    table[:] = UNKNOWN_COLOUR[::-1]
    known = colours[:IGNORE_LABEL]
    table[: len(known)] = np.asarray(known, np.uint8).reshape(-1, 3)[:, ::-1]
    return table


def above_threshold(
    label: NDArray[np.uint8], confidence: NDArray[np.uint8], threshold: float
) -> NDArray[np.uint8]:
    """Apply a confidence threshold.

    Args:
        label: (h, w) uint8 class, 255 = unknown.
        confidence: (h, w) uint8, 255 is certain.
        threshold: 0 to 1.

    Returns:
        (h, w) uint8, `IGNORE_LABEL` where the confidence lies below the threshold.
    """
    if threshold <= 0.0:
        return label
    return np.where(confidence < np.uint8(round(255 * threshold)), np.uint8(IGNORE_LABEL), label)


def colour_image(label: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a label image (h, w) in colour, (h, w, 3) uint8 BGR."""
    # Ten times faster than indexing the table by NumPy.
    return np.asarray(cv2.applyColorMap(label, table.reshape(256, 1, 3)), np.uint8)


def overlay(
    picture: NDArray[np.uint8],
    label: NDArray[np.uint8],
    table: NDArray[np.uint8],
    opacity: float,
) -> NDArray[np.uint8]:
    """Return a picture with its labels over it.

    Args:
        picture: (H, W, 3) uint8 BGR.
        label: (h, w) uint8 of the same view, any size.
        table: from `colour_table`.
        opacity: of the labels, 0 to 1.
    """
    height, width = picture.shape[:2]
    label = resize_labels(label, height, width)
    paint = colour_image(label, table)
    return np.asarray(cv2.addWeighted(picture, 1.0 - opacity, paint, opacity, 0.0), np.uint8)


def at_points(mask: NDArray[Value], points: ProjectedPoints) -> NDArray[Value]:
    """Return a mask's values (M,) at points projected into it."""
    return mask[np.rint(points.v).astype(np.intp), np.rint(points.u).astype(np.intp)]


def around(
    points: ProjectedPoints, shape: tuple[int, ...], width: float, height: float
) -> NDArray[np.bool_]:
    """Return the pixels (H, W) up to `width` px beside a point, and `height` px above or below."""
    dots = np.zeros(shape, np.uint8)
    dots[np.rint(points.v).astype(np.intp), np.rint(points.u).astype(np.intp)] = 1
    box = np.ones((2 * round(height) + 1, 2 * round(width) + 1), np.uint8)
    return np.asarray(cv2.dilate(dots, box) > 0, np.bool_)
