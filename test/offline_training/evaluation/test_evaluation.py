import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import jaccard_score

from offline_training.evaluation.evaluation import (
    UNMATCHED,
    Matching,
    class_table,
    confusion_matrix,
    match,
    matched_confusion,
    report,
    score,
)

SEEDS = st.integers(0, 2**32 - 1)


def random_pair(seed, pseudo_classes=7, classes=4):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, (20, 30)).astype(np.uint8)
    # Correlated, so that a matching exists; some unknown and some unlabelled pixels.
    predicted = ((truth + random.integers(0, 3, truth.shape)) % pseudo_classes).astype(np.uint8)
    predicted[random.random(truth.shape) < 0.1] = 255
    truth[random.random(truth.shape) < 0.2] = 255
    return predicted, truth


@given(SEEDS)
def test_confusion_matrix_is_scikit_learns(seed):
    predicted, truth = random_pair(seed)
    labelled = truth != 255
    rows = np.minimum(predicted[labelled], 7)

    counts = confusion_matrix(predicted, truth, 7, 4)

    # scikit-learn has truth in rows.
    expected = sklearn_confusion(truth[labelled], rows, labels=range(8))[:4].T
    assert (counts == expected).all()


@given(SEEDS)
def test_strict_and_many_to_one_agree_with_an_independent_computation(seed):
    predicted, truth = random_pair(seed)
    labelled = truth != 255
    predicted, truth = predicted[labelled], truth[labelled]
    counts = np.array(
        [[((predicted == k) & (truth == c)).sum() for c in range(4)] for k in range(7)]
    )
    pairs = dict(zip(*linear_sum_assignment(-counts), strict=True))
    one = np.array([pairs.get(k, 9) if k < 7 else 9 for k in range(256)])[predicted]
    leftover = {k: pairs.get(k, int(counts[k].argmax())) for k in range(7)}
    many = np.array([leftover.get(k, 9) for k in range(256)])[predicted]

    scores = score(confusion_matrix(predicted[None], truth[None], 7, 4))

    for result, answer in ((scores.strict, one), (scores.many_to_one, many)):
        iou = jaccard_score(truth, answer, labels=range(4), average=None, zero_division=0)
        assert result.iou == pytest.approx(100 * iou)
        assert result.miou == pytest.approx(100 * iou.mean())
        assert result.accuracy == pytest.approx(100 * (truth == answer).mean())


@given(SEEDS)
def test_the_flattering_score_is_never_below_strict_and_many_to_one_accuracy_neither(seed):
    scores = score(confusion_matrix(*random_pair(seed), 7, 4))

    assert scores.ignore_unmatched.miou >= scores.strict.miou
    assert scores.ignore_unmatched.accuracy >= scores.strict.accuracy
    assert scores.many_to_one.accuracy >= scores.strict.accuracy


@given(SEEDS)
def test_scores_do_not_depend_on_how_pseudo_classes_are_numbered(seed):
    confusion = confusion_matrix(*random_pair(seed), 7, 4)
    order = np.random.default_rng(seed).permutation(7)
    shuffled = np.vstack([confusion[:-1][order], confusion[-1:]])

    assert score(shuffled).strict.accuracy == pytest.approx(score(confusion).strict.accuracy)


@given(SEEDS)
def test_no_other_matching_gets_more_pixels_right(seed):
    confusion = confusion_matrix(*random_pair(seed, 4, 3), 4, 3)
    best = max(
        sum(confusion[row, column] for column, row in enumerate(rows))
        for rows in itertools.permutations(range(4), 3)
    )

    one_to_one = match(confusion).one_to_one
    right = sum(confusion[row, c] for row, c in enumerate(one_to_one) if c != UNMATCHED)

    assert right == best


def test_a_case_by_hand():
    #                    road  car  sky (absent)
    confusion = np.array([[60, 0, 0], [20, 5, 0], [0, 10, 0], [5, 0, 0]])

    matching = match(confusion)
    scores = score(confusion)

    assert matching.one_to_one.tolist() == [0, UNMATCHED, 1]
    assert matching.many_to_one.tolist() == [0, 0, 1]
    assert scores.strict.iou[:2] == pytest.approx([100 * 60 / 85, 100 * 10 / 15])
    assert scores.strict.accuracy == pytest.approx(70.0)
    assert scores.ignore_unmatched.iou[:2] == pytest.approx([100.0, 100.0])
    assert scores.many_to_one.iou[:2] == pytest.approx([100 * 80 / 90, 100 * 10 / 15])
    assert np.isnan(scores.strict.iou[2])
    assert scores.strict.miou == pytest.approx((100 * 60 / 85 + 100 * 10 / 15) / 2)


def test_a_matching_learned_elsewhere_is_applied_as_it_is():
    confusion = np.array([[0, 30], [70, 0], [0, 0]])
    learned = Matching(np.array([0, 1]), np.array([0, 1]))

    assert score(confusion).strict.accuracy == 100.0
    assert score(confusion, learned).strict.accuracy == 0.0


def test_a_pseudo_class_without_a_common_pixel_is_not_matched():
    assert match(np.array([[5, 0], [0, 0], [0, 3]])).one_to_one.tolist() == [0, UNMATCHED]


def test_matched_confusion_keeps_every_pixel():
    confusion = confusion_matrix(*random_pair(3), 7, 4)

    matched = matched_confusion(confusion, match(confusion).one_to_one)

    assert (matched.sum(axis=0) == confusion.sum(axis=0)).all()


def test_a_prediction_of_another_size_is_brought_to_the_truths():
    truth = np.repeat(np.repeat(np.array([[0, 1], [1, 0]], np.uint8), 10, axis=0), 10, axis=1)

    assert score(confusion_matrix(truth[::2, ::2], truth, 2, 2)).strict.miou == 100.0


def test_the_report_names_present_classes_only():
    result = report(score(np.array([[3, 0], [0, 0]])), ['road', 'car'], 1)

    assert result['strict']['per_class'] == {'road': 100.0}
    assert result['classes_present'] == 1
    assert result['k'] == 1


def test_the_table_by_class_has_a_line_each_and_a_dash_where_nothing_counts():
    confusion = np.array([[90, 10], [0, 0], [0, 40]])
    result = report(score(confusion), ['road', 'a very long name'], 2)
    del result['ignore_unmatched']['per_class']['a very long name']

    head, road, other = class_table(result).splitlines()

    assert road.split() == ['road', '90.0', '90.0', '90.0']
    assert other.split() == ['a', 'very', 'long', 'name', '0.0', '-', '0.0']
    assert len({len(head), len(road), len(other)}) == 1
