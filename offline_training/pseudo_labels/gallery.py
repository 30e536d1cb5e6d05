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
from offline_training.common.files import write_png
from offline_training.pseudo_labels.segment_table import SegmentTable

TILE_HEIGHT, TILE_WIDTH = 150, 200
ROWS, COLUMNS = 3, 4
_CONTEXT = 0.4  # of the segment's size, shown around it


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
    """Return up to 12 segments of each class in a drive: of its largest objects, one each.

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
    """Return the 12 largest of each class, of both."""
    both = {
        number: [*one.get(number, []), *other.get(number, [])]
        for number in one.keys() | other.keys()
    }
    return {
        number: sorted(found, key=lambda exhibit: -exhibit.pixels)[: ROWS * COLUMNS]
        for number, found in both.items()
    }


def draw_galleries(shown: Exhibits, classes: int) -> list[NDArray[np.uint8]]:
    """Return a picture of each class: up to 12 segments, largest objects first.

    At most one segment of a track, so that the picture shows twelve objects and not one twelve
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
    """Write `class_00.png`, ..."""
    for number, picture in enumerate(pictures):
        write_png(folder / f'class_{number:02d}.png', picture)


def typical_rows(
    table: SegmentTable, assigned: NDArray[np.integer], number: int
) -> NDArray[np.intp]:
    """Return the rows shown for a class: the largest view of each of its largest objects."""
    rows = np.flatnonzero(assigned == number)
    rows = rows[np.argsort(-table.pixels[rows], kind='stable')]
    _, first = np.unique(table.track[rows], return_index=True)
    return rows[np.sort(first)][: ROWS * COLUMNS]


def tile(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Cut out a segment with its surroundings dimmed, (150, 200, 3) uint8 BGR."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    across = max(width, height * TILE_WIDTH / TILE_HEIGHT, 24.0) * (1.0 + _CONTEXT)
    down = across * TILE_HEIGHT / TILE_WIDTH
    x, y = left + width / 2 - across / 2, top + height / 2 - down / 2
    columns, rows = np.arange(int(x), int(x + across)), np.arange(int(y), int(y + down))
    in_columns = (columns >= 0) & (columns < mask.shape[1])
    in_rows = (rows >= 0) & (rows < mask.shape[0])
    cells = np.ix_(np.clip(rows, 0, mask.shape[0] - 1), np.clip(columns, 0, mask.shape[1] - 1))
    shown = np.where(mask[cells][..., None], image[cells], image[cells] // 3)
    # Beyond the image's edge there is nothing to show.
    shown[~np.logical_and.outer(in_rows, in_columns)] = 0
    return resize_image(shown, TILE_HEIGHT, TILE_WIDTH)


def mosaic(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Lay tiles out in a grid, black where there are too few."""
    canvas = np.zeros((ROWS * TILE_HEIGHT, COLUMNS * TILE_WIDTH, 3), np.uint8)
    for place, picture in enumerate(tiles):
        row, column = divmod(place, COLUMNS)
        top, left = row * TILE_HEIGHT, column * TILE_WIDTH
        canvas[top : top + TILE_HEIGHT, left : left + TILE_WIDTH] = picture
    return canvas
