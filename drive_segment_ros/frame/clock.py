"""A sensor's clock, derived from its stamps: its progress, and where it was set back."""

from __future__ import annotations

from collections import deque

# A jump of the clock starts an epoch. Epochs are further apart than any two stamps (int64
# nanoseconds span 18e18), so messages of different epochs are never paired.
EPOCH_NS = 10**20
# A sensor this far behind the others counts as silent and is no longer waited for.
SILENT_NS = 2_000_000_000
_STAMPS_REMEMBERED = 256


class Clock:
    """Orders the messages of one sensor among those of all by keys: stamp, offset and epoch.

    Attributes:
        epoch: number of the current run of stamps.
        offset_ns: added to stamps.
        newest: the newest key, None before the first.
        newest_stamp_ns: the newest stamp of this epoch, None before the first.
        received: number of messages, including dropped ones, by `FrameStream`; 0 for poses.
        jumps: number of times stamps jumped back.
    """

    def __init__(self, jump_back_ns: int) -> None:
        """Start without messages.

        Args:
            jump_back_ns: stamps that far behind the newest are a jump, not out of order.
        """
        self.epoch = 0
        self.offset_ns = 0
        self.newest: int | None = None
        self.newest_stamp_ns: int | None = None
        self.received = 0
        self.jumps = 0
        self._jump_back_ns = jump_back_ns
        self._recent: deque[int] = deque(maxlen=_STAMPS_REMEMBERED)
        self._behind_since: int | None = None

    def take(self, stamp_ns: int, others_epoch: int = 0) -> int | None:
        """Return the key of a new message; None for a repeated stamp.

        Args:
            stamp_ns: its header stamp.
            others_epoch: the latest epoch of any sensor.
        """
        newest = self.newest_stamp_ns
        if self.newest is None:
            self.epoch = others_epoch
        if newest is not None and stamp_ns < newest - self._jump_back_ns:
            self.jumps += 1
            self._begin(self.epoch + 1)
        elif stamp_ns in self._recent:
            return None
        self._recent.append(stamp_ns)
        self._join(stamp_ns, others_epoch)
        self.newest_stamp_ns = max(stamp_ns, self.newest_stamp_ns or stamp_ns)
        key = self.key(stamp_ns)
        self.newest = key if self.newest is None else max(key, self.newest)
        return key

    def key(self, stamp_ns: int) -> int:
        """Return the key of a stamp of this epoch."""
        return stamp_ns + self.offset_ns + self.epoch * EPOCH_NS

    def known(self, newest: int, wait_ns: int) -> int:
        """Return the key up to which no further message is expected.

        Args:
            newest: the newest key of those it is compared with.
            wait_ns: by how much messages may arrive out of order.
        """
        if self.newest is None:
            return newest - SILENT_NS
        if newest - self.newest > SILENT_NS:
            # Silent: if it returns, its messages may be as late as those of others.
            return newest - min(wait_ns, SILENT_NS)
        return max(self.newest - wait_ns, newest - SILENT_NS)

    def _join(self, stamp_ns: int, others_epoch: int) -> None:
        """Join the epoch of the others if only another sensor's clock was set.

        When a bag loops, the clocks of all sensors go back one after the other: until then each
        sensor keeps its own epoch.
        """
        if self.epoch >= others_epoch:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = stamp_ns
        elif stamp_ns - self._behind_since > SILENT_NS:
            self._begin(others_epoch)

    def _begin(self, epoch: int) -> None:
        self.epoch = epoch
        self.newest_stamp_ns = None
        self._behind_since = None
        self._recent.clear()
