"""A trained model's answer for an image: pseudo-class and confidence of every pixel."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.model import DESCRIPTION_FILE
from drive_segment_ros.inference.segmenter import Segmenter as ExportedSegmenter
from drive_segment_ros.inference.segmenter import load as load_exported
from offline_training.baseline import BASELINE_FILE, ColourClusters
from offline_training.checkpoints import load_model, model_file
from offline_training.classes import CLASSES_FILE, ClassName, default_classes, load_classes
from offline_training.networks.segmenter import Segmenter
from offline_training.resizing import resize_image
from offline_training.training import training_device


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


class NetworkPredictor:
    """A Segmenter on this machine's best device, in full precision on each of them."""

    def __init__(self, network: Segmenter, classes: list[ClassName], zoom: int = 1) -> None:
        """Take a network.

        Args:
            network: trained.
            classes: names and colours.
            zoom: 1 looks at the whole image at once; n looks at it n times larger, through
                overlapping windows of the network's input size.
        """
        self.classes = classes
        self._device = training_device()
        self._network = network.eval().to(self._device)
        self._zoom = zoom

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image, see `Predictor`."""
        configuration = self._network.configuration
        size = configuration.height * self._zoom, configuration.width * self._zoom
        probability = self._probability(resize_image(image, *size))
        confidence, label = probability.max(dim=0)
        return Prediction(
            label.to(torch.uint8).cpu().numpy(),
            (confidence * 255.0).round().to(torch.uint8).cpu().numpy(),
        )

    @torch.inference_mode()
    def _probability(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Return (K, H, W) probabilities: the mean of all windows that see a pixel."""
        configuration = self._network.configuration
        height, width = configuration.height, configuration.width
        rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).to(self._device)
        pixels = rgb.permute(2, 0, 1)[None].float() / 255.0
        total = torch.zeros(configuration.classes, *image.shape[:2], device=self._device)
        views = torch.zeros(image.shape[:2], device=self._device)
        # TF32 would make a GPU's answer differ from a CPU's.
        with torch.backends.cudnn.flags(allow_tf32=False):
            for top in window_starts(image.shape[0], height):
                for left in window_starts(image.shape[1], width):
                    window = (slice(top, top + height), slice(left, left + width))
                    seen = pixels[:, :, window[0], window[1]]
                    total[:, window[0], window[1]] += self._network.probability(seen)[0]
                    views[window] += 1.0
        return total / views


def window_starts(length: int, window: int) -> list[int]:
    """Return where windows begin that overlap by half and cover `length` (>= `window`) exactly."""
    steps = -(-2 * (length - window) // window)
    if steps == 0:
        return [0]
    return [round(step * (length - window) / steps) for step in range(steps + 1)]


def load_predictor(model: Path, zoom: int = 1) -> Predictor:
    """Load a run, one of its stages, a model file, an exported model, or a baseline.

    Raises:
        ModelError: if `model` is none of them, or is exported and `zoom` is not 1.
        DependencyError: if `model` is exported and no backend is installed.
    """
    if (model / DESCRIPTION_FILE).is_file():
        if zoom != 1:
            raise ModelError(
                f'{model} is exported and looks at whole images only; leave out --zoom, or give '
                'the run it was made from'
            )
        return ExportedPredictor(load_exported(model))
    if (model / BASELINE_FILE).is_file():
        baseline = ColourClusters.load(model / BASELINE_FILE)
        return BaselinePredictor(baseline, default_classes(len(baseline.centres)))
    network, _ = load_model(model)
    file = classes_file(model)
    known = file.is_file()
    classes = load_classes(file) if known else default_classes(network.configuration.classes)
    return NetworkPredictor(network, classes, zoom)


def is_model(path: Path) -> bool:
    """Whether `load_predictor` would find a model in a path."""
    with contextlib.suppress(ModelError):
        own = (path / BASELINE_FILE, path / DESCRIPTION_FILE)
        return any(file.is_file() for file in own) or model_file(path).is_file()
    return False


def classes_file(model: Path) -> Path:
    """Return where a run keeps names and colours: beside its stages."""
    return model_file(model).parent.parent / CLASSES_FILE


class ExportedPredictor:
    """An exported model on this machine's fastest backend, as a vehicle would run it."""

    def __init__(self, segmenter: ExportedSegmenter) -> None:
        self.classes = [ClassName(item.name, item.color) for item in segmenter.classes]
        self._segmenter = segmenter

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image, see `Predictor`."""
        return Prediction(*self._segmenter.segment(image))


@dataclasses.dataclass(frozen=True)
class BaselinePredictor:
    """The image-only baseline as a predictor; it has no opinion on its confidence."""

    clusters: ColourClusters
    classes: list[ClassName]

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image, see `Predictor`."""
        label = self.clusters.predict(image)
        return Prediction(label, np.full(label.shape, 255, np.uint8))
