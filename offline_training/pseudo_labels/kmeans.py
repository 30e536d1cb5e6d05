"""k-means by scikit-learn: seeded, repeatable, mini-batch where there are many rows."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from numpy.typing import NDArray

# Up to here every row takes part in every iteration; beyond, each iteration draws this many.
BATCH = 20_000


@dataclasses.dataclass(frozen=True)
class Clusters:
    """Result of k-means.

    Attributes:
        centres: (K, D) float32.
        label: (N,) nearest centre of each row.
        inertia: weighted mean of the squared distance of a row to its centre.
    """

    centres: NDArray[np.float32]
    label: NDArray[np.intp]
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

    Start: greedy k-means++ (Arthur & Vassilvitskii, SODA 2007); iteration: Lloyd's, on
    mini-batches with decaying steps (Sculley, WWW 2010) if there are more than `BATCH` rows.

    Args:
        values: (N, D) float32.
        count: number of clusters; at most N distinct ones are found.
        seed: the same seed and rows give the same clusters.
        weight: (N,) how much each row counts; all alike if None.
        restarts: how many times to start.
        iterations: at most, a restart.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    weight = np.ones(len(values), np.float32) if weight is None else weight
    kind = KMeans if len(values) <= BATCH else MiniBatchKMeans
    options = {'n_init': restarts, 'max_iter': iterations, 'random_state': seed}
    if kind is MiniBatchKMeans:
        options['batch_size'] = BATCH
    # Sums of several threads come together in any order, and so differ in their last bits.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Fewer distinct rows than clusters.
        warnings.simplefilter('ignore', ConvergenceWarning)
        found = kind(min(count, len(values)), **options).fit(values, sample_weight=weight)
        centres = found.cluster_centers_.astype(np.float32)
        label, distance = nearest(values, centres)
    return Clusters(centres, label, float(np.average(distance, weights=weight)))


def nearest(
    values: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return each row's nearest centre, (N,), and its squared distance, (N,)."""
    from sklearn.metrics import pairwise_distances_argmin_min

    return pairwise_distances_argmin_min(values, centres, metric='sqeuclidean')
