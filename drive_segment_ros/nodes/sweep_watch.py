"""Which of a node's sweeps lack something."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from drive_segment_ros.perception.coverage import UsualCoverage
from drive_segment_ros.ros.diagnostics import WARN, RecentCounts

# Sweeps to compare the newest with: 5 s at 10 Hz.
_REMEMBERED = 50


class SweepWatch:
    """Counts sweeps that lack beams or a sector, and says so once.

    Attributes:
        incomplete: how many sweeps lacked something.
    """

    def __init__(self, warn: Callable[[str], Any]) -> None:
        """Say things by `warn`."""
        self.incomplete = 0
        self._warn = warn
        self._recent: deque[Mapping[str, Any]] = deque(maxlen=_REMEMBERED)
        self._counts = RecentCounts()
        self._lacking = ''

    def note(self, facts: Mapping[str, Any]) -> None:
        """Take what `coverage_facts` says of a sweep."""
        lacking = UsualCoverage(self._recent).lacking(facts)
        self._recent.append(facts)
        if lacking:
            if not self.incomplete:
                self._warn(f'a sweep is incomplete, what it lacks stays unlabelled: {lacking}')
            self.incomplete += 1
            self._lacking = lacking

    def problems(self) -> dict[str, int]:
        """Return what to warn of by level; to be asked about once a second."""
        grown = self._counts({'incomplete sweeps': self.incomplete})
        return {f'{grown}: {self._lacking}': WARN} if grown else {}

    def values(self) -> dict[str, Any]:
        """Return the figures for diagnostics."""
        return {'incomplete sweeps': self.incomplete}
