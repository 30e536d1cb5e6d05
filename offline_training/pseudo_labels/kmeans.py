"""k-means: seeded, repeatable, mini-batch where there are many rows."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

# Up to here every row takes part in every iteration; beyond, each iteration draws this many.
BATCH = 20_000


@dataclasses.dataclass(frozen=True)
class Clusters:
    """Result of k-means.

    Attributes:
        centres: (K, D) float32.
        inertia: weighted mean of the squared distance of a row to its centre.
    """

    centres: NDArray[np.float32]
    inertia: float


def kmeans(
    values: NDArray[np.float32],
    count: int,
    seed: int,
    weight: NDArray[np.float32] | None = None,
    restarts: int = 10,
    iterations: int = 100,
) -> Clusters:
    """Cluster rows; of several restarts the one of least inertia is returned.

    Start: k-means++ (Arthur & Vassilvitskii, SODA 2007); iteration: Lloyd's, on mini-batches with
    decaying steps (Sculley, WWW 2010) if there are more than `BATCH` rows.

    Args:
        values: (N, D) float32.
        count: number of clusters; at most N distinct ones are found.
        seed: the same seed and rows give the same clusters.
        weight: (N,) how much each row counts; all alike if None.
        restarts: how many times to start.
        iterations: at most, a restart.
    """
    weight = np.ones(len(values), np.float32) if weight is None else weight
    count = min(count, len(values))
    best: Clusters | None = None
    for restart in range(restarts):
        random = np.random.default_rng((seed, restart))
        centres = _spread(_batch(values, random), count, random)
        if len(values) <= BATCH:
            centres = _lloyd(values, weight, centres, iterations)
        else:
            centres = _mini_batch(values, weight, centres, iterations, random)
        _, distance = nearest(values, centres)
        inertia = float(np.average(distance, weights=weight))
        if best is None or inertia < best.inertia:
            best = Clusters(centres, inertia)
    assert best is not None
    return best


def nearest(
    values: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return each row's nearest centre, (N,), and its squared distance, (N,)."""
    label = np.empty(len(values), np.intp)
    distance = np.empty(len(values), np.float32)
    square = (centres**2).sum(axis=1)
    for start in range(0, len(values), BATCH):
        rows = slice(start, start + BATCH)
        part = values[rows]
        score = square - 2.0 * (part @ centres.T)
        label[rows] = score.argmin(axis=1)
        distance[rows] = score.min(axis=1) + (part**2).sum(axis=1)
    return label, np.maximum(distance, 0.0)


def _spread(
    values: NDArray[np.float32], count: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Choose starting centres far apart (k-means++)."""
    centres = [values[random.integers(len(values))]]
    distance = ((values - centres[0]) ** 2).sum(axis=1, dtype=np.float64)
    while len(centres) < count:
        total = distance.sum()
        chosen = (
            random.choice(len(values), p=distance / total)
            if total > 0.0
            else random.integers(len(values))
        )
        centres.append(values[chosen])
        distance = np.minimum(distance, ((values - values[chosen]) ** 2).sum(axis=1))
    return np.stack(centres)


def _lloyd(
    values: NDArray[np.float32],
    weight: NDArray[np.float32],
    centres: NDArray[np.float32],
    iterations: int,
) -> NDArray[np.float32]:
    for _ in range(iterations):
        label, _ = nearest(values, centres)
        total, sums = _sums(values, weight, label, len(centres))
        # A cluster that lost all its rows stays where it is.
        moved = np.where(total[:, None] > 0, sums / np.maximum(total, 1e-12)[:, None], centres)
        moved = moved.astype(np.float32)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _mini_batch(
    values: NDArray[np.float32],
    weight: NDArray[np.float32],
    centres: NDArray[np.float32],
    iterations: int,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    seen = np.zeros(len(centres))
    for _ in range(iterations):
        rows = random.integers(0, len(values), BATCH)
        label, _ = nearest(values[rows], centres)
        total, sums = _sums(values[rows], weight[rows], label, len(centres))
        seen += total
        step = total / np.maximum(seen, 1e-12)
        mean = sums / np.maximum(total, 1e-12)[:, None]
        moved = centres + step[:, None] * (mean - centres)
        centres = np.where(total[:, None] > 0, moved, centres).astype(np.float32)
    return centres


def _sums(
    values: NDArray[np.float32],
    weight: NDArray[np.float32],
    label: NDArray[np.intp],
    count: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each cluster's total weight (K,) and weighted sum of rows (K, D)."""
    total = np.bincount(label, weight, minlength=count).astype(np.float64)
    columns = [np.bincount(label, weight * column, minlength=count) for column in values.T]
    return total, np.stack(columns, axis=1)


def _batch(values: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    if len(values) <= BATCH:
        return values
    return values[random.choice(len(values), BATCH, replace=False)]
