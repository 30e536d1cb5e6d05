"""Which pseudo-class each segment gets: fine clusters of objects, merged, by many votes.

Road, raised ground and sky are classes by themselves; k-means has objects only.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.parameters import parameter
from offline_training.pseudo_labels.consensus import find_consensus
from offline_training.pseudo_labels.cross_frame_matches import mean_over_matches
from offline_training.pseudo_labels.features import Scaling
from offline_training.pseudo_labels.kmeans import kmeans, nearest
from offline_training.pseudo_labels.merging import merge_clusters
from offline_training.pseudo_labels.segment_table import SegmentTable
from offline_training.pseudo_labels.stuff_classes import NO_STUFF

# Fine clusters hold at least this many objects on average.
OBJECTS_A_CLUSTER = 10
_OBJECT_POWER = 0.75


@dataclasses.dataclass(frozen=True)
class LabelParameters:
    """How pseudo-classes are found."""

    classes: int = parameter(
        30, 'Number of pseudo-classes K; 30 as published.', minimum=4, maximum=254
    )
    features: str = parameter(
        'auto', 'auto, descriptor, or a transformers backbone by name or folder.'
    )
    frames: str = parameter(
        '',
        'Frames of each camera of each drive the classes are learned from, FIRST:LAST; all get '
        'labels.',
    )
    cameras: list[str] = parameter(  # noqa: RUF009
        [], 'Cameras that are learned from and get labels, by name; empty is all.'
    )
    follow_tracks: bool = parameter(
        True,
        'One class for an object through time: classes are made of the mean features of its '
        'segments, and a segment takes its class from all views of what it shows.',
    )
    fine_clusters: int = parameter(
        200, 'Clusters k-means makes of objects, merged into the classes; 0 merges none.',
        minimum=0,
    )  # fmt: skip
    restarts: int = parameter(
        30, 'How often k-means starts; classes are what most of its results agree on.', minimum=1
    )
    seed: int = parameter(0, 'Of k-means.', minimum=0, maximum=2**31 - 1)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The pseudo-class of every segment.

    Attributes:
        label: (S,) pseudo-class; stuff classes come first.
        label_alone: (S,) the one it would get by its own features, whatever its track.
        inertia: of the objects learned from, in the fine clusters; mean of all starts.
    """

    label: NDArray[np.intp]
    label_alone: NDArray[np.intp]
    inertia: float


def cluster(
    table: SegmentTable, learned: NDArray[np.bool_], parameters: LabelParameters
) -> Assignment:
    """Assign a pseudo-class to every segment.

    Args:
        table: all segments.
        learned: (S,) which of them the classes are learned from.
        parameters: number of classes, clustering.
    """
    present = np.setdiff1d(table.stuff[learned], [NO_STUFF])
    # A stuff class that what is learned from does not show is treated as objects are.
    objects = ~np.isin(table.stuff, present)
    assigned = np.searchsorted(present, table.stuff)
    first = len(present)
    if not (objects & learned).any():
        assigned[objects] = first
        return Assignment(assigned, assigned, 0.0)
    scaling = Scaling.learn(
        {name: part[objects & learned] for name, part in table.features.items()}
    )
    alone = scaling.apply({name: part[objects] for name, part in table.features.items()})
    track = table.track[objects] if parameters.follow_tracks else np.arange(len(alone))
    pixels = table.pixels[objects]
    inside = learned[objects]
    # What is learned from is what was seen in the frames to learn from, not later.
    counted = inside | ~np.isin(track, track[inside])
    of_track = track_means(alone, track, np.where(counted, np.sqrt(pixels), 0.0))
    _, seen, owner = np.unique(track[inside], return_index=True, return_inverse=True)
    known = of_track[inside][seen]
    weight = object_weight(owner.reshape(-1), pixels[inside])
    count = parameters.classes - first
    # Links between clusters mean something if a cluster holds some objects.
    most = min(parameters.fine_clusters, len(known) // OBJECTS_A_CLUSTER)
    groupings = [
        _grouping(known, weight, max(most, count), count, parameters.seed * 1000 + start)
        for start in range(parameters.restarts)
    ]

    def votes(rows: NDArray[np.float32]) -> NDArray[np.intp]:
        return np.stack([group[nearest(rows, centres)[0]] for centres, group, _ in groupings], 1)

    consensus = find_consensus(votes(known), weight, count, parameters.seed)
    assigned_alone = assigned.copy()
    assigned_alone[objects] = first + consensus.label(votes(alone))
    row = np.cumsum(objects) - 1
    matches, in_sweep = (
        row[pairs if parameters.follow_tracks else pairs[:0]]
        for pairs in (table.matches, table.in_sweep)
    )
    views = mean_over_matches(np.concatenate([matches, in_sweep]), np.sqrt(pixels), inside)
    # What was found at no other time looks as its track does.
    found = np.diff(mean_over_matches(matches, np.sqrt(pixels), inside).indptr) > 1
    looks = np.where(found[:, None], alone, of_track)
    share = consensus.share(votes((views @ (views @ looks)).astype(np.float32)))
    assigned[objects] = first + (views @ (views @ share)).argmax(axis=1)
    inertia = float(np.mean([inertia for _, _, inertia in groupings]))
    return Assignment(assigned, assigned_alone, inertia)


def _grouping(
    known: NDArray[np.float32], weight: NDArray[np.float32], fine: int, count: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.intp], float]:
    """Cluster finely and merge; return the fine centres, the group of each, and the inertia."""
    clusters = kmeans(known, fine, seed, weight, restarts=1)
    used, cluster = np.unique(nearest(known, clusters.centres)[0], return_inverse=True)
    group = merge_clusters(known, weight, cluster, count, seed=seed)
    return clusters.centres[used], group, clusters.inertia


def track_means(
    values: NDArray[np.float32], track: NDArray[np.int64], weight: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Replace each row by the weighted mean of its track's rows, (S, D)."""
    total = np.bincount(track, weight)
    sums = np.stack([np.bincount(track, column * weight) for column in values.T], axis=1)
    return (sums[track] / total[track, None]).astype(np.float32)


def object_weight(owner: NDArray[np.intp], pixels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how much each object counts, mean 1: by the pixels it covers in all frames.

    To a power below 1: what is large must not drown what is small. Counted alike, hundreds of
    crumbs of facades and foliage would decide the classes.

    Args:
        owner: (S,) object of each segment, 0 to T - 1.
        pixels: (S,) pixels of each segment.
    """
    weight = np.bincount(owner, pixels) ** _OBJECT_POWER
    return (weight / weight.mean()).astype(np.float32)
