"""The inputs of a frame."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.frame.events import Image
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.motion import Trajectory

_NS = 1e-9


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image, its sweep, and the vehicle's state around them.

    Attributes:
        image: the image.
        sweep: the sweep, shared with the other cameras' pairs.
        camera: the calibration, at the camera's own resolution, of the image's frame.
        instant_ns: when the image was taken: its stamp less the camera's delay, nanoseconds.
        camera_offset_s: what was added to that for pairing, seconds.
        T_camera_lidar: (4, 4), at the image's instant.
        T_base_lidar: (4, 4), at the sweep's stamp; None if the base frame is not known.
        trajectory: the vehicle's poses around both; empty without odometry.
        arrival_s: when the later of the two arrived, seconds of the caller's clock.
    """

    image: Image
    sweep: Sweep
    camera: CameraModel
    instant_ns: int
    camera_offset_s: float
    T_camera_lidar: NDArray[np.float64]
    T_base_lidar: NDArray[np.float64] | None
    trajectory: Trajectory
    arrival_s: float = 0.0

    @property
    def offset_s(self) -> float:
        """The sweep's stamp minus the image's instant, seconds."""
        return (self.sweep.stamp_ns - self.instant_ns) * _NS
