"""A trained model's answer for an image: pseudo-class and confidence of every pixel."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offline_training.common.classes import ClassName


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of an image.

    Attributes:
        label: (h, w) uint8 pseudo-class, at the model's resolution.
        confidence: (h, w) uint8, 255 is certain.
    """

    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


class Predictor(Protocol):
    """A model ready to answer."""

    @property
    def classes(self) -> list[ClassName]:
        """Names and colours of its pseudo-classes."""

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image, (H, W, 3) uint8 BGR of any size."""
