"""Which of a sweep's points a camera mounted beside the LiDAR can see."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.projected_points import ProjectedPoints

# A surface hides a point if it is nearer by this part of the point's depth and by this distance.
# Less would let the noise of a surface's own points, or its slope, hide others of it.
_NEARER_PART = 0.05
_NEARER_M = 0.3
# Width of a cell in which `visible` looks for nearer points: twice the usual azimuth step.
_CELL_DEG = 0.4
# Points a cell holds on average: two beams of two steps.
_POINTS_PER_CELL = 4


def visible(projected: ProjectedPoints, camera: CameraModel) -> NDArray[np.bool_]:
    """Return which points the camera sees and a nearer surface does not hide (parallax).

    The LiDAR samples a surface too sparsely for a depth buffer: coarse cells hide points beside
    a silhouette and the far part of slanted ground, fine ones let background points through
    between the beams. Here a point counts as hidden if, in the image,

    - clearly nearer points surround it: one in each of the four quadrants around it, within a
      cell or two. Nearer points of a plane always lie to one side, so that neither ground nor a
      facade hides itself, and beside a silhouette at least two quadrants are free;
    - it has crossed one of them: seen from the LiDAR they are in the opposite order. Without
      parallax nothing is hidden, nor are points that the LiDAR saw through a gap.

    Cells adapt to the sweep: columns of a fixed angle, rows of equal numbers of points, so that
    they are low where beams are dense and high where they are sparse.

    Args:
        projected: from `project_sweep`.
        camera: the same as there.

    Returns:
        (M,) bool.
    """
    columns = max(1, int(camera.width / (camera.lens.fx * math.radians(_CELL_DEG))))
    return _visible(
        projected.u,
        projected.v,
        projected.depth,
        projected.shift_u,
        projected.shift_v,
        camera.width,
        camera.height,
        columns,
    )


@njit(cache=True, nogil=True)
def _visible(
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    depth: NDArray[np.float32],
    shift_u: NDArray[np.float32],
    shift_v: NDArray[np.float32],
    width: int,
    height: int,
    columns: int,
) -> NDArray[np.bool_]:
    """See `visible`.

    Args:
        u, v: (M,) px.
        depth: (M,) metres along the optical axis.
        shift_u, shift_v: (M,) px, parallax, see `ProjectedPoints`.
        width, height: of the image, px.
        columns: of cells.

    Returns:
        (M,) whether the camera sees each point.
    """
    cells, rows = _cells(u, v, width, height, columns)
    stride = columns + 2
    # Points side by side in their cells (counting sort), and the nearest of each cell.
    first = np.zeros((rows + 2) * stride + 1, np.int32)
    for cell in cells:
        first[cell + 1] += 1
    for cell in range(len(first) - 1):
        first[cell + 1] += first[cell]
    filled = first.copy()
    points = np.empty((len(u), 5), np.float32)
    nearest = np.full(len(first) - 1, np.float32(np.inf))
    for i in range(len(u)):
        at = filled[cells[i]]
        filled[cells[i]] += 1
        points[at, 0], points[at, 1], points[at, 2] = u[i], v[i], depth[i]
        points[at, 3], points[at, 4] = shift_u[i], shift_v[i]
        nearest[cells[i]] = min(nearest[cells[i]], depth[i])
    seen = np.ones(len(u), np.bool_)
    for i in range(len(u)):
        near = depth[i] * np.float32(1.0 - _NEARER_PART) - np.float32(_NEARER_M)
        here = cells[i]
        above, below = here - stride, here + stride
        # Most points are done here: no cell with a nearer point on one of the sides.
        n, s = nearest[above] < near, nearest[below] < near
        w, e = nearest[here - 1] < near, nearest[here + 1] < near
        if not (nearest[here] < near):
            if not (n or w or nearest[above - 1] < near):
                continue
            if not (n or e or nearest[above + 1] < near):
                continue
            if not (s or w or nearest[below - 1] < near):
                continue
            if not (s or e or nearest[below + 1] < near):
                continue
        quadrants, crossed = 0, False
        for row in range(-1, 2):
            middle = here + row * stride
            for q in range(first[middle - 1], first[middle + 2]):
                if points[q, 2] < near:
                    du, dv = u[i] - points[q, 0], v[i] - points[q, 1]
                    quadrants |= 1 << (int(du > 0) + 2 * int(dv > 0))
                    # The point has moved by (mu, mv) against the nearer one.
                    mu, mv = shift_u[i] - points[q, 3], shift_v[i] - points[q, 4]
                    along, across = du * mu + dv * mv, abs(du * mv - dv * mu)
                    crossed |= across <= along < mu * mu + mv * mv
        seen[i] = not (quadrants == 15 and crossed)
    return seen


@njit(cache=True, nogil=True)
def _cells(
    u: NDArray[np.float32], v: NDArray[np.float32], width: int, height: int, columns: int
) -> tuple[NDArray[np.int32], int]:
    """Return each point's cell and the number of rows.

    Columns are equally wide; rows hold about equally many points. Cells are counted row by row,
    with one row or column of empty ones around them.

    Args:
        u, v: (M,) px.
        width, height: of the image, px.
        columns: of cells.
    """
    rows = max(1, len(u) // (columns * _POINTS_PER_CELL))
    row_of = np.zeros(height + 1, np.int32)
    for i in range(len(v)):
        row_of[int(v[i] + np.float32(0.5)) + 1] += 1
    for y in range(height):
        row_of[y + 1] += row_of[y]
    for y in range(height + 1):
        row_of[y] = row_of[y] * rows // max(len(u), 1)
    cells = np.empty(len(u), np.int32)
    for i in range(len(u)):
        row = row_of[int(v[i] + np.float32(0.5))]
        column = int((u[i] + np.float32(0.5)) * np.float32(columns / width))
        cells[i] = (row + 1) * (columns + 2) + min(column, columns - 1) + 1
    return cells, rows
