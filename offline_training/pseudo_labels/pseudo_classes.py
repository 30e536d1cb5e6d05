"""Pseudo-classes: look-alike segments of all frames, found by k-means and drawn as pseudo-labels.

Road, raised ground and sky are classes by themselves; k-means has objects only.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import Dataset, FrameRecord
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.parameters import parameter, to_flat
from offline_training.common.classes import CLASSES_FILE, default_classes, save_classes
from offline_training.common.files import write_json, write_png
from offline_training.common.frame_selection import parse_slice, select_frames
from offline_training.pseudo_labels.class_statistics import class_statistics
from offline_training.pseudo_labels.consensus import find_consensus
from offline_training.pseudo_labels.consistency import consistency
from offline_training.pseudo_labels.cross_frame_matches import mean_over_matches
from offline_training.pseudo_labels.features import Scaling, choose_features
from offline_training.pseudo_labels.gallery import write_galleries
from offline_training.pseudo_labels.kmeans import kmeans, nearest
from offline_training.pseudo_labels.label_coverage import coverage_of_drives, coverage_warnings
from offline_training.pseudo_labels.merging import merge_clusters
from offline_training.pseudo_labels.segment_table import SegmentTable, collect
from offline_training.pseudo_labels.stuff_classes import NO_STUFF

_log = logging.getLogger(__name__)

PSEUDO_CLASSES_FOLDER = 'pseudo_classes'
STATISTICS_FILE = 'statistics.json'
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
        '', 'Frames of each drive the classes are learned from, FIRST:LAST; all get labels.'
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


def label(
    dataset: Path,
    parameters: LabelParameters,
    progress: Callable[[str], Callable[[Iterable], Iterable]],
) -> dict[str, Any]:
    """Find pseudo-classes and write `pseudo_label/*.png`, galleries and statistics.

    Args:
        dataset: folder of drives.
        parameters: features, number of classes, clustering.
        progress: makes a function that shows how far an iteration has come, from its name.

    Returns:
        `dataset`, `classes`, `features`, `frames`, `segments`, `labelled_fraction`, `inertia`,
        `consistency` (see `consistency.consistency`), `coverage` of each drive (see
        `label_coverage`) and `warnings` about it, which are logged too.

    Raises:
        DatasetError: if there is no segment to cluster.
    """
    for path in label_folders(dataset):
        if path.is_symlink():
            raise DatasetError(f'{path} is a link, and labels are not written through links')
    drives = select_frames(Dataset(dataset))
    frames = [frame for drive in drives for frame in drive]
    features = choose_features(parameters.features)
    table = collect(drives, features, progress('describing'))
    chosen = parse_slice(parameters.frames)
    learned = _in_slice(drives, chosen)[table.frame]
    if not learned.any():
        frames_learned = f'frames {parameters.frames} hold' if parameters.frames else 'it holds'
        raise DatasetError(f'{dataset}: {frames_learned} no segment to cluster')
    found = cluster(table, learned, parameters)
    folder = dataset / PSEUDO_CLASSES_FOLDER
    # Killed between old and new labels, the dataset must not pass for a labelled one.
    for name in (CLASSES_FILE, STATISTICS_FILE):
        (folder / name).unlink(missing_ok=True)
    for picture in (folder / 'gallery').glob('class_*.png'):
        picture.unlink()
    labelled = write_pseudo_labels(frames, table, found.label, progress('labelling'))
    save_classes(folder / CLASSES_FILE, default_classes(parameters.classes))
    write_galleries(folder / 'gallery', frames, table, found.label, parameters.classes)
    objects = table.stuff == NO_STUFF
    coverage = coverage_of_drives(
        drives, labelled, np.bincount(table.frame[objects], minlength=len(frames))
    )
    report: dict[str, Any] = {
        'dataset': str(dataset),
        'classes': parameters.classes,
        'features': features.name,
        'frames': len(frames),
        'segments': len(table.id),
        'labelled_fraction': round(float(labelled.mean()), 4),
        'inertia': round(found.inertia, 6),
        'consistency': round(
            consistency(
                found.label_alone[objects],
                table.track[objects],
                table.frame[objects],
                np.sqrt(table.pixels[objects]),
            ),
            4,
        ),
        'coverage': [drive.summary() for drive in coverage],
        'warnings': coverage_warnings(coverage),
    }
    for warning in report['warnings']:
        _log.warning('%s', warning)
    statistics = class_statistics(table, found.label, parameters.classes)
    write_json(
        folder / STATISTICS_FILE,
        {**report, 'parameters': to_flat(parameters), 'class_statistics': statistics},
    )
    return report


def label_folders(dataset: Path) -> list[Path]:
    """Return the folders of a dataset that `label` writes to."""
    classes = dataset / PSEUDO_CLASSES_FOLDER
    drives = [
        drive.path / camera / 'pseudo_label'
        for drive in Dataset(dataset).drives
        for camera in drive.info['cameras']
    ]
    return [classes, classes / 'gallery', *drives]


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
    matches = (np.cumsum(objects) - 1)[table.matches]
    views = mean_over_matches(
        matches if parameters.follow_tracks else matches[:0], np.sqrt(pixels), inside
    )
    # What was found in no other frame looks as its track does.
    found = np.diff(views.indptr) > 1
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


def write_pseudo_labels(
    frames: Sequence[FrameRecord],
    table: SegmentTable,
    assigned: NDArray[np.intp],
    progress: Callable[[Iterable], Iterable] = iter,
) -> NDArray[np.float64]:
    """Write each frame's pseudo-label; return the share of its pixels that got a class, (F,)."""
    order = np.argsort(table.frame, kind='stable')
    bounds = np.searchsorted(table.frame[order], np.arange(len(frames) + 1))
    labelled = np.zeros(len(frames))
    for index, frame in enumerate(progress(frames)):
        rows = order[bounds[index] : bounds[index + 1]]
        class_of_id = np.full(65536, IGNORE_LABEL, np.uint8)
        class_of_id[table.id[rows]] = assigned[rows]
        pseudo_label = class_of_id[frame.segment()]
        pseudo_label[between_classes(pseudo_label)] = IGNORE_LABEL
        write_png(frame.pseudo_label_path, pseudo_label)
        labelled[index] = np.mean(pseudo_label != IGNORE_LABEL)
    return labelled


def between_classes(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels that touch one of another class, (H, W); unknown is no class.

    Where two things meet, neither LiDAR nor superpixels tell to the pixel which is which.

    Args:
        label: (H, W) uint8 pseudo-class, 255 = unknown.
    """
    neighbours = np.ones((3, 3), np.uint8)
    known = label != IGNORE_LABEL
    lowest = cv2.erode(label, neighbours)
    highest = cv2.dilate(np.where(known, label, 0).astype(np.uint8), neighbours)
    return known & (lowest != highest)


def _in_slice(drives: Sequence[Sequence[FrameRecord]], chosen: slice) -> NDArray[np.bool_]:
    """Return for every frame of all drives whether its drive's slice holds it."""
    inside = []
    for drive in drives:
        flags = np.zeros(len(drive), bool)
        flags[chosen] = True
        inside.append(flags)
    return np.concatenate(inside)
