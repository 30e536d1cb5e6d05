"""What the pixels of an image see between those that were cast.

Pixels are cast where row and column differ by a multiple of a spacing: every so many of each row
and of each column, so that no upright and no level thing, however thin, passes between them over
its length. A pixel whose nearest cast neighbours to the left, right, above and below all met one
triangle is taken to see that triangle too; where on it, is computed.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_NOTHING = np.uint32(0xFFFFFFFF)  # Embree's triangle number of a ray that meets none


@njit(cache=True, nogil=True)
def waiting(known, spacing):
    """Return which pixels are to be cast at a spacing: those not known yet, in row order.

    Args:
        known: (H, W) bool.
        spacing: 1 for all.

    Returns:
        (M,) int64 indices into the flattened image.
    """
    height, width = known.shape
    found = np.empty(height * (width // spacing + 1), np.int64)
    n = 0
    for row in range(height):
        for column in range(row % spacing, width, spacing):
            if not known[row, column]:
                found[n] = row * width + column
                n += 1
    return found[:n]


@njit(cache=True, nogil=True, error_model='numpy')
def settle_between(
    known, spacing, rays, vertices, triangles, distance, triangle, weights, normal
):  # fmt: skip
    """Fill in the pixels between those cast at a spacing that met one triangle.

    Args:
        known: (H, W) bool, true for all pixels at the spacing; settled ones become true.
        spacing: of the pixels that were cast.
        rays: (H * W, 6) float32, row after row.
        vertices: (V, 3) float32.
        triangles: (T, 3) uint32.
        distance: (H * W,) float32, filled in, as all below: infinite where the ray meets nothing.
        triangle: (H * W,) uint32.
        weights: (H * W, 2) float32 barycentric coordinates.
        normal: (H * W, 3) float32.
    """
    height, width = known.shape
    for row in range(height):
        right = row % spacing + 1
        for column in range(width):
            right = right - 1 if right > 0 else spacing - 1
            if known[row, column]:
                continue
            # As far above as to the right, and as far below as to the left.
            left = spacing - right
            if column < left or column + right >= width or row < right or row + left >= height:
                continue
            i = row * width + column
            beside = i - left
            t = triangle[beside]
            if (
                triangle[i + right] != t
                or triangle[i - right * width] != t
                or triangle[i + left * width] != t
            ):
                continue
            if t == _NOTHING:
                distance[i] = np.inf
            else:
                _meet(i, rays, vertices, triangles, t, distance, weights)
                for k in range(3):
                    normal[i, k] = normal[beside, k]
            triangle[i] = t
            known[row, column] = True


@njit(cache=True, nogil=True, error_model='numpy')
def _meet(i, rays, vertices, triangles, t, distance, weights):
    """Write where ray `i` meets the plane of triangle `t` (Moeller & Trumbore 1997)."""
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
    bx, by, bz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
    cx, cy, cz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
    ox, oy, oz = rays[i, 0] - ax, rays[i, 1] - ay, rays[i, 2] - az
    dx, dy, dz = rays[i, 3], rays[i, 4], rays[i, 5]
    px, py, pz = dy * cz - dz * cy, dz * cx - dx * cz, dx * cy - dy * cx
    qx, qy, qz = oy * bz - oz * by, oz * bx - ox * bz, ox * by - oy * bx
    scale = np.float32(1) / (bx * px + by * py + bz * pz)
    distance[i] = (cx * qx + cy * qy + cz * qz) * scale
    weights[i, 0] = (ox * px + oy * py + oz * pz) * scale
    weights[i, 1] = (dx * qx + dy * qy + dz * qz) * scale
