import numpy as np
import pytest

from offline_training.training.class_balance import balanced_weight, class_factors, class_mass

# Three regions: a road of 900 pixels, a sign of 100, and an unknown region of 500.
PROBABILITY = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float16)
WEIGHT = np.array([1, 1, 0], np.float32)
PIXELS = np.array([900, 100, 500])


def balanced(probability, weight, pixels, power):
    factors = class_factors(class_mass(probability, weight, pixels), power)
    return balanced_weight(probability, weight, factors)


@pytest.mark.parametrize(('power', 'ratio'), [(0.0, 1.0), (0.5, 3.0), (1.0, 9.0)])
def test_a_rare_class_counts_more_by_the_power(power, ratio):
    weight = balanced(PROBABILITY, WEIGHT, PIXELS, power)

    assert weight[1] / weight[0] == pytest.approx(ratio, rel=1e-5)
    assert weight[2] == 0.0
    assert weight @ PIXELS == pytest.approx(1000.0)


def test_a_soft_target_counts_by_its_shares():
    probability = np.array([[1, 0], [0, 1], [0.5, 0.5]], np.float16)

    weight = balanced(probability, np.ones(3, np.float32), np.array([90, 10, 10]), 0.5)

    assert weight[2] == pytest.approx((weight[0] + weight[1]) / 2)


def test_where_nothing_is_known_nothing_counts():
    weight = balanced(PROBABILITY, np.zeros(3, np.float32), PIXELS, 0.5)

    assert weight.tolist() == [0, 0, 0]
