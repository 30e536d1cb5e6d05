"""Score a model on labelled images and leave scores, confusion matrix and matching to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError
from offline_training.confusion_picture import confusion_picture
from offline_training.evaluation import (
    UNMATCHED,
    Matching,
    confusion_matrix,
    match,
    report,
    score,
)
from offline_training.files import write_atomic, write_json
from offline_training.frame_selection import parse_slice
from offline_training.ground_truth import (
    IGNORE_LABEL,
    GroundTruth,
    load_ground_truth,
    read_label,
)
from offline_training.image_sources import read_image
from offline_training.prediction import is_model, load_predictor


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
) -> dict[str, Any]:
    """Score a model, or label images made by whatever means.

    Args:
        model: what `load_predictor` takes, or a folder of label images named after the images.
        images: folder of images.
        truth: folder of labels.
        layout: of both, see `ground_truth.LAYOUTS`.
        frames: which of the labelled images, in order of name, FIRST:LAST.
        match_frames: learn the matching on these images instead of on those scored.
        zoom: see `NetworkPredictor`.
        output: folder for `scores.json`, `confusion.json`, `confusion.png`; None writes nothing.
        progress: shows how far an iteration has come.

    Returns:
        The three scores, `classes_present`, `k`, `images`, `matching_learned_on`.

    Raises:
        DatasetError, ModelError: if the input cannot be read or no image is left.
    """
    confusion, labelled = count_confusion(model, images, truth, layout, frames, zoom, progress)
    learned_on = confusion
    if match_frames is not None:
        learned_on, _ = count_confusion(model, images, truth, layout, match_frames, zoom, progress)
    matching = match(learned_on)
    result = report(score(confusion, matching), labelled.classes, len(confusion) - 1)
    result['images'] = len(labelled.images)
    result['matching_learned_on'] = 'scored images' if match_frames is None else match_frames
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
) -> tuple[NDArray[np.int64], GroundTruth]:
    """Count pixels by pseudo-class and class over labelled images, see `evaluate`.

    Returns:
        (K + 1, C) as of `confusion_matrix`, and the labelled images that were counted.
    """
    labelled = _select(load_ground_truth(layout, images, truth), frames)
    return count_labelled(model, labelled, zoom, progress), labelled


def count_labelled(
    model: Path,
    labelled: GroundTruth,
    zoom: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
) -> NDArray[np.int64]:
    """Count pixels by pseudo-class and class, (K + 1, C) as of `confusion_matrix`."""
    predict, pseudo_classes = _source(model, zoom)
    classes = len(labelled.classes)
    total = np.zeros((pseudo_classes + 1, classes), np.int64)
    for item in progress(labelled.images):
        predicted = predict(item.image_path)
        total += confusion_matrix(predicted, labelled.label(item), pseudo_classes, classes)
    return total


def _source(model: Path, zoom: int) -> tuple[Callable[[Path], NDArray[np.uint8]], int]:
    """Return a function from an image's path to its label image, and K."""
    files = {} if is_model(model) else {path.stem: path for path in model.glob('*.png')}
    if files:

        def read(path: Path) -> NDArray[np.uint8]:
            if path.stem not in files:
                raise DatasetError(f'{model} holds no label image for {path.name}')
            return read_label(files[path.stem])

        labels = (read_label(path) for path in files.values())
        return read, 1 + max(int(label[label != IGNORE_LABEL].max(initial=0)) for label in labels)
    predictor = load_predictor(model, zoom)
    return lambda path: predictor.predict(read_image(path)).label, len(predictor.classes)


def _select(labelled: GroundTruth, frames: str) -> GroundTruth:
    chosen = labelled.images[parse_slice(frames)]
    if not chosen:
        raise DatasetError(
            f'frames {frames} holds none of the {len(labelled.images)} labelled images'
        )
    return dataclasses.replace(labelled, images=chosen)


def _confusion_json(
    confusion: NDArray[np.int64], matching: Matching, labelled: GroundTruth
) -> dict[str, Any]:
    def named(classes: NDArray[np.intp]) -> list[str | None]:
        return [None if index == UNMATCHED else labelled.classes[index] for index in classes]

    return {
        'classes': labelled.classes,
        'pixels': confusion[:-1].tolist(),
        'pixels_without_prediction': confusion[-1].tolist(),
        'one_to_one': named(matching.one_to_one),
        'many_to_one': named(matching.many_to_one),
    }
