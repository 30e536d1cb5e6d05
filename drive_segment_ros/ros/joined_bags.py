"""Several bags of one drive, whose sensors were recorded separately, read as one bag."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
import logging
import statistics
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bags import BagMessage, BagReader, Topic, peek_stamp_ns

_log = logging.getLogger(__name__)

# Largest difference of storage delay between sensors of one clock.
_CLOCKS_DIFFER_NS = 200_000_000
_MESSAGES_TO_COMPARE = 50
_MOST = 0.9
# A bag, or the parts of a drive.
Bags = Path | str | Sequence[Path | str]


def drives(bags: Sequence[Path], join: bool) -> list[list[Path]]:
    """Return the bags of each drive: all of them where they are joined, else one each."""
    return [list(bags)] if join else [[bag] for bag in bags]


def one_drive(bags: Sequence[Path], join: bool) -> list[Path]:
    """Return the bags of the one drive that a command takes.

    Raises:
        BagError: if several bags are given that are not to be joined.
    """
    if len(bags) > 1 and not join:
        raise BagError(
            f'{len(bags)} bags are given instead of one; --join makes them parts of one drive'
        )
    return list(bags)


def open_drive(bags: Bags) -> BagReader:
    """Return a context manager that reads a drive: one bag, or several that are its parts.

    Raises:
        BagError: if there is none, one is missing or not a bag, or one is given twice.
    """
    if isinstance(bags, str) or not isinstance(bags, Sequence):
        return BagReader(bags)
    return BagReader(bags[0]) if len(bags) == 1 else JoinedBags(bags)


class JoinedBags(BagReader):
    """The parts of one drive, open for reading; a context manager.

    Messages of a topic that is in several parts are merged; duplicates with the same bag stamp and
    bytes are removed. If header stamps show that a part was recorded with another clock than the
    first, its bag stamps are corrected to that of the first.

    Attributes:
        path: the first part's, after which the drive is named.
        paths: of all parts.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        """Store the paths; nothing is opened yet.

        Raises:
            BagError: if there is none, one is missing or not a bag, or one is given twice.
        """
        if not paths:
            raise BagError('no bag is given')
        super().__init__(paths[0])
        self._bags = [BagReader(path) for path in paths]
        self.paths = [bag.path for bag in self._bags]
        for path, count in Counter(path.resolve() for path in self.paths).items():
            if count > 1:
                raise BagError(f'{path} is given twice; give each part of the drive once')
        self._shared: frozenset[str] = frozenset()
        self._ahead_ns: dict[BagReader, int] = {}  # of each part's clock to the first's
        self._readers: dict[str, BagReader] = {}

    def __str__(self) -> str:
        """Return the drive's name for messages."""
        return ' + '.join(map(str, self.paths))

    @property
    def damage(self) -> list[str]:
        """A line for each part that cannot be read, with its bag's name."""
        return [f'{bag}: {line}' for bag in self._bags for line in bag.damage]

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Yield messages in the order of their bag stamps, see `BagReader.messages`."""
        streams = [self._read_part(bag, topics, start_ns, stop_ns) for bag in self._bags]
        now: set[tuple[str, bytes]] = set()  # messages that may have a duplicate
        now_ns = 0
        for message in heapq.merge(*streams, key=lambda message: message.bag_stamp_ns):
            if message.topic in self._shared:
                if message.bag_stamp_ns != now_ns:
                    now, now_ns = set(), message.bag_stamp_ns
                content = message.topic, bytes(message.raw)
                if content in now:
                    continue
                now.add(content)
            yield message

    def deserialize(self, raw: bytes, msgtype: str) -> Any:
        """Return a message as an object with ROS's attribute names.

        Raises:
            BagError: if its type is unknown or defined differently in two parts, or the bytes do
                not fit it.
        """
        if msgtype not in self._readers:
            self._readers[msgtype] = self._reader_of(msgtype)
        return self._readers[msgtype].deserialize(raw, msgtype)

    def has_header(self, msgtype: str) -> bool:
        """Whether a type is known and starts with a std_msgs/Header, so that it can be peeked."""
        return any(bag.has_header(msgtype) for bag in self._using(msgtype))

    def definition(self, msgtype: str) -> tuple[str, str]:
        """Return a type's definition and its hash, see `BagReader.definition`."""
        return self._reader_of(msgtype).definition(msgtype)

    def _read_part(
        self, bag: BagReader, topics: Collection[str] | None, start: int | None, stop: int | None
    ) -> Iterator[BagMessage]:
        ahead = self._ahead_ns[bag]
        window = (None if limit is None else limit + ahead for limit in (start, stop))
        messages = bag.messages(topics, *window)
        if not ahead:
            return messages
        return (m._replace(bag_stamp_ns=m.bag_stamp_ns - ahead) for m in messages)

    def _using(self, msgtype: str) -> list[BagReader]:
        """Return the parts with topics of a type; all if none has."""
        using = [b for b in self._bags if any(t.type == msgtype for t in b.topics.values())]
        return using or self._bags

    def _reader_of(self, msgtype: str) -> BagReader:
        """Return the part whose definition of a type is used."""
        layouts = {repr(layout): b for b in self._using(msgtype) if (layout := b.layout(msgtype))}
        if not layouts:
            raise BagError(f'{self}: message type {msgtype} is unknown')
        if len(layouts) > 1:
            first, second, *_ = layouts.values()
            raise BagError(
                f'message type {msgtype} is defined differently in {first} and {second}; '
                'convert one of them, or omit it'
            )
        return next(iter(layouts.values()))

    def _open(self) -> None:
        for bag in self._bags:
            bag._open()
        count = Counter(name for bag in self._bags for name in bag.topics)
        self.topics = {name: self._topic(name) for name in sorted(count)}
        self._shared = frozenset(name for name, parts in count.items() if parts > 1)
        self._compare_clocks()
        spans = [self._span_ns(bag) for bag in self._bags if bag.end_ns]
        if spans:
            self.start_ns = min(start for start, _ in spans)
            self.end_ns = max(end for _, end in spans)
        self._doubt()

    def _span_ns(self, bag: BagReader) -> tuple[int, int]:
        return bag.start_ns - self._ahead_ns[bag], bag.end_ns - self._ahead_ns[bag]

    def _compare_clocks(self) -> None:
        """Estimate by how much the recording clocks of the parts are ahead of the first's."""
        lags = {bag: lag for bag in self._bags if (lag := _lag_ns(bag)) is not None}
        self._ahead_ns = dict.fromkeys(self._bags, 0)
        for bag, lag in lags.items():
            first, first_lag = next(iter(lags.items()))
            ahead = lag - first_lag
            shared, kept = (_shared_ns(first, bag, by) for by in (0, ahead))
            # If this separates parts recorded together, the clocks of the stamps differ instead.
            if abs(ahead) > _CLOCKS_DIFFER_NS and kept >= _MOST * shared:
                self._ahead_ns[bag] = ahead
                _log.warning(
                    '%s was recorded with a clock that is %+.3f s ahead of that of %s, according '
                    'to the header stamps; its bag stamps are corrected by that',
                    bag,
                    ahead * 1e-9,
                    first,
                )

    def _topic(self, name: str) -> Topic:
        """Return a topic's messages in all parts together."""
        parts = {bag: bag.topics[name] for bag in self._bags if name in bag.topics}
        first = next(iter(parts))
        for bag, topic in parts.items():
            if topic.type != parts[first].type:
                raise BagError(
                    f'{name} is {parts[first].type} in {first} and {topic.type} in {bag}; '
                    'extract them as two drives, or rename one of the topics'
                )
        try:
            readable = self._reader_of(parts[first].type) is not None
        except BagError:
            readable = False
        return dataclasses.replace(
            parts[first],
            count=sum(topic.count for topic in parts.values()),
            readable=readable,
            qos=tuple(offer for topic in parts.values() for offer in topic.qos),
        )

    def _doubt(self) -> None:
        """Warn of parts that were not recorded at the same time as any other."""
        # Static transforms may be recorded once for all drives.
        timed = [
            bag
            for bag in self._bags
            if any(t.count and not t.name.endswith('tf_static') for t in bag.topics.values())
        ]
        for bag in timed:
            start, end = self._span_ns(bag)
            others = [self._span_ns(other) for other in timed if other is not bag]
            apart_ns = min((max(start - b, a - end) for a, b in others), default=0)
            if apart_ns > 0:
                _log.warning(
                    '%s was recorded %.1f s apart from the others; are they one drive?',
                    bag,
                    apart_ns * 1e-9,
                )

    def _close(self) -> None:
        for bag in self._bags:
            bag._close()


def _shared_ns(first: BagReader, second: BagReader, ahead_ns: int) -> int:
    """Return how long both were recorded simultaneously, given the offset of the clocks."""
    start = max(first.start_ns, second.start_ns - ahead_ns)
    return max(min(first.end_ns, second.end_ns - ahead_ns) - start, 0)


def _lag_ns(bag: BagReader) -> int | None:
    """Return the median of how long after their header stamps messages were stored; None if none
    has a stamp."""
    headed = [t.name for t in bag.topics.values() if t.count and bag.has_header(t.type)]
    lags = []
    for message in itertools.islice(bag.messages(headed), _MESSAGES_TO_COMPARE):
        with contextlib.suppress(BagError):  # too short
            stamp_ns = peek_stamp_ns(message.raw)
            lags += [message.bag_stamp_ns - stamp_ns] if stamp_ns > 0 else []
    return int(statistics.median_low(lags)) if lags else None
