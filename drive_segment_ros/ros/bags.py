"""Read recordings of any origin, also incomplete and damaged ones.

A bag is a folder or a single storage file: MCAP or SQLite of ROS 2, or a bag of ROS 1, whose
messages are converted while reading (`ros_1_bags`). rosbags reads them; this module adds a default
type store, tolerates unknown types, and reads files that a crashed recorder left without an end,
without metadata or with a journal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import logging
import struct
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bag_files import (
    Metadata,
    NoRoomError,
    brought_here,
    decompressed,
    find_files,
    is_database,
    is_ros_1,
    is_storage,
    needs_unpacking,
    read_metadata,
    shortfalls,
    unpack,
)
from drive_segment_ros.ros.bag_storage import (
    explain_foreign,
    is_cdr,
    one_line,
    open_database,
    open_mcap,
    ros_type,
    type_store,
    types_within,
)
from drive_segment_ros.ros.mcap_recovery import parsed_qos
from drive_segment_ros.ros.ros_1_bags import Ros1Bag
from drive_segment_ros.storage import is_remote, is_there, location
from drive_segment_ros.what_is import not_wanted, what_is

if TYPE_CHECKING:
    from typing_extensions import Self

# Stamps are 64-bit integers; MCAP's are unsigned.
_LATEST_NS = 2**63 - 1
_WANTED = 'give a bag folder, or an .mcap, .db3 or .bag file'
_log = logging.getLogger(__name__)


class BagMessage(NamedTuple):
    """One message as recorded: `raw` is its CDR encoding."""

    topic: str
    bag_stamp_ns: int
    raw: bytes
    msgtype: str


@dataclasses.dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    Attributes:
        name, type: such as `/lidar/points`, `sensor_msgs/msg/PointCloud2`.
        count: number of messages.
        readable: whether the type's definition is known, in the bag or to this package.
        qos: the QoS of the recorded publishers (rosbags' `Qos`), empty if the bag has none.
    """

    name: str
    type: str
    count: int
    readable: bool
    qos: tuple[Any, ...] = ()


class _Part(NamedTuple):
    """One storage file: `reader` is one of rosbags' storage readers, or a `RecoveredMcap`."""

    name: str
    reader: Any


class BagReader:
    """A bag, open for reading; a context manager.

    Its storage files are read separately: metadata.yaml, which may be outdated, only gives their
    names.

    Attributes:
        path: as given.
        topics: by name.
        start_ns, end_ns: bag stamps of the first and last message, both 0 in an empty bag.
    """

    def __init__(self, path: Path | str) -> None:
        """Store the path; nothing is opened yet.

        Raises:
            BagError: if it does not exist, or is not a bag.
        """
        self.path = location(path)
        self.topics: dict[str, Topic] = {}
        self.start_ns = self.end_ns = 0
        self._damage: list[str] = []
        self._parts: list[_Part] = []
        self._types: Any = None
        if not self._is_there():
            raise BagError(f'{self.path}: no such bag; {_WANTED}')
        if not is_storage(self.path) and self.path.is_file():
            raise BagError(not_wanted(self.path, 'a bag', _WANTED))

    def _is_there(self) -> bool:
        try:
            return is_there(self.path)
        except OSError as err:
            if not is_remote(self.path):
                raise
            raise BagError(f'{self.path}: {err.strerror}') from err

    def __str__(self) -> str:
        """Return its name for messages."""
        return str(self.path)

    @property
    def damage(self) -> list[str]:
        """A line for each part that cannot be read, empty for a sound bag.

        Reading a damaged bag yields the intact messages.
        """
        return self._damage

    def __enter__(self) -> Self:
        """Open the bag.

        Raises:
            BagError: if no part of it can be read.
        """
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        for line in self.damage:
            _log.warning('%s', line)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

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
        streams = [self._read(part, topics, start_ns, stop_ns) for part in self._parts]
        for message in heapq.merge(*streams, key=lambda message: message.bag_stamp_ns):
            if message.topic:
                yield message

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
        """Return whether a type is known and starts with a std_msgs/Header."""
        _, fields = self._types.fielddefs.get(msgtype, ((), ()))
        return bool(fields) and fields[0][1][1] == 'std_msgs/msg/Header'

    def layout(self, msgtype: str) -> dict[str, Any]:
        """Return the fields of a type and of those within it, empty if it is unknown."""
        found: dict[str, Any] = {}
        wanted = [msgtype] if _is_known(self._types, msgtype) else []
        while wanted:
            name = wanted.pop()
            if name not in found:
                found[name] = self._types.fielddefs[name][1]
                wanted += types_within(found[name])
        return dict(sorted(found.items()))

    def definition(self, msgtype: str) -> tuple[str, str]:
        """Return a type's definition and its hash, as a writer of bags needs them.

        Raises:
            BagError: if it is unknown.
        """
        if not _is_known(self._types, msgtype):
            raise BagError(f'{self.path}: message type {msgtype} is unknown')
        text, _ = self._types.generate_msgdef(msgtype, ros_version=2)
        return text, self._types.hash_rihs01(msgtype)

    def _read(
        self, part: _Part, topics: Collection[str] | None, start: int | None, stop: int | None
    ) -> Iterator[BagMessage]:
        wanted = [
            c
            for c in part.reader.connections
            if (topics is None or c.topic in topics) and ros_type(c) == self.topics[c.topic].type
        ]
        if not wanted:
            return
        last = part.reader.metadata.start_time
        # Not a message: keeps a part closed until those before it are read.
        yield BagMessage('', last, b'', '')
        found: Counter[int] = Counter()
        try:
            for connection, stamp, raw in part.reader.messages(wanted, start, stop):
                topic = connection.topic
                found[connection.id] += 1
                if stamp > _LATEST_NS:
                    self._note(f'{part.name}: messages of {topic} have impossible bag stamps')
                    continue
                last = stamp
                yield BagMessage(topic, stamp, decompressed(raw), self.topics[topic].type)
        except Exception as err:  # decoders of damaged data raise errors of every kind
            if isinstance(err, OSError) and is_remote(self.path):
                raise BagError(f'{self.path}: {part.name}: {err.strerror}') from err
            self._note(
                f'{part.name} is damaged {(last - self.start_ns) * 1e-9:.1f} s from the start of '
                f'the bag ({one_line(err)}); the part before is used'
            )
            return
        for connection in wanted:
            missing = connection.msgcount - found[connection.id]
            if missing > 0 and start is None and stop is None:
                self._note(
                    f'{part.name}: {missing} of {connection.msgcount} messages of '
                    f'{connection.topic} cannot be found'
                )

    def _note(self, line: str) -> None:
        if line not in self._damage:
            self._damage.append(line)
            _log.warning('%s', line)

    def _open(self) -> None:
        try:
            metadata, files = self._find_files()
            files = [brought_here(file) for file in files]
        except OSError as err:
            raise BagError(f'{self.path} cannot be read: {err.strerror or one_line(err)}') from err
        with contextlib.ExitStack() as stack:
            folder = Path()
            if any(needs_unpacking(file) for file in files):
                # Deleted as soon as all files are open, so that nothing is left if the process is
                # killed.
                folder = Path(stack.enter_context(_temporary_folder(self.path)))
            for file in files:
                self._open_part(file, folder)
        if not self._parts:
            if not self._damage and what_is(self.path) != 'a bag':
                raise BagError(not_wanted(self.path, 'a bag', _WANTED))
            reason = '; '.join(self._damage) or 'it holds no .mcap, .db3 or .bag file'
            raise BagError(f'{self.path} cannot be read: {reason}')
        self._find_topics(metadata)
        if not self._damage:  # otherwise the reason for missing messages is known
            counts = {topic.name: topic.count for topic in self.topics.values()}
            self._damage += shortfalls(metadata, counts)
        spans = [
            (m.start_time, m.end_time)
            for m in (part.reader.metadata for part in self._parts)
            if m.message_count
        ]
        if spans:
            self.start_ns = min(start for start, _ in spans)
            # rosbags' end is one past the last stamp.
            self.end_ns = min(max(end for _, end in spans) - 1, _LATEST_NS)

    def _find_files(self) -> tuple[Metadata, list[Path]]:
        metadata = Metadata((), {}, {})
        if self.path.is_file():
            return metadata, [self.path]
        try:
            metadata = read_metadata(self.path / 'metadata.yaml')
        except FileNotFoundError:
            reason = 'has no metadata.yaml, as after a crash'
        except BagError as err:
            reason = f'has a metadata.yaml that cannot be used ({err})'
        else:
            reason = ''
        files, notes = find_files(self.path, metadata.files)
        if reason and not all(is_ros_1(file) for file in files):  # ROS 1 has no such file
            notes.insert(0, f'{self.path} {reason}; its files are read directly')
        self._damage += notes
        return metadata, files

    def _open_part(self, file: Path, folder: Path) -> None:
        """Open one storage file as far as it can be read, or note why it cannot."""
        name = file.name
        try:
            if needs_unpacking(file):
                file, damage = unpack(file, folder)
                self._damage += [damage] if damage else []
            reader = _opened(file)
        except NoRoomError:
            raise
        except BagError as err:
            self._damage.append(str(err))
        except OSError as err:
            reason = f'{name}: {err.strerror or one_line(err)}'
            if is_remote(file):  # The file may be intact and available the next time.
                raise BagError(f'{self.path} cannot be read: {reason}') from err
            self._damage.append(reason)
        else:
            self._parts.append(_Part(name, reader))
            self._damage += [reader.damage] if getattr(reader, 'damage', '') else []

    def _find_topics(self, metadata: Metadata) -> None:
        connections = [c for part in self._parts for c in part.reader.connections]
        foreign = {c.ext.serialization_format for c in connections if not is_cdr(c)}
        if connections and not any(is_cdr(c) for c in connections):
            raise BagError(f'{self.path}: {explain_foreign(foreign)}')
        self._types = type_store([c for c in connections if is_cdr(c)])
        for name in sorted({connection.topic for connection in connections}):
            counts: Counter[str] = Counter()
            for connection in connections:
                if connection.topic == name:
                    counts[ros_type(connection)] += connection.msgcount
            (kind, _), *others = counts.most_common()
            for other, count in others:
                self._damage.append(
                    f'{name} has messages of several types: {count} of {other} are left out'
                )
            of_topic = [c for c in connections if c.topic == name and ros_type(c) == kind]
            offers = [offer for c in of_topic for offer in c.ext.offered_qos_profiles]
            self.topics[name] = Topic(
                name=name,
                type=kind,
                count=sum(connection.msgcount for connection in of_topic),
                readable=_is_known(self._types, kind),
                qos=tuple(offers or parsed_qos(metadata.qos.get(name))),
            )

    def _close(self) -> None:
        for part in self._parts:
            part.reader.close()
        self._parts = []


def _opened(file: Path) -> Any:
    if is_ros_1(file):
        return Ros1Bag(file)
    return open_database(file) if is_database(file) else open_mcap(file)


def header_stamp_ns(message: Any) -> int:
    """Return the header stamp of a message, nanoseconds."""
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def peek_stamp_ns(raw: bytes | memoryview) -> int:
    """Return the header stamp of an encoded message whose first field is its header.

    Reads 12 bytes instead of decoding a whole cloud.

    Raises:
        BagError: if the bytes are too few to hold a stamp.
    """
    if len(raw) < 12:
        raise BagError(f'a message of {len(raw)} bytes has no header')
    sec, nanosec = struct.unpack_from(f'{_order(raw)}iI', raw, 4)
    return sec * 1_000_000_000 + nanosec


def peek_header(raw: bytes | memoryview) -> tuple[int, str]:
    """Return the stamp and the frame of an encoded message whose first field is its header.

    Raises:
        BagError: if the bytes are too few to hold a header.
    """
    stamp_ns = peek_stamp_ns(raw)
    length = struct.unpack_from(f'{_order(raw)}I', raw, 12)[0] if len(raw) >= 16 else len(raw)
    if 16 + length > len(raw):
        raise BagError(f'a message of {len(raw)} bytes has no complete header')
    return stamp_ns, bytes(raw[16 : 16 + length]).rstrip(b'\0').decode(errors='replace')


def _order(raw: bytes | memoryview) -> str:
    """Return the byte order, from the second of CDR's 4 bytes of encapsulation."""
    return '<' if raw[1] & 1 else '>'


def _temporary_folder(bag: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix='drive_segment_')
    except OSError as err:
        raise BagError(
            f'{bag} must be unpacked, but there is no temporary folder ({one_line(err)}); '
            'set TMPDIR'
        ) from err


def _is_known(store: Any, msgtype: str) -> bool:
    return msgtype in store.fielddefs
