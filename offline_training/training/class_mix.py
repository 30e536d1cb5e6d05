"""Pastes objects of rare classes from another frame of its camera into a training sample.

A camera on a vehicle sees similar objects at similar positions in all images, so objects of one
image fit into another. As in ClassMix (Olsson et al., WACV 2021, arXiv 2007.07936), but rare
classes, such as persons, are pasted more often than common ones.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.training.frame_targets import RegionTargets

# A class is pasted with this probability divided by the square root of its share of the image:
# 0.5 if it covers 1/50, 1 if it covers 1/200.
_CHANCE = 0.07


def paste_rare_classes(
    image: NDArray[np.uint8],
    target: RegionTargets,
    other_image: NDArray[np.uint8],
    other: RegionTargets,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], RegionTargets]:
    """Paste regions of some classes of another frame at the same positions.

    Args:
        image: (H, W, 3) uint8 RGB.
        target: of the image.
        other_image: (H, W, 3) uint8 RGB of the frame to paste from.
        other: its targets; the class of a region is its most probable one, and regions of weight 0
            are not pasted.
        random: generator of this sample.

    Returns:
        The mixed image and its targets.
    """
    pasted = _chosen_regions(other, random)[other.regions]
    mixed = RegionTargets(
        np.where(pasted, other.regions + len(target.weight), target.regions),
        np.concatenate([target.probability, other.probability]),
        np.concatenate([target.weight, other.weight]),
    )
    mixed_image = cv2.copyTo(np.asarray(other_image), pasted.view(np.uint8), image.copy())
    return np.asarray(mixed_image), mixed


def _chosen_regions(target: RegionTargets, random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which regions to paste, (R,) bool: those of classes drawn by their rarity here."""
    pixels = np.bincount(target.regions.ravel(), minlength=len(target.weight))
    known = (target.weight > 0) & (pixels > 0)
    region_class = target.probability.argmax(axis=1)
    classes = target.probability.shape[1]
    share = np.bincount(region_class[known], pixels[known], classes) / target.regions.size
    chance = _CHANCE / np.sqrt(np.maximum(share, np.finfo(np.float64).tiny))
    drawn = random.random(len(share)) < chance
    return known & drawn[region_class]
