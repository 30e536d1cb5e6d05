"""Pictures as they lie in the page, and masks painted over images with what their colours mean."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.resizing import resize_image, resize_labels
from offline_training.common.classes import ClassName, palette
from offline_training.common.image_files import read_image
from offline_training.deploy.segment_job import draw
from offline_training.evaluation.prediction import Prediction

WIDTH = 768
_LIVE_PICTURES = 4
# At this quality a picture of this width takes 20 to 60 kB.
_QUALITY = 72
UNKNOWN = 'unknown'


@dataclasses.dataclass(frozen=True)
class Key:
    """What one colour of a mask means."""

    name: str
    color: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One picture of a frame.

    Attributes:
        name: of the stage.
        picture: a data URI, empty where there is none.
        note: what is seen, or why there is no picture.
        keys: what the colours mean, where they are of classes.
    """

    name: str
    picture: str
    note: str
    keys: tuple[Key, ...] = ()


def data_uri(picture: NDArray[np.uint8]) -> str:
    """Return a BGR picture as WebP in a data URI."""
    data = cv2.imencode('.webp', picture, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
    return 'data:image/webp;base64,' + base64.b64encode(data.tobytes()).decode()


def jpeg_uri(data: bytes) -> str:
    """Return a JPEG file's bytes as a data URI."""
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()


def masked(
    name: str,
    note: str,
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    classes: Sequence[ClassName],
) -> Stage:
    """Return a mask over its image, with what its colours mean: of classes that are in it only.

    Args:
        name, note: of the stage.
        image: (H, W, 3) uint8 BGR.
        label: (h, w) uint8 class, 255 = unknown.
        classes: names and colours.
    """
    sized = resize_labels(label, *image.shape[:2])
    colours = palette(list(classes))
    painted = draw(image, Prediction(sized, np.full_like(sized, 255)), colours).overlay
    there = np.flatnonzero(np.bincount(sized.ravel(), minlength=256)).tolist()
    keys = [Key(classes[n].name, classes[n].color) for n in there if n < len(classes)]
    if any(n >= len(classes) for n in there):
        red, green, blue = colours[IGNORE_LABEL].tolist()
        keys.append(Key(UNKNOWN, (red, green, blue)))
    return Stage(name, data_uri(painted), note, tuple(keys))


def joined_keys(stages: Iterable[Stage]) -> list[Key]:
    """Return what the colours of several pictures mean, each once, unknown last."""
    keys = dict.fromkeys(key for stage in stages for key in stage.keys)
    return sorted(keys, key=lambda key: (key.name == UNKNOWN, key.name))


def live_pictures(folder: Path | None) -> list[str]:
    """Return some of the pictures a live run has left, in order of time."""
    files = sorted(folder.iterdir()) if folder else []
    pictures = (read_image(files[i]) for i in spread(len(files), _LIVE_PICTURES))
    return [data_uri(resized(picture)) for picture in pictures]


def spread(count: int, wanted: int) -> list[int]:
    """Return up to `wanted` indices, evenly spread over `count`, first and last included."""
    return sorted({round(x) for x in np.linspace(0, count - 1, min(wanted, count)).tolist()})


def resized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture at the page's width."""
    rows, columns = picture.shape[:2]
    return resize_image(picture, round(rows * WIDTH / columns), WIDTH)
