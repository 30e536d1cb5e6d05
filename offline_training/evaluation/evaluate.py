"""Score a model on labelled images and leave scores, confusion matrix and matching to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError, ParameterError
from drive_segment_ros.label_ids import IGNORE_LABEL
from offline_training.common.files import files_below, write_atomic, write_json
from offline_training.common.frame_selection import parse_slice
from offline_training.evaluation.confusion_picture import confusion_picture
from offline_training.evaluation.evaluation import (
    UNMATCHED,
    Matching,
    confusion_matrix,
    match,
    report,
    score,
)
from offline_training.evaluation.ground_truth import (
    GroundTruth,
    load_ground_truth,
    read_label,
)
from offline_training.evaluation.image_sources import read_image
from offline_training.evaluation.prediction import Predictor
from offline_training.evaluation.predictors import is_model, load_predictor

# What `evaluate` writes to a folder.
SCORE_FILES = ('scores.json', 'confusion.json', 'confusion.png')
# Images and truths that were scaled differ by a rounded pixel.
_ASPECT_TOLERANCE = 0.02


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
        model: what `load_predictor` takes, or a folder of label images named after the images,
            in folders as they are, or all in one.
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
    """Count pixels by pseudo-class and class, (K + 1, C) as of `confusion_matrix`.

    Raises:
        DatasetError, ModelError: if something cannot be read, a truth has not the shape of its
            image, or no pixel has a label.
    """
    source = _source(model, zoom)
    pseudo_classes, classes = source.pseudo_classes, len(labelled.classes)
    total = np.zeros((pseudo_classes + 1, classes), np.int64)
    for item in progress(labelled.images):
        truth = labelled.label(item)
        predicted, shape = source.predict(item.image_path)
        if abs(shape[0] * truth.shape[1] / (shape[1] * truth.shape[0]) - 1.0) > _ASPECT_TOLERANCE:
            raise DatasetError(
                f'{item.label_path} is {truth.shape[1]}x{truth.shape[0]}, not of the shape of '
                f'{item.image_path}, {shape[1]}x{shape[0]}'
            )
        total += confusion_matrix(predicted, truth, pseudo_classes, classes)
    if not total.any():
        raise DatasetError(f'no pixel of the {len(labelled.images)} labelled images has a label')
    return total


class _Source(Protocol):
    """Whatever has an answer for an image file."""

    @property
    def pseudo_classes(self) -> int:
        """K."""

    def predict(self, path: Path) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        """Return an image's pseudo-classes at any size, and the shape it has itself."""


def _source(model: Path, zoom: int) -> _Source:
    if not is_model(model):
        files = [path for path in files_below(model) if path.suffix == '.png']
        if files:
            if zoom != 1:
                raise ParameterError(f'{model} holds label images; leave out --zoom')
            return _LabelImages(model, files)
    return _Network(load_predictor(model, zoom))


class _Network:
    def __init__(self, predictor: Predictor) -> None:
        self.pseudo_classes = len(predictor.classes)
        self._predictor = predictor

    def predict(self, path: Path) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        image = read_image(path)
        return self._predictor.predict(image).label, image.shape[:2]


class _LabelImages:
    """Files named after the images, in the folders the images are in, or all in one."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self._folder = folder
        self._file_of = {path.relative_to(folder).with_suffix('').parts: path for path in files}
        self._image_of: dict[Path, Path] = {}
        labels = (read_label(path) for path in files)
        largest = (int(label[label != IGNORE_LABEL].max(initial=0)) for label in labels)
        self.pseudo_classes = 1 + max(largest)

    def predict(self, path: Path) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        parts = path.with_suffix('').parts
        ends = (parts[start:] for start in range(len(parts)))
        file = next((self._file_of[end] for end in ends if end in self._file_of), None)
        if file is None:
            raise DatasetError(f'{self._folder} holds no label image for {path.name}')
        if self._image_of.setdefault(file, path) != path:
            raise DatasetError(f'{file} would be the label of {self._image_of[file]} and {path}')
        label = read_label(file)
        return label, label.shape


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
