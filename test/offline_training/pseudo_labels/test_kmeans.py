import numpy as np
import pytest

from offline_training.pseudo_labels import kmeans as module
from offline_training.pseudo_labels.kmeans import kmeans, nearest


def blobs(count=300, centres=5, seed=0):
    random = np.random.default_rng(seed)
    middle = random.uniform(-20, 20, (centres, 3))
    label = random.integers(0, centres, count)
    return (middle[label] + random.normal(0, 0.3, (count, 3))).astype(np.float32), label


def test_separate_blobs_are_found():
    values, truth = blobs()

    label, _ = nearest(values, kmeans(values, 5, seed=0).centres)

    assert len({(int(a), int(b)) for a, b in zip(label, truth, strict=True)}) == 5


def test_more_restarts_are_no_worse():
    values = np.random.default_rng(1).random((400, 4)).astype(np.float32)

    one, ten = (kmeans(values, 8, seed=0, restarts=restarts).inertia for restarts in (1, 10))

    assert ten <= one


def test_a_row_belongs_to_its_nearest_centre_and_knows_how_far_it_is():
    values, centres = np.random.default_rng(2).random((2, 50, 3)).astype(np.float32)

    label, distance = nearest(values, centres)

    square = ((values[:, None] - centres) ** 2).sum(axis=-1)
    assert (label == square.argmin(axis=1)).all()
    assert distance == pytest.approx(square.min(axis=1), abs=1e-5)


def test_a_seed_repeats_and_another_differs():
    values = np.random.default_rng(1).random((400, 4)).astype(np.float32)

    first, again = (kmeans(values, 8, seed=3, restarts=1) for _ in range(2))
    other = kmeans(values, 8, seed=4, restarts=1)

    assert (first.centres == again.centres).all()
    assert (first.centres != other.centres).any()


def test_mini_batches_find_the_same_blobs(monkeypatch):
    values, truth = blobs(count=2000)
    monkeypatch.setattr(module, 'BATCH', 500)

    label, _ = nearest(values, kmeans(values, 5, seed=0).centres)

    assert len({(int(a), int(b)) for a, b in zip(label, truth, strict=True)}) == 5


def test_weight_counts_like_repetition():
    values = np.random.default_rng(2).random((40, 2)).astype(np.float32)
    weight = np.where(np.arange(40) < 10, 5.0, 1.0).astype(np.float32)
    repeated = np.vstack([values] + [values[:10]] * 4)

    weighted = kmeans(values, 3, seed=0, weight=weight, restarts=30)

    assert weighted.inertia == pytest.approx(
        kmeans(repeated, 3, seed=0, restarts=30).inertia, rel=1e-3
    )


def test_fewer_rows_than_clusters_and_equal_rows():
    assert len(kmeans(np.eye(3, dtype=np.float32), 5, seed=0).centres) == 3
    assert kmeans(np.ones((9, 2), np.float32), 3, seed=0).inertia == 0.0
