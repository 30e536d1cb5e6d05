from __future__ import annotations

import numpy as np
import pytest

from drive_segment_ros.perception import label_limit
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.proposals import ProposalParameters, find_proposals


@pytest.fixture
def posts() -> PointCloud:
    """Return a cloud without beams: ten posts on level ground, each with fewer points."""
    rng = np.random.default_rng(0)
    ground = rng.uniform(-20.0, 20.0, (4000, 3))
    ground[:, 2] = -1.7
    xyz = [ground[np.linalg.norm(ground[:, :2], axis=1) > 2.0]]
    for k in range(10):
        angle = 2.0 * np.pi * k / 10.0
        place = 10.0 * np.array([np.cos(angle), np.sin(angle), 0.1])
        xyz.append(place + 0.02 * rng.standard_normal((200 - 15 * k, 3)))
    x, y, z = np.concatenate(xyz).astype(np.float32).T.copy()
    return PointCloud(0, 'lidar', x, y, z)


def test_the_smallest_objects_give_way_and_the_sweep_says_how_many(posts, monkeypatch):
    params = ProposalParameters(method='dbscan')
    whole = find_proposals(posts, params)
    assert (whole.count, whole.crowded_out) == (14, 0)
    assert 'proposals_dropped' not in whole.facts()
    monkeypatch.setattr(label_limit, 'LARGEST_LABEL', 9)
    cut = find_proposals(posts, params)
    assert (cut.count, cut.crowded_out) == (10, 4)
    assert cut.facts()['proposals_dropped'] == 4
    # The six largest objects keep their points and order; the others become unlabelled.
    sizes = np.bincount(whole.label, minlength=14)
    kept = np.sort(np.argsort(-sizes[4:])[:6]) + 4
    for now, before in enumerate(kept, start=4):
        np.testing.assert_array_equal(cut.label == now, whole.label == before)
    assert (np.bincount(cut.label) > 0).sum() == 8  # six objects, ground and unlabelled


def test_cells_are_numbered_as_points_are(monkeypatch):
    monkeypatch.setattr(label_limit, 'LARGEST_LABEL', 5)
    label = np.array([0, 1, 4, 5, 5, 6, 6, 6], np.int32)
    cells = label.reshape(2, 4)
    points, image, count = label_limit.limit_labels(label, cells, 7, 4)
    assert points.tolist() == [0, 1, 0, 4, 4, 5, 5, 5]
    assert image.tolist() == points.reshape(2, 4).tolist()
    assert count == 6
