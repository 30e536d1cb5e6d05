"""k-means by scikit-learn: seeded, repeatable, mini-batch where there are many rows."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from numpy.typing import NDArray

# Up to this number all rows are used in every iteration; otherwise mini-batches of this size.
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
    """Cluster rows; the restart with the lowest inertia is returned.

    Start: greedy k-means++ (Arthur & Vassilvitskii, SODA 2007); iteration: Lloyd's, on
    mini-batches with decaying steps (Sculley, WWW 2010) if there are more than `BATCH` rows.

    Args:
        values: (N, D) float32.
        count: number of clusters; not more than distinct rows.
        seed: the same seed and rows give the same clusters.
        weight: (N,) of each row; equal if None.
        restarts: number of restarts.
        iterations: largest number per restart.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    weight = np.ones(len(values), np.float32) if weight is None else weight
    kind = KMeans if len(values) <= BATCH else MiniBatchKMeans
    options = {'n_init': restarts, 'max_iter': iterations, 'random_state': seed}
    if kind is MiniBatchKMeans:
        options['batch_size'] = BATCH
    # The order of sums over several threads varies, and with it their last bits.
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
