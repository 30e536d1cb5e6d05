"""Assigns a pseudo-class to each segment: by its features, and by all views of its object."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.parameters import parameter
from offline_training.pseudo_labels.cross_frame_matches import counted_matches, mean_over_matches
from offline_training.pseudo_labels.model import ClassModel
from offline_training.pseudo_labels.segment_table import SegmentTable


@dataclasses.dataclass(frozen=True)
class LabelParameters:
    """Parameters of labelling."""

    classes: int = parameter(
        30, 'Number of pseudo-classes K; 30 as published.', minimum=4, maximum=254
    )
    features: str = parameter(
        'auto', 'auto, descriptor, or name or folder of a transformers backbone.'
    )
    frames: str = parameter(
        '',
        'Frames of each camera of each drive on which classes are fitted, FIRST:LAST; all frames '
        'get labels.',
    )
    cameras: list[str] = parameter(  # noqa: RUF009
        [], 'Cameras on which classes are fitted and that get labels, by name; empty for all.'
    )
    follow_tracks: bool = parameter(
        True,
        'One class for an object over time: classes are fitted on the mean features of tracks, '
        'and the class of a segment combines all views of its object.',
    )
    fine_clusters: int = parameter(
        200, 'Number of k-means clusters that are merged into the classes; 0 for no merging.',
        minimum=0,
    )  # fmt: skip
    restarts: int = parameter(
        30, 'Number of k-means runs, of which the classes are the consensus.', minimum=1
    )
    seed: int = parameter(0, 'Seed of k-means.', minimum=0, maximum=2**31 - 1)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The pseudo-class of every segment.

    Attributes:
        label: (S,) pseudo-class.
        label_alone: (S,) the one it would get by its own features, without its track.
    """

    label: NDArray[np.intp]
    label_alone: NDArray[np.intp]


def assign(
    table: SegmentTable, learned: NDArray[np.bool_], model: ClassModel, follow_tracks: bool = True
) -> Assignment:
    """Assign a pseudo-class to every segment of a drive, independently of other drives.

    Args:
        table: all its segments.
        learned: (S,) which of them the classes were fitted on.
        model: the classes.
        follow_tracks: see `LabelParameters`.
    """
    # A stuff class that does not occur in the fitted data is treated like objects.
    objects = ~np.isin(table.stuff, model.stuff)
    first = len(model.stuff)
    assigned = np.searchsorted(model.stuff, table.stuff)
    assigned[objects] = first
    if len(model.centres) == 0 or not objects.any():
        return Assignment(model.number[assigned], model.number[assigned])
    alone = model.scaling.apply({name: part[objects] for name, part in table.features.items()})
    assigned_alone = assigned.copy()
    assigned_alone[objects] += model.share_of(alone).argmax(axis=1)
    track = table.track[objects] if follow_tracks else np.arange(len(alone))
    size = np.sqrt(table.pixels[objects])
    inside = learned[objects]
    # Fitted segments are assigned from views in the fitted frames only.
    known = np.zeros(int(track.max()) + 1, bool)
    known[track[inside]] = True
    of_track = track_means(alone, track, np.where(inside | ~known[track], size, 0.0))
    row = np.cumsum(objects) - 1
    matches, in_sweep = (
        counted_matches(row[pairs if follow_tracks else pairs[:0]], inside)
        for pairs in (table.matches, table.in_sweep)
    )
    views = mean_over_matches(np.concatenate([matches, in_sweep]), size)
    # Segments without matches get the features of their track.
    found = np.zeros(len(alone), bool)
    found[matches[:, 0]] = True
    looks = np.where(found[:, None], alone, of_track)
    share = model.share_of(views @ (views @ looks))
    assigned[objects] += (views @ (views @ share)).argmax(axis=1)
    return Assignment(model.number[assigned], model.number[assigned_alone])


def track_means(
    values: NDArray[np.float32], track: NDArray[np.int64], weight: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Replace each row by the weighted mean of its track's rows, (S, D)."""
    total = np.bincount(track, weight)
    sums = np.stack([np.bincount(track, column * weight) for column in values.T], axis=1)
    return (sums[track] / total[track, None]).astype(np.float32)
