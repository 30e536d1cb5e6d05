"""The embedded descriptor of a segment: colour, texture and LiDAR geometry.

It needs no weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.resizing import resize_image

# Proposal arrays by group; with a number c their logarithm log(c + x) is used.
GEOMETRY: dict[str, dict[str, float | None]] = {
    'size': {
        'height_min': None,
        'height_max': 1.0,
        'extent_long': 0.3,
        'extent_short': 0.3,
        'extent_vertical': 0.3,
    },
    'shape': {
        'planarity': None,
        'linearity': None,
        'scattering': None,
        'normal_vertical': None,
        'roughness': 0.02,
    },
    'intensity': {'intensity_mean': 3.0, 'intensity_std': 3.0},
}
_SCALES = 2
# Of a segment: Lab and its squares, texture layers, place.
_COLOUR, _TEXTURE, _PLACE = 6, 3 * _SCALES, 2


@dataclasses.dataclass(frozen=True)
class Descriptor:
    """Describes segments by interpretable numbers; see `features.Features`."""

    name: str = 'descriptor'

    def __call__(
        self,
        image: NDArray[np.uint8],
        segment: NDArray[np.uint16],
        proposals: Mapping[str, NDArray[Any]],
    ) -> dict[str, NDArray[np.float32]]:
        """Describe a frame's proposals, see `Features`."""
        small = resize_image(image, *segment.shape)
        bgr = np.multiply(small, np.float32(1.0 / 255.0), dtype=np.float32)
        lab: NDArray[Any] = cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB)
        means = segment_means(lab, texture(lab[..., 0]), segment, proposals['id'])
        mean, square = means[:, 0:3], means[:, 3:6]
        return {
            **geometry(proposals),
            'colour': np.hstack([mean, np.sqrt(np.maximum(square - mean**2, 0.0))]).astype(
                np.float32
            ),
            'texture': np.log1p(means[:, _COLOUR:-_PLACE]).astype(np.float32),
            'position': means[:, -_PLACE:].astype(np.float32),
        }


def texture(lightness: NDArray[Any]) -> NDArray[np.float32]:
    """Return texture layers (6, H, W): gradients across and along, fine detail, at two scales.

    They are signed; texture is described by their magnitude.
    """
    layers = np.empty((_TEXTURE, *lightness.shape), np.float32)
    lightness = np.ascontiguousarray(lightness)
    for scale in range(_SCALES):
        if scale:
            lightness = cv2.GaussianBlur(lightness, (0, 0), 2.0)
        cv2.Sobel(lightness, cv2.CV_32F, 1, 0, dst=layers[3 * scale])
        cv2.Sobel(lightness, cv2.CV_32F, 0, 1, dst=layers[3 * scale + 1])
        cv2.Laplacian(lightness, cv2.CV_32F, dst=layers[3 * scale + 2])
    return layers


def geometry(proposals: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Return the proposals' geometry by group, each (P, D), NaN if a frame lacks an array."""
    unknown = np.full(len(proposals['id']), np.nan, np.float32)
    groups = {}
    for group, names in GEOMETRY.items():
        columns = []
        for name, offset in names.items():
            column = proposals.get(name, unknown).astype(np.float32)
            if offset is not None:
                column = np.log(offset + np.maximum(column, 0.0))
            columns.append(column)
        groups[group] = np.stack(columns, axis=1)
    return groups


def segment_means(
    lab: NDArray[np.float32],
    layers: NDArray[np.float32],
    segment: NDArray[np.uint16],
    ids: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Average over the pixels of each segment, in one pass over the image.

    Args:
        lab: (H, W, 3) float32, CIE Lab.
        layers: (6, H, W) float32, see `texture`.
        segment: (H, W) uint16 ids.
        ids: (P,) the segments to average over.

    Returns:
        (P, 14): Lab, its squares, the layers' magnitudes, row and column as shares of the
        image's sides; NaN for a segment without pixels.
    """
    row_of_id = np.full(65536, -1, np.int64)
    row_of_id[ids] = np.arange(len(ids))
    sums, pixels = _segment_sums(lab, layers, segment, row_of_id, len(ids))
    sums[:, -_PLACE:] /= segment.shape
    with np.errstate(invalid='ignore'):
        return sums / pixels[:, None]


@njit(cache=True, nogil=True)
def _segment_sums(
    lab: NDArray[np.float32],
    layers: NDArray[np.float32],
    segment: NDArray[np.uint16],
    row_of_id: NDArray[np.int64],
    count: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the sums for `segment_means`, (count, 14), and pixels, (count,)."""
    sums = np.zeros((count, 14))
    pixels = np.zeros(count, np.int64)
    for y in range(segment.shape[0]):
        for x in range(segment.shape[1]):
            row = row_of_id[segment[y, x]]
            if row < 0:
                continue
            pixels[row] += 1
            for channel in range(3):
                value = np.float64(lab[y, x, channel])
                sums[row, channel] += value
                sums[row, 3 + channel] += value * value
            for layer in range(6):
                sums[row, 6 + layer] += abs(layers[layer, y, x])
            sums[row, 12] += y
            sums[row, 13] += x
    return sums, pixels
