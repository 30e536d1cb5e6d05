"""Where PandaSet's cameras are on its LiDAR, the Pandar64: of one vehicle, so the same for all.

The data set gives the cameras' poses and the vehicle's, not the LiDAR's. These are the numbers of
the development kit's static calibration: rotation x y z w and translation (m) that take a point of
the LiDAR's frame to a camera's optical frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.transforms import transform_matrix

_CAMERAS = {
    'front_camera': (
        (0.0030578899, 0.7114721800, -0.7025205467, 0.0162132000),
        (0.0002585797, -0.0390777717, -0.0440125762),
    ),
    'front_left_camera': (
        (0.3277491470, -0.6283486652, 0.6206973014, 0.3354002261),
        (-0.2584224086, -0.3070654285, -0.9244245686),
    ),
    'front_right_camera': (
        (0.3493179583, 0.6120314641, -0.6150170047, 0.3537633880),
        (0.2546935700, -0.2492944972, -0.8686597281),
    ),
    'left_camera': (
        (0.4925307315, -0.4989265501, 0.5034095657, 0.5050391918),
        (0.2386483534, -0.2801448284, -0.5376795959),
    ),
    'right_camera': (
        (0.4947520982, 0.4977829953, -0.4986092042, 0.5087448402),
        (-0.2309716341, -0.3084349706, -0.6850441216),
    ),
    'back_camera': (
        (0.7003585532, -0.0015957587, -0.0005330312, 0.7137892311),
        (-0.0004217634, -0.2168314495, -1.0553445472),
    ),
}
CAMERAS = tuple(_CAMERAS)


def T_camera_lidar(camera: str) -> NDArray[np.float64]:
    """Return where the LiDAR is in a camera's optical frame, (4, 4)."""
    turn, moved = _CAMERAS[camera]
    return transform_matrix(moved, turn)
