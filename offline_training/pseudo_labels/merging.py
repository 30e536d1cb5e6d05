"""Merges fine clusters to classes by the nearest neighbours of their members.

k-means finds clusters of similar size in feature space, yet the cars of a street, from the one
beside the vehicle to the one a block away, are one class: neighbours differ little, the extremes
much. So k-means clusters finely, and clusters linked by many nearest neighbours are merged, the
most closely linked pair first. Karypis et al., "Chameleon", Computer 32(8), 1999, by its relative
interconnectivity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Number of nearest rows to which each row is linked.
NEIGHBOURS = 20
# A pair's links are divided by its clusters' sizes to this power. Power 1 would merge small
# clusters first and give classes of equal size; with power 1/2 large ones absorb the rest.
_SIZE_POWER = 0.75


def merge_clusters(
    near: NDArray[np.intp],
    weight: NDArray[np.float32],
    cluster: NDArray[np.intp],
    counts: Sequence[int],
) -> list[NDArray[np.intp]]:
    """Merge clusters to several numbers of groups.

    Args:
        near: (N, L) the rows nearest to each, see `nearest_rows`.
        weight: (N,) of each row.
        cluster: (N,) cluster of each row; all of 0 to M - 1 occur.
        counts: the numbers of groups.

    Returns:
        For each of these (M,): group of each cluster, 0 to count - 1.
    """
    linked = links(near, weight, cluster)
    order = merge_order(linked, linked.sum(axis=1), min(counts), _SIZE_POWER)
    return [groups_of(len(linked), order, count) for count in counts]


def agglomerate(
    linked: NDArray[np.floating], size: NDArray[np.floating], count: int, power: float
) -> NDArray[np.intp]:
    """Merge the closest pair repeatedly until `count` groups are left.

    Args:
        linked, size, power: see `merge_order`.
        count: number of groups.

    Returns:
        (M,) group of each, 0 to count - 1.
    """
    order = merge_order(linked, size, count, power)
    return groups_of(len(size), order, count)


def merge_order(
    linked: NDArray[np.floating], size: NDArray[Any], count: int, power: float
) -> NDArray[np.intp]:
    """Merge the closest pair repeatedly until `count` groups are left.

    Args:
        linked: (M, M) symmetric, links of each pair; added by merging.
        size: (M,) of each; added by merging.
        count: number of groups.
        power: closeness is links over the product of the sizes to this power.

    Returns:
        (M - count, 2) the merged pairs in order: the first of each pair, the larger, represents
        both from then on.
    """
    linked, size = linked.astype(np.float64), size.astype(np.float64)
    np.fill_diagonal(linked, 0.0)
    closeness = linked / np.maximum(np.outer(size, size), 1e-12) ** power
    np.fill_diagonal(closeness, -1.0)
    left = np.ones(len(size), bool)
    # The closest partner of each row is updated, which avoids a search over all pairs per merge.
    best = closeness.argmax(axis=1)
    most = closeness.max(axis=1)
    stands_for = np.arange(len(size))
    largest = size.copy()
    order = np.empty((max(len(size) - count, 0), 2), np.intp)
    for step in range(len(order)):
        a = int(np.where(left, most, -2.0).argmax())
        b = int(best[a])
        large, small = (a, b) if largest[a] >= largest[b] else (b, a)
        order[step] = stands_for[large], stands_for[small]
        stands_for[a], largest[a] = stands_for[large], largest[large]
        linked[a] += linked[b]
        linked[:, a] = linked[a]
        size[a] += size[b]
        left[b] = False
        row = linked[a] / np.maximum(size[a] * size, 1e-12) ** power
        row[~left] = row[a] = -1.0
        closeness[a] = closeness[:, a] = row
        closeness[b] = closeness[:, b] = -1.0
        stale = np.flatnonzero(left & ((best == a) | (best == b)))
        stale = np.append(stale, a)
        best[stale] = closeness[stale].argmax(axis=1)
        most[stale] = closeness[stale, best[stale]]
        closer = left & (row > most)
        best[closer], most[closer] = a, row[closer]
    return order


def groups_of(length: int, order: NDArray[np.integer], count: int) -> NDArray[np.intp]:
    """Return the group of each element, (length,), after merging to `count` groups.

    Args:
        length: number of elements.
        order: (N, 2) merged pairs, see `merge_order`.
        count: number of groups, at least length - N.
    """
    return np.unique(stand_ins(length, order, count), return_inverse=True)[1].reshape(-1)


def stand_ins(length: int, order: NDArray[np.integer], count: int) -> NDArray[np.intp]:
    """Return the representative of each element, (length,), after merging to `count` groups."""
    group = np.arange(length)
    for kept, gone in order[: max(length - count, 0)].tolist():
        group[group == group[gone]] = group[kept]
    return group


def links(
    near: NDArray[np.intp], weight: NDArray[np.float32], cluster: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the links of clusters by their rows' nearest neighbours, (M, M), symmetric."""
    clusters = int(cluster.max()) + 1
    row = np.repeat(np.arange(len(near)), near.shape[1])
    strength = np.sqrt(weight[row] * weight[near.ravel()])
    pair = cluster[row] * clusters + cluster[near.ravel()]
    linked: NDArray[np.float64] = np.bincount(pair, strength, clusters**2).astype(np.float64)
    linked = linked.reshape(clusters, clusters)
    return linked + linked.T


def nearest_rows(values: NDArray[np.float32], count: int = NEIGHBOURS) -> NDArray[np.intp]:
    """Return each row's nearest other rows, (N, count), or all if there are fewer."""
    from sklearn.neighbors import NearestNeighbors

    count = min(count, len(values) - 1)
    if count < 1:
        return np.empty((len(values), 0), np.intp)
    found = NearestNeighbors(n_neighbors=count, algorithm='brute').fit(values)
    return found.kneighbors(return_distance=False)
