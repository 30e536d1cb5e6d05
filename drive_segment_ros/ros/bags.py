"""Read ROS 2 recordings, whatever wrote them and whatever state they are in.

A bag is a folder or a bare storage file, MCAP or SQLite. rosbags reads them; here is added what
makes foreign bags readable: a default type store, types that are unknown without being fatal, and
files a crashed recorder left without an end or without metadata.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import logging
import re
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from drive_segment_ros.errors import BagError

_log = logging.getLogger(__name__)

_SUFFIXES = ('.mcap', '.db3')


class BagMessage(NamedTuple):
    """One message as recorded: `raw` is its CDR encoding, `connection` knows its `msgtype`."""

    topic: str
    bag_stamp_ns: int
    raw: bytes
    connection: Any


@dataclasses.dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    Attributes:
        name, type: such as `/lidar/points`, `sensor_msgs/msg/PointCloud2`.
        count: number of messages.
        readable: whether the type's definition is known, in the bag or to this package.
        qos: the recorded publishers' offers (rosbags' `Qos`), empty where the bag has none.
    """

    name: str
    type: str
    count: int
    readable: bool
    qos: tuple[Any, ...] = ()


class BagReader:
    """A bag, open for reading; a context manager.

    Attributes:
        path: as given.
        topics: by name.
        start_ns, end_ns: bag stamps of the first and last message, both 0 in an empty bag.
        damage: one line for each part that cannot be read, empty for a sound bag. Reading a
            damaged bag yields what is whole.
    """

    def __init__(self, path: Path | str) -> None:
        """Name the bag; nothing is opened yet.

        Raises:
            BagError: if nothing is there, or it is not a ROS 2 bag.
        """
        self.path = Path(path)
        self.topics: dict[str, Topic] = {}
        self.start_ns = self.end_ns = 0
        self.damage: list[str] = []
        self._sources: list[Any] = []
        self._types: Any = None
        if not self.path.exists():
            raise BagError(f'{self.path}: no such bag; give a bag folder, an .mcap or a .db3 file')
        if self.path.suffix == '.bag':
            raise BagError(
                f'{self.path} is a ROS 1 bag; convert it: '
                f'rosbags-convert --src {self.path.name} --dst {self.path.stem}'
            )
        if self.path.is_file() and self.path.suffix not in _SUFFIXES:
            raise BagError(f'{self.path} is neither a bag folder nor an .mcap or .db3 file')

    def __enter__(self) -> BagReader:
        """Open the bag.

        Raises:
            BagError: if no part of it can be read.
        """
        self._sources = self._open_sources()
        connections = [c for source in self._sources for c in source.connections]
        self._types = _type_store(connections)
        for name in sorted({connection.topic for connection in connections}):
            of_topic = [c for c in connections if c.topic == name]
            kind = of_topic[0].msgtype
            self.topics[name] = Topic(
                name=name,
                type=kind,
                count=sum(connection.msgcount for connection in of_topic),
                readable=_is_known(self._types, kind),
                qos=tuple(of_topic[0].ext.offered_qos_profiles),
            )
        spans = [(s.start_time, s.end_time) for s in self._sources if s.message_count]
        if spans:
            self.start_ns = min(start for start, _ in spans)
            # rosbags' end lies one past the last stamp.
            self.end_ns = max(end for _, end in spans) - 1
        for line in self.damage:
            _log.warning('%s', line)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for source in self._sources:
            source.close()
        self._sources = []

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Yield messages in the order of their bag stamps.

        Args:
            topics: names wanted; None for all, unknown names are ignored.
            start_ns: first bag stamp wanted.
            stop_ns: the bag stamp to stop before.
        """
        streams = [
            self._read(source, topics, start_ns, stop_ns)
            for source in self._sources
            if any(topics is None or c.topic in topics for c in source.connections)
        ]
        yield from heapq.merge(*streams, key=lambda message: message.bag_stamp_ns)

    def deserialize(self, raw: bytes, msgtype: str) -> Any:
        """Return a message as an object with ROS's attribute names.

        Raises:
            BagError: if its type is unknown or the bytes do not fit it.
        """
        if not _is_known(self._types, msgtype):
            raise BagError(f'{self.path}: message type {msgtype} is unknown')
        try:
            return self._types.deserialize_cdr(raw, msgtype)
        except Exception as err:  # the generated code raises whatever indexing bad bytes raises
            raise BagError(f'{self.path}: a {msgtype} message is damaged: {err}') from err

    def has_header(self, msgtype: str) -> bool:
        """Whether a type is known and starts with a std_msgs/Header, so that it can be peeked."""
        _, fields = self._types.fielddefs.get(msgtype, ((), ()))
        return bool(fields) and fields[0][1][1] == 'std_msgs/msg/Header'

    def _read(
        self, source: Any, topics: Collection[str] | None, start: int | None, stop: int | None
    ) -> Iterator[BagMessage]:
        wanted = [c for c in source.connections if topics is None or c.topic in topics]
        last = self.start_ns
        try:
            for connection, stamp, raw in source.messages(wanted, start, stop):
                last = stamp
                yield BagMessage(connection.topic, stamp, raw, connection)
        except Exception as err:  # decoders of damaged data raise errors of every kind
            line = (
                f'{self.path} is damaged {(last - self.start_ns) * 1e-9:.1f} s from its start '
                f'({_one_line(err)}); what comes before is used'
            )
            if line not in self.damage:
                self.damage.append(line)
                _log.warning('%s', line)

    def _open_sources(self) -> list[Any]:
        from rosbags.rosbag2 import Reader

        reason = ''
        if self.path.is_dir() and (self.path / 'metadata.yaml').exists():
            reader = Reader(self.path)
            try:
                reader.open()
                return [reader]
            except Exception as err:  # any kind, see _read; the files themselves may be better
                reason = _one_line(err)
        files = _storage_files(self.path)
        if files and self.path.is_dir() and not (self.path / 'metadata.yaml').exists():
            self.damage.append(
                f'{self.path} has no metadata.yaml, as after a crash; its files are read directly'
            )
        sources = [source for file in files if (source := self._open(file))]
        if not sources:
            reason = '; '.join(self.damage) or reason or 'it holds no .mcap or .db3 file'
            raise BagError(f'{self.path} cannot be read: {reason}')
        # A file that is cut short has said so itself; one that is missing cannot.
        if reason and ('missing' in reason or not self.damage):
            self.damage.append(
                f'{self.path}: {reason}; the files that are there are read directly'
            )
        return sources

    def _open(self, file: Path) -> Any | None:
        """Open one storage file, as far as it can be read; None if it cannot at all."""
        from rosbags.rosbag2 import Reader

        from drive_segment_ros.ros.mcap_recovery import RecoveredMcap

        try:
            reader = Reader(file)
            reader.open()
            return reader
        except Exception as err:  # any kind, see _read
            if file.suffix != '.mcap':
                self.damage.append(f'{file.name}: {_one_line(err)}')
                return None
        try:
            recovered = RecoveredMcap(file)
        except BagError as err:
            self.damage.append(str(err))
            return None
        self.damage.append(recovered.damage)
        return recovered


def header_stamp_ns(message: Any) -> int:
    """Return the header stamp of a message, nanoseconds."""
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def peek_stamp_ns(raw: bytes | memoryview) -> int:
    """Return the header stamp of an encoded message whose first field is its header.

    Reads 12 bytes where decoding a cloud would copy 2 MB.

    Raises:
        BagError: if the bytes are too few to hold a stamp.
    """
    if len(raw) < 12:
        raise BagError(f'a message of {len(raw)} bytes has no header')
    # CDR: 4 bytes of encapsulation whose second tells the byte order, then int32, uint32.
    order = '<' if raw[1] & 1 else '>'
    sec, nanosec = struct.unpack_from(f'{order}iI', raw, 4)
    return sec * 1_000_000_000 + nanosec


@functools.lru_cache(maxsize=1)
def default_type_store() -> Any:
    """Return rosbags' type store of ROS 2 Jazzy, made once.

    The sensor messages read here are the same in every ROS 2 distribution.
    """
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)


def _storage_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]

    def natural(file: Path) -> list[tuple[int, str]]:
        return [
            (int(part) if part.isdigit() else -1, part) for part in re.split(r'(\d+)', file.name)
        ]

    return sorted((f for f in path.iterdir() if f.suffix in _SUFFIXES), key=natural)


def _type_store(connections: Sequence[Any]) -> Any:
    """Return a type store with the bag's definitions, and Jazzy's for types it does not define.

    A definition that cannot be parsed leaves its type unknown and the others readable.
    """
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    defined: dict[str, Any] = {}
    for msgtype, definition in {(c.msgtype, c.msgdef) for c in connections}:
        try:
            if definition.format is MessageDefinitionFormat.MSG:
                defined.update(get_types_from_msg(definition.data, msgtype))
            elif definition.format is MessageDefinitionFormat.IDL:
                for text in re.split(r'={80}\nIDL: .*\n', definition.data):
                    defined.update(get_types_from_idl(text) if text.strip() else {})
        except Exception as err:  # the grammar's errors are of several kinds
            _log.info('definition of %s cannot be parsed: %s', msgtype, _one_line(err))
    if any(connection.msgtype not in defined for connection in connections):
        defined = {**default_type_store().fielddefs, **defined}
    store = get_typestore(Stores.EMPTY)
    store.register(defined)
    return store


def _is_known(store: Any, msgtype: str) -> bool:
    return msgtype in store.fielddefs


def _one_line(err: BaseException) -> str:
    return ' '.join(str(err).split()) or type(err).__name__
