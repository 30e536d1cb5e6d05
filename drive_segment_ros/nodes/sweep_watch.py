"""Detects incomplete sweeps in a node."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from drive_segment_ros.perception.coverage import UsualCoverage
from drive_segment_ros.ros.diagnostics import WARN, RecentCounts

# Sweeps to compare the newest with: 5 s at 10 Hz.
_REMEMBERED = 50


class SweepWatch:
    """Counts sweeps that lack beams or a sector, and warns once.

    Attributes:
        incomplete: number of incomplete sweeps.
    """

    def __init__(self, warn: Callable[[str], Any]) -> None:
        """Store the function for warnings."""
        self.incomplete = 0
        self._warn = warn
        self._recent: deque[Mapping[str, Any]] = deque(maxlen=_REMEMBERED)
        self._counts = RecentCounts()
        self._lacking = ''

    def note(self, facts: Mapping[str, Any]) -> None:
        """Process the `coverage_facts` of a sweep."""
        lacking = UsualCoverage(self._recent).lacking(facts)
        self._recent.append(facts)
        if lacking:
            if not self.incomplete:
                self._warn(f'a sweep is incomplete, the missing part is not labelled: {lacking}')
            self.incomplete += 1
            self._lacking = lacking

    def problems(self) -> dict[str, int]:
        """Return warnings by level; to be called about once a second."""
        grown = self._counts({'incomplete sweeps': self.incomplete})
        return {f'{grown}: {self._lacking}': WARN} if grown else {}

    def values(self) -> dict[str, Any]:
        """Return the values for diagnostics."""
        return {'incomplete sweeps': self.incomplete}
