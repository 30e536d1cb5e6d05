"""The masks written by workers, by the names of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.legend import count_labels
from offline_training.common.files import files_below
from offline_training.deploy.segment_job import MASKS
from offline_training.evaluation.ground_truth import read_label
from offline_training.evaluation.prediction import Prediction


class MaskFiles:
    """The masks of one input."""

    def __init__(self, output: Path, folder: Path) -> None:
        """Store the folders.

        Args:
            output, folder: of the jobs, see `SegmentJob`.
        """
        self._label, self._confidence = (output / kind / folder for kind in MASKS)

    def has(self, name: str) -> bool:
        """Return whether there is a mask of an image; not if the image could not be read."""
        return (self._confidence / f'{name}.png').is_file()

    def read(self, name: str) -> Prediction:
        """Return the mask of an image that has one.

        Raises:
            DatasetError: if its file is damaged.
        """
        return Prediction(
            *(read_label(f / f'{name}.png') for f in (self._label, self._confidence))
        )

    def counts(self, prefix: str = '') -> NDArray[np.int64]:
        """Return the number of pixels of each label in all masks below a folder.

        Raises:
            DatasetError: if a file is damaged.
        """
        labels = (read_label(file) for file in files_below(self._label / prefix))
        return sum((count_labels(label) for label in labels), np.zeros(256, np.int64))
