"""Which classes come together where fewer are wanted: the merge tree of what was overclustered.

Coarser groupings of the same objects tell: two classes are as alike as the share of groupings, of
all levels, that have their members together (evidence accumulation over levels, see `consensus`).
No label is read. CUPS (Hahn et al., CVPR 2025) gains by more classes, merged at answer time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offline_training.pseudo_labels.merging import merge_order

# Each level has this share of the groups of the one before.
_COARSER = 0.7


def coarser_levels(count: int) -> list[int]:
    """Return numbers of groups below `count`, from fine to coarse, down to 2."""
    levels = []
    while (count := round(_COARSER * count)) >= 2 and count not in levels:
        levels.append(count)
    return levels


def link_classes(
    label: NDArray[np.intp],
    weight: NDArray[np.float32],
    votes: Sequence[NDArray[np.intp]],
    classes: int,
) -> NDArray[np.intp]:
    """Return in which order classes come together, the most alike first.

    Args:
        label: (N,) class of each object, from 0.
        weight: (N,) how much each counts.
        votes: groupings of the objects at several levels, (N,) each.
        classes: number K of classes.

    Returns:
        (K - 1, 2) pairs of classes, see `merge_order`.
    """
    size = np.bincount(label, weight, classes)
    alike = np.zeros((classes, classes))
    for groups in votes:
        share = np.zeros((classes, int(groups.max(initial=0)) + 1))
        np.add.at(share, (label, groups), weight)
        share /= np.maximum(size[:, None], 1e-12)
        alike += share @ share.T
    return merge_order(alike * np.outer(size, size), size, 1, power=1.0)
