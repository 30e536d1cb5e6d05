"""The consistency of pseudo-classes over time: a measure that needs no labels.

An object first seen from afar and last seen from nearby is the same object. If its features alone
give it the same class both times, and classes separate objects, the classes depend on objects and
not on views.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Frames in which an object must be seen, so that the view has changed.
_LEAST_VIEWS = 5


def first_and_last(
    label: NDArray[np.integer],
    track: NDArray[np.integer],
    frame: NDArray[np.integer],
    weight: NDArray[np.floating],
    classes: int,
) -> NDArray[np.float64]:
    """Return the joint histogram of first and last classes of objects, (K, K).

    Histograms of several drives may be added.

    Args:
        label: (S,) class each segment would get by its own features.
        track: (S,) object each segment is a view of.
        frame: (S,) frame of each segment.
        weight: (S,) of each segment.
        classes: number K of classes.
    """
    order = np.lexsort((frame, track))
    first = np.flatnonzero(np.diff(track[order], prepend=np.min(track, initial=0) - 1))
    last = np.append(first[1:], len(order)) - 1
    long = last - first + 1 >= _LEAST_VIEWS
    before, after = order[first[long]], order[last[long]]
    joint = np.zeros((classes, classes))
    np.add.at(joint, (label[before], label[after]), np.sqrt(weight[before] * weight[after]))
    return joint


def consistency(joint: NDArray[np.float64]) -> float:
    """Return the mutual information of an object's first and last class.

    Args:
        joint: (K, K), see `first_and_last`.

    Returns:
        Mutual information of the two in nats: 0 is chance, the logarithm of the number of classes
        is the most; 0 too if no object was seen five times.
    """
    if not joint.any():
        return 0.0
    joint = joint / joint.sum()
    apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())
