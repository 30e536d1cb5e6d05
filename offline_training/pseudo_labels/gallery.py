"""A picture of each pseudo-class with typical segments, as a help to name it."""

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
TILE_HEIGHT, TILE_WIDTH = 160, 240
ROWS, COLUMNS = 2, 4
_CONTEXT = 0.4  # of the segment's size, shown around it
# Target mean lightness of a segment; the gain is limited, so that noise remains invisible.
_LIGHTNESS, _MOST_GAIN = 120.0, 4.0
_SURROUNDINGS = 0.5  # of their lightness
_OUTLINE = (80, 220, 255)
_QUALITY = 88


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """A segment that may be shown for its class: its frame, id and size."""

    frame: FrameRecord
    id: int
    pixels: int


Exhibits = Mapping[int, Sequence[Exhibit]]


def exhibits(
    table: SegmentTable, assigned: NDArray[np.integer], frames: Sequence[FrameRecord]
) -> dict[int, list[Exhibit]]:
    """Return up to 8 segments of each class in a drive: one of each of its largest objects.

    Args:
        table: the drive's segments.
        assigned: (S,) class of each.
        frames: the frames of the table.
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

    At most one segment per track, so that the picture shows eight different objects.
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
    """Crop a segment, brightened and outlined, with darkened surroundings.

    If it is nearly as large as the image, its middle is shown.

    Returns:
        (160, 240, 3) uint8 BGR.
    """
    cells = _window(mask)
    inside, seen = mask[cells], image[cells]
    lit = seen * _gain(seen[inside])
    shown = np.clip(np.where(inside[..., None], lit, lit * _SURROUNDINGS), 0, 255)
    picture = resize_image(shown.astype(np.uint8), TILE_HEIGHT, TILE_WIDTH).copy()
    at_size = cv2.resize(inside.astype(np.uint8), (TILE_WIDTH, TILE_HEIGHT))
    outlines, _ = cv2.findContours(at_size, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, _OUTLINE, 1, cv2.LINE_AA)
    return picture


def _window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns of the tile around a segment, all within the image."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    aspect, (rows, columns) = TILE_WIDTH / TILE_HEIGHT, mask.shape
    across = max(width, height * aspect, 24.0) * (1.0 + _CONTEXT)
    across = min(across, columns, rows * aspect)
    size = max(round(across / aspect), 1), max(round(across), 1)
    places = (top + height / 2, left + width / 2)
    starts = [
        min(max(round(middle - length / 2), 0), limit - length)
        for middle, length, limit in zip(places, size, mask.shape, strict=True)
    ]
    first, second = (
        slice(start, start + length) for start, length in zip(starts, size, strict=True)
    )
    return first, second


def _gain(pixels: NDArray[np.uint8]) -> float:
    """Return the gain that brightens a segment enough to be recognised."""
    mean = float(pixels.mean()) if len(pixels) else _LIGHTNESS
    return min(max(_LIGHTNESS / max(mean, 1.0), 1.0), _MOST_GAIN)


def mosaic(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Arrange tiles in a grid, filled up with black."""
    canvas = np.zeros((ROWS * TILE_HEIGHT, COLUMNS * TILE_WIDTH, 3), np.uint8)
    for place, picture in enumerate(tiles):
        row, column = divmod(place, COLUMNS)
        top, left = row * TILE_HEIGHT, column * TILE_WIDTH
        canvas[top : top + TILE_HEIGHT, left : left + TILE_WIDTH] = picture
    return canvas
