"""When the LiDAR looks where the camera looks: the offset by which their stamps are paired."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CloudError
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.projection import view_times

# As many sweeps are looked at; a camera no point falls into has no offset to find.
_SWEEPS = 10


class CameraOffset:
    """Takes the offset from the first sweep that has points in the camera's view.

    Attributes:
        value_s: seconds to add to the camera's stamps; None while it is not known. 0 if points
            carry no time or none of the first sweeps has one in view.
    """

    def __init__(self, fixed_s: float | None) -> None:
        """Begin.

        Args:
            fixed_s: the offset where it is given; nothing is looked for then.
        """
        self.value_s = fixed_s
        self._seen = 0

    def look(self, camera: CameraModel, sweep: Sweep, T_camera_lidar: NDArray[np.float64]) -> None:
        """Look at the next sweep, in the order of their stamps.

        Args:
            camera: at any resolution.
            sweep: that is known to be the next.
            T_camera_lidar: (4, 4), maps LiDAR coordinates to the camera's optical frame.
        """
        self._seen += 1
        try:
            times = view_times(sweep.cloud, camera, T_camera_lidar)
        except CloudError:
            times = None
        if times is not None:
            self.value_s = -times[1]
        elif self._seen >= _SWEEPS:
            self.value_s = 0.0
