from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drive_segment_ros.recording.gates import GateParameters, Gates, Moment

SECOND = 10**9
SHARP = np.random.default_rng(0).integers(60, 200, (48, 64, 3), np.uint8)
BLURRED = np.full_like(SHARP, 90)
CLIPPED = np.where(np.arange(64)[None, :, None] < 40, 255, SHARP).astype(np.uint8)


def moment(**change) -> Moment:
    usual = Moment(100 * SECOND, 0.0, np.zeros(3), speed=10.0, yaw_rate_deg=0.0)
    return dataclasses.replace(usual, **change)


@pytest.mark.parametrize(
    ('change', 'refusal'),
    [
        ({}, ''),
        ({'offset_s': -0.07}, 'offset'),
        ({'offset_s': 0.06}, ''),
        ({'speed': 41.0}, 'speed'),
        ({'speed': None}, ''),
        ({'yaw_rate_deg': -31.0}, 'yaw_rate'),
        ({'yaw_rate_deg': -29.0}, ''),
    ],
)
def test_each_gate_of_the_moment_keeps_out_what_it_is_for(change, refusal):
    assert Gates(GateParameters()).of_moment(moment(**change)) == refusal


@pytest.mark.parametrize(
    ('image', 'refusal'), [(SHARP, ''), (BLURRED, 'blurred'), (CLIPPED, 'exposure')]
)
def test_each_gate_of_the_image_keeps_out_what_it_is_for(image, refusal):
    assert Gates(GateParameters()).of_image(image) == refusal


@pytest.mark.parametrize(
    ('confidence', 'disagreement', 'refusal'),
    [(0.79, 0.0, ''), (0.9, 0.1, 'known'), (0.9, 0.2, '')],
)
def test_what_a_model_knows_is_kept_out_unless_it_disagrees(confidence, disagreement, refusal):
    gates = Gates(GateParameters())
    assert gates.of_model(confidence, lambda: disagreement) == refusal


@pytest.mark.parametrize(
    ('change', 'refusal'),
    [({'speed': 4.9}, 'speed'), ({'yaw_rate_deg': 4.0}, 'yaw_rate'), ({'yaw_rate_deg': -6.0}, '')],
)
def test_ranges_have_a_lower_end(change, refusal):
    gates = Gates(
        GateParameters(min_speed=5.0, min_yaw_rate_deg=5.0 if 'yaw' in str(change) else 0.0)
    )
    assert gates.of_moment(moment(**change)) == refusal


def test_disagreement_is_asked_for_only_where_a_model_is_sure():
    def costly() -> float:
        raise AssertionError('asked')

    assert Gates(GateParameters()).of_model(0.5, costly) == ''
    assert Gates(GateParameters(max_confidence=1.0)).of_model(1.0, costly) == ''


def test_time_and_way_count_from_the_last_that_was_recorded():
    gates = Gates(GateParameters(min_interval=0.5, min_distance=1.0))
    gates.passed(moment())
    soon, near, good = (
        moment(stamp_ns=100 * SECOND + ms * 10**6, position=np.array([x, 0.0, 0.0]))
        for ms, x in ((499, 9.0), (500, 0.9), (500, 1.0))
    )
    assert [gates.of_moment(m) for m in (soon, near, good)] == ['too_soon', 'too_near', '']
    # Evaluating the gates without `passed` changes no state.
    assert gates.of_moment(good) == ''


def test_without_odometry_the_way_does_not_count():
    gates = Gates(GateParameters(min_interval=0.0, min_distance=1.0))
    gates.passed(moment(position=None))
    assert gates.of_moment(moment(position=None)) == ''


def test_clock_set_back_or_forward_keeps_nothing_out_for_long():
    gates = Gates(GateParameters(min_distance=0.0))
    gates.passed(moment(stamp_ns=10_000 * SECOND))
    assert gates.of_moment(moment(stamp_ns=50 * SECOND)) == ''
    gates.passed(moment(stamp_ns=50 * SECOND))
    assert gates.of_moment(moment(stamp_ns=10_000 * SECOND)) == ''
