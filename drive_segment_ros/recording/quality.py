"""Quality measures of an image and of a model's prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.resizing import resize_labels

# Grey values of noise around black, and of a saturated sensor after JPEG.
_BLACK, _WHITE = 8, 247


def sharpness(image: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian (Pech-Pacheco 2000) of an image (H, W, 3) BGR."""
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0] ** 2)


def clipped(image: NDArray[np.uint8]) -> float:
    """Return the share of pixels of an image (H, W, 3) BGR that are nearly black or white."""
    import cv2

    counts = np.bincount(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).reshape(-1), minlength=256)
    return float((counts[: _BLACK + 1].sum() + counts[_WHITE:].sum()) / counts.sum())


def disagreement(segment: NDArray[np.integer], label: NDArray[np.uint8]) -> float:
    """Return the share of pixels whose label is not that of most of their LiDAR segment.

    Args:
        segment: (H, W) the LiDAR's segment of each pixel, 0 = none.
        label: (h, w) a model's label, of any size.
    """
    small = resize_labels(segment, *label.shape)
    known = small > 0
    if not known.any():
        return 0.0
    votes = np.bincount(small[known].astype(np.int64) * 256 + label[known])
    votes = np.pad(votes, (0, -len(votes) % 256)).reshape(-1, 256)
    return float(1.0 - votes.max(axis=1).sum() / votes.sum())
