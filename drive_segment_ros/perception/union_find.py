"""A forest of disjoint sets in an array: each node's parent, a root being its own."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, inline='always')
def find_root(parent: NDArray[np.integer], node: int) -> int:
    """Return the root of a node's tree, and shorten the path to it (path halving).

    Args:
        parent: (N,) int32 or uint32, the parent of each node; shortened in place.
        node: 0 to N - 1.
    """
    above = parent[node]
    while above != node:
        parent[node] = parent[above]
        node = parent[node]
        above = parent[node]
    return node
