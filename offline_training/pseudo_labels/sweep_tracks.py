"""Tracks of objects over time and across the cameras of a rig."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.perception.proposals import KINDS
from offline_training.pseudo_labels.tracks import PLACE_AND_SIZE, follow

# The track of a proposal that was extracted without tracking.
NOT_RECORDED = -2
# Columns of segments used for tracking.
TRACKED_BY = ('sweep', 'id', 'kind', 'track', *PLACE_AND_SIZE)


def sweep_tracks(
    segments: Mapping[str, NDArray[Any]],
    poses: Mapping[int, NDArray[np.float64] | None],
) -> NDArray[np.int64]:
    """Return the track of each segment of a drive, the same in all cameras.

    Args:
        segments: columns `TRACKED_BY`, each (S,), of all cameras.
        poses: of the vehicle at each sweep, by its stamp; None where unknown.

    Returns:
        (S,) int64: the tracks recorded with the proposals if all have them, else those found now,
        see `follow`. Proposals outside all images are not tracked, as they would attract the
        tracks of their neighbours.
    """
    if (segments['track'] != NOT_RECORDED).all():
        return segments['track'].astype(np.int64)
    things, thing = _unique_pairs(segments['sweep'], segments['id'])
    stamps = np.array(sorted(poses), np.int64)
    bounds = np.searchsorted(segments['sweep'][things], stamps)
    ends = np.append(bounds[1:], len(things))
    of_sweep = [
        _placed(
            {name: segments[name][things[first:end]] for name in ('id', 'kind', *PLACE_AND_SIZE)}
        )
        for first, end in zip(bounds, ends, strict=True)
    ]
    found = follow(of_sweep, [poses[stamp] for stamp in stamps.tolist()])
    return np.concatenate([np.empty(0, np.int64), *found])[thing]


def _placed(rows: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a sweep's arrays, without those of positions if its objects have none."""
    places = rows['centroid_x'][rows['kind'] == KINDS.index('object')]
    if len(places) == 0 or not np.isnan(places).all():
        return rows
    return {name: rows[name] for name in ('id', 'kind')}


def sweep_poses(frames: Iterable[FrameRecord]) -> dict[int, NDArray[np.float64] | None]:
    """Return the vehicle's pose at each sweep, by its stamp: the nearest of those at its images.

    Args:
        frames: of one drive, of all cameras.
    """
    of_sweep: defaultdict[int, list[FrameRecord]] = defaultdict(list)
    for frame in frames:
        of_sweep[frame.sweep_stamp_ns].append(frame)
    return {stamp: _sweep_pose(seen) for stamp, seen in of_sweep.items()}


def pose(frame: FrameRecord) -> NDArray[np.float64] | None:
    """Return the vehicle's pose at a frame's image, (4, 4) odom from base; None if not known."""
    rows = frame.record.get('T_odom_base')
    return None if rows is None else np.array(rows, np.float64)


def unique_tracks(
    sweep: NDArray[np.integer], proposal: NDArray[np.integer], track: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Number the objects of a drive, contiguous from 0.

    An untracked one, -1, is an object of its sweep only: the same in each of its cameras.

    Args:
        sweep, proposal: (S,) of each segment: its sweep's stamp, its id there.
        track: (S,) within the drive.
    """
    alone = track < 0
    return _unique_pairs(np.where(alone, sweep, -1), np.where(alone, proposal, track))[1]


def same_in_sweep(
    sweep: NDArray[np.integer], proposal: NDArray[np.integer], counted: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return (L, 2) rows: a segment, and one of the same object in another image of its sweep.

    Args:
        sweep, proposal: as of `unique_tracks`.
        counted: (S,) the segments to use.
    """
    rows = np.flatnonzero(counted)
    _, thing = _unique_pairs(sweep[rows], proposal[rows])
    order = np.argsort(thing, kind='stable')
    rows, thing = rows[order], thing[order]
    pairs = [np.empty((0, 2), np.int64)]
    # A sweep has few images.
    for apart in range(1, len(rows)):
        same = np.flatnonzero(thing[apart:] == thing[:-apart])
        if len(same) == 0:
            break
        one, other = rows[same], rows[same + apart]
        pairs += [np.stack([one, other], axis=1), np.stack([other, one], axis=1)]
    return np.concatenate(pairs)


def _unique_pairs(
    first: NDArray[np.integer], second: NDArray[np.integer]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the first row of each distinct pair, and the pair of each row."""
    order = np.lexsort((second, first))
    a, b = first[order], second[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(begins) - 1
    return order[begins], number


def _sweep_pose(frames: Sequence[FrameRecord]) -> NDArray[np.float64] | None:
    """Return the pose nearest to a sweep, of those at its images."""
    known = [frame for frame in frames if frame.record.get('T_odom_base') is not None]
    if not known:
        return None
    return pose(min(known, key=lambda frame: abs(frame.stamp_ns - frame.sweep_stamp_ns)))
