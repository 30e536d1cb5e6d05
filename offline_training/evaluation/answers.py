"""Whatever has an answer for an image file: a model, or label images made by any means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.errors import DatasetError, ParameterError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.storage import files_there
from offline_training.common.files import files_below
from offline_training.evaluation.drive_truth import drives_in
from offline_training.evaluation.ground_truth import read_label
from offline_training.evaluation.image_sources import read_image
from offline_training.evaluation.prediction import Predictor
from offline_training.evaluation.predictors import is_model, load_predictor


class Answers(Protocol):
    """Whatever has an answer for an image file."""

    @property
    def pseudo_classes(self) -> int:
        """K."""

    def predict(self, path: Path) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        """Return an image's pseudo-classes at any size, and the shape it has itself."""


def load_answers(model: Path, zoom: int = 1) -> Answers:
    """Open a model, a folder of label images, or a drive or dataset with pseudo-labels.

    Raises:
        DatasetError, ModelError: if it is none of them.
        ParameterError: if `zoom` is not 1 and there is no model to look closer.
    """
    if not is_model(model):
        drives = drives_in(model)
        files = [path for path in files_below(model) if path.suffix == '.png' and not drives]
        if (drives or files) and zoom != 1:
            raise ParameterError(f'{model} holds label images; leave out --zoom')
        if drives:
            return PseudoLabels(drives)
        if files:
            return _LabelImages(model, files)
    return _Network(load_predictor(model, zoom))


class PseudoLabels:
    """The pseudo-labels of drives, or of views of them, see `dataset_view`."""

    def __init__(self, drives: Sequence[Drive]) -> None:
        """Find them.

        Raises:
            DatasetError: if no frame has a pseudo-label, or one cannot be read.
        """
        frames = [frame for drive in drives for frame in drive.frames]
        there = files_there(frame.pseudo_label_path for frame in frames)
        self._label_of = {
            frame.image_path.resolve(): frame.pseudo_label_path
            for frame in frames
            if frame.pseudo_label_path in there
        }
        if not self._label_of:
            raise DatasetError(f'{drives[0].path} has no pseudo-label; run `drive-segment label`')
        self.pseudo_classes = _classes_in(list(self._label_of.values()))

    def predict(self, path: Path) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        """Return the pseudo-label of an image, see `Answers`."""
        file = self._label_of.get(path.resolve())
        if file is None:
            raise DatasetError(f'{path} has no pseudo-label; run `drive-segment label`')
        label = read_label(file)
        return label, label.shape


def _classes_in(files: Sequence[Path]) -> int:
    labels = (read_label(path) for path in files)
    return 1 + max(int(label[label != IGNORE_LABEL].max(initial=0)) for label in labels)


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
        self.pseudo_classes = _classes_in(files)

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
