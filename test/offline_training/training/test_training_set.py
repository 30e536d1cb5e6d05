import errno
import os

import numpy as np
import pytest

from drive_segment_ros.errors import DatasetError
from offline_training.training.training_set import FrameTargets, RegionTargets, balanced_weight

# A road of 900 pixels, a sign of 100, and a region nobody knows.
PROBABILITY = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float16)
WEIGHT = np.array([1, 1, 0], np.float32)
PIXELS = np.array([900, 100, 500])


@pytest.mark.parametrize(('power', 'ratio'), [(0.0, 1.0), (0.5, 3.0), (1.0, 9.0)])
def test_a_rare_class_counts_more_by_the_power(power, ratio):
    weight = balanced_weight(PROBABILITY, WEIGHT, PIXELS, power)

    assert weight[1] / weight[0] == pytest.approx(ratio, rel=1e-5)
    assert weight[2] == 0.0
    assert weight @ PIXELS == pytest.approx(1000.0)


def test_a_soft_target_counts_by_its_shares():
    probability = np.array([[1, 0], [0, 1], [0.5, 0.5]], np.float16)

    weight = balanced_weight(probability, np.ones(3, np.float32), np.array([90, 10, 10]), 0.5)

    assert weight[2] == pytest.approx((weight[0] + weight[1]) / 2)


def test_where_nothing_is_known_nothing_counts():
    weight = balanced_weight(PROBABILITY, np.zeros(3, np.float32), PIXELS, 0.5)

    assert weight.tolist() == [0, 0, 0]


def test_targets_are_balanced_over_all_frames(tmp_path):
    one = RegionTargets(np.zeros((3, 3), np.int32), PROBABILITY[:1], WEIGHT[:1])
    two = RegionTargets(np.array([[0, 0, 1]] * 3, np.int32), PROBABILITY[:2], WEIGHT[:2])

    targets = FrameTargets.create(tmp_path / 'targets', 2, iter([one, two]), class_balance=0.5)

    assert targets[0].weight[0] == targets[1].weight[0]
    assert targets[1].weight[1] / targets[1].weight[0] == pytest.approx((15 / 3) ** 0.5)


def test_what_a_killed_process_left_is_replaced(tmp_path):
    (tmp_path / '.targets.partial').mkdir()
    (tmp_path / '.targets.partial/regions.npy').write_bytes(b'half')
    one = RegionTargets(np.zeros((3, 3), np.int32), PROBABILITY[:1], WEIGHT[:1])

    assert len(FrameTargets.create(tmp_path / 'targets', 1, iter([one]))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['targets']


def test_damaged_targets_are_one_line_that_says_what_to_do(tmp_path):
    one = RegionTargets(np.zeros((3, 3), np.int32), PROBABILITY[:1], WEIGHT[:1])
    FrameTargets.create(tmp_path / 'targets', 1, iter([one]))
    (tmp_path / 'targets/regions.npy').write_bytes(b'')

    with pytest.raises(
        DatasetError, match=r'regions\.npy is damaged; remove .*targets and resume'
    ):
        FrameTargets.create(tmp_path / 'targets', 1, iter([one]))


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'posix_fallocate', full)
    one = RegionTargets(np.zeros((3, 3), np.int32), PROBABILITY[:1], WEIGHT[:1])

    with pytest.raises(DatasetError, match='No space left'):
        FrameTargets.create(tmp_path / 'targets', 1, iter([one]))
    assert list(tmp_path.iterdir()) == []
