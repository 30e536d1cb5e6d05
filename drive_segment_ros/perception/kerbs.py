"""Kerbs along the street: where the road ends on both sides of the vehicle, and pavement begins.

A kerb is a step of some 10 cm across the street, independent of the slope along it: between two
rings of a beam that looks ahead it is lost, and a road that falls to one side hides it from any
measure of height above the vehicle. So the ground is divided into slabs across the vehicle's
heading: in each, the road is followed outwards from the middle, and a step above its continuation
is evidence for a kerb. The kerb of a side is the path through all slabs with the most steps and
the fewest bends, found by dynamic programming, so it is bridged where parked cars hide it.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.cell_labels import (
    GROUND_LABEL,
    RAISED_LABEL,
)

# Start of the first slab behind the sensor and length of a slab along the heading, metres, and
# number of slabs; width of a bin across the heading, metres, and number of bins on each side.
_BEHIND, _SLAB, _SLABS = 40.0, 2.0, 55
_BIN, _BINS = 0.2, 100
_PER_SLAB, _PER_BIN = np.float32(1.0 / _SLAB), np.float32(1.0 / _BIN)
_FIRST, _ZERO = np.float32(_BEHIND / _SLAB), np.float32(0.0)
# Bins to each side of the vehicle from which the slope of the road is estimated.
_MIDDLE = 12
# The score of a step rises from none to full within this distance of half a kerb, metres.
_DOUBT = 0.03
# Metres; a larger step is not a kerb, but the base of a wall or a terrace.
_HIGHEST = 0.5
# The lateral slope of the road is estimated over about the last 1.5 m by this decay per bin, and
# limited to these slopes.
_FORGET, _STEEPEST_DOWN, _STEEPEST_UP = 0.85, -0.10, 0.05
# Score of no kerb in a slab whose road is entirely visible (a fifth of a full step), and the
# number of visible bins for that.
_NONE, _ALL_SEEN = 0.2, 30
# Cost of a lateral shift by one bin between slabs; starting or ending a path costs four of these.
_BEND, _MOST_BENDS = 0.25, 4
# A kerb is accepted if there is a full step within this number of slabs.
_REACH = 2
# Width of the pavement behind a kerb; ground beyond keeps its label.
_PAVEMENT = 6.0
# The base of a wall belongs to the return above it if their ranges differ by no more, metres.
_SAME_WALL = 0.5


def raise_pavements(
    cell_label: NDArray[np.int32],
    xyz: NDArray[np.float32],
    height: NDArray[np.float32],
    flat: NDArray[np.bool_],
    forward: NDArray[np.floating],
    up: NDArray[np.floating],
    kerb: float,
) -> None:
    """Relabel ground, in place: road between the kerbs, raised ground behind them.

    Args:
        cell_label: (B, W) int32.
        xyz: (3, B, W) float32, metres.
        height: (B, W) float32, metres above the sensor along gravity.
        flat: (B, W) bool, nearly level surface.
        forward, up: (3,) unit vectors of the heading and against gravity, coordinates of `xyz`.
        kerb: half a kerb, metres.
    """
    along, across = forward.astype(np.float32), np.cross(up, forward).astype(np.float32)
    cell, ahead, side = _places(cell_label, xyz, along, across)
    kerbs = _kerbs(_profile(cell, ahead, side, height, flat), kerb)
    _relabel(cell_label, cell, ahead, side, kerbs)


@njit(cache=True, nogil=True)
def release_feet(cell_label, ranges, flat):
    """Reassign raised ground that is not level, in place, to the object above it.

    The lowest returns of walls, cars and people are no higher than a pavement; they get the label
    of the return above, none if that is too small for an object. The face of a kerb, with ground
    above, is kept.

    Args:
        cell_label: (B, W) int32, changed in place; row 0 is the highest beam.
        ranges: (B, W) float32, metres, 0 where empty.
        flat: (B, W) bool, nearly level surface.
    """
    beams, columns = cell_label.shape
    last = np.zeros(columns, np.int32)
    last_range = np.zeros(columns, np.float32)
    for row in range(beams):
        for column in range(columns):
            r, label, above = ranges[row, column], cell_label[row, column], last[column]
            here = r > np.float32(0.0)
            is_foot = here & (label == RAISED_LABEL) & (not flat[row, column])
            is_foot &= abs(r - last_range[column]) < np.float32(_SAME_WALL)
            is_foot &= (above != GROUND_LABEL) & (above != RAISED_LABEL)
            label = above if is_foot else label
            cell_label[row, column] = label
            last[column] = label if here else above
            last_range[column] = r if here else last_range[column]


@njit(cache=True, nogil=True)
def _places(cell_label, xyz, along, across):
    """Return where the ground lies in the slabs.

    Args:
        cell_label: (B, W) int32.
        xyz: (3, B, W) float32, metres.
        along, across: (3,) float32, unit vectors forward and to the left.

    Returns:
        cell: (G,) int32, the cells of ground in a slab.
        ahead: (G,) float32, slabs from the first one's beginning.
        side: (G,) float32, metres to the left of the sensor.
    """
    beams, columns = cell_label.shape
    cell = np.empty(beams * columns, np.int32)
    ahead, side = np.empty(len(cell), np.float32), np.empty(len(cell), np.float32)
    a, b = np.empty(columns, np.float32), np.empty(columns, np.float32)
    kept = np.empty(columns, np.uint8)
    n = 0
    for row in range(beams):
        for c in range(columns):
            x, y, z = xyz[0, row, c], xyz[1, row, c], xyz[2, row, c]
            a[c] = (along[0] * x + along[1] * y + along[2] * z) * _PER_SLAB + _FIRST
            b[c] = across[0] * x + across[1] * y + across[2] * z
            label = cell_label[row, c]
            is_ground = (label == GROUND_LABEL) | (label == RAISED_LABEL)
            kept[c] = np.uint8(is_ground & (a[c] >= _ZERO) & (a[c] < np.float32(_SLABS)))
        for c in range(columns):
            cell[n], ahead[n], side[n] = row * columns + c, a[c], b[c]
            n += kept[c]
    return cell[:n], ahead[:n], side[:n]


@njit(cache=True, nogil=True)
def _profile(cell, ahead, side, height, flat):
    """Return how far level ground lies above the middle of the road, NaN where unseen.

    Args:
        cell, ahead, side: see `_places`.
        height: (B, W) float32, metres.
        flat: (B, W) bool.

    Returns:
        (slabs, 2 * bins) float32, metres.
    """
    count = np.zeros((_SLABS, 2 * _BINS), np.float32)
    in_front = np.zeros((_SLABS, 2 * _BINS), np.float32)
    total = np.zeros((_SLABS, 2 * _BINS), np.float32)
    heights, is_flat = height.reshape(-1), flat.reshape(-1)
    for i in range(len(cell)):
        b = side[i] * _PER_BIN + np.float32(_BINS)
        if is_flat[cell[i]] and _ZERO <= b < np.float32(2 * _BINS):
            slab, k = np.uint32(ahead[i]), np.uint32(b)
            count[slab, k] += np.float32(1.0)
            in_front[slab, k] += ahead[i]
            total[slab, k] += heights[cell[i]]
    # Relative to the middle of the road in each slab, so that a hill is not a step.
    where, level, known = np.empty(_SLABS), np.empty(_SLABS), 0
    for a in range(_SLABS):
        middle = slice(_BINS - _MIDDLE, _BINS + _MIDDLE)
        n = count[a, middle].sum()
        if n > 0:
            where[known] = in_front[a, middle].sum() / n
            level[known] = total[a, middle].sum() / n
            known += 1
    for a in range(_SLABS):
        for b in range(2 * _BINS):
            n = count[a, b]
            if n == 0:
                total[a, b] = np.float32(np.nan)
            else:
                road = _interpolated(in_front[a, b] / n, where[:known], level[:known])
                total[a, b] = total[a, b] / n - road
    return total


@njit(cache=True, nogil=True, inline='always')
def _interpolated(x, where, level):
    """Return a height, metres, on the polyline through (K,) knots, extrapolated; 0 without knots.

    Args:
        x: slabs.
        where, level: (K,) float64, slabs, ascending, and metres.
    """
    if len(where) < 2:
        return level[0] if len(where) else 0.0
    k = min(max(np.searchsorted(where, x), 1), len(where) - 1)
    t = (x - where[k - 1]) / max(where[k] - where[k - 1], 1e-3)
    return level[k - 1] + t * (level[k] - level[k - 1])


@njit(cache=True, nogil=True)
def _kerbs(profile, kerb):
    """Return how far to the left and to the right the kerbs are, (2, slabs) float32, metres.

    Args:
        profile: see `_profile`.
        kerb: half a kerb, metres.

    Returns:
        NaN where there is none.
    """
    away = np.full((2, _SLABS), np.float32(np.nan))
    outwards = np.empty((_SLABS, _BINS), np.float32)
    for side in range(2):
        for k in range(_BINS):
            outwards[:, k] = profile[:, _BINS - 1 - k if side else _BINS + k]
        steps, none = _steps(outwards, kerb)
        path = _best_path(steps, none)
        holds = _held(path, steps)
        for slab in range(_SLABS):
            if holds[slab]:
                away[side, slab] = np.float32(path[slab]) * np.float32(_BIN)
    return away


@njit(cache=True, nogil=True)
def _steps(profile, kerb):
    """Return the score of a kerb in each bin, and of no kerb in each slab.

    Args:
        profile: (slabs, bins) float32, metres, bins from the middle outwards, NaN where unseen.
        kerb: half a kerb, metres.

    Returns:
        (slabs, bins) float32 from -0.5 to 1, and (slabs,) float32.
    """
    steps = np.zeros(profile.shape, np.float32)
    none = np.zeros(len(profile), np.float32)
    for slab in range(len(profile)):
        line = profile[slab]
        # A line fitted to the road so far, the latest part weighted most: sums of 1, t, tt, h, th.
        n, t1, t2, h1, th = 0.0, 0.0, 0.0, 0.0, 0.0
        last, seen = -1, 0
        for k in range(_BINS):
            if np.isnan(line[k]):
                continue
            seen += 1
            outside = _mean_of(line, k, min(k + 3, _BINS))
            if n > 0.0 and outside[1] > 1:
                spread = n * t2 - t1 * t1
                slope = (n * th - t1 * h1) / spread if n > 2.5 and spread > 1e-6 else 0.0
                slope = min(max(slope, _STEEPEST_DOWN), _STEEPEST_UP)
                step = outside[0] - (h1 / n + slope * (k * _BIN - t1 / n))
                if k - last <= 3:
                    # A road that levels off also rises above its continuation, but not by a step.
                    inside = _mean_of(line, max(k - 3, 0), k)
                    rise = outside[0] - inside[0] - max(slope, 0.0) * 3.0 * _BIN
                    step = min(step, rise)
                if step < _HIGHEST:
                    score = (step - kerb + _DOUBT) / (2.0 * _DOUBT)
                    steps[slab, k] = min(max(score, -0.5), 1.0)
            last, t = k, k * _BIN
            n, t1, t2 = n * _FORGET + 1.0, t1 * _FORGET + t, t2 * _FORGET + t * t
            h1, th = h1 * _FORGET + line[k], th * _FORGET + t * line[k]
        none[slab] = _NONE * min(1.0, seen / _ALL_SEEN)
    return steps, none


@njit(cache=True, nogil=True, inline='always')
def _mean_of(line, start, end):
    """Return the mean of the known part of a stretch, metres, and its size."""
    total, n = 0.0, 0
    for k in range(start, end):
        if not np.isnan(line[k]):
            total += line[k]
            n += 1
    return total / max(n, 1), n


@njit(cache=True, nogil=True)
def _best_path(steps, none):
    """Return the kerb's bin in each slab, (slabs,) int32, `_BINS` where there is none.

    Args:
        steps: (slabs, bins) float32.
        none: (slabs,) float32.
    """
    slabs = len(steps)
    before = np.empty((slabs, _BINS + 1), np.int32)
    # Score of the best path to each bin, padded at either end by the largest bend, and to no
    # kerb, which comes last.
    value = np.full(_BINS + 2 * _MOST_BENDS, np.float32(-np.inf))
    value[_MOST_BENDS:-_MOST_BENDS], without = steps[0], none[0]
    top, origin = np.empty(_BINS, np.float32), np.empty(_BINS, np.int32)
    most = np.float32(_BEND * _MOST_BENDS)
    for slab in range(1, slabs):
        best = int(np.argmax(value)) - _MOST_BENDS
        highest = value[best + _MOST_BENDS]
        if without > highest:
            best, highest = _BINS, without
        top[:], origin[:] = highest - most, best
        for d in range(2 * _MOST_BENDS + 1):
            cost = np.float32(_BEND * abs(d - _MOST_BENDS))
            for k in range(_BINS):
                reached = value[k + d] - cost
                better = reached > top[k]
                top[k] = reached if better else top[k]
                origin[k] = np.int32(k + d - _MOST_BENDS) if better else origin[k]
        before[slab, :_BINS] = origin
        before[slab, _BINS] = best if without <= highest - most else _BINS
        without = max(without, highest - most) + none[slab]
        value[_MOST_BENDS:-_MOST_BENDS] = top + steps[slab]
    path = np.empty(slabs, np.int32)
    last = int(np.argmax(value))
    path[-1] = _BINS if without > value[last] else last - _MOST_BENDS
    for slab in range(slabs - 1, 0, -1):
        path[slab - 1] = before[slab, path[slab]]
    return path


@njit(cache=True, nogil=True)
def _held(path, steps):
    """Return the slabs whose kerb is confirmed by nearby steps that sum to a full one, (slabs,).

    Args:
        path: (slabs,) int32, see `_best_path`.
        steps: (slabs, bins) float32.
    """
    slabs = len(path)
    on_path = np.zeros(slabs, np.float32)
    for slab in range(slabs):
        if path[slab] < _BINS:
            for k in range(max(path[slab] - 1, 0), min(path[slab] + 2, _BINS)):
                on_path[slab] = max(on_path[slab], steps[slab, k])
    holds = np.zeros(slabs, np.bool_)
    for slab in range(slabs):
        nearby = on_path[max(slab - _REACH, 0) : slab + _REACH + 1].sum()
        holds[slab] = path[slab] < _BINS and nearby >= np.float32(1.0)
    return holds


@njit(cache=True, nogil=True)
def _relabel(cell_label, cell, ahead, side, kerbs):
    """Label ground by its side of a kerb, in place.

    Args:
        cell_label: (B, W) int32.
        cell, ahead, side: see `_places`.
        kerbs: (2, slabs) float32, metres to the left and to the right, NaN without one.
    """
    labels = cell_label.reshape(-1)
    for i in range(len(cell)):
        right = side[i] < _ZERO
        behind = abs(side[i]) - kerbs[np.uint32(right), np.uint32(ahead[i])]
        # NaN fails both.
        label = labels[cell[i]]
        label = RAISED_LABEL if behind < np.float32(_PAVEMENT) else label
        labels[cell[i]] = GROUND_LABEL if behind < _ZERO else label
