"""Poses of the sensor vehicle at any time, interpolated between the samples of its odometry.

Positions are interpolated linearly and rotations by slerp, so that a consumer who interpolates the
published odometry in the same way gets the exact origin of every ray.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from offline_training.simulator.traffic import STEP_S, Traffic


def quaternion_of(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quaternion x, y, z, w of a (3, 3) rotation matrix, with w >= 0."""
    quaternion = Rotation.from_matrix(rotation).as_quat()
    return quaternion if quaternion[3] >= 0 else -quaternion


def matrix_of(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (4, 4) pose matrix of (6,) x, y, z, yaw, pitch, roll, metres and radians."""
    matrix = np.eye(4)
    matrix[:3, :3] = _turned(pose[3:]).as_matrix()
    matrix[:3, 3] = pose[:3]
    return matrix


def ego_poses(traffic: Traffic, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return T_world_base, (N, 4, 4) float64, at (N,) times within the traffic's memory."""
    start, tracks = traffic.window(float(times.min()), float(times.max()))
    track = tracks[:, 0]
    last = len(track) - 1
    position = np.clip((times - start) / STEP_S, 0.0, last)
    k = np.minimum(position.astype(int), last - 1)
    f = (position - k)[:, None]
    poses = np.zeros((len(times), 4, 4))
    poses[:, :3, 3] = (1 - f) * track[k, :3] + f * track[k + 1, :3]
    poses[:, :3, :3] = Slerp(np.arange(last + 1), _turned(track[:, 3:]))(position).as_matrix()
    poses[:, 3, 3] = 1.0
    return poses


def _turned(angles: NDArray[np.float64]) -> Rotation:
    """Return the rotations of (..., 3) yaw, pitch, roll, radians."""
    return Rotation.from_euler('ZYX', angles)
