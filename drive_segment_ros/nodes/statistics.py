"""What a node did lately, in figures: for diagnostics and for the summary at its end."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

_RATE_WINDOW_S = 5.0
_LATENCIES = 600


class FlowStatistics:
    """Counts of messages in, frames out and drops between; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at zero.

        Args:
            clock: seconds, monotonic.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._received: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
        self._frames = 0
        self._moved = 0
        self._finished: deque[float] = deque(maxlen=_LATENCIES)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)

    def received(self, source: str) -> None:
        """Count a message of a source."""
        with self._lock:
            self._received[source] += 1

    def dropped(self, reason: str, count: int = 1) -> None:
        """Count what will not become a frame."""
        with self._lock:
            self._drops[reason] += count

    def finished(self, latency_s: float, motion: bool) -> None:
        """Count a frame.

        Args:
            latency_s: from the arrival of its last message to its publication, seconds.
            motion: whether its points were moved by odometry.
        """
        with self._lock:
            self._frames += 1
            self._moved += motion
            self._latencies.append(latency_s)
            self._finished.append(self._clock())

    def summary(self) -> dict[str, Any]:
        """Return all figures, ready for JSON; latencies are of the last 600 frames.

        `rate_hz` is that of the last 5 s; latencies are None before the first frame.
        """
        with self._lock:
            latencies = sorted(self._latencies)
            recent = [t for t in self._finished if t > self._clock() - _RATE_WINDOW_S]
            span = recent[-1] - recent[0] if len(recent) > 1 else 0.0
            return {
                'received': dict(self._received),
                'frames': self._frames,
                'frames_with_motion': self._moved,
                'dropped': dict(self._drops),
                'rate_hz': round((len(recent) - 1) / span, 2) if span > 0.0 else 0.0,
                'latency_median_ms': _milliseconds(latencies, 0.5),
                'latency_p95_ms': _milliseconds(latencies, 0.95),
            }


def _milliseconds(ordered_s: list[float], quantile: float) -> float | None:
    """Return a quantile (nearest rank) of sorted seconds in milliseconds."""
    if not ordered_s:
        return None
    rank = min(len(ordered_s) - 1, int(quantile * len(ordered_s)))
    return round(ordered_s[rank] * 1e3, 2)
