"""The status of a node on /diagnostics, published once a second."""

from __future__ import annotations

import dataclasses
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

# diagnostic_msgs/DiagnosticStatus levels.
OK, WARN, ERROR, STALE = range(4)
TOPIC = '/diagnostics'


@dataclasses.dataclass(frozen=True)
class Status:
    """The status of a part of a node.

    Attributes:
        level: OK, WARN, ERROR or STALE.
        summary: one line.
        values: further values, shown as text.
    """

    level: int
    summary: str
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def summarise(problems: Mapping[str, int], fine: str, **values: Any) -> Status:
    """Return a status whose summary lists all problems, the worst first.

    Args:
        problems: level by one-line text; empty texts and OK levels are not problems.
        fine: summary without problems.
        values: further values.
    """
    real = [(text, level) for text, level in problems.items() if text and level > OK]
    if not real:
        return Status(OK, fine, values)
    real.sort(key=lambda problem: -problem[1])
    return Status(real[0][1], '; '.join(text for text, _ in real), values)


class RecentCounts:
    """Detects counts that have grown recently: old losses give no warning."""

    def __init__(
        self, window_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Remember growth for `window_s` seconds by `clock`."""
        self._window_s = window_s
        self._clock = clock
        self._last: dict[str, int] = {}
        self._grown_s: dict[str, float] = {}

    def __call__(self, counts: Mapping[str, int]) -> str:
        """Return those that have grown, as by `in_words`; to be called about once a second."""
        now = self._clock()
        # After a restart counts begin at zero, or do not exist yet.
        before, self._last = self._last, dict(counts)
        for name, count in counts.items():
            if count > before.get(name, 0):
                self._grown_s[name] = now
        oldest = now - self._window_s
        return in_words(
            {n: c for n, c in counts.items() if self._grown_s.get(n, -math.inf) >= oldest}
        )


def in_words(counts: Mapping[str, int]) -> str:
    """Return counts by name as text: `3 bad_image, 1 late`."""
    return ', '.join(f'{count} {reason}' for reason, count in counts.items())


class LatencyWindow:
    """Rate and latency over the last seconds; bounded memory at any rate; thread-safe."""

    def __init__(
        self,
        window_s: float = 10.0,
        capacity: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep at most `capacity` samples of the last `window_s` seconds by `clock`."""
        self._window_s = window_s
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque(maxlen=capacity)
        self._lock = threading.Lock()

    def add(self, latency_s: float = 0.0) -> None:
        """Record an event with its duration."""
        with self._lock:
            self._samples.append((self._clock(), latency_s))

    def rate_hz(self) -> float:
        """Return events a second from the first to the last in the window; 0 for fewer than 2."""
        samples = self._recent()
        if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
            return 0.0
        return (len(samples) - 1) / (samples[-1][0] - samples[0][0])

    def latency_s(self) -> tuple[float, float] | None:
        """Return median and 95th percentile (nearest rank), None without samples."""
        latencies = sorted(latency for _, latency in self._recent())
        if not latencies:
            return None
        rank = -(-len(latencies) * 95 // 100) - 1
        return statistics.median(latencies), latencies[rank]

    def values(self) -> dict[str, str]:
        """Return the values for a `Status`."""
        figures = {'rate (Hz)': f'{self.rate_hz():.1f}'}
        latency = self.latency_s()
        if latency is not None:
            figures['latency median (ms)'] = f'{latency[0] * 1e3:.1f}'
            figures['latency p95 (ms)'] = f'{latency[1] * 1e3:.1f}'
        return figures

    def _recent(self) -> list[tuple[float, float]]:
        oldest = self._clock() - self._window_s
        with self._lock:
            while self._samples and self._samples[0][0] < oldest:
                self._samples.popleft()
            return list(self._samples)


class Diagnostics:
    """Publishes the status of named parts of a node once a second.

    A status is named `/NAMESPACE/NODE: PART`, so that nodes of several cameras differ;
    diagnostic_updater would omit the namespace.
    """

    def __init__(
        self,
        node: Any,
        parts: Callable[[], Mapping[str, Callable[[], Status]]],
        hardware_id: Callable[[], str] = str,
    ) -> None:
        """Start publishing.

        Args:
            node: rclpy node.
            parts: functions that return a part's status, by name; an exception becomes an ERROR.
            hardware_id: returns the sensor or computer concerned, such as a camera's topic.
        """
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.clock import Clock, ClockType
        from rclpy.qos import QoSProfile

        from drive_segment_ros.ros.qos_overrides import PUBLISHER, create_with_overrides

        self._node = node
        self._parts = parts
        self._hardware_id = hardware_id
        self._publisher = create_with_overrides(
            node.create_publisher, node, DiagnosticArray, TOPIC, PUBLISHER, QoSProfile(depth=1)
        )
        # Diagnostics must continue while simulated time is paused.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(1.0, self.report, clock=clock)

    def destroy(self) -> None:
        """Stop publishing."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def status(self, name: str) -> Status:
        """Return the status of a part."""
        try:
            return self._parts()[name]()
        except Exception as err:
            return Status(ERROR, f'no status: {type(err).__name__}: {err}')

    def report(self) -> None:
        """Publish immediately: for work that blocks the node's timers for minutes."""
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        for name in self._parts():
            status = self.status(name)
            message.status.append(
                DiagnosticStatus(
                    level=bytes([status.level]),
                    name=f'{self._node.get_fully_qualified_name()}: {name}',
                    message=status.summary,
                    hardware_id=self._hardware_id(),
                    values=[KeyValue(key=k, value=str(v)) for k, v in status.values.items()],
                )
            )
        self._publisher.publish(message)
