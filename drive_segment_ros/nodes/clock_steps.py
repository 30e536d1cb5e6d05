"""Detects and reports sensor clocks that are set while the vehicle drives."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

# Smaller steps may be due to transport or message order; equal to `SyncParameters.jump_back_s`.
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

    Stamps that advance slower than time are not a step: a bag may be played slowly.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without stamps.

        Args:
            clock: seconds, monotonic.
        """
        self._clock = clock
        self._clocks: dict[str, _Clock] = {}

    def look(self, source: str, stamp_ns: int) -> None:
        """Check the stamp of a message that has just arrived; unstamped ones are ignored.

        Args:
            source: the sensor.
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
        """The clocks that were set in the last minute, one line; empty if none was."""
        oldest = self._clock() - _TOLD_FOR_S
        return '; '.join(
            f'stamps of {name} jumped {"forward" if clock.stepped_s > 0 else "back"} by '
            f'{abs(clock.stepped_s):.1f} s: its clock was set, or a bag was restarted'
            for name, clock in self._clocks.items()
            if clock.stepped_s and clock.when_s >= oldest
        )
