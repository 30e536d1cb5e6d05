"""The time offset between a camera and the LiDAR, by which their stamps are paired."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CloudError
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.projection import view_times

# Number of sweeps used; without a point in the camera's view there is no offset to estimate.
_SWEEPS = 10


@dataclasses.dataclass(frozen=True)
class Passing:
    """When a sweep crosses a camera's field of view, seconds after its stamp.

    Attributes:
        middle_s: when it crosses the middle.
        span_s: from the first point in view to the last.
    """

    middle_s: float
    span_s: float


def passing_of(
    cloud: PointCloud, camera: CameraModel, T_camera_lidar: NDArray[np.float64]
) -> Passing | None:
    """Return when a sweep crosses a camera's field of view, None if that is not known.

    A sweep may begin within the view, as for a rear camera: then half of the view is scanned at
    the sweep's beginning and half at its end, and the median time is wrong for both.

    Args:
        cloud: the sweep's points; without times, or none in view, the result is None.
        camera: at any resolution.
        T_camera_lidar: (4, 4), maps LiDAR coordinates to the camera's optical frame.
    """
    times = view_times(cloud, camera, T_camera_lidar)
    if times is None:
        return None
    middle = view_times(cloud, _middle_of(camera), T_camera_lidar) or times
    span_s = times[2] - times[0]
    begins_there = middle[2] - middle[0] > span_s / 2
    return Passing(middle[0] if begins_there else middle[1], span_s)


def _middle_of(camera: CameraModel) -> CameraModel:
    """Return a camera that sees the middle of another's view, upright and a tenth as wide."""
    left = round(0.45 * camera.width)
    K, P = camera.K.copy(), camera.P.copy()
    K[0, 2] -= left
    P[0, 2] -= left
    return dataclasses.replace(camera, width=max(camera.width - 2 * left, 1), K=K, P=P)


class CameraOffset:
    """Estimates the offset from the first sweep with points in the camera's view.

    Attributes:
        value_s: seconds to add to the camera's stamps; None while it is not known. 0 if points
            carry no time or none of the first sweeps has one in view.
    """

    def __init__(self, fixed_s: float | None) -> None:
        """Start with a fixed offset, or without an estimate.

        Args:
            fixed_s: the offset if it is given; then nothing is estimated.
        """
        self.value_s = fixed_s
        self._seen = 0

    def look(self, camera: CameraModel, sweep: Sweep, T_camera_lidar: NDArray[np.float64]) -> None:
        """Use the next sweep, in the order of their stamps.

        Args:
            camera: at any resolution.
            sweep: the next one.
            T_camera_lidar: (4, 4), maps LiDAR coordinates to the camera's optical frame.
        """
        self._seen += 1
        try:
            passing = passing_of(sweep.cloud, camera, T_camera_lidar)
        except CloudError:
            passing = None
        if passing is not None:
            self.value_s = -passing.middle_s
        elif self._seen >= _SWEEPS:
            self.value_s = 0.0
