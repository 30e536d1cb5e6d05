"""What a model sees in images and videos, as pictures for people: for web page and notebook."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ImageError
from offline_training.common.classes import ClassName, default_classes, palette
from offline_training.deploy.segment_job import draw
from offline_training.evaluation.prediction import Prediction
from offline_training.evaluation.predictors import load_predictor
from offline_training.evaluation.video_images import refuse_large_video

# What browsers play, and what OpenCV writes without further libraries.
VIDEO_SUFFIX, _CODEC = '.webm', 'VP80'
_FALLBACK_RATE_HZ = 10.0


@dataclasses.dataclass(frozen=True)
class ClassShare:
    """One class in one image.

    Attributes:
        name: of the class.
        color: red, green, blue.
        share: of the image's pixels, 0 to 1.
        numbers: the pseudo-classes it is made of.
    """

    name: str
    color: tuple[int, int, int]
    share: float
    numbers: list[int]


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a model sees in an image.

    Attributes:
        pseudo: (H, W, 3) uint8 RGB, the image under one colour a pseudo-class.
        named: the same under one colour a name.
        classes: what is in it by name, the largest first.
    """

    pseudo: NDArray[np.uint8]
    named: NDArray[np.uint8]
    classes: list[ClassShare]


class ModelTrial:
    """A model to try on images and videos."""

    def __init__(self, model: Path) -> None:
        """Load it.

        Raises:
            ModelError, DependencyError: if it cannot be loaded.
        """
        self._predictor = load_predictor(model)
        self._names = self._predictor.classes
        self._pseudo_colours = palette(default_classes(len(self._names)))
        self._named_colours = palette(self._names)

    @property
    def named(self) -> bool:
        """Whether somebody has given the pseudo-classes names."""
        return self._names != default_classes(len(self._names))

    def image(self, image: NDArray[np.uint8]) -> Seen:
        """Segment an image, (H, W, 3) uint8 RGB."""
        bgr = np.ascontiguousarray(image[..., ::-1])
        prediction = self._predictor.predict(bgr)
        return Seen(
            _rgb(draw(bgr, prediction, self._pseudo_colours).overlay),
            _rgb(draw(bgr, prediction, self._named_colours).overlay),
            _shares(prediction, self._names),
        )

    def video(self, video: Path, folder: Path) -> tuple[Path, Path]:
        """Segment a video.

        Args:
            video: any that OpenCV reads.
            folder: where to write.

        Returns:
            Two videos: in the colours of pseudo-classes, and of names.

        Raises:
            ImageError: if the video cannot be read, its frames are too large, or the results
                cannot be written.
        """
        paths = folder / f'pseudo{VIDEO_SUFFIX}', folder / f'named{VIDEO_SUFFIX}'
        capture = cv2.VideoCapture(str(video))
        writers: list[cv2.VideoWriter] = []
        try:
            refuse_large_video(capture, video)
            rate = capture.get(cv2.CAP_PROP_FPS) or _FALLBACK_RATE_HZ
            good, frame = capture.read()
            if not good:
                raise ImageError(f'{video.name} is no video that can be read')
            height, width = frame.shape[:2]
            codec = cv2.VideoWriter.fourcc(*_CODEC)
            for path in paths:
                writers.append(cv2.VideoWriter(str(path), codec, rate, (width, height)))
            if not all(writer.isOpened() for writer in writers):
                raise ImageError(f'cannot write a video of {width}x{height} to {folder}')
            while good:
                image = np.asarray(frame, np.uint8)
                prediction = self._predictor.predict(image)
                for writer, colours in zip(
                    writers, (self._pseudo_colours, self._named_colours), strict=True
                ):
                    writer.write(draw(image, prediction, colours).overlay)
                good, frame = capture.read()
        finally:
            capture.release()
            for writer in writers:
                writer.release()
        return paths


def _shares(prediction: Prediction, names: list[ClassName]) -> list[ClassShare]:
    counts = np.bincount(prediction.label.ravel(), minlength=len(names))[: len(names)]
    shares: dict[str, ClassShare] = {}
    for number, item in enumerate(names):
        if counts[number]:
            part = counts[number] / prediction.label.size
            known = shares.get(item.name, ClassShare(item.name, item.color, 0.0, []))
            shares[item.name] = dataclasses.replace(
                known, share=float(known.share + part), numbers=[*known.numbers, number]
            )
    return sorted(shares.values(), key=lambda item: -item.share)


def _rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture[..., ::-1])
