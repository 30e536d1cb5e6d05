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
    """Return the weighted number of pixels of each class in some regions, and in all of them.

    Args:
        probability: (R, K) soft targets of the regions.
        weight: (R,) weight of each region's pixels.
        pixels: (R,) number of pixels in each region.

    Returns:
        (K + 1,) float64: weighted pixels of each class, then of all regions.
    """
    mass = weight * pixels
    return np.append(mass @ probability.astype(np.float32), mass.sum())


def class_factors(mass: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return the factor on the weight of each class: its frequency to the power of -`power`.

    Args:
        mass: (K + 1,) the sum of `class_mass` over all frames.
        power: 0 for no change, 1 for equal total weight of all classes.

    Returns:
        (K,) float64, normalised such that the total weight of all pixels does not change.
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
