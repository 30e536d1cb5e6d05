"""The motion of the car that carries the sensors, as its odometry tells it.

Between two samples of odometry the car moves straight and turns evenly, by definition: whoever
interpolates the published poses so finds exactly where every ray was cast from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_training.simulator.traffic import STEP_S, Traffic


def quaternions(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 4) x, y, z, w for (N, 3) yaw, pitch, roll."""
    cy, cp, cr = np.cos(angles / 2).T
    sy, sp, sr = np.sin(angles / 2).T
    return np.column_stack(
        [
            cy * cp * sr - sy * sp * cr,
            cy * sp * cr + sy * cp * sr,
            sy * cp * cr - cy * sp * sr,
            cy * cp * cr + sy * sp * sr,
        ]
    )


def rotations(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 3, 3) rotation matrices of (N, 4) unit quaternions x, y, z, w."""
    x, y, z, w = quaternion.T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1),
        ],
        axis=1,
    )


def quaternion_of(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x, y, z, w of a (3, 3) rotation matrix, w positive (Bar-Itzhack 2000)."""
    r = rotation
    symmetric = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
            [0, r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
            [0, 0, r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [0, 0, 0, r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    quaternion = np.linalg.eigh(symmetric, UPLO='U')[1][:, -1]
    return quaternion if quaternion[3] >= 0 else -quaternion


def matrix_of(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (4, 4) matrix of x, y, z, yaw, pitch, roll."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotations(quaternions(pose[None, 3:]))[0]
    matrix[:3, 3] = pose[:3]
    return matrix


def ego_poses(traffic: Traffic, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return T_world_base at each of (N,) times of the last second, (N, 4, 4) float64."""
    start, tracks = traffic.window(float(times.min()), float(times.max()))
    track = tracks[:, 0]
    position = (times - start) / STEP_S
    k = np.clip(position.astype(int), 0, len(track) - 2)
    f = (position - k)[:, None]
    samples = quaternions(track[:, 3:])
    poses = np.zeros((len(times), 4, 4))
    poses[:, :3, 3] = (1 - f) * track[k, :3] + f * track[k + 1, :3]
    poses[:, :3, :3] = rotations(_slerp(samples[k], samples[k + 1], f))
    poses[:, 3, 3] = 1.0
    return poses


def _slerp(
    a: NDArray[np.float64], b: NDArray[np.float64], f: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn evenly from a to b, (N, 4) each (Shoemake 1985)."""
    cosine = np.sum(a * b, axis=1, keepdims=True)
    b = np.where(cosine < 0, -b, b)
    angle = np.arccos(np.clip(np.abs(cosine), 0.0, 1.0))
    # Below 1e-6 rad sin(f angle) / sin(angle) is f to 12 digits.
    small = angle < 1e-6
    sine = np.where(small, 1.0, np.sin(angle))
    weight_a = np.where(small, 1 - f, np.sin((1 - f) * angle) / sine)
    weight_b = np.where(small, f, np.sin(f * angle) / sine)
    mixed = weight_a * a + weight_b * b
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
