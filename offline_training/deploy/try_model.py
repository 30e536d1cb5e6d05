"""Predictions for images and videos as pictures, for the web page and the notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ImageError
from drive_segment_ros.perception.legend import LegendEntry, count_labels, legend
from drive_segment_ros.perception.masks import above_threshold, colour_table, overlay
from offline_training.common.classes import ClassName, default_classes
from offline_training.evaluation.prediction import Prediction
from offline_training.evaluation.predictors import load_predictor
from offline_training.evaluation.video_images import refuse_large_video

# Playable by browsers, and written by OpenCV without further libraries.
VIDEO_SUFFIX, _CODEC = '.webm', 'VP80'
_FALLBACK_RATE_HZ = 10.0


@dataclasses.dataclass(frozen=True)
class Look:
    """The display of predictions.

    Attributes:
        opacity: of the mask, 0 to 1.
        threshold: confidence below which pixels are unknown, 0 to 1.
        by_name: whether pseudo-classes of one name are shown as one.
    """

    opacity: float = 0.5
    threshold: float = 0.0
    by_name: bool = True


@dataclasses.dataclass(frozen=True)
class Seen:
    """The prediction for an image.

    Attributes:
        picture: (H, W, 3) uint8 RGB, the image with its mask.
        classes: in the image, the largest first.
    """

    picture: NDArray[np.uint8]
    classes: list[LegendEntry]


class ModelTrial:
    """A model to try on images and videos."""

    def __init__(self, model: Path) -> None:
        """Load the model.

        Raises:
            ModelError, DependencyError: if it cannot be loaded.
        """
        self._predictor = load_predictor(model)
        self._names = self._predictor.classes
        self._numbers = default_classes(len(self._names))

    @property
    def named(self) -> bool:
        """Whether the pseudo-classes have names."""
        return self._names != self._numbers

    def image(self, image: NDArray[np.uint8], look: Look = Look()) -> Seen:
        """Segment an image, (H, W, 3) uint8 RGB."""
        bgr = np.ascontiguousarray(image[..., ::-1])
        prediction = self.predict(bgr)
        painted = self.paint(bgr, prediction, look)
        return Seen(np.ascontiguousarray(painted[..., ::-1]), self.classes([prediction], look))

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image, (H, W, 3) uint8 BGR; the prediction may have the network's size."""
        return self._predictor.predict(image)

    def paint(
        self, image: NDArray[np.uint8], prediction: Prediction, look: Look
    ) -> NDArray[np.uint8]:
        """Return a BGR image with its mask."""
        label = above_threshold(prediction.label, prediction.confidence, look.threshold)
        colours = colour_table([item.color for item in self._called(look)])
        return overlay(image, label, colours, look.opacity)

    def classes(self, predictions: Iterable[Prediction], look: Look) -> list[LegendEntry]:
        """Return the classes in images, the largest first, unknown last."""
        counts = np.zeros(256, np.int64)
        for prediction in predictions:
            label = above_threshold(prediction.label, prediction.confidence, look.threshold)
            counts += count_labels(label)
        return legend(counts, self._called(look))

    def video(
        self,
        video: Path,
        folder: Path,
        look: Look = Look(),
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[Path, list[LegendEntry]]:
        """Segment a video.

        Args:
            video: any that OpenCV can read.
            folder: to write to.
            look: the display.
            progress: called with the number of frames done, and their total by the video's header.

        Returns:
            The video with its masks, and its classes.

        Raises:
            ImageError: if the video cannot be read, its frames are too large, or the result
                cannot be written.
        """
        path = folder / f'segmented{VIDEO_SUFFIX}'
        colours = colour_table([item.color for item in self._called(look)])
        counts = np.zeros(256, np.int64)
        capture = cv2.VideoCapture(str(video))
        writer = cv2.VideoWriter()
        try:
            refuse_large_video(capture, video)
            rate = capture.get(cv2.CAP_PROP_FPS) or _FALLBACK_RATE_HZ
            total, done = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 1), 0
            good, frame = capture.read()
            if not good:
                raise ImageError(f'{video.name} is not a readable video')
            height, width = frame.shape[:2]
            if not writer.open(str(path), cv2.VideoWriter.fourcc(*_CODEC), rate, (width, height)):
                raise ImageError(f'cannot write a video of {width}x{height} to {folder}')
            while good:
                image = np.asarray(frame, np.uint8)
                answer = self.predict(image)
                label = above_threshold(answer.label, answer.confidence, look.threshold)
                counts += count_labels(label)
                writer.write(overlay(image, label, colours, look.opacity))
                done += 1
                progress(done, max(total, done))
                good, frame = capture.read()
        finally:
            capture.release()
            writer.release()
        return path, legend(counts, self._called(look))

    def _called(self, look: Look) -> list[ClassName]:
        return self._names if look.by_name else self._numbers
