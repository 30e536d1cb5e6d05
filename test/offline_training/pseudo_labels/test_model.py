import numpy as np
import pytest

from drive_segment_ros.errors import DatasetError
from offline_training.pseudo_labels.features import Scaling
from offline_training.pseudo_labels.model import ClassModel


def some_model(groupings=(5, 1, 9), classes=4):
    random = np.random.default_rng(0)
    clusters = sum(groupings)
    values = random.normal(size=(3, 6)).astype(np.float32)
    share = random.random((clusters, classes))
    return ClassModel(
        Scaling(*values),
        np.array([0, 2]),
        random.normal(size=(clusters, 6)).astype(np.float32),
        share / share.sum(axis=1, keepdims=True),
        np.cumsum([0, *groupings]),
        random.random(clusters).astype(np.float32),
        random.permutation(2 + classes),
        np.array([[2, 3], [2, 5]]),
    )


def test_a_rows_share_is_the_mean_of_its_nearest_clusters_shares():
    model = some_model()
    values = np.random.default_rng(1).normal(size=(700, 6)).astype(np.float32)

    share = model.share_of(values)

    distance = np.linalg.norm(values[:, None] - model.centres, axis=2)
    nearest = [a + distance[:, a:b].argmin(axis=1) for a, b in ((0, 5), (5, 6), (6, 15))]
    assert share == pytest.approx(np.mean([model.share[near] for near in nearest], axis=0))


def test_a_model_comes_back_as_it_was(tmp_path):
    model = some_model()
    model.save(tmp_path / 'clusters.npz')

    read = ClassModel.load(tmp_path / 'clusters.npz')

    for name in ('stuff', 'centres', 'share', 'bounds', 'size', 'number', 'merges'):
        assert np.array_equal(getattr(read, name), getattr(model, name))
    for name in ('centre', 'scale', 'weight'):
        assert np.array_equal(getattr(read.scaling, name), getattr(model.scaling, name))


@pytest.mark.parametrize('content', [b'', b'no archive', None])
def test_what_is_no_model_is_one_line(tmp_path, content):
    path = tmp_path / 'clusters.npz'
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(DatasetError, match=r'clusters\.npz') as caught:
        ClassModel.load(path)

    assert '\n' not in str(caught.value)


def test_a_model_of_something_else_is_one_line(tmp_path):
    np.savez(tmp_path / 'clusters.npz', centres=np.zeros(3))

    with pytest.raises(DatasetError, match='has no classes'):
        ClassModel.load(tmp_path / 'clusters.npz')
