"""Direct sunlight of an image's pixels, with about half as many shadow rays as pixels."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from offline_training.simulator.bodies import Hits
from offline_training.simulator.world import World

_TILE = 16  # px; order of the rays, so that consecutive ones are neighbours in space


def sunlight(
    world: World,
    rays: NDArray[np.float32],
    hits: Hits,
    shape: tuple[int, int],
    time_s: float,
) -> NDArray[np.bool_]:
    """Return whether the surface at each pixel is in direct sunlight.

    Shadow rays are cast for every second pixel of every second row. A pixel between these takes
    the result of its neighbours with a ray if they agree and lie on the same object with nearly
    the same normal; otherwise a ray is cast for it, too.

    Args:
        world: the objects that cast shadows.
        rays: (H * W, 6) float32 origins and unit directions of the pixels, in row order.
        hits: of the rays.
        shape: H, W of the image.
        time_s: time of the exposure, seconds of the drive.

    Returns:
        (H * W,) bool; false for the sky.
    """
    points, facing = _surface_points(
        rays, hits.distance, hits.normal, world.sun.astype(np.float32)
    )
    lit = np.zeros(len(rays), bool)
    first = _askers(facing, *shape)
    lit[first] = world.sunlit(points[first], time_s)
    rest = _uncertain(lit, facing, hits.instance, hits.normal, *shape)
    lit[rest] = world.sunlit(points[rest], time_s)
    return lit


@njit(cache=True, nogil=True)
def _surface_points(rays, distance, normal, sun):
    """Return points just above the surfaces, (N, 3) float32, and whether these face the sun."""
    points = np.empty((len(rays), 3), np.float32)
    facing = np.zeros(len(rays), np.bool_)
    for i in range(len(rays)):
        t = distance[i]
        if t == np.inf:
            continue
        facing[i] = normal[i, 0] * sun[0] + normal[i, 1] * sun[1] + normal[i, 2] * sun[
            2
        ] > np.float32(0)
        # The offset grows with distance, like the rounding error of the hit point.
        lift = np.float32(0.004) + np.float32(1e-4) * t
        for k in range(3):
            points[i, k] = rays[i, k] + t * rays[i, 3 + k] + lift * normal[i, k]
    return points, facing


@njit(cache=True, nogil=True)
def _askers(facing, height, width):
    """Return the pixels of every second row and column that face the sun, tile by tile."""
    found = np.empty((height // 2 + 1) * (width // 2 + 1), np.int64)
    n = 0
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            for row in range(top, min(top + _TILE, height), 2):
                for column in range(left, min(left + _TILE, width), 2):
                    i = row * width + column
                    if facing[i]:
                        found[n] = i
                        n += 1
    return found[:n]


@njit(cache=True, nogil=True)
def _uncertain(lit, facing, instance, normal, height, width):
    """Set `lit` of pixels whose neighbours agree; return those that need a shadow ray."""
    found = np.empty(height * width, np.int64)
    n = 0
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            for row in range(top, min(top + _TILE, height)):
                for column in range(left, min(left + _TILE, width)):
                    i = row * width + column
                    if not facing[i] or row % 2 == column % 2 == 0:
                        continue
                    if _askers_agree(row, column, lit, instance, normal, height, width):
                        lit[i] = lit[(row - row % 2) * width + column - column % 2]
                    else:
                        found[n] = i
                        n += 1
    return found[:n]


@njit(cache=True, nogil=True, inline='always')
def _askers_agree(row, column, lit, instance, normal, height, width):
    """Return whether the neighbours with a ray agree and share the pixel's object and plane."""
    i = row * width + column
    r0, c0 = row - row % 2, column - column % 2
    r1 = min(r0 + 2, (height - 1) - (height - 1) % 2) if row % 2 else r0
    c1 = min(c0 + 2, (width - 1) - (width - 1) % 2) if column % 2 else c0
    light, thing = lit[r0 * width + c0], instance[i]
    x, y, z = normal[i, 0], normal[i, 1], normal[i, 2]
    for r in (r0, r1):
        for c in (c0, c1):
            j = r * width + c
            if lit[j] != light or instance[j] != thing:
                return False
            if not x * normal[j, 0] + y * normal[j, 1] + z * normal[j, 2] > np.float32(0.99):
                return False
    return True
