"""Resizing of images and label images: one function for each, used everywhere.

Training and the vehicle must shrink images identically. Two exceptions:
`ros/images.py` decodes to a whole fraction as JPEG decoders do, and an exported model may have the
resizing in its graph (`offline_training/deploy/export.py`), limited to the graph's operations.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

# Relative change of the aspect ratio that may be due to rounding to whole patches of a network.
_ROUNDING = 0.1


def is_distorted(size: tuple[int, ...], height: int, width: int) -> bool:
    """Return whether resizing an image of a size (H, W, ...) to height x width distorts it."""
    return abs(size[0] * width / (size[1] * height) - 1.0) > _ROUNDING


def crop_to_aspect(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return the centre of an image, in the aspect ratio of height x width.

    Args:
        image: (H, W) or (H, W, 3), of any type.
        height, width: to resize to afterwards, px.

    Returns:
        A view of it: all of its rows or all of its columns; the image itself if resizing does not
        distort it, as in predictions.
    """
    if not is_distorted(image.shape, height, width):
        return image
    rows, columns = image.shape[:2]
    kept_rows = min(rows, max(round(columns * height / width), 1))
    kept_columns = min(columns, max(round(rows * width / height), 1))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return image[top : top + kept_rows, left : left + kept_columns]


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize an image, averaging areas where it shrinks.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        height, width: of the result, px.

    Returns:
        (height, width) or (height, width, 3) uint8, the image itself if it has that size.
    """
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    # OpenCV is fastest at whole factors.
    if shrinks and image.ndim == 3 and (image.shape[0] % height or image.shape[1] % width):
        return _shrunk(image, height, width)
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)


def resize_labels(labels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize a label image (H, W) of any integer type: every result is one of its labels."""
    if labels.shape == (height, width):
        return labels
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
    # Copying whole rows is fast, so rows are selected first and single labels gathered after.
    if height < labels.shape[0]:
        return labels[rows].take(columns, axis=1)
    return labels.take(columns, axis=1)[rows]


def _shrunk(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) with each pixel the mean of the area it covers.

    OpenCV averages along rows first, and element by element; columns first is half of that work,
    on whole rows at once. Its results differ by one where a mean lies between two values.
    """
    flat = np.ascontiguousarray(image).reshape(len(image), -1)
    result = np.empty((height, width, 3), np.uint8)
    rows, columns = _weights(image.shape[0], height), _weights(image.shape[1], width)
    _shrink(flat, *rows, *columns, result)
    return result


@functools.lru_cache(maxsize=16)
def _weights(size: int, smaller: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return, for each cell of a smaller axis, its first pixel and the shares of those from it."""
    factor = size / smaller
    count = min(math.ceil(factor) + 1, size)
    edges = np.arange(smaller + 1) * factor
    first = np.minimum(np.floor(edges[:-1]).astype(np.int64), size - count)
    pixels = first[:, None] + np.arange(count)
    overlap = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    return first, (np.maximum(overlap, 0.0) / factor).astype(np.float32)


@njit(cache=True, fastmath=True, nogil=True)
def _shrink(
    image: NDArray[np.uint8],
    first_row: NDArray[np.int64],
    row_weight: NDArray[np.float32],
    first_column: NDArray[np.int64],
    column_weight: NDArray[np.float32],
    result: NDArray[np.uint8],
) -> None:
    """Average areas.

    Args:
        image: (H, 3 W) uint8, colours side by side.
        first_row, first_column: (height,), (width,) the first pixel of each result's area.
        row_weight, column_weight: (height, A), (width, B) the shares of the pixels from it.
        result: (height, width, 3) uint8, written.
    """
    line = np.empty(image.shape[1], np.float32)
    half = np.float32(0.5)
    for y in range(len(first_row)):
        line[:] = half
        for k in range(row_weight.shape[1]):
            weight = row_weight[y, k]
            if weight > 0.0:
                source = image[first_row[y] + k]
                for i in range(len(line)):
                    line[i] += weight * np.float32(source[i])
        for x in range(len(first_column)):
            at = 3 * first_column[x]
            # `line` includes the 0.5 for rounding; the weights sum to 1, which preserves it.
            blue = green = red = np.float32(0.0)
            for k in range(column_weight.shape[1]):
                weight = column_weight[x, k]
                blue += weight * line[at]
                green += weight * line[at + 1]
                red += weight * line[at + 2]
                at += 3
            result[y, x, 0], result[y, x, 1], result[y, x, 2] = blue, green, red
