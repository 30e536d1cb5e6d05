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


def test_summary_is_of_the_whole_run_and_recent_of_the_last_seconds():
    clock = Clock()
    statistics = FlowStatistics(clock)
    for latency_s in (0.01, 0.03, 0.05):
        clock.now += 1.0
        statistics.finished(latency_s, motion=latency_s > 0.02)
    clock.now += 60.0
    summary = statistics.summary()
    assert (summary['frames'], summary['frames_with_motion']) == (3, 2)
    assert (summary['latency_median_ms'], summary['latency_p95_ms']) == (30.0, 50.0)
    assert summary['rate_hz'] == 1.0
    assert statistics.recent.latency_s() is None


def test_drops_add_up_by_reason():
    statistics = FlowStatistics()
    statistics.dropped('bad_cloud')
    statistics.dropped('stopped', 3)
    statistics.dropped('stopped', 0)
    assert statistics.summary()['dropped'] == {'bad_cloud': 1, 'stopped': 3}
