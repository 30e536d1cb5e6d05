import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline_training.pseudo_labels.kmeans import kmeans, nearest
from offline_training.pseudo_labels.merging import merge_clusters, nearest_rows


def street(seed):
    """Return 2D features of a long row, as cars near to far, and two small groups, and classes."""
    random = np.random.default_rng(seed)
    row = np.stack([np.linspace(0, 30, 600), np.zeros(600)], axis=1)
    groups = [np.full((40, 2), [12, 4.0]), np.full((40, 2), [18, -4.0])]
    values = np.vstack([row, *groups]) + random.normal(0, 0.3, (680, 2))
    return values.astype(np.float32), np.repeat([0, 1, 2], [600, 40, 40])


def clustered(values, seed, fine):
    weight = np.ones(len(values), np.float32)
    clusters = kmeans(values, fine, seed, weight, restarts=3)
    return weight, np.unique(nearest(values, clusters.centres)[0], return_inverse=True)[1]


@pytest.mark.parametrize('seed', range(3))
def test_a_row_of_alike_things_stays_one_class(seed):
    values, thing = street(seed)
    weight, cluster = clustered(values, seed, 30)

    found = merge_clusters(nearest_rows(values), weight, cluster, [3])[0][cluster]

    for number in range(3):
        assert len(np.unique(found[thing == number])) == 1
    assert len(np.unique(found)) == 3
    # k-means alone splits the row.
    _, plain = clustered(values, seed, 3)
    assert len(np.unique(plain[thing == 0])) > 1


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_as_many_classes_are_left_as_asked_for(rows, count, seed):
    values = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    clusters = min(rows, 12)
    cluster = np.arange(rows) % clusters

    (group,) = merge_clusters(nearest_rows(values), np.ones(rows, np.float32), cluster, [count])

    assert sorted(set(group)) == list(range(min(count, clusters)))


def test_nearest_rows_are_those_of_a_full_search():
    values = np.random.default_rng(0).normal(size=(1500, 4)).astype(np.float32)

    near = nearest_rows(values, 6)

    distance = ((values[:, None] - values) ** 2).sum(axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (np.sort(near) == np.sort(np.argsort(distance)[:, :6])).all()
