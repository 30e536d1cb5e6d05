"""Pseudo-classes: look-alike segments of all frames, found by k-means and drawn as pseudo-labels.

Road, raised ground and sky are classes by themselves; k-means has objects only.
"""

from __future__ import annotations

import hashlib
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
from drive_segment_ros.parameters import to_flat
from offline_training.common.classes import CLASSES_FILE, default_classes, save_classes
from offline_training.common.files import read_object, write_json, write_png
from offline_training.common.frame_selection import parse_slice, select_frames
from offline_training.pseudo_labels.assignment import Assignment, LabelParameters, cluster
from offline_training.pseudo_labels.class_statistics import class_statistics
from offline_training.pseudo_labels.consistency import consistency
from offline_training.pseudo_labels.features import choose_features
from offline_training.pseudo_labels.gallery import write_galleries
from offline_training.pseudo_labels.label_coverage import coverage_of_drives, coverage_warnings
from offline_training.pseudo_labels.segment_table import SegmentTable, collect
from offline_training.pseudo_labels.stuff_classes import NO_STUFF

_log = logging.getLogger(__name__)

PSEUDO_CLASSES_FOLDER = 'pseudo_classes'
STATISTICS_FILE = 'statistics.json'


def label(
    datasets: Sequence[Path],
    parameters: LabelParameters,
    progress: Callable[[str], Callable[[Iterable], Iterable]],
) -> dict[str, Any]:
    """Find pseudo-classes and write `pseudo_label/*.png`, galleries and statistics.

    Args:
        datasets: folders of drives, which get the same classes.
        parameters: features, number of classes, clustering.
        progress: makes a function that shows how far an iteration has come, from its name.

    Returns:
        `datasets`, `classes`, `features`, `frames`, `segments`, `labelled_fraction`, `inertia`,
        `consistency` (see `consistency.consistency`), `coverage` of each camera of each drive
        (see `label_coverage`) and `warnings` about it, which are logged too.

    Raises:
        DatasetError: if there is no segment to cluster.
    """
    for path in label_folders(datasets):
        if path.is_symlink():
            raise DatasetError(f'{path} is a link, and labels are not written through links')
    dataset = Dataset(*datasets)
    cameras = select_frames(dataset, cameras=parameters.cameras)
    frames = [frame for camera in cameras for frame in camera]
    features = choose_features(parameters.features)
    table = collect(cameras, features, progress('describing'))
    learned = _in_slice(cameras, parse_slice(parameters.frames))[table.frame]
    if not learned.any():
        frames_learned = f'frames {parameters.frames} hold' if parameters.frames else 'it holds'
        raise DatasetError(f'{dataset}: {frames_learned} no segment to cluster')
    found = cluster(table, learned, parameters)
    folders = [path / PSEUDO_CLASSES_FOLDER for path in dataset.paths]
    for folder in folders:
        # Killed between old and new labels, the dataset must not pass for a labelled one.
        for name in (CLASSES_FILE, STATISTICS_FILE):
            (folder / name).unlink(missing_ok=True)
        for picture in (folder / 'gallery').glob('class_*.png'):
            picture.unlink()
    labelled = write_pseudo_labels(frames, table, found.label, progress('labelling'))
    objects = table.stuff == NO_STUFF
    coverage = coverage_of_drives(
        cameras, labelled, np.bincount(table.frame[objects], minlength=len(frames))
    )
    report: dict[str, Any] = {
        'datasets': [str(path) for path in dataset.paths],
        'classes': parameters.classes,
        'features': features.name,
        'frames': len(frames),
        'segments': len(table.id),
        'labelled_fraction': round(float(labelled.mean()), 4),
        'inertia': round(found.inertia, 6),
        'consistency': round(_consistency(frames, table, found), 4),
        'coverage': [drive.summary() for drive in coverage],
        'warnings': coverage_warnings(coverage),
    }
    for warning in report['warnings']:
        _log.warning('%s', warning)
    statistics = {
        **report,
        'labelling': _fingerprint(table, found),
        'parameters': to_flat(parameters),
        'class_statistics': class_statistics(table, found.label, parameters.classes),
    }
    for folder in folders:
        save_classes(folder / CLASSES_FILE, default_classes(parameters.classes))
        write_galleries(folder / 'gallery', frames, table, found.label, parameters.classes)
        write_json(folder / STATISTICS_FILE, statistics)
    return report


def label_folders(datasets: Sequence[Path]) -> list[Path]:
    """Return the folders of datasets that `label` writes to."""
    folders = []
    for dataset in datasets:
        classes = dataset / PSEUDO_CLASSES_FOLDER
        folders += [classes, classes / 'gallery']
        folders += [
            drive.path / camera / 'pseudo_label'
            for drive in Dataset(dataset).drives
            for camera in drive.info['cameras']
        ]
    return folders


def classes_of(datasets: Sequence[Path]) -> Path:
    """Return the file that names the classes of datasets that were labelled together.

    Raises:
        DatasetError: if they were not: a number is another class in each.
    """
    first, *others = (path / PSEUDO_CLASSES_FOLDER for path in datasets)
    if others:
        found = [read_object(folder / STATISTICS_FILE).get('labelling') for folder in others]
        mine = read_object(first / STATISTICS_FILE).get('labelling')
        for folder, labelling in zip(others, found, strict=True):
            if labelling != mine:
                raise DatasetError(
                    f'{folder.parent} and {first.parent} were not labelled together, so that '
                    'their pseudo-classes differ; run `drive-segment label` on both at once'
                )
    return first / CLASSES_FILE


def _consistency(frames: Sequence[FrameRecord], table: SegmentTable, found: Assignment) -> float:
    objects = table.stuff == NO_STUFF
    when = np.array([frame.stamp_ns for frame in frames], np.int64)[table.frame]
    return consistency(
        found.label_alone[objects],
        table.track[objects],
        when[objects],
        np.sqrt(table.pixels[objects]),
    )


def _fingerprint(table: SegmentTable, found: Assignment) -> str:
    """Return a hash of which segment got which class: labels of one run have the same."""
    digest = hashlib.sha256()
    for column in (table.frame, table.id, found.label.astype(np.int64)):
        digest.update(column.tobytes())
    return digest.hexdigest()[:16]


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
