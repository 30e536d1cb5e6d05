from __future__ import annotations

from drive_segment_ros.nodes.statistics import FlowStatistics


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_yet_has_no_latency_and_no_rate():
    summary = FlowStatistics().summary()
    assert summary['latency_median_ms'] is None
    assert summary['rate_hz'] == 0.0


def test_latency_quantiles_are_of_values_that_occurred():
    statistics = FlowStatistics()
    for milliseconds in range(100):
        statistics.finished(milliseconds * 1e-3, motion=milliseconds < 10)
    summary = statistics.summary()
    assert summary['latency_median_ms'] == 50.0
    assert summary['latency_p95_ms'] == 95.0
    assert (summary['frames'], summary['frames_with_motion']) == (100, 10)


def test_rate_is_that_of_the_last_seconds():
    clock = Clock()
    statistics = FlowStatistics(clock)
    for _ in range(50):
        clock.now += 1.0
        statistics.finished(0.01, motion=True)
    for _ in range(50):
        clock.now += 0.1
        statistics.finished(0.01, motion=True)
    assert statistics.summary()['rate_hz'] == 10.0
    clock.now += 60.0
    assert statistics.summary()['rate_hz'] == 0.0


def test_drops_add_up_by_reason():
    statistics = FlowStatistics()
    statistics.dropped('bad_cloud')
    statistics.dropped('stopped', 3)
    statistics.dropped('stopped', 0)
    assert statistics.summary()['dropped'] == {'bad_cloud': 1, 'stopped': 3}
