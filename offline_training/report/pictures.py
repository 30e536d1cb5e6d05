"""Embedded pictures of the page, and masks over images with their legend."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.colours import UNKNOWN_NAME
from drive_segment_ros.perception.legend import LegendEntry, count_labels, legend
from drive_segment_ros.perception.masks import colour_table, overlay
from drive_segment_ros.perception.resizing import resize_image, resize_labels
from offline_training.common.classes import ClassName
from offline_training.common.image_files import read_image

WIDTH = 768
_LIVE_PICTURES = 4
# At this quality a picture of this width takes 20 to 60 kB.
_QUALITY = 72
_OPACITY = 0.5


@dataclasses.dataclass(frozen=True)
class Stage:
    """One picture of a frame.

    Attributes:
        name: of the stage.
        picture: a data URI, empty where there is none.
        note: what the picture shows, or why there is none.
        keys: legend of the colours, if they are those of classes.
    """

    name: str
    picture: str
    note: str
    keys: tuple[LegendEntry, ...] = ()


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
    """Return a mask over its image, with the legend of the classes in it.

    Args:
        name, note: of the stage.
        image: (H, W, 3) uint8 BGR.
        label: (h, w) uint8 class, 255 = unknown.
        classes: names and colours.
    """
    sized = resize_labels(label, *image.shape[:2])
    painted = overlay(image, sized, colour_table([item.color for item in classes]), _OPACITY)
    return Stage(name, data_uri(painted), note, tuple(legend(count_labels(sized), classes)))


def joined_keys(stages: Iterable[Stage]) -> list[LegendEntry]:
    """Return the common legend of several pictures, unknown last."""
    keys = {(key.name, key.color): key for stage in stages for key in stage.keys}
    return sorted(keys.values(), key=lambda key: (key.name == UNKNOWN_NAME, key.name))


def live_pictures(folder: Path | None) -> list[str]:
    """Return some of the pictures saved in a live run, ordered by time."""
    files = sorted(folder.iterdir()) if folder else []
    pictures = (read_image(files[i]) for i in spread(len(files), _LIVE_PICTURES))
    return [data_uri(resized(picture)) for picture in pictures]


def spread(count: int, wanted: int) -> list[int]:
    """Return up to `wanted` indices, evenly spread over `count`, first and last included."""
    return sorted({round(x) for x in np.linspace(0, count - 1, min(wanted, count)).tolist()})


def resized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture scaled to the page's width."""
    rows, columns = picture.shape[:2]
    return resize_image(picture, round(rows * WIDTH / columns), WIDTH)
