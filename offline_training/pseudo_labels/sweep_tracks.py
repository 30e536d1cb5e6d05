"""One object is one object: through time, and in every camera of a rig."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import FrameRecord
from offline_training.pseudo_labels.tracks import UNTRACKED, follow


def sweep_tracks(frames: Sequence[FrameRecord]) -> dict[int, NDArray[np.int64]]:
    """Return the track of each proposal of each sweep of a drive, whatever cameras see of it.

    Args:
        frames: of one drive, of all its cameras.

    Returns:
        By the sweep's stamp, (P,) int64 as its proposals are listed: those recorded with them,
        else those found now, see `follow`. What no image shows is not tracked: it would draw
        away the tracks of what lies beside it, which on a real drive costs 0.9 of mIoU.
    """
    of_sweep: defaultdict[int, list[FrameRecord]] = defaultdict(list)
    for frame in frames:
        of_sweep[frame.sweep_stamp_ns].append(frame)
    stamps = sorted(of_sweep)
    proposals = [of_sweep[stamp][0].proposals() for stamp in stamps]
    if all('track' in rows for rows in proposals):
        return {
            s: rows['track'].astype(np.int64) for s, rows in zip(stamps, proposals, strict=True)
        }
    seen = [
        np.flatnonzero(np.isin(rows['id'], _ids_shown(of_sweep[stamp])))
        for stamp, rows in zip(stamps, proposals, strict=True)
    ]
    shown = [
        {name: values[chosen] for name, values in rows.items()}
        for rows, chosen in zip(proposals, seen, strict=True)
    ]
    found = follow(shown, [_sweep_pose(of_sweep[stamp]) for stamp in stamps])
    tracks = {}
    for stamp, rows, chosen, track in zip(stamps, proposals, seen, found, strict=True):
        tracks[stamp] = np.full(len(rows['id']), UNTRACKED, np.int64)
        tracks[stamp][chosen] = track
    return tracks


def pose(frame: FrameRecord) -> NDArray[np.float64] | None:
    """Return the vehicle's pose at a frame's image, (4, 4) odom from base; None if not known."""
    rows = frame.record.get('T_odom_base')
    return None if rows is None else np.array(rows, np.float64)


def unique_tracks(
    drive: NDArray[np.integer],
    sweep: NDArray[np.integer],
    proposal: NDArray[np.integer],
    track: NDArray[np.integer],
) -> NDArray[np.int64]:
    """Number objects through all drives, contiguous from 0.

    What is not tracked, -1, is an object of its sweep alone: the same in each of its cameras.

    Args:
        drive, sweep, proposal: (S,) of each segment: its drive, its sweep's stamp, its id there.
        track: (S,) within the drive.
    """
    alone = track < 0
    keys = [drive, np.where(alone, sweep, -1), np.where(alone, proposal, track)]
    _, number = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
    return number.reshape(-1).astype(np.int64)


def same_in_sweep(
    drive: NDArray[np.integer],
    sweep: NDArray[np.integer],
    proposal: NDArray[np.integer],
    counted: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return (L, 2) rows: a segment, and one of the same object in another image of its sweep.

    Args:
        drive, sweep, proposal: as of `unique_tracks`.
        counted: (S,) which segments are asked for.
    """
    rows = np.flatnonzero(counted)
    keys = np.stack([drive[rows], sweep[rows], proposal[rows]], axis=1)
    _, thing = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(thing.reshape(-1), kind='stable')
    rows, thing = rows[order], thing.reshape(-1)[order]
    pairs = [np.empty((0, 2), np.int64)]
    # As many images of a sweep as there are, few.
    for apart in range(1, len(rows)):
        same = np.flatnonzero(thing[apart:] == thing[:-apart])
        if len(same) == 0:
            break
        one, other = rows[same], rows[same + apart]
        pairs += [np.stack([one, other], axis=1), np.stack([other, one], axis=1)]
    return np.concatenate(pairs)


def _ids_shown(frames: Sequence[FrameRecord]) -> NDArray[np.intp]:
    """Return the proposals of a sweep that some image shows."""
    shown = sum(np.bincount(frame.segment().ravel(), minlength=65536) for frame in frames)
    return np.flatnonzero(shown)


def _sweep_pose(frames: Sequence[FrameRecord]) -> NDArray[np.float64] | None:
    """Return the pose that is nearest to a sweep, of those at its images."""
    known = [frame for frame in frames if frame.record.get('T_odom_base') is not None]
    if not known:
        return None
    return pose(min(known, key=lambda frame: abs(frame.stamp_ns - frame.sweep_stamp_ns)))
