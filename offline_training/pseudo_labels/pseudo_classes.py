"""Pseudo-classes: similar segments of all frames, found by k-means and drawn as pseudo-labels.

Workers describe, track and label each drive separately; in between, classes are fitted in one
process on a sample of bounded size.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from drive_segment_ros.dataset.label_sets import check_set_name, classes_folder, label_folder
from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.parameters import to_flat
from offline_training.common.classes import (
    CLASSES_FILE,
    ClassName,
    default_classes,
    save_classes,
)
from offline_training.common.engine import Engine, open_engine
from offline_training.common.files import read_object, write_json
from offline_training.common.frame_selection import parse_slice
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.consistency import consistency
from offline_training.pseudo_labels.describe import DescribeJob, describe
from offline_training.pseudo_labels.drive_plan import (
    SEGMENTS_FOLDER,
    DrivePlan,
    plan_drives,
)
from offline_training.pseudo_labels.earlier_classes import (
    EarlierClasses,
    keep_numbers,
    load_earlier,
)
from offline_training.pseudo_labels.features import choose_features
from offline_training.pseudo_labels.fit import fit
from offline_training.pseudo_labels.gallery import (
    GALLERY_FOLDER,
    GALLERY_PAGE,
    draw_galleries,
    write_galleries,
)
from offline_training.pseudo_labels.label_coverage import DriveCoverage, coverage_warnings
from offline_training.pseudo_labels.label_drive import (
    AssignJob,
    DriveLabels,
    PaintJob,
    label_segments,
    paint,
)
from offline_training.pseudo_labels.model import MODEL_FILE, ClassModel
from offline_training.pseudo_labels.sampling import SampleJob, join_samples, sample, track

_log = logging.getLogger(__name__)

STATISTICS_FILE = 'statistics.json'
Progress = Callable[[str], Callable[[Iterable], Iterable]]
Result = TypeVar('Result')


def label(
    datasets: Sequence[Path],
    parameters: LabelParameters,
    progress: Progress,
    workers: int = 1,
    scheduler: str = '',
    labels: str = '',
    like: Path | None = None,
) -> dict[str, Any]:
    """Find pseudo-classes and write `pseudo_label/*.png`, galleries and statistics.

    The labels do not depend on the workers. The set's labels of cameras that are not chosen are
    removed, unless they have the classes of `like`, whose numbers are kept.

    Args:
        datasets: folders of drives, which get the same classes.
        parameters: features, number of classes, clustering.
        progress: returns a function that shows the progress of an iteration, given its name.
        workers, scheduler: see `open_engine`.
        labels: name of the set to write, see `label_sets`; empty for the one beside the frames.
        like: a dataset or a run whose classes keep their numbers and names, see
            `earlier_classes`; it may be one of the datasets.

    Returns:
        `datasets`, `labels`, `classes` (those kept from earlier included), `new_classes`,
        `features`, `frames`, `segments`, `labelled_fraction`, `inertia`, `consistency` (see
        `consistency.consistency`), `coverage` of each camera of each drive (see
        `label_coverage`) and `warnings` about it, which are logged too.

    Raises:
        DatasetError: if there is no segment to cluster, or `like` has no classes.
    """
    check_set_name(labels)
    for path in label_folders(datasets, labels):
        if path.is_symlink():
            raise DatasetError(f'{path} is a link; labels are not written through links')
    dataset = Dataset(*datasets)
    learned = parse_slice(parameters.frames)
    features = choose_features(parameters.features).name
    folders = [classes_folder(path, labels) for path in dataset.paths]
    earlier = None if like is None else load_earlier(like)
    with open_engine(workers, scheduler, [describe.__module__]) as engine:
        plans = plan_drives(dataset, parameters.cameras, engine.parallel, labels=labels)
        _describe(engine, plans, features, progress('describing'))
        model, names, inertia = _learn(engine, plans, learned, parameters, earlier, progress)
        # Labels of other cameras would have the numbers of other classes.
        kept = earlier is not None and all(_is_labelled_by(earlier, one) for one in folders)
        chosen = () if kept else parameters.cameras
        _unlabel(folders, _other_labels(dataset, chosen, labels))
        for folder in folders:
            model.save(folder / MODEL_FILE)
        file = folders[0] / MODEL_FILE
        jobs = [AssignJob(plan, file, learned, parameters, len(names)) for plan in plans]
        found, coverage = _label(engine, plans, jobs, progress)
    share = np.concatenate([camera.labelled for camera in coverage])
    report: dict[str, Any] = {
        'datasets': [str(path) for path in dataset.paths],
        'labels': labels,
        'classes': len(names),
        'new_classes': len(names) - (len(earlier.names) if earlier else 0),
        'features': features,
        'frames': len(share),
        'segments': found.segments,
        'labelled_fraction': round(float(share.mean()), 4),
        'inertia': round(inertia, 6),
        'consistency': round(consistency(found.joint), 4),
        'coverage': [camera.summary() for camera in coverage],
        'warnings': coverage_warnings(coverage),
    }
    for warning in report['warnings']:
        _log.warning('%s', warning)
    statistics = {
        **report,
        'labelling': found.fingerprint(),
        'parameters': to_flat(parameters),
        'class_statistics': found.counts.statistics(),
    }
    things = found.counts.things()
    names = [dataclasses.replace(n, thing=thing) for n, thing in zip(names, things, strict=True)]
    pictures = draw_galleries(found.exhibits, len(names))
    for folder in folders:
        save_classes(folder / CLASSES_FILE, names)
        write_galleries(folder / GALLERY_FOLDER, pictures)
        write_json(folder / STATISTICS_FILE, statistics)
    return report


def label_folders(datasets: Sequence[Path], labels: str = '') -> list[Path]:
    """Return the folders of datasets in which `label` writes a set."""
    folders = []
    for dataset in datasets:
        classes = classes_folder(dataset, labels)
        folders += [classes, classes / GALLERY_FOLDER, classes / SEGMENTS_FOLDER]
        for drive in Dataset(dataset).drives:
            folders.append(classes / SEGMENTS_FOLDER / drive.name)
            folders += [label_folder(drive.path, name, labels) for name in drive.info['cameras']]
    return folders


def classes_of(datasets: Sequence[Path], labels: str = '') -> Path:
    """Return the folder of the classes of datasets that were labelled together, in one set.

    Raises:
        DatasetError: if they were labelled separately: their numbers denote different classes.
    """
    first, *others = (classes_folder(path, labels) for path in datasets)
    if others:
        found = [read_object(folder / STATISTICS_FILE).get('labelling') for folder in others]
        mine = read_object(first / STATISTICS_FILE).get('labelling')
        for dataset, labelling in zip(datasets[1:], found, strict=True):
            if labelling != mine:
                raise DatasetError(
                    f'{dataset} and {datasets[0]} were not labelled together, so that '
                    'their pseudo-classes differ; run `drive-segment label` on both at once'
                )
    return first


def _describe(
    engine: Engine,
    plans: Sequence[DrivePlan],
    features: str,
    progress: Callable[[Iterable], Iterable],
) -> None:
    """Remove the tables of an earlier run, which may have other ranges, and describe frames."""
    for plan in plans:
        for table in plan.tables.glob('*.parquet'):
            table.unlink()
    jobs = [DescribeJob(plan, part, features) for plan in plans for part in plan.ranges]
    for _ in _shown(engine.map(describe, jobs), jobs, progress):
        pass


def _learn(
    engine: Engine,
    plans: Sequence[DrivePlan],
    learned: slice,
    parameters: LabelParameters,
    earlier: EarlierClasses | None,
    progress: Progress,
) -> tuple[ClassModel, list[ClassName], float]:
    """Track the objects of each drive, and fit classes to a sample of them."""
    jobs = [SampleJob(plan, learned, parameters.follow_tracks, parameters.seed) for plan in plans]
    tracked = _shown(engine.map(track, jobs), jobs, progress('tracking'))
    candidates = functools.reduce(operator.add, tracked)
    if not candidates.learned:
        frames = f'frames {parameters.frames} have' if parameters.frames else 'it has'
        names = ', '.join(dict.fromkeys(str(plan.drive.parent) for plan in plans))
        raise DatasetError(f'{names}: {frames} no segment to cluster')
    limit = candidates.limit()
    jobs = [dataclasses.replace(job, limit=limit) for job in jobs]
    taken = join_samples(list(_shown(engine.map(sample, jobs), jobs, progress('sampling'))))
    model, inertia = fit(taken, candidates.stuff, parameters)
    if earlier is None:
        return model, default_classes(parameters.classes), inertia
    return *keep_numbers(model, earlier, taken), inertia


def _other_labels(dataset: Dataset, cameras: Sequence[str], labels: str) -> list[Path]:
    """Return the folders of the labels of all but some cameras; none if there is no choice."""
    return [
        label_folder(drive.path, name, labels)
        for drive in dataset.drives
        for name in drive.info['cameras']
        if cameras and name not in cameras
    ]


def _is_labelled_by(earlier: EarlierClasses, folder: Path) -> bool:
    """Return whether a folder of classes is empty or has exactly the earlier ones."""
    file = folder / MODEL_FILE
    return not file.exists() or file.read_bytes() == (earlier.source / MODEL_FILE).read_bytes()


def _unlabel(folders: Sequence[Path], others: Sequence[Path]) -> None:
    """Remove the file of classes, so that an interrupted labelling does not look complete.

    Args:
        folders: of classes.
        others: of pseudo-labels that the new classes do not apply to, which are removed too.
    """
    for folder in others:
        for file in folder.glob('*.png'):
            file.unlink()
    for folder in folders:
        for name in (CLASSES_FILE, STATISTICS_FILE, MODEL_FILE, GALLERY_PAGE):
            (folder / name).unlink(missing_ok=True)
        for picture in (folder / GALLERY_FOLDER).glob('class_*.*'):
            picture.unlink()


def _label(
    engine: Engine,
    plans: Sequence[DrivePlan],
    jobs: Sequence[AssignJob],
    progress: Progress,
) -> tuple[DriveLabels, list[DriveCoverage]]:
    """Assign classes to the segments of each drive, and write the labels of each range."""
    assigned = _shown(engine.map(label_segments, jobs), jobs, progress('assigning'))
    found = functools.reduce(operator.add, assigned)
    ranges = [PaintJob(plan, part) for plan in plans for part in plan.ranges]
    painted = _shown(engine.map(paint, ranges), ranges, progress('labelling'))
    labelled = np.concatenate(list(painted))
    coverage, first = [], 0
    for plan in plans:
        for camera, count in plan.frames.items():
            own = slice(first, first + count)
            first = own.stop
            if count:
                name = f'{plan.drive.name}/{camera}'
                coverage.append(DriveCoverage(name, labelled[own], found.objects[own]))
    return found, coverage


def _shown(
    results: Iterator[Result], jobs: Sequence[Any], progress: Callable[[Iterable], Iterable]
) -> Iterator[Result]:
    """Yield the results of jobs and show their progress."""
    for _, result in zip(progress(jobs), results, strict=True):
        yield result
