"""A picture of each pseudo-class: typical segments, so that a person can name it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.perception.resizing import resize_image
from offline_training.common.files import write_atomic
from offline_training.pseudo_labels.segment_table import SegmentTable

# The pictures of each class, and the page that shows them together.
GALLERY_FOLDER, GALLERY_PAGE = 'gallery', 'gallery.html'
TILE_HEIGHT, TILE_WIDTH = 180, 240
ROWS, COLUMNS = 2, 4
_CONTEXT = 0.4  # of the segment's size, shown around it
# A segment is brought to this mean lightness, as far as a gain allows that leaves noise unseen.
_LIGHTNESS, _MOST_GAIN = 120.0, 4.0
_SURROUNDINGS = 0.45  # of their lightness
_OUTLINE = (80, 220, 255)
_QUALITY = 88


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """A segment that may be shown for its class: which it is in which frame, and how large."""

    frame: FrameRecord
    id: int
    pixels: int


Exhibits = Mapping[int, Sequence[Exhibit]]


def exhibits(
    table: SegmentTable, assigned: NDArray[np.integer], frames: Sequence[FrameRecord]
) -> dict[int, list[Exhibit]]:
    """Return up to 8 segments of each class in a drive: of its largest objects, one each.

    Args:
        table: the drive's segments.
        assigned: (S,) class of each.
        frames: those that the table counts.
    """
    return {
        number: [
            Exhibit(frames[table.frame[row]], int(table.id[row]), int(table.pixels[row]))
            for row in typical_rows(table, assigned, number)
        ]
        for number in np.unique(assigned).tolist()
    }


def largest_exhibits(one: Exhibits, other: Exhibits) -> dict[int, list[Exhibit]]:
    """Return the 8 largest of each class, of both."""
    both = {
        number: [*one.get(number, []), *other.get(number, [])]
        for number in one.keys() | other.keys()
    }
    return {
        number: sorted(found, key=lambda exhibit: -exhibit.pixels)[: ROWS * COLUMNS]
        for number, found in both.items()
    }


def draw_galleries(shown: Exhibits, classes: int) -> list[NDArray[np.uint8]]:
    """Return a picture of each class: up to 8 segments, largest objects first.

    At most one segment of a track, so that the picture shows eight objects and not one eight
    times.
    """
    tiles: dict[tuple[int, int], NDArray[np.uint8]] = {}
    # Frame by frame, so that each image is read once.
    wanted = sorted(
        (str(one.frame.image_path), number, place)
        for number, found in shown.items()
        for place, one in enumerate(found)
    )
    current = ''
    for path, number, place in wanted:
        one = shown[number][place]
        if path != current:
            current, segment = path, one.frame.segment()
            image = resize_image(one.frame.image(), *segment.shape)
        tiles[number, place] = tile(image, segment == one.id)
    return [
        mosaic([tiles[number, place] for place in range(len(shown.get(number, [])))])
        for number in range(classes)
    ]


def write_galleries(folder: Path, pictures: Sequence[NDArray[np.uint8]]) -> None:
    """Write `class_00.jpg`, ..."""
    for number, picture in enumerate(pictures):
        _, data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        write_atomic(folder / picture_name(number), data.tobytes())


def picture_name(number: int) -> str:
    """Return the name of a class's picture."""
    return f'class_{number:02d}.jpg'


def typical_rows(
    table: SegmentTable, assigned: NDArray[np.integer], number: int
) -> NDArray[np.intp]:
    """Return the rows shown for a class: the largest view of each of its largest objects."""
    rows = np.flatnonzero(assigned == number)
    rows = rows[np.argsort(-table.pixels[rows], kind='stable')]
    _, first = np.unique(table.track[rows], return_index=True)
    return rows[np.sort(first)][: ROWS * COLUMNS]


def tile(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Cut out a segment, well lit and outlined, its surroundings dimmed.

    Returns:
        (180, 240, 3) uint8 BGR.
    """
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    across = max(width, height * TILE_WIDTH / TILE_HEIGHT, 24.0) * (1.0 + _CONTEXT)
    down = across * TILE_HEIGHT / TILE_WIDTH
    x, y = left + width / 2 - across / 2, top + height / 2 - down / 2
    columns, rows = np.arange(int(x), int(x + across)), np.arange(int(y), int(y + down))
    in_columns = (columns >= 0) & (columns < mask.shape[1])
    in_rows = (rows >= 0) & (rows < mask.shape[0])
    cells = np.ix_(np.clip(rows, 0, mask.shape[0] - 1), np.clip(columns, 0, mask.shape[1] - 1))
    beyond = ~np.logical_and.outer(in_rows, in_columns)
    inside = mask[cells] & ~beyond
    lit = image[cells] * _gain(image[cells][inside])
    shown = np.clip(np.where(inside[..., None], lit, lit * _SURROUNDINGS), 0, 255)
    # Beyond the image's edge there is nothing to show.
    shown[beyond] = 0
    picture = resize_image(shown.astype(np.uint8), TILE_HEIGHT, TILE_WIDTH).copy()
    at_size = cv2.resize(inside.astype(np.uint8), (TILE_WIDTH, TILE_HEIGHT))
    outlines, _ = cv2.findContours(at_size, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, _OUTLINE, 1, cv2.LINE_AA)
    return picture


def _gain(pixels: NDArray[np.uint8]) -> float:
    """Return what brings a segment's pixels to a lightness at which it can be recognised."""
    mean = float(pixels.mean()) if len(pixels) else _LIGHTNESS
    return min(max(_LIGHTNESS / max(mean, 1.0), 1.0), _MOST_GAIN)


def mosaic(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Lay tiles out in a grid, black where there are too few."""
    canvas = np.zeros((ROWS * TILE_HEIGHT, COLUMNS * TILE_WIDTH, 3), np.uint8)
    for place, picture in enumerate(tiles):
        row, column = divmod(place, COLUMNS)
        top, left = row * TILE_HEIGHT, column * TILE_WIDTH
        canvas[top : top + TILE_HEIGHT, left : left + TILE_WIDTH] = picture
    return canvas
