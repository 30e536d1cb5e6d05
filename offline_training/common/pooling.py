"""Means over the regions of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def pool(
    values: NDArray[np.float32], regions: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Average pixel values over regions.

    Args:
        values: (N, K) float32.
        regions: N region ids, any shape, contiguous from 0.

    Returns:
        (R, K) float32 means and (R,) pixel counts.
    """
    flat = regions.ravel()
    pixels = np.bincount(flat)
    membership = sparse.csr_matrix(
        (np.ones(len(flat), np.float32), (flat, np.arange(len(flat)))),
        shape=(len(pixels), len(flat)),
    )
    return (membership @ values) / np.maximum(pixels, 1)[:, None].astype(np.float32), pixels
