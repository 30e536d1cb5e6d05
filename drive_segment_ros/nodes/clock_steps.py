"""Clocks of sensors that are set while the vehicle drives: noticed, so that somebody is told."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

# Less may be transport or a message out of order; `SyncParameters.jump_back_s` is the same.
_STEP_S = 1.0
_TOLD_FOR_S = 60.0


@dataclasses.dataclass
class _Clock:
    stamp_ns: int
    arrival_s: float
    stepped_s: float = 0.0
    when_s: float = 0.0


class ClockSteps:
    """Compares the stamps of each sensor with the time that passes between its messages.

    Stamps that go slower than time are no step: so does a bag that is played slowly.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin.

        Args:
            clock: seconds, monotonic.
        """
        self._clock = clock
        self._clocks: dict[str, _Clock] = {}

    def look(self, source: str, stamp_ns: int) -> None:
        """Look at the stamp of a message that has just arrived; one without a stamp tells nothing.

        Args:
            source: of which sensor.
            stamp_ns: nanoseconds.
        """
        if stamp_ns <= 0:
            return
        now = self._clock()
        last = self._clocks.setdefault(source, _Clock(stamp_ns, now))
        forward_s = (stamp_ns - last.stamp_ns) * 1e-9
        if forward_s < -_STEP_S or forward_s - (now - last.arrival_s) > _STEP_S:
            last.stepped_s, last.when_s = forward_s, now
        last.stamp_ns, last.arrival_s = stamp_ns, now

    @property
    def problem(self) -> str:
        """Which clocks were set in the last minute, one line; empty if none was."""
        oldest = self._clock() - _TOLD_FOR_S
        return '; '.join(
            f'stamps of {name} jumped {"forward" if clock.stepped_s > 0 else "back"} by '
            f'{abs(clock.stepped_s):.1f} s: its clock was set, or a bag began again'
            for name, clock in self._clocks.items()
            if clock.stepped_s and clock.when_s >= oldest
        )
