"""Weights that balance the classes.

A road fills half the image and a sign a thousandth of it; with equal weights, small classes are
not learned. Only one sum per class over all frames is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_mass(
    probability: NDArray[np.float16], weight: NDArray[np.float32], pixels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return how much each class counts in some regions, and all of them together.

    Args:
        probability: (R, K) soft targets of regions.
        weight: (R,) how much a pixel of each counts.
        pixels: (R,) pixels in each.

    Returns:
        (K + 1,) float64: pixels by weight of each class, then of all regions.
    """
    mass = weight * pixels
    return np.append(mass @ probability.astype(np.float32), mass.sum())


def class_factors(mass: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return how much more each class is to count: its frequency to minus `power`.

    Args:
        mass: (K + 1,) the sum of `class_mass` over all frames.
        power: 0 leaves all as it is, 1 lets every class count the same.

    Returns:
        (K,) float64; all pixels together count as before.
    """
    frequency, total = mass[:-1], mass[-1]
    seen = frequency > 0
    factors = np.zeros(len(frequency))
    factors[seen] = (frequency[seen] / frequency.sum()) ** -power
    balanced = factors @ frequency
    return factors * (total / balanced if balanced > 0 else 1.0)


def balanced_weight(
    probability: NDArray[np.float16], weight: NDArray[np.float32], factors: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the weights (R,) of regions, changed by the factors (K,) of their classes."""
    return (weight * (probability.astype(np.float32) @ factors)).astype(np.float32)
