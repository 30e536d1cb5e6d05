"""The jobs of `segment`: read some images, segment them, and write their pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import BagError, ImageError
from drive_segment_ros.perception.legend import count_labels, legend, with_legend
from drive_segment_ros.perception.masks import colour_image, overlay
from drive_segment_ros.perception.resizing import resize_image, resize_labels
from offline_training.common.classes import ClassName, palette
from offline_training.common.files import read_json, write_json, write_png
from offline_training.evaluation.image_part import ImagePart
from offline_training.evaluation.prediction import Prediction
from offline_training.evaluation.predictors import PredictorSource

_OVERLAY_OPACITY = 0.5


@dataclasses.dataclass(frozen=True)
class SegmentedImage:
    """The pictures of one segmented image, all at its own size.

    Attributes:
        label: (H, W) uint8 pseudo-class.
        confidence: (H, W) uint8, 255 is certain.
        color, overlay: (H, W, 3) uint8 BGR.
    """

    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    color: NDArray[np.uint8]
    overlay: NDArray[np.uint8]


# The folders that `segment` writes.
PICTURES = tuple(field.name for field in dataclasses.fields(SegmentedImage))
# The folders for recordings, at the network's size.
MASKS = ('label', 'confidence')
# File with the model that made them.
RECORD_FILE = 'segment.json'


@dataclasses.dataclass(frozen=True)
class SegmentJob:
    """Some images to segment.

    Attributes:
        source: the model.
        maker: what the pictures of the whole output depend on, see `made_by`.
        part: the images.
        output: the folder that the kinds of pictures are in.
        folder: of the pictures in each of them.
        resume: whether to skip images whose pictures all exist.
        kinds: `PICTURES`, or `MASKS`.
    """

    source: PredictorSource
    maker: Mapping[str, Any]
    part: ImagePart
    output: Path
    folder: Path
    resume: bool
    kinds: tuple[str, ...] = PICTURES


@dataclasses.dataclass(frozen=True)
class SegmentResult:
    """The result of a job.

    Attributes:
        images: number of images segmented.
        kept: number of images whose pictures existed.
        skipped: a line for each image that cannot be read.
        unreadable: why no image can be read, or empty.
    """

    images: int
    kept: int
    skipped: tuple[str, ...]
    unreadable: str = ''


def segment_part(job: SegmentJob) -> SegmentResult:
    """Segment a job's images.

    Raises:
        DatasetError: if a picture cannot be written.
        ModelError: if the model cannot be loaded.
    """
    skipped: list[str] = []
    count = kept = 0

    def is_new(name: str) -> bool:
        nonlocal kept
        there = job.resume and all(file.is_file() for file in _files(job, name).values())
        kept += there
        return not there

    unreadable = ''
    try:
        for name, image in job.part.images(skipped, is_new):
            predictor = job.source.predictor()
            prediction = predictor.predict(image)
            if count == 0:
                _record(job)
            whole = job.kinds == PICTURES
            shown = _shown(image, prediction, predictor.classes) if whole else vars(prediction)
            for kind, file in _files(job, name).items():
                write_png(file, shown[kind])
            count += 1
    except (BagError, ImageError) as err:
        unreadable = str(err)
    return SegmentResult(count, kept, tuple(skipped), unreadable)


def made_by(source: PredictorSource, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return what a folder's pictures depend on: the model, its zoom and the inputs by folder."""
    return {'model': source.digest, 'zoom': source.zoom, 'inputs': dict(inputs)}


def known_maker(output: Path) -> Any:
    """Return the recorded `made_by` of a folder's pictures, None without a record."""
    record = output / RECORD_FILE
    return read_json(record) if record.is_file() else None


def draw(
    image: NDArray[np.uint8], prediction: Prediction, colours: NDArray[np.uint8]
) -> SegmentedImage:
    """Resize a prediction to its image and colour it.

    Args:
        image: (H, W, 3) uint8 BGR.
        prediction: at any size.
        colours: (256, 3) uint8 RGB by pseudo-class.
    """
    height, width = image.shape[:2]
    label = resize_labels(prediction.label, height, width)
    confidence = resize_image(prediction.confidence, height, width)
    table = np.ascontiguousarray(colours[:, ::-1])
    over = overlay(image, label, table, _OVERLAY_OPACITY)
    return SegmentedImage(label, confidence, colour_image(label, table), over)


def _shown(
    image: NDArray[np.uint8], prediction: Prediction, classes: list[ClassName]
) -> dict[str, NDArray[np.uint8]]:
    """Return the pictures by kind, the overlay with its legend."""
    pictures = draw(image, prediction, palette(classes))
    entries = legend(count_labels(pictures.label), classes)
    return {**vars(pictures), 'overlay': with_legend(pictures.overlay, entries)}


def _files(job: SegmentJob, name: str) -> Mapping[str, Path]:
    # The suffix is appended, because names may contain dots.
    return {kind: job.output / kind / job.folder / f'{name}.png' for kind in job.kinds}


def _record(job: SegmentJob) -> None:
    """Record what made the pictures, before the first of them."""
    if known_maker(job.output) != job.maker:
        write_json(job.output / RECORD_FILE, job.maker)
