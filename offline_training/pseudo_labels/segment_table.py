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
from drive_segment_ros.perception.proposals import KINDS
from offline_training.pseudo_labels.cross_frame_matches import CrossFrameMatcher
from offline_training.pseudo_labels.features import Features, stack
from offline_training.pseudo_labels.stuff_classes import stuff_classes
from offline_training.pseudo_labels.sweep_tracks import (
    pose,
    same_in_sweep,
    sweep_tracks,
    unique_tracks,
)

# Statistics a person names a class by: medians of these proposal arrays.
_DESCRIBED = (
    'height_min',
    'height_max',
    'extent_long',
    'extent_short',
    'extent_vertical',
    'range',
)
_COUNTED = ('frame', 'id', 'kind', 'stuff', 'pixels', 'drive', 'sweep', 'track')


@dataclasses.dataclass(frozen=True)
class SegmentTable:
    """Every segment of a dataset, a row each.

    Attributes:
        frame: (S,) index of its frame.
        id: (S,) its id in that frame's sweep.
        kind: (S,) index into `KINDS`.
        stuff: (S,) the stuff class it is, see `stuff_classes`; `NO_STUFF` for objects.
        pixels: (S,) pixels it covers.
        track: (S,) a number for each object followed through time, the same in all cameras; one
            that is not followed is an object of its sweep alone.
        matches: (L, 2) rows: an object, and what lies in its place in another frame.
        in_sweep: (L, 2) rows: an object, and itself in another image of its sweep.
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
    in_sweep: NDArray[np.int64]
    features: dict[str, NDArray[np.float32]]
    described: dict[str, NDArray[np.float32]]


def collect(
    cameras: Sequence[Sequence[FrameRecord]],
    features: Features,
    progress: Callable[[Iterable], Iterable] = iter,
) -> SegmentTable:
    """Describe all segments of all frames; segments without a pixel are left out.

    Args:
        cameras: the frames of each camera of each drive, in order of time.
        features: what describes a segment.
        progress: shows how far an iteration has come.
    """
    owner = [frame for camera in cameras for frame in camera]
    begun = {id(camera[0]) for camera in cameras if camera}
    drives = {path: number for number, path in enumerate(dict.fromkeys(f.drive for f in owner))}
    tracks = {path: sweep_tracks([f for f in owner if f.drive == path]) for path in drives}
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in (*_COUNTED, *_DESCRIBED)}
    described: list[dict[str, NDArray[np.float32]]] = []
    matcher = CrossFrameMatcher()
    first = 0
    for index, frame in enumerate(progress(owner)):
        if id(frame) in begun:
            matcher.begin(_calibration(frame))
        segment, proposals = frame.segment(), frame.proposals()
        pixels = np.bincount(segment.ravel(), minlength=65536)[proposals['id']]
        seen = pixels > 0
        proposals = {name: array[seen] for name, array in proposals.items()}
        count = int(seen.sum())
        described.append(features(frame.image(), segment, proposals))
        try:
            matcher.add(np.arange(first, first + count), proposals, segment, pose(frame))
        except KeyError as err:
            raise DatasetError(
                f'{frame.proposal_path} lacks {err}; extract the drive again'
            ) from err
        first += count
        row = {
            'frame': np.full(count, index),
            'drive': np.full(count, drives[frame.drive]),
            'sweep': np.full(count, frame.sweep_stamp_ns),
            'stuff': stuff_classes(proposals),
            'pixels': pixels[seen],
            'track': tracks[frame.drive][frame.sweep_stamp_ns][seen],
            **{name: proposals[name] for name in ('id', 'kind')},
            **{name: proposals.get(name, np.full(count, np.nan)) for name in _DESCRIBED},
        }
        for name, values in row.items():
            columns[name].append(values)
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    of_sweep = (whole['drive'], whole['sweep'], whole['id'].astype(np.int64))
    return SegmentTable(
        frame=whole['frame'].astype(np.int64),
        id=whole['id'].astype(np.int64),
        kind=whole['kind'].astype(np.uint8),
        stuff=whole['stuff'].astype(np.int64),
        pixels=whole['pixels'].astype(np.int64),
        track=unique_tracks(*of_sweep, whole['track']),
        matches=matcher.matches(),
        in_sweep=same_in_sweep(*of_sweep, whole['kind'] == KINDS.index('object')),
        features=stack(described),
        described={name: whole[name].astype(np.float32) for name in _DESCRIBED},
    )


def _calibration(frame: FrameRecord) -> DriveCalibration | None:
    drive = Drive(frame.drive)
    known = 'model' in drive.info['cameras'][frame.camera]
    return DriveCalibration.of(drive, frame.camera) if known else None
