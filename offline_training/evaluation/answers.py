"""Sources of predictions for image files: a model, or label images of any origin.

`Answers` are opened once; the result of `of` for some images is sent to a worker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.label_sets import check_set_name
from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.errors import DatasetError, ParameterError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.storage import files_there, name_below
from offline_training.common.engine import Engine
from offline_training.common.files import files_below
from offline_training.common.image_files import read_image
from offline_training.evaluation.drive_truth import drives_in
from offline_training.evaluation.ground_truth import read_label
from offline_training.evaluation.predictors import (
    PredictorSource,
    is_model,
    load_predictor,
    predictor_source,
)

_FILES_A_JOB = 64


class SomeAnswers(Protocol):
    """Predictions for some image files; small, and can be pickled."""

    @property
    def pseudo_classes(self) -> int:
        """Number of pseudo-classes K."""

    def predict(self, path: Path) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        """Return the pseudo-classes of an image, (h, w) at any size, and the image's (H, W)."""


class Answers(Protocol):
    """A source of predictions for image files."""

    def of(self, images: Sequence[Path]) -> SomeAnswers:
        """Return the predictions for some images.

        Raises:
            DatasetError: if an image has no prediction, or two images have the same.
        """


def load_answers(
    model: Path, engine: Engine, zoom: int = 1, threads: int = 0, labels: str = ''
) -> Answers:
    """Find a model, a folder of label images, or a drive or dataset with pseudo-labels.

    Args:
        model: path of it.
        engine: reads label images.
        zoom, threads: see `load_predictor`.
        labels: name of the set of pseudo-labels.

    Raises:
        DatasetError, ModelError: if it is none of them.
        ParameterError: if `zoom` is not 1 and `model` is not a model.
    """
    if not is_model(model):
        drives = drives_in(model)
        files = [path for path in files_below(model) if path.suffix == '.png' and not drives]
        if (drives or files) and zoom != 1:
            raise ParameterError(f'{model} has label images, not a model; omit --zoom')
        if drives:
            return PseudoLabels(drives, engine, labels)
        if files:
            return _LabelImages(model, files, engine)
        load_predictor(model, zoom)  # raises an error if it is invalid
    return _ModelAnswers(predictor_source(model, zoom, threads))


@dataclasses.dataclass(frozen=True)
class _ModelAnswers:
    """Predictions of a model, for any image."""

    source: PredictorSource

    @property
    def pseudo_classes(self) -> int:
        return len(self.source.predictor().classes)

    def predict(self, path: Path) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        # A rotated image would not match its labels.
        image = read_image(path, upright=False)
        return self.source.predictor().predict(image).label, image.shape[:2]

    def of(self, images: Sequence[Path]) -> _ModelAnswers:
        return self


@dataclasses.dataclass(frozen=True)
class _LabelFiles:
    """Label images by the paths of their images."""

    pseudo_classes: int
    label_of: Mapping[Path, Path]

    def predict(self, path: Path) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        label = read_label(self.label_of[path])
        return label, label.shape


class PseudoLabels:
    """The pseudo-labels of drives, or of views of them, see `dataset_view`."""

    def __init__(self, drives: Sequence[Drive], engine: Engine, labels: str = '') -> None:
        """Find the pseudo-labels of a set.

        Raises:
            DatasetError: if no frame has a pseudo-label, or one cannot be read.
        """
        check_set_name(labels)
        frames = [frame.with_labels(labels) for drive in drives for frame in drive.frames]
        there = files_there(frame.pseudo_label_path for frame in frames)
        self._label_of = {
            frame.image_path.resolve(): frame.pseudo_label_path
            for frame in frames
            if frame.pseudo_label_path in there
        }
        if not self._label_of:
            raise DatasetError(f'{drives[0].path} has no pseudo-label; run `drive-segment label`')
        self._pseudo_classes = _classes_in(list(self._label_of.values()), engine)

    def of(self, images: Sequence[Path]) -> SomeAnswers:
        """Return the pseudo-labels of some images, see `Answers`."""
        return _LabelFiles(self._pseudo_classes, {path: self._file(path) for path in images})

    def _file(self, image: Path) -> Path:
        file = self._label_of.get(image.resolve())
        if file is None:
            raise DatasetError(f'{image} has no pseudo-label; run `drive-segment label`')
        return file


class _LabelImages:
    """Label images named after the images, in equal subfolders or all in one folder."""

    def __init__(self, folder: Path, files: Sequence[Path], engine: Engine) -> None:
        self._folder = folder
        self._file_of = {name_below(path, folder).with_suffix('').parts: path for path in files}
        self._image_of: dict[Path, Path] = {}
        self._pseudo_classes = _classes_in(files, engine)

    def of(self, images: Sequence[Path]) -> SomeAnswers:
        return _LabelFiles(self._pseudo_classes, {path: self._file(path) for path in images})

    def _file(self, image: Path) -> Path:
        parts = image.with_suffix('').parts
        ends = (parts[start:] for start in range(len(parts)))
        file = next((self._file_of[end] for end in ends if end in self._file_of), None)
        if file is None:
            raise DatasetError(f'{self._folder} has no label image for {image.name}')
        if self._image_of.setdefault(file, image) != image:
            raise DatasetError(f'{file} is the label of both {self._image_of[file]} and {image}')
        return file


def _classes_in(files: Sequence[Path], engine: Engine) -> int:
    """Return the number of pseudo-classes in label images: the largest label plus one."""
    parts = (files[k : k + _FILES_A_JOB] for k in range(0, len(files), _FILES_A_JOB))
    return 1 + max(engine.map(_largest_label, parts))


def _largest_label(files: Sequence[Path]) -> int:
    labels = (read_label(path) for path in files)
    return max(int(label[label != IGNORE_LABEL].max(initial=0)) for label in labels)
