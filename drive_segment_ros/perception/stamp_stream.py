"""One topic's messages in the order of their stamps, and what may still arrive on it."""

from __future__ import annotations

import bisect
import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any

# A jump of the clock starts an epoch, further from the last than any two stamps can be
# (int64 nanoseconds span 18e18), so messages of different epochs never come near each other.
_EPOCH_NS = 10**20
_GAPS_REMEMBERED = 16
# Fewer gaps may all hold a lost message and promise too much.
_GAPS_NEEDED = 3
_STAMPS_REMEMBERED = 64


class Unknown(Exception):  # noqa: N818 - not an error: the answer has yet to arrive
    """The answer depends on a message that may still come."""


@dataclasses.dataclass
class Item:
    """A message in its stream.

    Attributes:
        key: nanoseconds that order it among all streams: stamp, offset and epoch.
        next_key: no message that follows in order is expected before this key.
        stamp_ns: header stamp.
        payload: the message.
        arrival: when it came, seconds of the receiver's clock.
        taken_by: names of the cameras it serves already.
    """

    key: int
    next_key: int
    stamp_ns: int
    payload: Any
    arrival: float
    taken_by: set[str] = dataclasses.field(default_factory=set)


def key_of(item: Item) -> int:
    """Return the item's key; for `bisect`."""
    return item.key


class Stream:
    """Messages of one topic, sorted by stamp, and what is known of its clock.

    The next message is expected no sooner than half the shortest of the last gaps after the
    newest; a stream that starts, or has jumped, promises nothing until it has shown some gaps.

    Attributes:
        items: the messages that wait, sorted by key.
        offset_ns: added to stamps.
        epoch: number of the current run of stamps.
        received: number of messages handed over, whatever became of them.
        newest_stamp_ns: the newest stamp of this epoch.
    """

    def __init__(self, epoch: int = 0, offset_ns: int = 0) -> None:
        self.items: list[Item] = []
        self.offset_ns = offset_ns
        self.epoch = epoch
        self.received = 0
        self.newest_stamp_ns: int | None = None
        self._recent: deque[int] = deque(maxlen=_STAMPS_REMEMBERED)
        self._gaps: deque[int] = deque(maxlen=_GAPS_REMEMBERED)

    def restart(self, epoch: int) -> None:
        """Start a new run of stamps; what waits from the last one stays."""
        self.epoch = epoch
        self.newest_stamp_ns = None
        self._recent.clear()
        self._gaps.clear()

    def is_jump(self, stamp_ns: int, threshold_ns: int) -> bool:
        """Tell whether a stamp lies too far back to be merely out of order."""
        return self.newest_stamp_ns is not None and stamp_ns < self.newest_stamp_ns - threshold_ns

    def add(self, stamp_ns: int, payload: Any, arrival: float) -> bool:
        """Sort a message in; False, and nothing done, if its stamp came before."""
        if stamp_ns in self._recent:
            return False
        self._recent.append(stamp_ns)
        key = stamp_ns + self.offset_ns + self.epoch * _EPOCH_NS
        next_key = key
        if self.newest_stamp_ns is None:
            self.newest_stamp_ns = stamp_ns
        elif stamp_ns > self.newest_stamp_ns:
            self._gaps.append(stamp_ns - self.newest_stamp_ns)
            if len(self._gaps) >= _GAPS_NEEDED:
                next_key += min(self._gaps) // 2
            self.newest_stamp_ns = stamp_ns
        bisect.insort(self.items, Item(key, next_key, stamp_ns, payload, arrival), key=key_of)
        return True

    def shift(self, offset_ns: int) -> None:
        """Change the offset, for what waits as well."""
        delta = offset_ns - self.offset_ns
        self.offset_ns = offset_ns
        for item in self.items:
            item.key += delta
            item.next_key += delta


def successor(
    items: list[Item],
    start: int,
    limit: int,
    accept: Callable[[Item], bool],
    *,
    final: bool,
    certain: bool = False,
) -> Item | None:
    """Return the first accepted item from index `start` on with a key up to `limit`, or None.

    Only what the stream had shown up to each item is used, so the answer is the same whether
    later items have arrived already or not.

    Args:
        items: sorted by key.
        start: index of the first candidate.
        limit: largest key, inclusive.
        accept: which item will do.
        final: whether nothing more will arrive.
        certain: whether to wait for a message beyond the limit instead of trusting the gaps.

    Raises:
        Unknown: if such an item may still arrive; never when `final`.
    """
    for index in range(start, len(items) + 1):
        if not certain and index > 0 and items[index - 1].next_key > limit:
            return None
        if index == len(items):
            break
        if items[index].key > limit:
            return None
        if accept(items[index]):
            return items[index]
    if final:
        return None
    raise Unknown
