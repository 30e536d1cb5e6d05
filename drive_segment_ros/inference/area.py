"""Shrinking an image by averaging areas, as OpenCV's INTER_AREA does, in less of its time."""

from __future__ import annotations

import functools
import math

import numba
import numpy as np
from numpy.typing import NDArray


def shrink(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return an image with each pixel the mean of the area it covers.

    OpenCV averages along rows first, and element by element; columns first is half of that work,
    on whole rows at once.

    Args:
        image: (H, W, 3) uint8.
        height, width: of the result, px; at most H and W.

    Returns:
        (height, width, 3) uint8; OpenCV's differs by one where a mean lies between two values.
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


@numba.njit(cache=True, fastmath=True, nogil=True)
def _shrink(
    image: NDArray[np.uint8],
    first_row: NDArray[np.int64],
    row_weight: NDArray[np.float32],
    first_column: NDArray[np.int64],
    column_weight: NDArray[np.float32],
    result: NDArray[np.uint8],
) -> None:
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
            # A line carries the half that rounds; the weights' sum, one, keeps it.
            blue = green = red = np.float32(0.0)
            for k in range(column_weight.shape[1]):
                weight = column_weight[x, k]
                blue += weight * line[at]
                green += weight * line[at + 1]
                red += weight * line[at + 2]
                at += 3
            result[y, x, 0], result[y, x, 1], result[y, x, 2] = blue, green, red
