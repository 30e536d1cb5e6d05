"""Cameras as most sets describe them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drive_segment_ros.perception.cameras import CameraModel


def intrinsics(fx: float, fy: float, cx: float, cy: float) -> NDArray[np.float64]:
    """Return the matrix (3, 3) of focal lengths and principal point, px."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def pinhole(
    K: NDArray[np.float64],
    size: tuple[int, int],
    frame_id: str,
    distortion: ArrayLike = (0.0, 0.0, 0.0, 0.0, 0.0),
) -> CameraModel:
    """Return a camera whose images are as its lens bends them: not at all, if not told otherwise.

    Args:
        K: (3, 3).
        size: width and height, px.
        frame_id: its optical frame.
        distortion: k1, k2, p1, p2, k3.
    """
    P = np.zeros((3, 4))
    P[:, :3] = K
    D = np.asarray(distortion, np.float64)
    return CameraModel(*size, K, D, np.eye(3), P, 'plumb_bob', frame_id, rectified=False)
