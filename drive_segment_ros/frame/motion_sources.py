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
        """Both frames, for people."""
        return f'{self.parent or "(no frame)"} -> {self.child or "(no frame)"}'

    def __str__(self) -> str:
        return f'{self.kind} {self.frames}'


class MotionSources:
    """Takes the poses of one source, the one whose frames fit best, and ignores others.

    Two sources drift apart; taken together they would make the vehicle jump to and fro. Best is
    the base frame in the odometry frame, then the base frame in another, then another child of
    the odometry frame (a `base_footprint`; a trailer gives way to the base), then anything. Of
    equals Odometry goes before tf, which often says the same, and the first before later ones.

    Attributes:
        taken: the source in use, None before the first.
        others: those left aside.
    """

    def __init__(
        self, odometry_frame: str, base_frame: str, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Begin.

        Args:
            odometry_frame: the parent to prefer.
            base_frame: the child to prefer, the vehicle's frame.
            on_change: called when a better source takes the place of another, whose poses then
                are to be forgotten.
        """
        self.taken: MotionSource | None = None
        self.others: list[MotionSource] = []
        self._odometry_frame = odometry_frame.lstrip('/')
        self._base_frame = base_frame.lstrip('/')
        self._on_change = on_change

    def takes(self, kind: str, parent: str, child: str) -> bool:
        """Whether a pose is the vehicle's; may change `taken`.

        Args:
            kind: see `MotionSource`.
            parent, child: frames, a leading slash means nothing.
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
        """Return how well a source fits; of two the greater goes before."""
        in_odometry = source.parent == self._odometry_frame
        of_base = source.child == self._base_frame
        return 2 * of_base + in_odometry, source.kind == 'odometry'
