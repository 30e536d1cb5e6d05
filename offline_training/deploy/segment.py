"""Segment images, folders, videos and bags with a trained model; leave files to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import BagError, ImageError, OutputError
from drive_segment_ros.outputs import is_taken
from drive_segment_ros.perception.resizing import resize_image, resize_labels
from offline_training.common.classes import palette
from offline_training.common.files import read_json, write_json, write_png
from offline_training.evaluation.image_sources import images_in, images_of_bags, is_bag, unique
from offline_training.evaluation.prediction import Prediction
from offline_training.evaluation.predictors import load_predictor, model_digest

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
# What made them.
RECORD_FILE = 'segment.json'


def segment(
    model: Path,
    inputs: Sequence[Path],
    output: Path,
    zoom: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
    join: bool = False,
    resume: bool = False,
) -> dict[str, Any]:
    """Write `label/`, `color/`, `overlay/` and `confidence/` PNGs for every image of the inputs.

    Args:
        model: what `load_predictor` takes.
        inputs: images, folders, videos or bags; of several, each gets a folder of its name. What
            lies in the folders to write is not an input.
        output: folder.
        zoom: see `NetworkPredictor`.
        progress: shows how far the inputs have come.
        join: whether all bags among the inputs are parts of one drive; it has the place and the
            name of the first.
        resume: leave images whose pictures are all there.

    Returns:
        `images`, `kept` (images whose pictures were there), `skipped` (a line for each unreadable
        one), `output`.

    Raises:
        ImageError: if an input does not exist, or not a single image could be read.
        OutputError: if the pictures to go on with are another model's or zoom's.
        ModelError: if the model cannot be loaded.
    """
    for source in inputs:
        if not source.exists():
            raise ImageError(f'{source} does not exist')
    parts = [source for source in inputs if join and is_bag(source)]
    sources = [source for source in inputs if source not in parts[1:]]
    predictor = load_predictor(model, zoom)
    colours = palette(predictor.classes)
    made_by = {'model': model_digest(model), 'zoom': zoom}
    if resume:
        _check_made_by(output, made_by)
    skipped: list[str] = []
    count = kept = 0
    for source, folder in progress(list(zip(sources, _folders(sources), strict=True))):
        bags = parts if source in parts else []
        for name, image in _readable(source, bags, skipped, output):
            # The suffix is added, not replaced: names may hold dots.
            files = {kind: output / kind / folder / f'{name}.png' for kind in PICTURES}
            if resume and all(file.is_file() for file in files.values()):
                kept += 1
                continue
            pictures = draw(image, predictor.predict(image), colours)
            if count == 0:
                write_json(output / RECORD_FILE, made_by)
            for kind, file in files.items():
                write_png(file, getattr(pictures, kind))
            count += 1
    if count + kept == 0:
        reason = skipped[0] if skipped else 'the inputs hold none'
        raise ImageError(f'no image could be segmented: {reason}')
    return {'images': count, 'kept': kept, 'skipped': skipped, 'output': str(output)}


def _check_made_by(output: Path, made_by: dict[str, Any]) -> None:
    """Refuse to go on with pictures that something else made, or nobody knows what."""
    record = output / RECORD_FILE
    known = record.is_file() and read_json(record) == made_by
    if not known and any(is_taken(output / kind) for kind in PICTURES):
        raise OutputError(
            f'{output} has pictures of another model or zoom, which cannot be gone on with; '
            'choose another output, or replace them by --overwrite'
        )


def _folders(inputs: Sequence[Path]) -> list[Path]:
    """Return where each input's pictures go, below the output."""
    if len(inputs) == 1:
        return [Path()]
    return [Path(name) for name in unique(source.resolve().name for source in inputs)]


def _readable(
    source: Path, bags: Sequence[Path], skipped: list[str], output: Path
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the images of a source, or of the bags that it is joined of.

    One that is unfit as a whole is skipped, the others go on.
    """
    written = [output / kind for kind in PICTURES]
    try:
        yield from images_of_bags(bags, skipped) if bags else images_in(source, skipped, written)
    except (BagError, ImageError) as err:
        skipped.append(str(err))


def draw(
    image: NDArray[np.uint8], prediction: Prediction, colours: NDArray[np.uint8]
) -> SegmentedImage:
    """Bring a prediction to its image's size and colour it.

    Args:
        image: (H, W, 3) uint8 BGR.
        prediction: at any size.
        colours: (256, 3) uint8 RGB by pseudo-class.
    """
    height, width = image.shape[:2]
    label = resize_labels(prediction.label, height, width)
    confidence = resize_image(prediction.confidence, height, width)
    color = np.ascontiguousarray(colours[label][..., ::-1])
    overlay = cv2.addWeighted(image, 1.0 - _OVERLAY_OPACITY, color, _OVERLAY_OPACITY, 0.0)
    return SegmentedImage(label, confidence, color, np.asarray(overlay, np.uint8))
