"""Assigns a mask's labels and colours to the points of a sweep seen in its image."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.frame.picture import check_shape
from drive_segment_ros.frame.view import View
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.masks import at_points


@dataclasses.dataclass(frozen=True)
class Mask:
    """A network's prediction for an image; the content of an image's event.

    Attributes:
        header: the image message's.
        label: (h, w) uint8, 255 is unknown.
        confidence: (h, w) uint8, 255 is certain.
        shape: (height, width) of the picture it was made from, px.
    """

    header: Any
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    shape: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class PaintedSweep:
    """The points of a sweep that a camera sees, with their labels from its mask.

    Attributes:
        cloud: the sweep.
        index: (M,) int32 into the cloud.
        label, confidence: (M,) uint8.
        moved: `per_point`, `per_sweep`, or `none` if the vehicle's motion was not known.
    """

    cloud: PointCloud
    index: NDArray[np.int32]
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    moved: str


def paint(pair: Pair, params: GeometryParameters) -> PaintedSweep:
    """Paint a sweep by the mask of an image.

    Args:
        pair: whose image's content is a `Mask`.
        params: of geometry, for motion compensation.

    Raises:
        CalibrationError: if the picture has another aspect ratio than the intrinsics.
        CloudError: if the sweep has no usable point, or none in the image.
    """
    mask: Mask = pair.image.content
    height, width = mask.shape
    check_shape(width, height, pair.camera)
    rows, columns = mask.label.shape
    view = View.of(pair, pair.camera.scaled(columns, rows), params)
    seen = view.points()
    label, confidence = at_points(mask.label, seen), at_points(mask.confidence, seen)
    return PaintedSweep(view.cloud, seen.index, label, confidence, view.moved)
