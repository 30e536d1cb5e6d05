"""Selects the vehicle's odometry among several, by the same rule live and for bags."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class MotionSource:
    """Poses of one frame in another.

    Attributes:
        kind: `odometry` (nav_msgs/Odometry) or `tf`.
        parent, child: frames.
    """

    kind: str
    parent: str
    child: str

    @property
    def frames(self) -> str:
        """Both frames as text."""
        return f'{self.parent or "(no frame)"} -> {self.child or "(no frame)"}'

    def __str__(self) -> str:
        return f'{self.kind} {self.frames}'


class MotionSources:
    """Selects the source whose frames fit best, and ignores the poses of others.

    Two sources drift apart; mixing them would make the vehicle jump back and forth. The order of
    preference is the base frame in the odometry frame, the base frame in another one, another
    child of the odometry frame (`base_footprint`, a trailer), anything else. Among equals Odometry
    is preferred to tf, which often repeats it, and the first to later ones.

    Attributes:
        taken: the source in use, None before the first.
        others: the ignored ones.
    """

    def __init__(
        self, odometry_frame: str, base_frame: str, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Start without a source.

        Args:
            odometry_frame: the parent to prefer.
            base_frame: the child to prefer, the vehicle's frame.
            on_change: called when a better source replaces another, whose poses then have to be
                removed.
        """
        self.taken: MotionSource | None = None
        self.others: list[MotionSource] = []
        self._odometry_frame = odometry_frame.lstrip('/')
        self._base_frame = base_frame.lstrip('/')
        self._on_change = on_change

    def takes(self, kind: str, parent: str, child: str) -> bool:
        """Return whether a pose is the vehicle's; may change `taken`.

        Args:
            kind: see `MotionSource`.
            parent, child: frames, a leading slash is ignored.
        """
        source = MotionSource(kind, parent.lstrip('/'), child.lstrip('/'))
        if source == self.taken:
            return True
        if self.taken is None:
            self.taken = source
            return True
        if self.rank(source) <= self.rank(self.taken):
            if source not in self.others:
                self.others.append(source)
            return False
        self.others = [other for other in [*self.others, self.taken] if other != source]
        self.taken = source
        self._on_change()
        return True

    def rank(self, source: MotionSource) -> tuple[int, bool]:
        """Return how well a source fits; the greater value is preferred."""
        in_odometry = source.parent == self._odometry_frame
        of_base = source.child == self._base_frame
        return 2 * of_base + in_odometry, source.kind == 'odometry'
