"""Images for the calibration of int8: those of the run, or given ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ModelError
from drive_segment_ros.perception.resizing import crop_to_aspect, resize_image
from offline_training.evaluation.drive_truth import drives_in
from offline_training.evaluation.image_sources import image_parts
from offline_training.training.checkpoints import model_file
from offline_training.training.frame_images import FrameImages

# More images hardly change the ranges.
_MOST_IMAGES = 64
Item = TypeVar('Item')


def calibration_images(
    run: Path, source: Path | None, height: int, width: int
) -> list[NDArray[np.uint8]]:
    """Return images evenly sampled from a source, each (height, width, 3) uint8 BGR.

    Args:
        run: a run, one of its stages, or a model file.
        source: a dataset, a drive, or an image, a folder of images, a video or a bag; None for the
            training images in the run's cache.
        height, width: of the network's input, px.

    Raises:
        ModelError: if there is no image.
        BagError, DatasetError, ImageError: if the source cannot be read.
    """
    found = _of_run(run) if source is None else _of_source(source)
    centres = (crop_to_aspect(np.ascontiguousarray(image), height, width) for image in found)
    images = [resize_image(centre, height, width) for centre in centres]
    if not images:
        where = f'{run} has no images' if source is None else f'{source} has no image'
        raise ModelError(
            f'int8 needs images to calibrate on and {where}; give --calibrate IMAGES, such as '
            'the training dataset'
        )
    return images


def has_images(run: Path, source: Path | None) -> bool:
    """Return whether there are images to calibrate on, without reading them."""
    return source is not None or len(_kept(run)) > 0


def _kept(run: Path) -> FrameImages:
    return FrameImages.kept(model_file(run).resolve().parent.parent / 'cache/images')


def _of_run(run: Path) -> Iterator[NDArray[np.uint8]]:
    kept = _kept(run)
    return (kept[index][..., ::-1] for index in _spread(range(len(kept))))


def _of_source(source: Path) -> Iterator[NDArray[np.uint8]]:
    if drives := drives_in(source):
        frames = [frame for drive in drives for frame in drive.frames]
        return (frame.image() for frame in _spread(frames))
    parts = image_parts(source)
    step = max(1, sum(part.count for part in parts) // _MOST_IMAGES)
    skipped: list[str] = []
    named = (named for part in parts for named in part.images(skipped, lambda _: True))
    return (image for _, image in itertools.islice(named, 0, step * _MOST_IMAGES, step))


def _spread(items: Sequence[Item]) -> list[Item]:
    count = min(len(items), _MOST_IMAGES)
    return [items[index * len(items) // count] for index in range(count)]
