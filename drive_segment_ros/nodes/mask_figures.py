"""Statistics of a node's images and the latency of their masks."""

from __future__ import annotations

import math
from typing import Any

from drive_segment_ros.nodes.statistics import FlowStatistics
from drive_segment_ros.ros.diagnostics import LatencyWindow

# Kept for the summary: a quarter of an hour at 10 Hz.
_SAMPLES = 10_000


class MaskFigures:
    """Counts, latencies, and the parts of an image's latency; thread-safe.

    Latency is the time from an image's arrival to the publication of its mask. The part that is
    not inference is overhead: waiting for the worker, decoding, colouring, publishing.
    """

    def __init__(self) -> None:
        self._flow = FlowStatistics()
        self._inference = LatencyWindow(math.inf, _SAMPLES)
        self._overhead = LatencyWindow(math.inf, _SAMPLES)
        self._recent_inference = LatencyWindow()

    @property
    def received(self) -> dict[str, int]:
        """Messages by source."""
        return self._flow.summary()['received']

    def silent_s(self, source: str) -> float:
        """Return the time since a source's last message, seconds; 0 before the first."""
        return self._flow.silent_s(source)

    def count(self, source: str) -> None:
        """Count a message of a source."""
        self._flow.received(source)

    def dropped(self, reason: str, count: int = 1) -> None:
        """Count dropped images."""
        self._flow.dropped(reason, count)

    def finished(self, latency_s: float, inference_s: float) -> None:
        """Count a mask."""
        self._flow.finished(latency_s)
        self._inference.add(inference_s)
        self._recent_inference.add(inference_s)
        self._overhead.add(latency_s - inference_s)

    def recent_values(self) -> dict[str, str]:
        """Return rate, latency and inference time of the last seconds for a `Status`."""
        inference = self._recent_inference.latency_s()
        return {
            **self._flow.recent.values(),
            'inference median (ms)': '' if inference is None else f'{inference[0] * 1e3:.1f}',
        }

    def summary(self) -> dict[str, Any]:
        """Return all statistics, ready for JSON; times are None before the first mask."""
        figures = self._flow.summary()
        del figures['frames_with_motion'], figures['unwanted']
        for name, window in (('inference', self._inference), ('overhead', self._overhead)):
            median_s, p95_s = window.latency_s() or (None, None)
            for statistic, seconds in (('median', median_s), ('p95', p95_s)):
                figures[f'{name}_{statistic}_ms'] = (
                    None if seconds is None else round(seconds * 1e3, 2)
                )
        return figures
