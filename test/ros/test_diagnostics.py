"""Rates and latencies over a window, status levels, and messages on /diagnostics."""

from __future__ import annotations

import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from hypothesis import given
from hypothesis import strategies as st
from rclpy.executors import SingleThreadedExecutor

from drive_segment_ros.ros.diagnostics import (
    ERROR,
    OK,
    WARN,
    Diagnostics,
    LatencyWindow,
    RecentCounts,
    Status,
    summarise,
)


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_latency_of_the_window_only():
    clock = FakeClock()
    window = LatencyWindow(window_s=1.0, clock=clock)
    assert window.rate_hz() == 0.0
    assert window.latency_s() is None
    for k in range(41):
        window.add(0.5 if k < 20 else 0.010 + 0.001 * (k % 2))
        clock.now += 0.1
    assert window.rate_hz() == pytest.approx(10.0)
    median, p95 = window.latency_s()
    assert 0.010 <= median <= p95 <= 0.011
    assert window.values()['latency p95 (ms)'] == '11.0'
    clock.now += 5
    assert window.values() == {'rate (Hz)': '0.0'}


def test_what_was_lost_long_ago_is_told_no_more():
    clock = FakeClock()
    recent = RecentCounts(window_s=10.0, clock=clock)
    assert recent({'late': 0, 'bad': 3}) == '3 bad'
    clock.now += 9.0
    assert recent({'late': 1, 'bad': 3}) == '1 late, 3 bad'
    clock.now += 9.0
    assert recent({'late': 1, 'bad': 3}) == '1 late'
    clock.now += 9.0
    assert recent({'late': 1, 'bad': 40}) == '40 bad'
    # A node that was restarted has no losses yet.
    clock.now += 11.0
    assert recent({}) == ''
    clock.now += 11.0
    assert recent({'bad': 3}) == '3 bad'


def test_memory_is_bounded_at_any_rate():
    window = LatencyWindow(window_s=1e9, capacity=50)
    for _ in range(1000):
        window.add(1.0)
    assert len(window._samples) == 50


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200))
def test_percentiles_are_samples_in_their_place(latencies):
    window = LatencyWindow(clock=FakeClock())
    for latency in latencies:
        window.add(latency)
    median, p95 = window.latency_s()
    count = len(latencies)
    assert sum(latency <= p95 for latency in latencies) >= 0.95 * count
    assert sum(latency < p95 for latency in latencies) < 0.95 * count
    assert sum(latency <= median for latency in latencies) >= 0.5 * count


def test_summary_joins_problems_worst_first():
    assert summarise({'': ERROR, 'ignored': OK}, 'all well', n=1) == Status(
        OK, 'all well', {'n': 1}
    )
    status = summarise({'slow': WARN, 'no camera': ERROR}, 'all well')
    assert (status.level, status.summary) == (ERROR, 'no camera; slow')


def test_published_once_a_second_even_when_a_part_fails(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('node', namespace='/camera/left', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    arrays: list[DiagnosticArray] = []
    node.create_subscription(DiagnosticArray, '/diagnostics', arrays.append, 10)

    def broken() -> Status:
        raise ValueError('oops')

    diagnostics = Diagnostics(
        node,
        lambda: {'pairs': lambda: Status(WARN, 'few', {'dropped': 3}), 'broken': broken},
        lambda: 'front_camera',
    )
    try:
        names: dict[str, object] = {}
        end = time.monotonic() + 60
        while len(names) < 2 and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
            names = {status.name: status for array in arrays for status in array.status}
        pairs, failed = names['/camera/left/node: pairs'], names['/camera/left/node: broken']
        assert (pairs.level, pairs.message) == (bytes([WARN]), 'few')
        assert [(v.key, v.value) for v in pairs.values] == [('dropped', '3')]
        assert pairs.hardware_id == 'front_camera'
        assert failed.level == bytes([ERROR])
        assert 'ValueError: oops' in failed.message
        diagnostics.destroy()
        assert not list(node.timers)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
