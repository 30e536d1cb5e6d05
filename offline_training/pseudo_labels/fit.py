"""Fits pseudo-classes to a sample: fine clusters of objects, merged by consensus.

Road, raised ground and sky are separate classes; k-means is fitted on objects only.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.cores import usable_cores
from offline_training.pseudo_labels.assignment import LabelParameters, track_means
from offline_training.pseudo_labels.consensus import find_consensus
from offline_training.pseudo_labels.features import Scaling
from offline_training.pseudo_labels.kmeans import kmeans
from offline_training.pseudo_labels.linkage import coarser_levels, link_classes
from offline_training.pseudo_labels.merging import merge_clusters, nearest_rows
from offline_training.pseudo_labels.model import ClassModel
from offline_training.pseudo_labels.sampling import Sample

# Least average number of objects in a fine cluster.
OBJECTS_A_CLUSTER = 10
_OBJECT_POWER = 0.75


@dataclasses.dataclass(frozen=True)
class _Grouping:
    """One run of k-means, merged.

    Attributes:
        centres: (M, D) of its clusters.
        cluster: (T,) of each object.
        group: (M,) of each cluster.
        coarser: of each coarser level, (M,) likewise, see `coarser_levels`.
        inertia: of the objects in the clusters.
    """

    centres: NDArray[np.float32]
    cluster: NDArray[np.intp]
    group: NDArray[np.intp]
    coarser: list[NDArray[np.intp]]
    inertia: float


def fit(
    sample: Sample, stuff: Iterable[int], parameters: LabelParameters
) -> tuple[ClassModel, float]:
    """Fit pseudo-classes.

    Args:
        sample: segments of objects.
        stuff: the stuff classes in the fitted frames.
        parameters: number of classes, clustering.

    Returns:
        The classes, and the mean inertia of objects in the fine clusters over all runs.
    """
    present = np.array(sorted(stuff), np.int64)
    if len(sample.owner) == 0:
        return ClassModel.without_objects(present), 0.0
    scaling = Scaling.learn(sample.features)
    looks = scaling.apply(sample.features)
    objects = np.unique(sample.owner, return_index=True)[1]
    known = track_means(looks, sample.owner, np.sqrt(sample.pixels))[objects]
    weight = object_weight(sample.owner, sample.pixels)
    count = parameters.classes - len(present)
    # Links between clusters are meaningful only if a cluster has several objects.
    most = min(parameters.fine_clusters, len(known) // OBJECTS_A_CLUSTER)
    seeds = [parameters.seed * 1000 + start for start in range(parameters.restarts)]
    groupings = _groupings(known, weight, max(most, count), count, seeds)
    votes = np.stack([grouping.group[grouping.cluster] for grouping in groupings], axis=1)
    consensus = find_consensus(votes, weight, count, parameters.seed)
    label = functools.reduce(
        operator.add, (shares[v] for shares, v in zip(consensus, votes.T, strict=True))
    ).argmax(axis=1)
    levels = [g[grouping.cluster] for grouping in groupings for g in grouping.coarser]
    merges = link_classes(label, weight, [*votes.T, *levels], count)
    model = ClassModel(
        scaling,
        present,
        np.concatenate([grouping.centres for grouping in groupings]),
        np.concatenate([shares[g.group] for shares, g in zip(consensus, groupings, strict=True)]),
        np.cumsum([0, *(len(grouping.centres) for grouping in groupings)]),
        np.concatenate([np.bincount(g.cluster, weight).astype(np.float32) for g in groupings]),
        np.arange(len(present) + count),
        merges.astype(np.int64) + len(present),
    )
    return model, float(np.mean([grouping.inertia for grouping in groupings]))


def _groupings(
    known: NDArray[np.float32],
    weight: NDArray[np.float32],
    fine: int,
    count: int,
    seeds: list[int],
) -> list[_Grouping]:
    """Cluster finely and merge, once per seed; nearest neighbours are computed only once."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    def grouping(seed: int) -> _Grouping:
        clusters = kmeans(known, fine, seed, weight, restarts=1)
        used, cluster = np.unique(clusters.label, return_inverse=True)
        group, *coarser = merge_clusters(near, weight, cluster, levels)
        return _Grouping(clusters.centres[used], cluster, group, coarser, clusters.inertia)

    levels = [count, *coarser_levels(count)]
    # One thread per run, so that runs do not affect each other. Thread limits and warning filters
    # belong to the process, so they are set here for all runs.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)
        near = nearest_rows(known)
        with ThreadPoolExecutor(usable_cores()) as threads:
            return list(threads.map(grouping, seeds))


def object_weight(owner: NDArray[np.intp], pixels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the weight of each object, mean 1: by the pixels it covers in all frames.

    To a power below 1, so that large objects do not dominate. With equal weights, hundreds of
    small pieces of facades and foliage would determine the classes.

    Args:
        owner: (S,) object of each segment, 0 to T - 1.
        pixels: (S,) pixels of each segment.
    """
    weight = np.bincount(owner, pixels) ** _OBJECT_POWER
    return (weight / weight.mean()).astype(np.float32)
