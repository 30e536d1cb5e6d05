"""Transforms a sensor's rays into the world frame."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def rays_from(directions: NDArray[np.float32], poses: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a sensor's rays in the world frame.

    Args:
        directions: (F, B, 3) unit vectors in the sensor's frame: B rays at each of F instants.
        poses: (F, 4, 4) T_world_sensor at these instants.

    Returns:
        (F * B, 6) float32 origins and unit directions.
    """
    firings, beams = directions.shape[:2]
    rays = np.empty((firings * beams, 6), np.float32)
    _fill(directions, poses, rays)
    return rays


@njit(cache=True, nogil=True)
def _fill(directions, poses, rays):
    beams = directions.shape[1]
    for f in range(len(directions)):
        for b in range(beams):
            i = f * beams + b
            x, y, z = directions[f, b, 0], directions[f, b, 1], directions[f, b, 2]
            for k in range(3):
                rays[i, k] = poses[f, k, 3]
                rays[i, 3 + k] = poses[f, k, 0] * x + poses[f, k, 1] * y + poses[f, k, 2] * z
