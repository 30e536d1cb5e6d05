"""Every segment of a dataset in one table: what it looks like, and which of them are one thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.reader import Drive, FrameRecord
from drive_segment_ros.errors import DatasetError
from offline_training.pseudo_labels.cross_frame_matches import CrossFrameMatcher
from offline_training.pseudo_labels.features import Features, stack
from offline_training.pseudo_labels.stuff_classes import stuff_classes
from offline_training.pseudo_labels.tracks import follow

# Statistics a person names a class by: medians of these proposal arrays.
_DESCRIBED = (
    'height_min',
    'height_max',
    'extent_long',
    'extent_short',
    'extent_vertical',
    'range',
)
_COUNTED = ('frame', 'id', 'kind', 'stuff', 'pixels', 'drive', 'track')


@dataclasses.dataclass(frozen=True)
class SegmentTable:
    """Every segment of a dataset, a row each.

    Attributes:
        frame: (S,) index of its frame.
        id: (S,) its id in that frame.
        kind: (S,) index into `KINDS`.
        stuff: (S,) the stuff class it is, see `stuff_classes`; `NO_STUFF` for objects.
        pixels: (S,) pixels it covers.
        track: (S,) a number for each object followed through time; alone where not followed.
        matches: (L, 2) rows: an object, and what lies in its place in another frame.
        features: columns by group, each (S, D_group).
        described: columns for the statistics, each (S,), NaN where unknown.
    """

    frame: NDArray[np.int64]
    id: NDArray[np.int64]
    kind: NDArray[np.uint8]
    stuff: NDArray[np.int64]
    pixels: NDArray[np.int64]
    track: NDArray[np.int64]
    matches: NDArray[np.int64]
    features: dict[str, NDArray[np.float32]]
    described: dict[str, NDArray[np.float32]]


def collect(
    drives: Sequence[Sequence[FrameRecord]],
    features: Features,
    progress: Callable[[Iterable], Iterable] = iter,
) -> SegmentTable:
    """Describe all segments of all frames; segments without a pixel are left out."""
    owner = [(number, frame) for number, drive in enumerate(drives) for frame in drive]
    tracks = [track for drive in drives for track in drive_tracks(drive)]
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in (*_COUNTED, *_DESCRIBED)}
    described: list[dict[str, NDArray[np.float32]]] = []
    matcher = CrossFrameMatcher()
    first = 0
    for index, (drive, frame) in enumerate(progress(owner)):
        if frame is drives[drive][0]:
            matcher.begin(_calibration(frame))
        segment, proposals = frame.segment(), frame.proposals()
        pixels = np.bincount(segment.ravel(), minlength=65536)[proposals['id']]
        seen = pixels > 0
        proposals = {name: array[seen] for name, array in proposals.items()}
        count = int(seen.sum())
        described.append(features(frame.image(), segment, proposals))
        try:
            matcher.add(np.arange(first, first + count), proposals, segment, _pose(frame))
        except KeyError as err:
            raise DatasetError(
                f'{frame.proposal_path} lacks {err}; extract the drive again'
            ) from err
        first += count
        row = {
            'frame': np.full(count, index),
            'drive': np.full(count, drive),
            'stuff': stuff_classes(proposals),
            'pixels': pixels[seen],
            'track': tracks[index][seen],
            **{name: proposals[name] for name in ('id', 'kind')},
            **{name: proposals.get(name, np.full(count, np.nan)) for name in _DESCRIBED},
        }
        for name, values in row.items():
            columns[name].append(values)
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    return SegmentTable(
        frame=whole['frame'].astype(np.int64),
        id=whole['id'].astype(np.int64),
        kind=whole['kind'].astype(np.uint8),
        stuff=whole['stuff'].astype(np.int64),
        pixels=whole['pixels'].astype(np.int64),
        track=unique_tracks(whole['drive'], whole['track']),
        matches=matcher.matches(),
        features=stack(described),
        described={name: whole[name].astype(np.float32) for name in _DESCRIBED},
    )


def drive_tracks(drive: Sequence[FrameRecord]) -> list[NDArray[np.int64]]:
    """Return each frame's tracks: those recorded with its proposals, else those found now."""
    proposals = [frame.proposals() for frame in drive]
    if all('track' in rows for rows in proposals):
        return [rows['track'].astype(np.int64) for rows in proposals]
    return follow(proposals, [_pose(frame) for frame in drive])


def unique_tracks(drive: NDArray[np.integer], track: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number objects through all drives, contiguous from 0; a track of -1 is an object alone."""
    alone = track < 0
    keys = np.stack([drive, np.where(alone, -1 - np.arange(len(track)), track)], axis=1)
    _, number = np.unique(keys, axis=0, return_inverse=True)
    return number.reshape(-1).astype(np.int64)


def _pose(frame: FrameRecord) -> NDArray[np.float64] | None:
    pose = frame.record.get('T_odom_base')
    return None if pose is None else np.array(pose, np.float64)


def _calibration(frame: FrameRecord) -> DriveCalibration | None:
    drive = Drive(frame.drive)
    known = 'model' in drive.info['cameras'][frame.camera]
    return DriveCalibration.of(drive, frame.camera) if known else None
