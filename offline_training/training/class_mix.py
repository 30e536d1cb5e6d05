"""Pastes objects of rare classes from another frame into a training sample.

A camera on a vehicle sees similar objects at similar positions in all images, so objects of one
image fit into another. As in ClassMix (Olsson et al., WACV 2021, arXiv 2007.07936), but rare
classes, such as persons, are pasted more often than common ones.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from offline_training.training.frame_targets import RegionTargets

# A class is pasted with this chance over the root of its share of the image: half the time if it
# covers a fiftieth, always if it covers a two-hundredth.
_CHANCE = 0.07


def paste_rare_classes(
    image: NDArray[np.uint8],
    target: RegionTargets,
    other_image: NDArray[np.uint8],
    other: RegionTargets,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], RegionTargets]:
    """Paste some classes of another frame at the places they have there.

    Args:
        image: (H, W, 3) uint8 RGB.
        target: what is known about it.
        other_image: (H, W, 3) uint8 RGB of the frame to paste from.
        other: what is known about that; a region is of its most probable class, and regions
            without weight stay behind.
        random: the sample's own generator.

    Returns:
        The mixed image, and what is known about it.
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
    """Return which regions to paste, (R,): those of classes drawn by how rare they are here."""
    pixels = np.bincount(target.regions.ravel(), minlength=len(target.weight))
    known = (target.weight > 0) & (pixels > 0)
    region_class = target.probability.argmax(axis=1)
    classes = target.probability.shape[1]
    share = np.bincount(region_class[known], pixels[known], classes) / target.regions.size
    chance = _CHANCE / np.sqrt(np.maximum(share, np.finfo(np.float64).tiny))
    drawn = random.random(len(share)) < chance
    return known & drawn[region_class]
