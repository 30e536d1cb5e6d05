"""What many groupings agree on: classes that do not hang on where k-means began.

Two rows are as similar as the share of groupings in which they are together; average linkage makes
the classes. Fred & Jain, "Combining multiple clusterings using evidence accumulation", IEEE TPAMI
27(6), 2005.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_training.pseudo_labels.merging import agglomerate

# Pairs of rows are counted, so of more rows than this a sample is taken; the rest vote.
_MOST_ROWS = 4_000


def find_consensus(
    votes: NDArray[np.intp], weight: NDArray[np.float32], count: int, seed: int = 0
) -> list[NDArray[np.float64]]:
    """Find the classes that groupings of the same rows agree on.

    Args:
        votes: (N, R) the group each of the R groupings puts each row into, from 0.
        weight: (N,) how much each row counts.
        count: number of classes K; fewer if there are fewer different rows.
        seed: of the sample, where there are more than 4,000 rows.

    Returns:
        For each grouping (G, K) float64: the share of each of its groups in each class. A row is
        of the class that its groups have the largest mean share in.
    """
    groups = [int(column.max()) + 1 for column in votes.T]
    if len(votes) > _MOST_ROWS:
        chosen = np.random.default_rng(seed).choice(len(votes), _MOST_ROWS, replace=False)
        votes, weight = votes[chosen], weight[chosen]
    # Rows on which all groupings agree are one.
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
