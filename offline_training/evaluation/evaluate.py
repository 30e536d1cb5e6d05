"""Scores a model on labelled images; writes scores, confusion matrix and matching."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.inference.model import DESCRIPTION_FILE
from drive_segment_ros.progress import several_at_a_time
from offline_training.common.engine import Engine, open_engine
from offline_training.common.files import absolute, write_atomic, write_json
from offline_training.common.workers import WorkerDiedError
from offline_training.evaluation.answers import Answers, SomeAnswers, load_answers
from offline_training.evaluation.baseline import BASELINE_FILE
from offline_training.evaluation.confusion_picture import confusion_picture
from offline_training.evaluation.drive_truth import joined, load_labelled
from offline_training.evaluation.evaluation import (
    UNMATCHED,
    Matching,
    confusion_matrix,
    match,
    report,
    score,
)
from offline_training.evaluation.ground_truth import GroundTruth
from offline_training.evaluation.label_space import OWN
from offline_training.evaluation.predictors import enough_workers
from offline_training.pseudo_labels.merged_classes import find_merges, pool_rows

# Files written by `evaluate`.
SCORE_FILES = ('scores.json', 'confusion.json', 'confusion.png')
# Tolerance of the aspect ratio, for scaled images and labels whose sizes were rounded.
_ASPECT_TOLERANCE = 0.02
_IMAGES_A_JOB = 16


def evaluate(
    model: Path,
    images: Path,
    truth: Path,
    layout: str = 'folder',
    frames: str = '',
    match_frames: str | None = None,
    zoom: int = 1,
    output: Path | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    workers: int = 0,
    scheduler: str = '',
    label_space: str = OWN,
    labels: str = '',
) -> dict[str, Any]:
    """Score a model, or label images of any origin.

    Args:
        model: a model, see `load_predictor`; a folder of label images named after the images, in
            equal subfolders or all in one folder; or a drive or dataset with pseudo-labels.
        images: folder of images, or a drive or dataset.
        truth: folder of labels.
        layout: of both, see `ground_truth.LAYOUTS`; of a drive, see `load_drive_truth`.
        frames: which of the labelled images, in order of name and of each camera, FIRST:LAST.
        match_frames: fit the matching on these images instead of the scored ones.
        zoom: see `NetworkPredictor`.
        output: folder for `scores.json`, `confusion.json`, `confusion.png`; None writes nothing.
        progress: wraps an iterable to show its progress.
        workers, scheduler: see `open_engine` and `enough_workers`; they do not affect the scores.
        label_space: the classes to score in, see `label_space`.
        labels: name of the set of pseudo-labels to score of a drive or dataset.

    Returns:
        The three scores, `merged` (the scores of predictions merged to the number of classes
        present, if the model or the labels have a hierarchy, see `linkage`), `classes_present`,
        `k`, `images`, `label_space`, `matching_learned_on`; and for several cameras `cameras`, the
        scores and images of each with the same matching.

    Raises:
        DatasetError, ModelError: if the input cannot be read or no image is left.
    """
    # Workers may have other working directories.
    model, images, truth = absolute(model), absolute(images), absolute(truth)
    cameras = load_labelled(layout, images, truth, frames, label_space)
    images_in_all = sum(len(part.images) for part in cameras.values())
    with open_engine(enough_workers(workers, images_in_all), scheduler) as engine:
        answers = load_answers(model, engine, zoom, threads=1, labels=labels)
        counts = {
            name: count_labelled(answers, part, progress, engine) for name, part in cameras.items()
        }
        labelled, confusion = joined(cameras), np.sum(list(counts.values()), axis=0)
        learned_on = confusion
        if match_frames is not None:
            others = joined(load_labelled(layout, images, truth, match_frames, label_space))
            learned_on = count_labelled(answers, others, progress, engine)
    matching = match(learned_on)

    def scored(counted: NDArray[np.int64]) -> dict[str, Any]:
        return report(score(counted, matching), labelled.classes, len(counted) - 1)

    result = scored(confusion)
    # Exported models may be merged already, and a baseline has other classes.
    own = not any((model / name).is_file() for name in (DESCRIPTION_FILE, BASELINE_FILE))
    merges = find_merges(model, labels)
    if own and len(merges):
        pooled, pooled_learned_on = (
            pool_rows(counted, merges, result['classes_present'])
            for counted in (confusion, learned_on)
        )
        scores = score(pooled, match(pooled_learned_on))
        result['merged'] = report(scores, labelled.classes, len(pooled) - 1)
    if len(cameras) > 1:
        result['cameras'] = {
            name: {**scored(counts[name]), 'images': len(part.images)}
            for name, part in cameras.items()
        }
    result['images'] = len(labelled.images)
    result['label_space'] = label_space
    result['matching_learned_on'] = (
        'scored images' if match_frames is None else match_frames or 'all labelled images'
    )
    if output is not None:
        write_json(output / 'scores.json', result)
        write_json(output / 'confusion.json', _confusion_json(confusion, matching, labelled))
        write_atomic(
            output / 'confusion.png', confusion_picture(confusion, matching, labelled.classes)
        )
    return result


def count_confusion(
    model: Path,
    images: Path,
    truth: Path,
    layout: str,
    frames: str = '',
    zoom: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
    label_space: str = OWN,
) -> tuple[NDArray[np.int64], GroundTruth]:
    """Count pixels by pseudo-class and class over labelled images, see `evaluate`.

    Returns:
        (K + 1, C) as of `confusion_matrix`, and the labelled images that were counted.
    """
    labelled = joined(load_labelled(layout, images, truth, frames, label_space))
    with open_engine(1) as engine:
        answers = load_answers(model, engine, zoom)
        return count_labelled(answers, labelled, progress, engine), labelled


def count_labelled(
    answers: Answers,
    labelled: GroundTruth,
    progress: Callable[[Iterable], Iterable],
    engine: Engine,
) -> NDArray[np.int64]:
    """Count pixels by pseudo-class and class, (K + 1, C); see `count_images`."""
    return np.sum(count_images(answers, labelled, progress, engine), axis=0)


def count_images(
    answers: Answers,
    labelled: GroundTruth,
    progress: Callable[[Iterable], Iterable],
    engine: Engine,
) -> NDArray[np.int64]:
    """Count each image's pixels by pseudo-class and class, (N, K + 1, C) as `confusion_matrix`.

    Raises:
        DatasetError, ModelError: if something cannot be read, a label image has another aspect
            ratio than its image, or no pixel has a label.
        WorkerDiedError: if a job crashes its worker processes.
    """
    images = labelled.images
    jobs = (
        _counting(answers, dataclasses.replace(labelled, images=images[k : k + _IMAGES_A_JOB]))
        for k in range(0, len(images), _IMAGES_A_JOB)
    )
    counted: list[NDArray[np.int64]] = []
    with several_at_a_time(progress(images)) as advance:
        for outcome in engine.run(_count, jobs):
            if isinstance(outcome.error, WorkerDiedError):
                first, last = (outcome.job.labelled.images[k].image_path for k in (0, -1))
                raise WorkerDiedError(f'images {first} to {last}: {outcome.error}')
            if outcome.error is not None:
                raise outcome.error
            assert outcome.result is not None
            counted.append(outcome.result)
            advance(len(outcome.job.labelled.images))
    if not any(part.any() for part in counted):
        raise DatasetError(f'no pixel of the {len(images)} labelled images has a label')
    return np.concatenate(counted)


@dataclasses.dataclass(frozen=True)
class _Counting:
    """A job: some labelled images and their predictions."""

    answers: SomeAnswers
    labelled: GroundTruth


def _counting(answers: Answers, labelled: GroundTruth) -> _Counting:
    return _Counting(answers.of([item.image_path for item in labelled.images]), labelled)


def _count(job: _Counting) -> NDArray[np.int64]:
    """Count the pixels of a job's images, see `count_images`."""
    pseudo_classes, classes = job.answers.pseudo_classes, len(job.labelled.classes)
    counted = []
    for item in job.labelled.images:
        truth = job.labelled.label(item)
        predicted, shape = job.answers.predict(item.image_path)
        if abs(shape[0] * truth.shape[1] / (shape[1] * truth.shape[0]) - 1.0) > _ASPECT_TOLERANCE:
            raise DatasetError(
                f'{item.label_path} is {truth.shape[1]}x{truth.shape[0]}, but its image '
                f'{item.image_path} is {shape[1]}x{shape[0]}'
            )
        counted.append(confusion_matrix(predicted, truth, pseudo_classes, classes))
    return np.stack(counted)


def image_name(path: Path) -> str:
    """Return the last four components of an image's path, which identify it in a dataset.

    They name the scored images independently of the dataset's location.
    """
    return '/'.join(path.parts[-4:])


def _confusion_json(
    confusion: NDArray[np.int64], matching: Matching, labelled: GroundTruth
) -> dict[str, Any]:
    def named(classes: NDArray[np.intp]) -> list[str | None]:
        return [None if index == UNMATCHED else labelled.classes[index] for index in classes]

    return {
        # By these, a reader of the scores can check whether images were used for training.
        'images': [image_name(item.image_path) for item in labelled.images],
        'classes': labelled.classes,
        'pixels': confusion[:-1].tolist(),
        'pixels_without_prediction': confusion[-1].tolist(),
        'one_to_one': named(matching.one_to_one),
        'many_to_one': named(matching.many_to_one),
    }
