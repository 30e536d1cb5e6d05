"""Images and label images brought to another size, each in the way that suits it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize an image (H, W, C) uint8, averaging where it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)


def resize_labels(labels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize a label image (H, W) of any integer type: every result is one of its labels."""
    if labels.shape == (height, width):
        return labels
    rows = (np.arange(height) + 0.5) * labels.shape[0] / height
    columns = (np.arange(width) + 0.5) * labels.shape[1] / width
    return labels[np.ix_(rows.astype(np.intp), columns.astype(np.intp))]
