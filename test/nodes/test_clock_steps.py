from __future__ import annotations

import pytest

from drive_segment_ros.nodes.clock_steps import ClockSteps

START_NS = 1_700_000_000 * 10**9


class Sensor:
    """A sensor whose messages have the arrival times and stamps that a test gives."""

    def __init__(self) -> None:
        self.now = 50.0
        self.steps = ClockSteps(clock=lambda: self.now)

    def send(self, stamp_s: float, after_s: float = 0.1) -> str:
        self.now += after_s
        self.steps.look('image', START_NS + round(stamp_s * 1e9))
        return self.steps.problem


@pytest.mark.parametrize(
    ('stamps', 'after_s'),
    [
        ([0.0, 0.1, 0.2], 0.1),
        # A sensor that was off, a bag played fast, one played slowly, messages out of order.
        ([0.0, 30.0, 60.0], 30.0),
        ([0.0, 0.1, 0.2], 0.001),
        ([0.0, 0.1, 0.2], 10.0),
        ([0.0, 0.2, 0.1, 0.3], 0.1),
    ],
)
def test_time_that_passes_is_no_step(stamps, after_s):
    sensor = Sensor()
    assert [sensor.send(stamp, after_s) for stamp in stamps] == [''] * len(stamps)


@pytest.mark.parametrize(
    ('stamp_s', 'words'), [(3600.0, 'forward by 3599.9 s'), (-60.0, 'back by 60.1 s')]
)
def test_a_step_is_named_for_a_minute(stamp_s, words):
    sensor = Sensor()
    sensor.send(0.0)
    sensor.send(0.1)
    assert f'stamps of image jumped {words}' in sensor.send(stamp_s)
    assert words in sensor.send(stamp_s + 50.0, after_s=50.0)
    assert sensor.send(stamp_s + 70.0, after_s=20.0) == ''


def test_a_missing_stamp_is_no_step():
    sensor = Sensor()
    sensor.send(0.0)
    sensor.steps.look('image', 0)
    assert sensor.send(0.2, after_s=0.2) == ''
