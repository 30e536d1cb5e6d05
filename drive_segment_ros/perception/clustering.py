"""Objects of a sweep as connected parts of its range image.

Bogoslavskyi & Stachniss, "Fast Range Image-Based Segmentation of Sparse 3D Laser Scans for Online
Operation", IROS 2016: two neighbouring returns belong together if the line through them meets the
farther beam at an angle beta above a threshold. One threshold does not suit both a car in front of
a hedge (large) and a wall along the road (small); so a small angle is also accepted, but only
where the line continues straight, as on a surface seen at a grazing angle.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.links import is_straight, link_strength, links
from drive_segment_ros.perception.union_find import find_root

# Largest distance to the next return, in rows (bridges a lost beam) and in columns (bridges lost
# firings).
_GAP_ROWS, _GAP_COLUMNS = 2, 3


def cluster(
    xyz: NDArray[np.float32],
    ranges: NDArray[np.float32],
    kind: NDArray[np.uint8],
    *,
    beta_deg: float = 30.0,
    grazing_beta_deg: float = 5.0,
    straightness_deg: float = 12.0,
    max_step: float = 1.0,
    min_points: int = 1,
) -> tuple[NDArray[np.int32], int]:
    """Label the connected components of a range image.

    With d1 >= d2 the ranges of two returns p1, p2 and a the angle between their beams,
    beta = atan2(d2 sin a, d1 - d2 cos a) > threshold. Multiplied by d1 this compares
    |p1 x p2| with d1^2 - p1.p2, which uses the true angle between the beams without trigonometry,
    for any spacing of rows and columns.

    Args:
        xyz: (3, B, W) float32, metres, origin at the sensor; columns wrap.
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8; returns of different kind are never joined; 0 belongs to no object,
            as do empty cells.
        beta_deg: threshold, degrees; larger splits more.
        grazing_beta_deg: threshold where the line through both returns continues straight.
        straightness_deg: how far it may bend there.
        max_step: metres; largest difference in range between returns of neighbouring beams in a
            column. Otherwise beams several degrees apart would join objects behind each other.
        min_points: smaller components get no label.

    Returns:
        labels: (B, W) int32, 1..count, 0 for empty cells, those of kind 0 and small components.
        count: number of labels.
    """
    tan2 = np.float32(math.tan(math.radians(beta_deg)) ** 2)
    tan2_grazing = np.float32(math.tan(math.radians(grazing_beta_deg)) ** 2)
    cos2 = np.float32(math.cos(math.radians(straightness_deg)) ** 2)
    step = np.float32(max_step)
    x, y, z = xyz
    along, up = links(x, y, z, ranges, kind, tan2, tan2_grazing, cos2, step)
    label, parent, sizes = _join_neighbours(ranges, kind, along, up)
    _join_across_gaps(x, y, z, ranges, kind, label, parent, along, tan2, tan2_grazing, cos2, step)
    return _numbered(label, parent, sizes, min_points)


@njit(cache=True, nogil=True, inline='always')
def _union(parent, i, j):
    """Join two components and return their root, the smaller of the two.

    Args:
        parent: (N,) int32, a forest, see `find_root`.
        i, j: a node of each.
    """
    a, b = find_root(parent, i), find_root(parent, j)
    root = min(a, b)
    parent[a] = root
    parent[b] = root
    return root


@njit(cache=True, nogil=True, inline='always')
def _straight(x, y, z, ranges, a, b, c, cos2):
    """Return whether the line from a to b continues to c, if there is a return.

    Args:
        x, y, z: (B * W,) float32, metres.
        ranges: (B * W,) float32, metres, 0 where empty.
        a, b, c: cells.
        cos2: float32, squared cosine of the largest bend.
    """
    if ranges[c] == np.float32(0.0):
        return False
    return is_straight(
        x[b] - x[a], y[b] - y[a], z[b] - z[a], x[c] - x[b], y[c] - y[b], z[c] - z[b], cos2
    )


@njit(cache=True, nogil=True, inline='always')
def _goes_on(x, y, z, ranges, i, j, before, after, cos2):
    """Return whether the line through two returns continues straight at either end.

    Args:
        x, y, z: (B * W,) float32, metres.
        ranges: (B * W,) float32, metres, 0 where empty.
        i, j: the cells of the returns.
        before, after: the cells beyond j and beyond i.
        cos2: float32, squared cosine of the largest bend.
    """
    return _straight(x, y, z, ranges, i, j, before, cos2) or _straight(
        x, y, z, ranges, j, i, after, cos2
    )


@njit(cache=True, nogil=True)
def _join_neighbours(ranges, kind, along, up):
    """Label cells by their strong links.

    Each run of cells linked along a row has its own label, and labels linked up a column are
    joined. There are far fewer labels than cells, so their forest stays in cache, and only the
    joining has data-dependent branches.

    Args:
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8, 0 gets no label.
        along, up: (B, W) uint8, strengths, see `links`.

    Returns:
        label: (B, W) int32, from 1, 0 for none.
        parent: (L,) int32, the forest of labels; 0 is its own.
        sizes: (L,) int32, how many cells were given each label.
    """
    beams, columns = kind.shape
    label = np.empty((beams, columns), np.int32)
    # How many cells have each label or a lower one.
    cells = np.empty(beams * columns + 1, np.int32)
    pairs = np.empty((beams * columns + 1, 2), np.int32)
    here, new = np.empty(columns, np.uint8), np.empty(columns, np.uint8)
    cells[0] = 0
    used, n = np.int32(0), 0
    for row in range(beams):
        for column in range(columns):
            full = (kind[row, column] != 0) & (ranges[row, column] > np.float32(0.0))
            here[column] = np.uint8(full)
            new[column] = np.uint8(full & (along[row, column] != 2))
        used = _label_runs(here, new, label[row], cells, used)
        if row > 0:
            n = _append_pairs(label[row], label[row - 1], up[row], new, pairs, n)
    parent = np.arange(used + 1, dtype=np.int32)
    for k in range(n):
        _union(parent, pairs[k, 0], pairs[k, 1])
    sizes = cells[: used + 1].copy()
    sizes[1:] -= cells[:used]
    return label, parent, sizes


@njit(cache=True, nogil=True)
def _label_runs(here, new, label, cells, used):
    """Label the runs of a row's cells, and return the last label used.

    Args:
        here: (W,) uint8, 1 for cells that get a label.
        new: (W,) uint8, 1 for those that begin a run.
        label: (W,) int32, written, 0 for none.
        cells: (L,) int32, how many cells have each label or a lower one, written from `used` on.
        used: int32, the last label of the rows before.
    """
    labelled = cells[used]
    for column in range(len(here)):
        used += np.int32(new[column])
        labelled += np.int32(here[column])
        cells[used] = labelled
        label[column] = used
    for column in range(len(here)):
        label[column] *= np.int32(here[column])
    return used


@njit(cache=True, nogil=True)
def _append_pairs(label, above, up, new, pairs, n):
    """Append the pairs of labels that are linked along columns, each once per run.

    Args:
        label, above: (W,) int32, of a row and of the one above.
        up: (W,) uint8, see `links`.
        new: (W,) uint8, to work in.
        pairs: (P, 2) int32, written from `n` on.
        n: how many pairs there are.

    Returns:
        The new number of pairs.
    """
    new[0] = np.uint8(up[0] == 2)
    for c in range(1, len(label)):
        b = c - 1
        same = (up[b] == 2) & (label[b] == label[c]) & (above[b] == above[c])
        new[c] = np.uint8((up[c] == 2) & (not same))
    for c in range(len(label)):
        pairs[n, 0], pairs[n, 1] = label[c], above[c]
        n += new[c]
    return n


@njit(cache=True, nogil=True)
def _join_across_gaps(
    x, y, z, ranges, kind, label, parent, along, tan2, tan2_grazing, cos2, max_step
):
    """Join cells by the less frequent links: across empty cells and the ends of rows.

    Args:
        x, y, z: (B, W) float32, metres.
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8.
        label: (B, W) int32, see `_join_neighbours`.
        parent: (L,) int32, the labels' forest, joined in place.
        along: (B, W) uint8, see `links`.
        tan2, tan2_grazing: float32, squared tangents of the two thresholds.
        cos2: float32, squared cosine of the largest bend.
        max_step: float32, metres, largest difference in range up a column.
    """
    beams, columns = ranges.shape
    x, y, z, flat = x.reshape(-1), y.reshape(-1), z.reshape(-1), ranges.reshape(-1)
    kinds, labels, strengths = kind.reshape(-1), label.reshape(-1), along.reshape(-1)
    gap = np.empty(columns, np.uint8)
    for row in range(beams):
        start = row * columns
        _gaps_along(ranges[row], kind[row], gap)
        for column in range(columns):
            if gap[column] == 0:
                continue
            i = start + column
            # Columns wrap.
            j = i - 1 if column > 0 else start + columns - 1
            strength = strengths[i]
            if strength < 2 and (column == 0 or flat[j] == np.float32(0.0)):
                for _ in range(_GAP_COLUMNS - 1):
                    if flat[j] == np.float32(0.0):
                        j = j - 1 if j > start else start + columns - 1
                if kinds[j] == kinds[i]:
                    strength = link_strength(
                        x[i], y[i], z[i], x[j], y[j], z[j], flat[i], flat[j], tan2, tan2_grazing
                    )
            before = j - 1 if j > start else start + columns - 1
            after = i + 1 if column + 1 < columns else start
            if strength == 1 and _goes_on(x, y, z, flat, i, j, before, after, cos2):
                strength = 2
            if strength == 2:
                _union(parent, labels[i], labels[j])
        if row < _GAP_ROWS:
            continue
        _gaps_up(ranges, kind, row, max_step, gap)
        for column in range(columns):
            if gap[column] == 0:
                continue
            i = start + column
            j = i - _GAP_ROWS * columns
            strength = link_strength(
                x[i], y[i], z[i], x[j], y[j], z[j], flat[i], flat[j], tan2, tan2_grazing
            )
            # Beyond the first and last row the cell itself is used: no line continues there.
            before = j - columns if j >= columns else j
            after = i + columns if row + 1 < beams else i
            if strength == 1 and _goes_on(x, y, z, flat, i, j, before, after, cos2):
                strength = 2
            if strength == 2:
                _union(parent, labels[i], labels[j])


@njit(cache=True, nogil=True)
def _gaps_along(ranges, kind, gap):
    """Write which cells of a row may be joined to one before them across empty cells, 0 or 1.

    Also those at the ends of the row, whose lines may continue only across the ends.

    Args:
        ranges: (W,) float32, metres, 0 where empty.
        kind: (W,) uint8.
        gap: (W,) uint8, written.
    """
    columns = len(ranges)
    # Counted from the farthest: with indices that may be negative the loop would not vectorise.
    for c in range(columns - _GAP_COLUMNS):
        here = c + _GAP_COLUMNS
        across = np.uint8(0)
        for d in range(_GAP_COLUMNS - 1):
            # The nearest return counts.
            full = np.uint8(ranges[c + d] > np.float32(0.0))
            same = np.uint8(kind[c + d] == kind[here])
            across = (full & same) | (across & (full ^ np.uint8(1)))
        full = (ranges[here] > np.float32(0.0)) & (kind[here] != 0)
        gap[here] = across & np.uint8(full & (ranges[here - 1] == np.float32(0.0)))
    for c in (0, 1, 2, columns - 1):
        k = c % columns
        gap[k] = np.uint8((ranges[k] > np.float32(0.0)) & (kind[k] != 0))


@njit(cache=True, nogil=True)
def _gaps_up(ranges, kind, row, max_step, gap):
    """Write which cells of a row may be joined to one above an empty one, 0 or 1.

    Args:
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8.
        row: which.
        max_step: float32, metres, largest difference in range.
        gap: (W,) uint8, written.
    """
    for c in range(len(gap)):
        here, there = ranges[row, c], ranges[row - _GAP_ROWS, c]
        full = (here > np.float32(0.0)) & (there > np.float32(0.0))
        same = (kind[row, c] == kind[row - _GAP_ROWS, c]) & (kind[row, c] != 0)
        empty = ranges[row - 1, c] == np.float32(0.0)
        gap[c] = np.uint8(full & same & empty & (abs(here - there) <= max_step))


@njit(cache=True, nogil=True)
def _numbered(label, parent, sizes, min_points):
    """Return labels of components, 1..count, and the count; 0 for components that are too small.

    Args:
        label: (B, W) int32, renumbered in place.
        parent: (L,) int32, the labels' forest.
        sizes: (L,) int32, how many cells have each label; summed up at the roots in place.
        min_points: a component has at least.
    """
    root = np.empty_like(parent)
    for k in range(len(parent)):
        root[k] = find_root(parent, k)
        if root[k] != k:
            sizes[root[k]] += sizes[k]
    number = np.zeros_like(parent)
    count = 0
    for k in range(1, len(parent)):
        # A root is the smallest label of its component, so it is numbered before the others.
        if root[k] == k and sizes[k] >= min_points:
            count += 1
            number[k] = count
        elif root[k] != k:
            number[k] = number[root[k]]
    flat = label.reshape(-1)
    for i in range(len(flat)):
        # Unsigned: numba then omits the check for negative indices.
        flat[i] = number[np.uint32(flat[i])]
    return label, count
