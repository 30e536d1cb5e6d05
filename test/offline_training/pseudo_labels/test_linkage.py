import numpy as np
import pytest

from drive_segment_ros.errors import ModelError
from offline_training.common.classes import ClassName, default_classes
from offline_training.pseudo_labels.linkage import coarser_levels, link_classes
from offline_training.pseudo_labels.merged_classes import find_merges, merge_to, pool_rows
from offline_training.pseudo_labels.merging import agglomerate, groups_of, merge_order

MERGES = np.array([[4, 1], [4, 2], [0, 3]])


def test_levels_grow_coarser_down_to_two():
    assert coarser_levels(27) == [19, 13, 9, 6, 4, 3, 2]
    assert coarser_levels(3) == [2]
    assert coarser_levels(1) == []


def test_classes_that_coarse_groupings_join_come_together_first():
    label = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    coarse, coarser = np.array([0, 1, 0, 2])[label], np.array([0, 1, 0, 1])[label]

    order = link_classes(label, np.ones(100, np.float32), [label, coarse, coarser], 4)

    assert order[0].tolist() == [0, 2]  # joined in both groupings; the larger class is first
    assert order[1].tolist() == [1, 3]
    assert groups_of(4, order, 2).tolist() == [0, 1, 0, 1]


def test_merging_on_is_merging_to_fewer():
    random = np.random.default_rng(0)
    linked = random.random((12, 12))
    linked, size = linked + linked.T, random.random(12) + 1.0

    order = merge_order(linked, size, 1, 0.75)

    for count in (1, 3, 7, 12):
        assert (groups_of(12, order, count) == agglomerate(linked, size, count, 0.75)).all()
        assert len(np.unique(groups_of(12, order, count))) == count


def test_a_merged_class_is_called_as_the_one_that_stands_for_it_if_that_has_a_name():
    names = default_classes(6)
    names[1], names[3] = ClassName('car', (1, 2, 3)), ClassName('wall', (4, 5, 6))

    merged = merge_to(names, MERGES, 3)

    assert merged.group.tolist() == [0, 1, 1, 0, 1, 2]
    assert [one.name for one in merged.names] == ['wall', 'car', 'pseudo_class_05']
    assert merge_to(names, MERGES, 6).names == names


@pytest.mark.parametrize('count', [2, 7])
def test_what_cannot_be_merged_so_far_is_one_line(count):
    with pytest.raises(ModelError, match=f'6 classes cannot be merged to {count}; choose 3 to 6'):
        merge_to(default_classes(6), MERGES, count)


def test_answers_are_counted_as_of_merged_classes():
    confusion = np.arange(12).reshape(6, 2)  # rows: classes 0 to 4, no prediction

    pooled = pool_rows(confusion, MERGES, 3)

    assert pooled.tolist() == [[0, 1], [6, 7], [14, 17], [10, 11]]
    assert pool_rows(confusion, MERGES, 0).tolist() == [[6, 8], [14, 17], [10, 11]]


def test_where_nothing_is_said_of_merging_nothing_is_found(tmp_path):
    assert find_merges(tmp_path).shape == (0, 2)
