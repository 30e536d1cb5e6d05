from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drive_segment_ros.recording.gates import GateParameters, Gates

SECOND = 10**9


@dataclasses.dataclass
class Pair:
    stamp_ns: int = 100 * SECOND
    offset_s: float = 0.0
    position: np.ndarray | None = dataclasses.field(default_factory=lambda: np.zeros(3))
    speed: float | None = 10.0
    yaw_rate_deg: float | None = 0.0
    sharpness: float = 1000.0
    clipped: float = 0.0
    confidence: float | None = None
    disagreement: float = 0.0


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
        ({'sharpness': 6.0}, 'blurred'),
        ({'clipped': 0.6}, 'exposure'),
        ({'confidence': 0.79}, ''),
        ({'confidence': 0.9}, 'known'),
        ({'confidence': 0.9, 'disagreement': 0.2}, ''),
    ],
)
def test_each_gate_keeps_out_what_it_is_for(change, refusal):
    assert Gates(GateParameters()).refusal(Pair(**change)) == refusal


@pytest.mark.parametrize(
    ('change', 'refusal'),
    [({'speed': 4.9}, 'speed'), ({'yaw_rate_deg': 4.0}, 'yaw_rate'), ({'yaw_rate_deg': -6.0}, '')],
)
def test_ranges_have_a_lower_end(change, refusal):
    gates = Gates(
        GateParameters(min_speed=5.0, min_yaw_rate_deg=5.0 if 'yaw' in str(change) else 0.0)
    )
    assert gates.refusal(Pair(**change)) == refusal


def test_a_model_that_is_always_asked_may_be_ignored():
    assert Gates(GateParameters(max_confidence=1.0)).refusal(Pair(confidence=1.0)) == ''


def test_time_and_way_count_from_the_last_that_was_recorded():
    gates = Gates(GateParameters(min_interval=0.5, min_distance=1.0))
    gates.passed(Pair())
    soon, near, good = (
        Pair(stamp_ns=100 * SECOND + ms * 10**6, position=np.array([x, 0.0, 0.0]))
        for ms, x in ((499, 9.0), (500, 0.9), (500, 1.0))
    )
    assert [gates.refusal(pair) for pair in (soon, near, good)] == ['too_soon', 'too_near', '']
    # What was only looked at changes nothing.
    assert gates.refusal(good) == ''


def test_without_odometry_the_way_does_not_count():
    gates = Gates(GateParameters(min_interval=0.0, min_distance=1.0))
    gates.passed(Pair(position=None))
    assert gates.refusal(Pair(position=None)) == ''


def test_clock_set_back_or_forward_keeps_nothing_out_for_long():
    gates = Gates(GateParameters(min_distance=0.0))
    gates.passed(Pair(stamp_ns=10_000 * SECOND))
    assert gates.refusal(Pair(stamp_ns=50 * SECOND)) == ''
    gates.passed(Pair(stamp_ns=50 * SECOND))
    assert gates.refusal(Pair(stamp_ns=10_000 * SECOND)) == ''


def test_image_is_looked_at_only_when_cheaper_gates_are_open():
    class Costly(Pair):
        @property
        def clipped(self):
            raise AssertionError('looked at the image')

        @clipped.setter
        def clipped(self, value):
            pass

    assert Gates(GateParameters()).refusal(Costly(offset_s=1.0)) == 'offset'
