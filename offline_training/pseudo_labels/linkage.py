"""The merge tree of overclustered classes: which ones are merged if fewer are wanted.

It follows from coarser groupings of the same objects: the similarity of two classes is the share
of groupings, over all levels, that have their members together (evidence accumulation over levels,
see `consensus`). No labels are read. CUPS (Hahn et al., CVPR 2025) also gains by more classes that
are merged at inference.
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
    """Return the order in which classes are merged, the most similar first.

    Args:
        label: (N,) class of each object, from 0.
        weight: (N,) of each object.
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
