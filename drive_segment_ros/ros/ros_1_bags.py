"""Read ROS 1 bags (format 2.0) as if ROS 2 had recorded them: every message becomes its CDR.

rosbags reads and converts; this module adds bags without an index, left by a killed recorder
(`.bag.active`) or an incomplete copy, and the mapping to ROS 2 types. A header's `seq`, which ROS
2 does not have, is dropped.
"""

from __future__ import annotations

import functools
import io
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bag_qos import bag_qos
from drive_segment_ros.ros.bag_storage import default_type_store, one_line, types_within

_MAGIC = b'#ROSBAG V2.0\n'
_HEADER = 'std_msgs/msg/Header'
# Types of ROS 1 that have another name and the same content in ROS 2.
_RENAMED = {'tf/msg/tfMessage': 'tf2_msgs/msg/TFMessage'}


class Ros1Bag:
    """A ROS 1 bag with the interface of rosbags' ROS 2 storage readers.

    Attributes:
        connections: rosbags' `Connection`s with ROS 2's types. Those whose messages ROS 2 defines
            otherwise have the serialization format `ros1` and are not read.
        metadata: rosbags' `ReaderMetadata`.
        damage: one line that says what is lost; empty if nothing is.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; it stays open.

        Raises:
            BagError: if it is not a ROS 1 bag, or has no complete message.
            OSError: if it cannot be read.
        """
        with path.open('rb') as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise BagError(f'{path.name} is not a ROS 1 bag of format 2.0; copy it again')
        self._reader, self.damage = _opened(path)
        self._recorded = {connection.id: connection for connection in self._reader.connections}
        self._converters: dict[int, Callable[[bytes], bytes]] = {}
        defined: dict[str, str] = {}
        self.connections = [self._converted(c, defined) for c in self._reader.connections]
        times = [index for index in self._reader.indexes.values() if index]
        self.metadata = _metadata(
            min((index[0].time for index in times), default=0),
            max((index[-1].time for index in times), default=0),
            sum(map(len, times)),
        )

    def messages(
        self, connections: Collection[Any], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Any, int, bytes]]:
        """Yield connection, bag stamp and CDR of messages with `start` <= bag stamp < `stop`.

        A message that does not fit its type becomes empty.
        """
        wanted = {c.id: c for c in connections if c.id in self._converters}
        recorded = [self._recorded[number] for number in wanted]
        if not recorded:  # rosbags would read all of them
            return
        for connection, stamp, raw in self._reader.messages(recorded, start, stop):
            yield wanted[connection.id], stamp, self._converters[connection.id](raw)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _converted(self, connection: Any, defined: dict[str, str]) -> Any:
        """Return a connection with its ROS 2 type, and prepare the conversion of its messages.

        Args:
            connection: of the bag.
            defined: the definition of each type so far, to which its own is added.
        """
        from rosbags.interfaces import (
            ConnectionExtRosbag2,
            MessageDefinition,
            MessageDefinitionFormat,
        )

        msgtype = _RENAMED.get(connection.msgtype, connection.msgtype)
        encoding, definition = 'ros1', ''
        store = _type_store(connection.msgtype, connection.msgdef.data)
        if store is not None:
            definition, _ = store.generate_msgdef(connection.msgtype, ros_version=2)
            # A name has one definition in a bag; messages of another one are not read.
            if defined.setdefault(msgtype, definition) == definition:
                encoding = 'cdr'
                convert = functools.partial(_cdr, store, connection.msgtype)
                self._converters[connection.id] = convert
        return connection._replace(
            topic='/' + connection.topic.lstrip('/'),
            msgtype=msgtype,
            msgdef=MessageDefinition(MessageDefinitionFormat.MSG, definition),
            ext=ConnectionExtRosbag2(
                encoding, [bag_qos(latched=True)] if connection.ext.latching else []
            ),
            owner=self,
        )


@functools.lru_cache(maxsize=256)
def _type_store(msgtype: str, definition: str) -> Any:
    """Return a type store that converts messages of a type to ROS 2.

    Args:
        msgtype: its name.
        definition: its definition of ROS 1, with those of the types within it.

    Returns:
        None if the definition cannot be used, or ROS 2 has another type of this name.
    """
    from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

    known = default_type_store().fielddefs
    try:
        found = dict(get_types_from_msg(definition, msgtype))
    except Exception:  # the grammar's errors are of several kinds
        return None
    # ROS 2's names of fields are used: D, K, R and P of a camera_info became d, k, r and p.
    for name in list(found):
        if _same_content(found, known, name):
            found[name] = known[name]
    if msgtype in known and found[msgtype] != known[msgtype]:
        return None
    wanted = types_within([fields for _, fields in found.values()])
    while wanted:
        name = wanted.pop()
        if name not in found:
            if name not in known:
                return None
            found[name] = known[name]
            wanted += types_within(known[name][1])
    store = get_typestore(Stores.EMPTY)
    try:
        store.register(found)
    except TypesysError:  # it cannot become a Python class
        return None
    return store


def _same_content(found: Any, known: Any, msgtype: str) -> bool:
    """Return whether a type's fields, and nested ones, are equal in two sets of definitions."""
    if msgtype == _HEADER:
        return True
    if msgtype not in known or msgtype not in found:
        return msgtype in known
    first, second = ([kind for _, kind in types[msgtype][1]] for types in (found, known))
    return first == second and all(_same_content(found, known, n) for n in types_within(first))


def _cdr(store: Any, msgtype: str, raw: bytes) -> bytes:
    """Return a message in ROS 2's encoding; b'' if it does not fit its type."""
    from rosbags.serde import SerdeError

    try:
        return bytes(store.ros1_to_cdr(memoryview(raw), msgtype))
    except SerdeError:
        return b''


def _opened(path: Path) -> tuple[Any, str]:
    """Return rosbags' reader of a bag, open, and what is wrong with the bag."""
    from rosbags.rosbag1 import Reader

    reader = Reader(path)
    try:
        reader.open()
    except OSError:
        raise
    except Exception as err:  # of any kind where the index is damaged
        if 'not supported' in str(err):
            raise BagError(f'{path.name}: {one_line(err)}') from err
        return _recovered(path)
    return reader, ''


def _recovered(path: Path) -> tuple[Any, str]:
    """Do the work of rosbags' `Reader.open` by scanning the whole file instead of its index."""
    from rosbags.rosbag1 import Reader
    from rosbags.rosbag1.reader import Chunk, Header, RecordType, read_uint32

    reader = Reader(path)
    reader.bio = file = path.open('rb')
    size = os.fstat(file.fileno()).st_size
    position = len(_MAGIC)
    connections: dict[int, Any] = {}
    indexes: dict[int, list[Any]] = defaultdict(list)
    broken = 0
    while position < size:
        file.seek(position)
        try:
            header = Header.read(file)
            kind, length = header.get_uint8('op'), read_uint32(file)
        except Exception:  # errors of any kind from invalid data
            break
        start, left = file.tell(), size - file.tell()
        if kind == RecordType.CHUNK:
            # A recorder writes a chunk's length when the chunk is complete.
            length = length or left
            decompress = functools.partial(_decompressed, header.get('compression', b''))
            reader.chunks[position] = Chunk(min(length, left), start, decompress)
            try:
                content = decompress(file.read(min(length, left)))
            except Exception:  # each decoder has its own errors for damaged data
                broken += 1
            else:
                _read_chunk(content, position, connections, indexes)
        position = start + length
    reader.connections = [c._replace(msgcount=len(indexes[c.id])) for c in connections.values()]
    reader.indexes = {number: sorted(indexes[number]) for number in connections}
    times = [entry.time for index in reader.indexes.values() for entry in index]
    if not times:
        file.close()
        raise BagError(f'{path.name}: no complete message; copy it again')
    seconds = (max(times) - min(times)) * 1e-9
    lines = [f'{path.name} has no complete index; the complete part is used, {seconds:.1f} s']
    lines += [f'{path.name}: {broken} damaged chunks are skipped'] if broken else []
    return reader, '; '.join(lines)


def _read_chunk(
    content: bytes, position: int, connections: dict[int, Any], indexes: dict[int, list[Any]]
) -> None:
    """Collect the connections and complete messages of a chunk.

    Args:
        content: decompressed, perhaps truncated.
        position: of the chunk in its file.
        connections: by number; new ones are added.
        indexes: by connection; get an entry a message.
    """
    from rosbags.rosbag1 import Reader
    from rosbags.rosbag1.reader import Header, IndexData, RecordType, read_uint32

    chunk = io.BytesIO(content)
    parser = Reader(os.devnull)
    parser.bio = chunk
    while (offset := chunk.tell()) < len(content):
        try:
            header = Header.read(chunk)
            kind, length = header.get_uint8('op'), read_uint32(chunk)
            end = chunk.tell() + length
            if end > len(content):
                return
            if kind == RecordType.CONNECTION:
                chunk.seek(offset)
                connection = parser.read_connection()
                connections.setdefault(connection.id, connection)
            elif kind == RecordType.MSGDATA:
                number = header.get_uint32('conn')
                indexes[number].append(IndexData(header.get_time('time'), position, offset))
        except Exception:  # errors of any kind from invalid data
            return
        chunk.seek(end)


def _decompressed(compression: bytes, data: bytes) -> bytes:
    """Return a chunk's records, of a truncated one those that are complete."""
    if compression == b'bz2':
        import bz2

        return bz2.BZ2Decompressor().decompress(data)
    if compression == b'lz4':
        from lz4.frame import LZ4FrameDecompressor

        decompressed: bytes = LZ4FrameDecompressor().decompress(data)
        return decompressed
    if compression != b'none':
        raise ValueError(f'unknown compression {compression!r}')
    return data


def _metadata(first_ns: int, last_ns: int, count: int) -> Any:
    from rosbags.rosbag2.metadata import ReaderMetadata

    # As in rosbags, the end is one past the last stamp.
    end_ns = last_ns + 1 if count else 0
    return ReaderMetadata(end_ns - first_ns, first_ns, end_ns, count, None, None, None, None)
