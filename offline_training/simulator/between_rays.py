"""Hit points of the pixels between those that were ray-cast.

Pixels are cast where row and column differ by a multiple of a spacing, so that no vertical or
horizontal object, however thin, lies between them over its whole length. A pixel whose nearest
cast neighbours to the left, right, above and below all hit one triangle is assumed to hit it, too;
its hit point is computed.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# In place of a triangle's number: the ray meets none, as Embree says, or is not known yet.
NOTHING = np.uint32(0xFFFFFFFF)
UNKNOWN = np.uint32(0xFFFFFFFE)


@njit(cache=True, nogil=True)
def waiting(triangle, height, width, spacing):
    """Return which pixels are to be cast at a spacing: those not known yet, in row order.

    Args:
        triangle: (H * W,) uint32 index of the triangle hit by each pixel, as far as known.
        height, width: of the image.
        spacing: 1 for all.

    Returns:
        (M,) int64 indices of pixels.
    """
    found = np.empty(height * (width // spacing + 1), np.int64)
    n = 0
    for row in range(height):
        for i in range(row * width + row % spacing, (row + 1) * width, spacing):
            if triangle[i] == UNKNOWN:
                found[n] = i
                n += 1
    return found[:n]


@njit(cache=True, nogil=True, error_model='numpy')
def settle_between(
    height, width, spacing, rays, corners,
    triangle, distance, instance, material, uv, normal,
):  # fmt: skip
    """Fill in the pixels between those cast at a spacing that met one triangle.

    Args:
        height, width: of the image.
        spacing: of the pixels that were cast; all of them are known.
        rays: (H * W, 6) float32, row after row, from one origin.
        corners: (T, 3, 5) float32 x, y, z, u, v of the triangles.
        triangle: (H * W,) uint32, filled in, as all below.
        distance, instance, material, uv, normal: see `Hits`.
    """
    for row in range(height):
        for left in range(row * width + row % spacing, (row + 1) * width - spacing, spacing):
            t = triangle[left]
            if triangle[left + spacing] != t:
                continue
            for step in range(1, spacing):
                i = left + step
                # As far below as to the left, and as far above as to the right.
                below, above = row + step, row - (spacing - step)
                if (
                    triangle[i] != UNKNOWN
                    or above < 0
                    or below >= height
                    or triangle[i - (spacing - step) * width] != t
                    or triangle[i + step * width] != t
                ):
                    continue
                triangle[i] = t
                instance[i], material[i] = instance[left], material[left]
                for k in range(3):
                    normal[i, k] = normal[left, k]
                if t == NOTHING:
                    distance[i] = np.inf
                else:
                    distance[i], uv[i, 0], uv[i, 1] = _meet(rays[i], corners[t])


@njit(cache=True, nogil=True, error_model='numpy')
def _meet(ray, corner):
    """Return distance, u and v where a ray meets a triangle's plane (Moeller & Trumbore 1997)."""
    ax, ay, az = corner[0, 0], corner[0, 1], corner[0, 2]
    bx, by, bz = corner[1, 0] - ax, corner[1, 1] - ay, corner[1, 2] - az
    cx, cy, cz = corner[2, 0] - ax, corner[2, 1] - ay, corner[2, 2] - az
    ox, oy, oz = ray[0] - ax, ray[1] - ay, ray[2] - az
    dx, dy, dz = ray[3], ray[4], ray[5]
    px, py, pz = dy * cz - dz * cy, dz * cx - dx * cz, dx * cy - dy * cx
    qx, qy, qz = oy * bz - oz * by, oz * bx - ox * bz, ox * by - oy * bx
    scale = np.float32(1) / (bx * px + by * py + bz * pz)
    u, v = texture_at(
        corner, (ox * px + oy * py + oz * pz) * scale, (dx * qx + dy * qy + dz * qz) * scale
    )
    return (cx * qx + cy * qy + cz * qz) * scale, u, v


@njit(cache=True, nogil=True)
def texture_at(corner, towards_b, towards_c):
    """Return u and v at barycentric coordinates of a triangle's (3, 5) corners."""
    u = corner[0, 3] + towards_b * (corner[1, 3] - corner[0, 3])
    v = corner[0, 4] + towards_b * (corner[1, 4] - corner[0, 4])
    u += towards_c * (corner[2, 3] - corner[0, 3])
    v += towards_c * (corner[2, 4] - corner[0, 4])
    return u, v
