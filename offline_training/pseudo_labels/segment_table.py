"""All segments of a drive in one table: their features, tracks and matches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.proposals import KINDS
from offline_training.pseudo_labels.columns import read_columns
from offline_training.pseudo_labels.drive_plan import DrivePlan
from offline_training.pseudo_labels.sweep_tracks import same_in_sweep

# Proposal arrays whose medians are in the statistics of classes.
DESCRIBED = (
    'height_min',
    'height_max',
    'extent_long',
    'extent_short',
    'extent_vertical',
    'range',
)
# Prefix of feature columns; the rest is the name of their group.
FEATURE = 'feature.'
# A segment's number within its camera is its frame's index times this plus its row there.
ROWS_A_FRAME = 65536


@dataclasses.dataclass(frozen=True)
class SegmentTable:
    """All segments of a drive, one per row, camera by camera.

    Attributes:
        frame: (S,) index of its frame, counted through all cameras.
        id: (S,) its id in that frame's sweep.
        kind: (S,) index into `KINDS`.
        stuff: (S,) the stuff class it is, see `stuff_classes`; `NO_STUFF` for objects.
        pixels: (S,) pixels it covers.
        track: (S,) a number for each object tracked over time, the same in all cameras; an
            untracked one is an object of its sweep only.
        moved: (S,) int8 whether that object has moved, see `motion`.
        matches: (L, 2) rows: an object, and its match in another frame.
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
    moved: NDArray[np.int8]
    matches: NDArray[np.int64]
    in_sweep: NDArray[np.int64]
    features: dict[str, NDArray[np.float32]]
    described: dict[str, NDArray[np.float32]]


def read_table(plan: DrivePlan) -> SegmentTable:
    """Read the tables of a drive that is described and tracked.

    Raises:
        DatasetError: if a table cannot be read.
    """
    columns, tracks = read_segments(plan), read_columns(plan.tracks_path)
    return SegmentTable(
        frame=columns['frame'],
        id=columns['id'].astype(np.int64),
        kind=columns['kind'],
        stuff=columns['stuff'].astype(np.int64),
        pixels=columns['pixels'].astype(np.int64),
        track=tracks['track'],
        moved=tracks['moved'],
        matches=read_rows(plan, columns['frame'], 'matches'),
        in_sweep=same_in_sweep(
            columns['sweep'], columns['id'], columns['kind'] == KINDS.index('object')
        ),
        features=features_in(columns),
        described={name: columns[name] for name in DESCRIBED},
    )


def features_in(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Return the features among a table's columns, by group."""
    return {
        name.removeprefix(FEATURE): values
        for name, values in columns.items()
        if name.startswith(FEATURE)
    }


def read_segments(plan: DrivePlan, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return columns of all segments of a drive, or some of them.

    `frame` is counted through all cameras, (S,) int64, and ascending.
    """
    parts = []
    for part in plan.ranges:
        columns = read_columns(plan.path(part, 'segments'), names)
        if 'frame' in columns:
            columns['frame'] = columns['frame'].astype(np.int64) + plan.frames_before(part.camera)
        parts.append(columns)
    return joined(parts)


def joined(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the concatenation of tables with the same columns."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def read_rows(plan: DrivePlan, frame: NDArray[np.int64], content: str) -> NDArray[np.int64]:
    """Return the rows of a drive's table referred to by the tables of its ranges.

    Args:
        plan: the drive.
        frame: (S,) of each segment, see `SegmentTable`.
        content: `matches` or `seen_through`.

    Returns:
        (L, 2) or (L, 1), as many as columns.
    """
    first_row = np.searchsorted(frame, np.arange(sum(plan.frames.values())))
    found = []
    for part in plan.ranges:
        columns = read_columns(plan.path(part, content))
        of_frame = first_row[plan.frames_before(part.camera) :]
        found.append(
            np.stack(
                [
                    of_frame[rows // ROWS_A_FRAME] + rows % ROWS_A_FRAME
                    for rows in columns.values()
                ],
                axis=1,
            )
        )
    return np.concatenate(found)
