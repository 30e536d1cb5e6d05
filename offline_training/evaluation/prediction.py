"""A model's prediction for an image: pseudo-class and confidence of every pixel."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offline_training.common.classes import ClassName


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A model's prediction for an image.

    Attributes:
        label: (h, w) uint8 pseudo-class, at the model's resolution.
        confidence: (h, w) uint8, 255 is certain.
    """

    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


class Predictor(Protocol):
    """A loaded model."""

    @property
    def classes(self) -> list[ClassName]:
        """Names and colours of its pseudo-classes."""

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image, (H, W, 3) uint8 BGR of any size."""
