"""Labels of a range image's cells, and from these the labels of a sweep's points."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from drive_segment_ros.perception.ground import BELOW_GROUND

# Labels of a sweep: 0 none, 1 ground, 2 ground above the road's level, 3 sky, objects from 4.
GROUND_LABEL, RAISED_LABEL, SKY_LABEL, FIRST_OBJECT_LABEL = 1, 2, 3, 4
# A farther return in a cell gets the label of the nearest one if it is this near to it, metres.
_SAME_CELL = 0.5


@njit(cache=True, nogil=True)
def heights_and_distances(x, y, z, ranges, up):
    """Return height and horizontal distance of every cell, (B, W) float32, metres.

    Args:
        x, y, z: (B, W) float32, metres.
        ranges: (B, W) float32, metres, 0 where empty.
        up: (3,) float32, unit vector against gravity, in the image's coordinates.
    """
    beams, columns = ranges.shape
    height = np.empty((beams, columns), np.float32)
    distance = np.empty((beams, columns), np.float32)
    for row in range(beams):
        for column in range(columns):
            r = ranges[row, column]
            h = x[row, column] * up[0] + y[row, column] * up[1] + z[row, column] * up[2]
            height[row, column] = h
            # Never 0 for a return: 0 means no return.
            level = math.sqrt(max(r * r - h * h, np.float32(1e-6)))
            distance[row, column] = level if r > np.float32(0.0) else np.float32(0.0)
    return height, distance


@njit(cache=True, nogil=True)
def object_cells(ranges, flat, above, ground_height, margin):
    """Return which cells may be objects (uint8 0 or 1), and which not (bool), (B, W) each.

    Args:
        ranges: (B, W) float32, metres, 0 where empty.
        flat: (B, W) bool, nearly level surface.
        above: (B, W) float32, metres above ground.
        ground_height, margin: float32, metres, up to which level and other returns are ground.
    """
    beams, columns = ranges.shape
    kind = np.empty((beams, columns), np.uint8)
    excluded = np.empty((beams, columns), np.bool_)
    for row in range(beams):
        for column in range(columns):
            limit = ground_height if flat[row, column] else margin
            here = ranges[row, column] > np.float32(0.0)
            low = above[row, column] < limit
            excluded[row, column] = here & low
            kind[row, column] = np.uint8(here & (not low))
    return kind, excluded


@njit(cache=True, nogil=True)
def add_ground(labels, excluded, above):
    """Turn cluster labels into labels of cells, in place: ground, and objects.

    Args:
        labels: (B, W) int32, clusters from 1, 0 for none; becomes `GROUND_LABEL`, objects from
            `FIRST_OBJECT_LABEL`, 0 for none.
        excluded: (B, W) bool, ground and what lies below it, in no cluster.
        above: (B, W) float32, metres above ground.
    """
    beams, columns = labels.shape
    for row in range(beams):
        for column in range(columns):
            # Points below the ground are mirror images: neither ground nor objects.
            is_ground = excluded[row, column] & (above[row, column] > np.float32(BELOW_GROUND))
            number = labels[row, column]
            number += np.int32(FIRST_OBJECT_LABEL - 1) if number > 0 else np.int32(0)
            labels[row, column] = np.int32(GROUND_LABEL) if is_ground else number


@njit(cache=True, nogil=True)
def raise_ground(cell_label, above_road, kerb):
    """Relabel ground above the road's level, by the majority of its neighbours in the row.

    Args:
        cell_label: (B, W) int32, changed in place.
        above_road: (B, W) float32, metres.
        kerb: float32, metres, above which ground is raised.
    """
    beams, columns = cell_label.shape
    half = 4
    line = np.empty(columns + 2 * half, np.int8)
    for row in range(beams):
        for column in range(columns):
            vote = np.int8(1) if above_road[row, column] > kerb else np.int8(-1)
            is_ground = cell_label[row, column] == GROUND_LABEL
            line[column + half] = vote if is_ground else np.int8(0)
        line[:half] = line[columns : columns + half]
        line[columns + half :] = line[half : 2 * half]
        for column in range(columns):
            votes = line[column]
            for k in range(1, 2 * half + 1):
                votes += line[column + k]
            raised = (cell_label[row, column] == GROUND_LABEL) & (votes > 0)
            cell_label[row, column] = np.int32(RAISED_LABEL) if raised else cell_label[row, column]


@njit(cache=True, nogil=True)
def point_labels(x, y, z, cell, ranges, cell_label, above):
    """Return label and height above ground of each point, taken from its cell.

    Args:
        x, y, z: (N,) float32, metres.
        cell: (N,) int32, into the range image, -1 for none.
        ranges: (B, W) float32, metres, 0 where empty.
        cell_label: (B, W) int32.
        above: (B, W) float32, metres above ground.

    Returns:
        (N,) int32, 0 for none; (N,) float32 metres, infinite where unknown.
    """
    label = np.empty(len(cell), np.int32)
    height = np.empty(len(cell), np.float32)
    flat_range, flat_label, flat_above = (
        ranges.reshape(-1),
        cell_label.reshape(-1),
        above.reshape(-1),
    )
    for i in range(len(cell)):
        k = max(cell[i], np.int32(0))
        distance = math.sqrt(x[i] * x[i] + y[i] * y[i] + z[i] * z[i])
        # The cell is that of the nearest return; one far behind it belongs to something unknown.
        known = (cell[i] >= 0) & (distance - flat_range[k] < np.float32(_SAME_CELL))
        label[i] = flat_label[k] if known else np.int32(0)
        height[i] = flat_above[k] if known else np.float32(np.inf)
    return label, height
