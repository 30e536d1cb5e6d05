"""Consensus clustering: classes that do not depend on the initialisation of k-means.

The similarity of two rows is the share of groupings in which they are together; classes are formed
by average linkage. Fred & Jain, "Combining multiple clusterings using evidence accumulation", IEEE
TPAMI
27(6), 2005.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_training.pseudo_labels.merging import agglomerate

# The cost is quadratic in rows, so a sample of this size is used; the others are assigned.
_MOST_ROWS = 4_000


def find_consensus(
    votes: NDArray[np.intp], weight: NDArray[np.float32], count: int, seed: int = 0
) -> list[NDArray[np.float64]]:
    """Find the consensus classes of several groupings of the same rows.

    Args:
        votes: (N, R) group of each row in each of the R groupings, from 0.
        weight: (N,) of each row.
        count: number of classes K; fewer if there are fewer different rows.
        seed: of the sample, if there are more than 4,000 rows.

    Returns:
        For each grouping (G, K) float64: the share of each of its groups in each class. A row
        belongs to the class in which its groups have the largest mean share.
    """
    groups = [int(column.max()) + 1 for column in votes.T]
    if len(votes) > _MOST_ROWS:
        chosen = np.random.default_rng(seed).choice(len(votes), _MOST_ROWS, replace=False)
        votes, weight = votes[chosen], weight[chosen]
    # Rows that are in the same groups of all groupings are merged.
    kinds, kind = np.unique(votes, axis=0, return_inverse=True)
    size = np.bincount(kind.reshape(-1), weight).astype(np.float64)
    together = np.zeros((len(kinds), len(kinds)), np.float32)
    for column in kinds.T:
        together += column[:, None] == column
    linked = together * (np.outer(size, size) / votes.shape[1])
    label = agglomerate(linked, size, count, power=1.0)
    return [
        _shares(column, label, size, length, count)
        for column, length in zip(kinds.T, groups, strict=True)
    ]


def _shares(
    groups: NDArray[np.intp],
    label: NDArray[np.intp],
    size: NDArray[np.float64],
    length: int,
    count: int,
) -> NDArray[np.float64]:
    """Return the share of each group's weight in each class, (length, count)."""
    share = np.zeros((length, count))
    np.add.at(share, (groups, label), size)
    return share / np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
