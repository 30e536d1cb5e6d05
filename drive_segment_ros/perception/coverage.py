"""Which part of its turn a sweep covers: truncated sweeps, missing sectors.

A single sweep does not show whether a sector was lost or is never seen by the sensor. In both
cases it gets no labels; a warning is given only in comparison with other sweeps of the drive. Only
a cloud listed beam by beam that ends within a beam is known to be truncated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.beam_sources import BeamSource, spinning_beams
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.range_image import RangeImage, directions, range_image

# Narrower gaps are due to lost packets, or surfaces without returns.
_MIN_GAP_DEG = 5.0
# Nearer returns are from the vehicle itself, or placeholders for no return, metres.
_OWN = 1.0
# A beam is truncated if at least this number and this share of the neighbouring beam's returns lie
# beyond its last one. Where the vehicle's body limits both, the share is about 0.01.
_MIN_CUT, _MIN_CUT_SHARE = 20, 0.05
# With fewer beams, truncation is not detected.
_MIN_ROWS = 4
# A cloud is listed beam by beam if the beam changes at most this often per beam.
_MAX_CHANGES = 3
# Number of points that suffice to decide this for most clouds.
_GLANCE = 2048
# Sampling of directions that were not scanned: spacing, and lowest and highest elevation.
_STEP_DEG, _STEEPEST_DEG = 0.4, 75.0
UNSCANNED_SPACING = math.radians(_STEP_DEG)
# Assumed distance of surfaces where nothing was measured, metres.
_DISTANCE = 20.0
# Size of the sectors that are compared among sweeps, degrees; share of the other sweeps that must
# cover a sector; and share of their beams that a sweep must have, because the highest beams may
# all point into the sky.
_SECTOR_DEG, _USUAL, _MIN_BEAMS = 5, 0.8, 0.8
# With fewer other sweeps, nothing is reported.
_MIN_OTHERS = 3


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What a sweep did not scan.

    Attributes:
        gap: (W,) bool, columns of the range image without a return, in runs of 5 degrees or more.
        lowest, highest: (W,) float32, rad, between these elevations a column was scanned; infinite
            where the sweep does not end early.
        cut: whether the sweep ends within a beam: lower (or higher) ones are missing.
    """

    gap: NDArray[np.bool_]
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    cut: bool

    def gaps_deg(self) -> list[tuple[int, int]]:
        """Return the sectors without a return as azimuths about the spin axis, counterclockwise.

        The end is below 360 more than the start, which lies in 0..359.
        """
        width = len(self.gap)
        if self.gap.all():
            return [(0, 360)]
        edges = np.diff(self.gap.astype(np.int8), prepend=self.gap[-1:].astype(np.int8))
        starts, ends = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
        found = []
        for start in starts:
            end = ends[np.argmin((ends - start) % width)]
            first = round(start * 360.0 / width)
            found.append((first % 360, first % 360 + round((end - start) % width * 360.0 / width)))
        return found


def find_coverage(image: RangeImage) -> Coverage | None:
    """Return what a sweep did not scan, None where it covers its whole turn."""
    gap = _long_runs(np.asarray(image.range.max(axis=0, initial=0.0) <= _OWN))
    lowest = np.full(len(gap), -np.inf, np.float32)
    highest = np.full(len(gap), np.inf, np.float32)
    cut = _cut(image)
    if cut is not None:
        row, beside, beyond = cut
        last = np.where(beyond, image.elevation[beside], image.elevation[row])
        # The measured surface extends half a beam further.
        half = 0.5 * (image.elevation[row] - image.elevation[beside])
        if half < 0.0:
            lowest[:] = last + half
        else:
            highest[:] = last + half
    if cut is None and not gap.any():
        return None
    return Coverage(gap, lowest, highest, cut is not None)


def unscanned_points(image: RangeImage, coverage: Coverage) -> NDArray[np.float32]:
    """Return points densely spread over what was not scanned, (M, 3), metres, cloud coordinates.

    The distance of surfaces there is unknown: 20 m is assumed in a gap, and below the lowest
    scanned beam the range of its return in that column.
    """
    steps = np.radians(np.arange(-_STEEPEST_DEG, _STEEPEST_DEG, _STEP_DEG))
    width = len(coverage.gap)
    column = np.arange(0, width, max(1, int(width * _STEP_DEG / 360.0)))
    low, high = coverage.lowest[column, None], coverage.highest[column, None]
    where = coverage.gap[column, None] | (steps < low) | (steps > high)
    chosen, step = np.nonzero(where)
    distance = np.full(width, _DISTANCE)
    if coverage.cut:
        rows = image.range if np.isfinite(coverage.highest).any() else image.range[::-1]
        first = rows[(rows > 0.0).argmax(axis=0), np.arange(width)]
        distance = np.where(first > 0.0, first, _DISTANCE)
    points = directions(image, column[chosen], steps[step]) * distance[column[chosen], None]
    return points.astype(np.float32)


def _long_runs(empty: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep only runs of empty columns of several degrees; columns wrap."""
    width = len(empty)
    least = max(2, math.ceil(_MIN_GAP_DEG / 360.0 * width))
    if empty.all() or not empty.any():
        return empty
    turned = np.roll(empty, -int(np.argmin(empty)))  # begins with a column that is not
    edges = np.diff(turned.astype(np.int8), append=0)
    starts, ends = np.flatnonzero(edges > 0) + 1, np.flatnonzero(edges < 0) + 1
    for start, end in zip(starts, ends, strict=True):
        turned[start:end] = end - start >= least
    return np.roll(turned, int(np.argmin(empty)))


def _cut(image: RangeImage) -> tuple[int, int, NDArray[np.bool_]] | None:
    """Return the truncated row, its neighbour, and the columns (W,) beyond its end."""
    # A message that also lists points without return cannot be truncated unnoticed.
    if len(image.cell) == 0 or image.dropped > 0.02 * len(image.cell):
        return None
    beams, width = image.range.shape
    if _changes(image.cell[:_GLANCE], width)[0] > _MAX_CHANGES * beams:
        return None
    changes, last = _changes(image.cell, width)
    if changes > _MAX_CHANGES * beams or last not in (0, beams - 1) or beams < _MIN_ROWS:
        return None
    inward = 1 if last == 0 else -1
    of_beam = _columns_of_three(image.cell, min(last, last + 2 * inward) * width, width)[::inward]
    if min(len(columns) for columns in of_beam) == 0:
        return None
    step = (np.diff(of_beam[1]) + width // 2) % width - width // 2
    forward = 1 if 2 * np.count_nonzero(step >= 0) >= len(step) else -1
    start = int(of_beam[1][0])
    passed = [_passed(columns, start, forward, width) for columns in of_beam]
    end = int(passed[0][-1]) + 2
    count = np.count_nonzero(passed[1] > end)
    # An obstruction, such as the vehicle's body, narrows the view at both ends or beam by beam.
    usual = max(
        np.count_nonzero(passed[1] < passed[0][0] - 2),
        np.count_nonzero(passed[2] > passed[1][-1] + 2),
    )
    if count - 2 * usual < max(_MIN_CUT, _MIN_CUT_SHARE * len(of_beam[1])):
        return None
    return last, last + inward, (np.arange(width) - start) * forward % width > end


def _passed(columns: NDArray[np.integer], start: int, forward: int, width: int) -> NDArray[Any]:
    """Return by how many columns the sensor had turned since `start`, (N,), up to a turn."""
    first = int((columns[0] - start) * forward + width // 2) % width - width // 2
    return first + (columns - columns[0]) * forward % width


@njit(cache=True, nogil=True)
def _changes(cell, width):
    """Return how often points change the row of the range image, and the row of the last one.

    Args:
        cell: (N,) int32, into the range image, row by row; points without a cell are skipped.
        width: of the range image.
    """
    changes, start = 0, -width
    for k in cell:
        # Most points are in the row of the one before.
        if 0 <= k < start or k >= start + width:
            changes += start >= 0
            start = k // width * width
    return changes, start // width


@njit(cache=True, nogil=True)
def _columns_of_three(cell, start, width):
    """Return the columns of the points in three rows of a range image, (M,) int32 each, in order.

    Args:
        cell: (N,) int32, -1 for none.
        start: the first row's first cell.
        width: of the range image.
    """
    found = np.empty((3, len(cell)), np.int32)
    n = np.zeros(3, np.int64)
    for k in cell:
        # Such points are consecutive.
        if start <= k < start + 3 * width:
            row = (k - start) // width
            found[row, n[row]] = k - start - row * width
            n[row] += 1
    return found[0, : n[0]].copy(), found[1, : n[1]].copy(), found[2, : n[2]].copy()


class UsualCoverage:
    """The usual coverage of a drive's sweeps, to detect sweeps that lack part of it.

    A blind sector or a limited field of view is usual and gives no warning.
    """

    def __init__(self, sweeps: Iterable[Mapping[str, Any]]) -> None:
        """Collect the `coverage_facts` of some sweeps."""
        facts = list(sweeps)
        self._count = len(facts)
        self._seen = np.zeros(360 // _SECTOR_DEG)
        for sweep in facts:
            self._seen += ~_unseen(sweep)
        beams = sorted(sweep.get('beams', 0) for sweep in facts)
        self._beams = beams[len(beams) // 2] if beams else 0

    def lacking(self, sweep: Mapping[str, Any]) -> str:
        """Return a description of what a sweep lacks, empty if nothing."""
        beams = sweep.get('beams', 0)
        if sweep.get('cut', False):
            return f'it ends within beam {beams}: the others are missing'
        if self._count < _MIN_OTHERS:
            return ''
        if 0 < beams < _MIN_BEAMS * self._beams:
            return f'it has {beams} of {self._beams} beams'
        lost = _unseen(sweep) & (self._seen >= _USUAL * self._count)
        if np.count_nonzero(lost) * _SECTOR_DEG < 2 * _SECTOR_DEG:
            return ''
        gaps = [g for g in sweep['gaps_deg'] if lost[_sectors(*g)].any()]
        where = ', '.join(f'{start} to {end % 360}' for start, end in gaps)
        return f'no returns at azimuth {where} degrees, where other sweeps have some'


def coverage_facts(
    image: RangeImage | None, source: BeamSource, coverage: Coverage | None
) -> dict[str, Any]:
    """Return the entries on a sweep for a frame's record, ready for JSON.

    Args:
        image: the sweep's range image, None without beams.
        source: of the beam numbers.
        coverage: what the sweep does not cover.

    Returns:
        `segments_from`, a key of `beam_sources.SEGMENTS_FROM`; `beams`, how many returned
        something; `gaps_deg`, pairs of azimuths, and `cut`, only where something is missing.
    """
    beams = 0 if image is None else np.count_nonzero(image.range.max(axis=1, initial=0.0) > 0.0)
    facts: dict[str, Any] = {'segments_from': source, 'beams': int(beams)}
    if coverage is not None:
        if coverage.gap.any():
            facts['gaps_deg'] = [list(gap) for gap in coverage.gaps_deg()]
        if coverage.cut:
            facts['cut'] = True
    return facts


def sweep_facts(cloud: PointCloud) -> dict[str, Any]:
    """Return `coverage_facts` of a sweep that is not segmented."""
    beams = spinning_beams(cloud)
    if beams is None:
        return coverage_facts(None, 'none', None)
    image = range_image(cloud, beams.ring, axis=beams.axis, descending=beams.descending)
    return coverage_facts(image, beams.source, find_coverage(image))


def _sectors(start: int, end: int) -> NDArray[np.intp]:
    """Return the sectors that lie wholly between two azimuths, degrees."""
    first = -(-start // _SECTOR_DEG)
    return np.arange(first, max(first, end // _SECTOR_DEG)) % (360 // _SECTOR_DEG)


def _unseen(sweep: Mapping[str, Any]) -> NDArray[np.bool_]:
    unseen = np.zeros(360 // _SECTOR_DEG, np.bool_)
    for start, end in sweep.get('gaps_deg', ()):
        unseen[_sectors(start, end)] = True
    return unseen
