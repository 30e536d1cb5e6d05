import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline_training.pseudo_labels import consensus
from offline_training.pseudo_labels.consensus import find_consensus


def opinions(rows=300, groupings=15, wrong=0.25, seed=0):
    """Return rows' true class, groupings that misplace a share of them, and equal weights."""
    random = np.random.default_rng(seed)
    thing = np.repeat([0, 1, 2], [rows // 2, rows // 3, rows - rows // 2 - rows // 3])
    votes = []
    for _ in range(groupings):
        names = random.permutation(4)  # group numbers differ between groupings
        mistaken = random.random(rows) < wrong
        votes.append(names[np.where(mistaken, random.integers(0, 4, rows), thing)])
    return thing, np.stack(votes, axis=1), np.ones(rows, np.float32)


def labels(shares, votes):
    """Return each row's class: that with the largest sum of its groups' shares."""
    return sum(share[groups] for share, groups in zip(shares, votes.T, strict=True)).argmax(axis=1)


def purity(found, thing):
    table = np.zeros((found.max() + 1, thing.max() + 1))
    np.add.at(table, (found, thing), 1)
    return table.max(axis=1).sum() / len(thing)


def test_many_poor_groupings_agree_on_a_good_one():
    thing, votes, weight = opinions()

    found = labels(find_consensus(votes, weight, 3), votes)

    assert max(purity(column, thing) for column in votes.T) < 0.9
    assert purity(found, thing) > 0.98


def test_rows_that_were_not_asked_get_the_class_of_their_groups(monkeypatch):
    thing, votes, weight = opinions(rows=900)
    monkeypatch.setattr(consensus, '_MOST_ROWS', 200)

    found = labels(find_consensus(votes, weight, 3), votes)

    assert purity(found, thing) > 0.98


def test_a_group_stands_for_classes_by_the_weight_of_its_rows():
    votes = np.array([[0, 0], [0, 1], [1, 2]])

    found = find_consensus(votes, np.array([3.0, 1.0, 1.0], np.float32), 3)

    shares = found[0][0]
    assert sorted(shares) == [0.0, 0.25, 0.75]
    assert shares.argmax() == labels(found, votes)[0]


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 6), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_no_more_classes_than_asked_for_and_one_for_all_alike(rows, count, groupings, seed):
    random = np.random.default_rng(seed)
    votes = random.integers(0, 4, (rows, groupings))
    weight = random.uniform(0.1, 2.0, rows).astype(np.float32)

    label = labels(find_consensus(votes, weight, count), votes)

    assert label.shape == (rows,)
    assert set(label.tolist()) <= set(range(count))
    for row in range(rows):
        assert (label[(votes == votes[row]).all(axis=1)] == label[row]).all()


@pytest.mark.parametrize('count', [2, 3, 5])
def test_one_grouping_into_as_many_classes_is_returned(count):
    votes = np.arange(40)[:, None] % count

    label = labels(find_consensus(votes, np.ones(40, np.float32), count), votes)

    assert len(set(zip(votes[:, 0].tolist(), label.tolist(), strict=True))) == count
