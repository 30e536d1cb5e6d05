"""Computes the hits of an image's pixels from a sparse grid of ray-cast pixels.

Pixels are cast where row and column differ by a multiple of a spacing: a diagonal grid, which even
a thin vertical or horizontal object cannot miss over its whole length. A pixel whose nearest cast
neighbours to the left, right, above and below all hit the same triangle is assumed to hit it too,
and its hit point is computed without ray casting.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Reserved triangle indices: no hit (Embree's invalid geometry id), and not determined yet.
NOTHING = np.uint32(0xFFFFFFFF)
UNKNOWN = np.uint32(0xFFFFFFFE)


@njit(cache=True, nogil=True)
def waiting(triangle, height, width, spacing):
    """Return the pixels of the grid of a spacing that are not determined yet, in row order.

    Args:
        triangle: (H * W,) uint32 triangle hit by each pixel, or `NOTHING` or `UNKNOWN`.
        height, width: of the image, px.
        spacing: of the grid, px; 1 for all pixels.

    Returns:
        (M,) int64 flat pixel indices.
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
    """Compute the hits of pixels whose four cast neighbours hit the same triangle, or none.

    Args:
        height, width: of the image, px.
        spacing: of the grid of cast pixels, all of which are determined, px.
        rays: (H * W, 6) float32 origins and unit directions in row order, from one origin.
        corners: (T, 3, 5) float32 x, y, z, u, v of the triangles' corners.
        triangle: (H * W,) uint32, updated in place like the arrays below.
        distance, instance, material, uv, normal: of each pixel, see `Hits`.
    """
    for row in range(height):
        for left in range(row * width + row % spacing, (row + 1) * width - spacing, spacing):
            t = triangle[left]
            if triangle[left + spacing] != t:
                continue
            for step in range(1, spacing):
                i = left + step
                # On the diagonal grid, the cast pixel below is as far away as the one to the
                # left, and the one above as far as the one to the right.
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
    """Return distance, u and v where a ray hits a triangle's plane (Moeller & Trumbore 1997)."""
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
    """Return texture coordinates u, v at barycentric weights of a triangle's (3, 5) corners."""
    u = corner[0, 3] + towards_b * (corner[1, 3] - corner[0, 3])
    v = corner[0, 4] + towards_b * (corner[1, 4] - corner[0, 4])
    u += towards_c * (corner[2, 3] - corner[0, 3])
    v += towards_c * (corner[2, 4] - corner[0, 4])
    return u, v
