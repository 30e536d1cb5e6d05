"""Statistics of a node, for its diagnostics and its final summary."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from drive_segment_ros.ros.diagnostics import LatencyWindow

# Latencies kept for the summary: a quarter of an hour at 10 Hz.
_LATENCIES = 10_000


class FlowStatistics:
    """Counts of messages, frames and drops; thread-safe.

    Attributes:
        recent: rate and latency of the last seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at zero.

        Args:
            clock: seconds, monotonic.
        """
        self.recent = LatencyWindow(clock=clock)
        self._all = LatencyWindow(math.inf, _LATENCIES, clock)
        self._lock = threading.Lock()
        self._received: Counter[str] = Counter()
        self._last_received: dict[str, float] = {}
        self._clock = clock
        self._drops: Counter[str] = Counter()
        self._frames = 0
        self._moved = 0
        self._unwanted = 0

    def received(self, source: str) -> None:
        """Count a message of a source."""
        with self._lock:
            self._received[source] += 1
            self._last_received[source] = self._clock()

    def silent_s(self, source: str) -> float:
        """Return the time since a source's last message, seconds; 0 before the first."""
        with self._lock:
            now = self._clock()
            return now - self._last_received.get(source, now)

    def dropped(self, reason: str, count: int = 1) -> None:
        """Count dropped items."""
        with self._lock:
            self._drops[reason] += count

    def unwanted(self) -> None:
        """Count a pair that was not needed."""
        with self._lock:
            self._unwanted += 1

    def finished(self, latency_s: float, motion: bool = False) -> None:
        """Count a frame.

        Args:
            latency_s: from the arrival of its last message to its publication, seconds.
            motion: whether its points were moved by odometry.
        """
        self.recent.add(latency_s)
        self._all.add(latency_s)
        with self._lock:
            self._frames += 1
            self._moved += motion

    def summary(self) -> dict[str, Any]:
        """Return all statistics, ready for JSON; latencies are None before the first frame."""
        median_s, p95_s = self._all.latency_s() or (None, None)
        with self._lock:
            return {
                'received': dict(self._received),
                'frames': self._frames,
                'frames_with_motion': self._moved,
                'unwanted': self._unwanted,
                'dropped': {reason: count for reason, count in self._drops.items() if count},
                'rate_hz': round(self._all.rate_hz(), 2),
                'latency_median_ms': _milliseconds(median_s),
                'latency_p95_ms': _milliseconds(p95_s),
            }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 2)
