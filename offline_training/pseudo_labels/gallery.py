"""A picture of each pseudo-class: typical segments, so that a person can name it."""

from __future__ import annotations

from collections.abc import Sequence
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


def write_galleries(
    folder: Path,
    frames: Sequence[FrameRecord],
    table: SegmentTable,
    assigned: NDArray[np.intp],
    classes: int,
) -> None:
    """Write `class_00.png`, ...: up to 12 segments of each class, largest objects first.

    At most one segment of a track, so that the picture shows twelve objects and not one twelve
    times.
    """
    chosen = {number: typical_rows(table, assigned, number) for number in range(classes)}
    tiles: dict[int, list[NDArray[np.uint8]]] = {number: [] for number in range(classes)}
    # Frame by frame, so that each image is read once.
    wanted = sorted((int(table.frame[row]), row, n) for n, rows in chosen.items() for row in rows)
    current = -1
    for index, row, number in wanted:
        if index != current:
            current, segment = index, frames[index].segment()
            image = resize_image(frames[index].image(), *segment.shape)
        tiles[number].append(tile(image, segment == table.id[row]))
    for number, pictures in tiles.items():
        write_png(folder / f'class_{number:02d}.png', mosaic(pictures))


def typical_rows(table: SegmentTable, assigned: NDArray[np.intp], number: int) -> NDArray[np.intp]:
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
