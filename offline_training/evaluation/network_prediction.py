"""Predictions of a trained network by PyTorch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from drive_segment_ros.perception.resizing import resize_image
from offline_training.common.classes import ClassName
from offline_training.evaluation.prediction import Prediction
from offline_training.networks.segmenter import Segmenter
from offline_training.training.checkpoints import classes_of_run, load_model
from offline_training.training.processes import training_device


class NetworkPredictor:
    """A Segmenter on this machine's best device, in full precision on each of them."""

    def __init__(
        self, network: Segmenter, classes: list[ClassName], zoom: int = 1, threads: int = 0
    ) -> None:
        """Move a network to the device.

        Args:
            network: trained.
            classes: names and colours.
            zoom: 1 segments the whole image at once, see `NetworkConfiguration.size_for`; n
                segments it n times enlarged, in overlapping windows of that size.
            threads: number of CPU threads, see `load_predictor`.
        """
        self.classes = classes
        self._device = training_device()
        self._network = network.eval().to(self._device)
        self._zoom = zoom
        self._threads = threads

    @staticmethod
    def load(model: Path, zoom: int = 1, threads: int = 0) -> NetworkPredictor:
        """Load a run, one of its stages or a model file, see `load_model`.

        Args:
            model, zoom: see `load_predictor`.
            threads: see `load_predictor`.
        """
        network, _ = load_model(model)
        classes = classes_of_run(model, network.configuration.classes)
        return NetworkPredictor(network, classes, zoom, threads)

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image, see `Predictor`."""
        with _threads_of_torch(self._threads):
            return self._predict(image)

    def _predict(self, image: NDArray[np.uint8]) -> Prediction:
        height, width = self._network.configuration.size_for(*image.shape[:2])
        enlarged = resize_image(image, height * self._zoom, width * self._zoom)
        probability = self._probability(enlarged, height, width)
        confidence, label = probability.max(dim=0)
        return Prediction(
            label.to(torch.uint8).cpu().numpy(),
            (confidence * 255.0).round().to(torch.uint8).cpu().numpy(),
        )

    @torch.inference_mode()
    def _probability(self, image: NDArray[np.uint8], height: int, width: int) -> torch.Tensor:
        """Return (K, H, W) probabilities: the mean of all windows that contain a pixel.

        Args:
            image: (H, W, 3) uint8 BGR.
            height, width: of a window.
        """
        rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).to(self._device)
        pixels = rgb.permute(2, 0, 1)[None].float() / 255.0
        classes = self._network.configuration.classes
        total = torch.zeros(classes, *image.shape[:2], device=self._device)
        views = torch.zeros(image.shape[:2], device=self._device)
        # With TF32, results on a GPU would differ from those on a CPU.
        with torch.backends.cudnn.flags(allow_tf32=False):
            for top in window_starts(image.shape[0], height):
                for left in window_starts(image.shape[1], width):
                    window = (slice(top, top + height), slice(left, left + width))
                    seen = pixels[:, :, window[0], window[1]]
                    total[:, window[0], window[1]] += self._network.probability(seen)[0]
                    views[window] += 1.0
        return total / views


@contextlib.contextmanager
def _threads_of_torch(threads: int) -> Iterator[None]:
    """Set PyTorch's number of threads, a setting of the whole process; 0 does not change it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def window_starts(length: int, window: int) -> list[int]:
    """Return the starts of half-overlapping windows that cover `length` (>= `window`) exactly."""
    steps = -(-2 * (length - window) // window)
    if steps == 0:
        return [0]
    return [round(step * (length - window) / steps) for step in range(steps + 1)]
