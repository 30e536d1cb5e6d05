"""How well pseudo-classes hold through time: a measure of them that needs no label.

An object seen first from afar and last from beside it is the same thing. If its looks alone give
it the same class both times, and classes tell objects apart, the classes are about things and not
about views.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Frames an object must be seen in: the view must have had time to change.
_LEAST_VIEWS = 5


def first_and_last(
    label: NDArray[np.integer],
    track: NDArray[np.integer],
    frame: NDArray[np.integer],
    weight: NDArray[np.floating],
    classes: int,
) -> NDArray[np.float64]:
    """Return how much of what has one class when first seen has which when last seen, (K, K).

    Those of several drives add up.

    Args:
        label: (S,) class each segment would get by itself, whatever its track.
        track: (S,) object each segment is a view of.
        frame: (S,) when.
        weight: (S,) how much a segment counts.
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
    """Return what an object's class when first seen tells of its class when last seen.

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
