"""Read an MCAP file without an index, for example after its recorder was killed.

Readers start from the summary at the end of the file. Without it the file is still a sequence of
records of opcode, length and content, with messages mostly inside compressed chunks (format:
https://mcap.dev/spec). One pass finds all complete messages, including those of a truncated chunk.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import os
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError
from drive_segment_ros.ros.bag_files import zstd_module

_MAGIC = b'\x89MCAP0\r\n'
# 0 is not an opcode. Others, of later versions and private ones from 0x80, are skipped.
_INVALID, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0, 2, 3, 4, 5, 6, 15
_RECORD = struct.Struct('<BQ')  # opcode, length
_MESSAGE_HEADER = struct.Struct('<HIQQ')  # channel, sequence, log time, publish time
_CHUNK_HEADER = struct.Struct('<QQQI')  # first and last log time, uncompressed size, CRC


@dataclasses.dataclass(frozen=True)
class _Block:
    """A chunk, or a message outside of chunks: its position and range of log times."""

    opcode: int
    offset: int
    length: int
    first_ns: int
    last_ns: int


class RecoveredMcap:
    """The readable part of an MCAP file, with the interface of rosbags' storage readers.

    Attributes:
        connections: rosbags' `Connection`s with the message counts found.
        metadata: rosbags' `ReaderMetadata` with the number and span of complete messages.
        damage: one line on what is lost; empty if nothing is.
    """

    def __init__(self, path: Path) -> None:
        """Scan the file; it stays open.

        Raises:
            BagError: if it is not an MCAP file, or truncated before its first complete message.
        """
        self._name = path.name
        self._blocks: list[_Block] = []
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Any] = {}
        self._counts: Counter[int] = Counter()
        self._broken_chunks = 0
        self._file = path.open('rb')
        try:
            last = self._scan()
            if not self._blocks and last != _FOOTER:
                raise BagError(f'{self._name}: no complete message; copy it again')
        except BaseException:
            self.close()
            raise
        self.connections = [
            channel._replace(msgcount=self._counts[number])
            for number, channel in self._channels.items()
        ]
        first_ns = min((block.first_ns for block in self._blocks), default=0)
        last_ns = max((block.last_ns for block in self._blocks), default=0)
        self.metadata = _metadata(first_ns, last_ns, self._counts.total())
        self.damage = self._damage(last, (last_ns - first_ns) * 1e-9)

    def messages(
        self, connections: Collection[Any], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Any, int, bytes]]:
        """Yield connection, log time and content of messages with `start` <= log time < `stop`.

        They are in the order of their log times, even if chunks overlap.
        """
        wanted = {connection.id: connection for connection in connections}
        first = -1 if start is None else start
        last = 2**64 if stop is None else stop
        pending: list[tuple[int, int, int, bytes]] = []
        numbers = itertools.count()
        for block in sorted(self._blocks, key=lambda block: block.first_ns):
            if block.last_ns < first or block.first_ns >= last:
                continue
            while pending and pending[0][0] < block.first_ns:
                stamp, _, channel, raw = heapq.heappop(pending)
                yield wanted[channel], stamp, raw
            for channel, stamp, raw in _messages(block.opcode, self._content(block)):
                if channel in wanted and first <= stamp < last:
                    heapq.heappush(pending, (stamp, next(numbers), channel, raw))
        while pending:
            stamp, _, channel, raw = heapq.heappop(pending)
            yield wanted[channel], stamp, raw

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _content(self, block: _Block) -> bytes:
        self._file.seek(block.offset)
        return self._file.read(block.length)

    def _scan(self) -> int:
        """Process every record; return the opcode of the last complete one."""
        if self._file.read(len(_MAGIC)) != _MAGIC:
            raise BagError(f'{self._name} is not an MCAP file')
        size = os.fstat(self._file.fileno()).st_size
        last = _INVALID
        while len(head := self._file.read(_RECORD.size)) == _RECORD.size:
            opcode, length = _RECORD.unpack(head)
            offset = self._file.tell()
            # A damaged length may be any number of 64 bits.
            whole = length <= size - offset
            if opcode == _INVALID or (not whole and opcode != _CHUNK):
                break
            # The summary repeats schemas and channels, including those of a damaged chunk.
            if opcode in (_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK):
                self._note(opcode, offset, self._file.read(min(length, size - offset)))
            if opcode == _FOOTER:
                return opcode
            if whole and last != _DATA_END:
                last = opcode
            self._file.seek(offset + min(length, size - offset))
        return last

    def _damage(self, last: int, seconds: float) -> str:
        lines = []
        if last == _DATA_END:
            lines.append(f'{self._name} ends within its index; no message is lost')
        elif last != _FOOTER:
            lines.append(
                f'{self._name} is truncated after {seconds:.1f} s; the complete part is used'
            )
        if self._broken_chunks:
            lines.append(f'{self._name}: {self._broken_chunks} damaged chunks are skipped')
        return '; '.join(lines)

    def _note(self, opcode: int, offset: int, content: bytes) -> None:
        """Store the content of a top-level record, perhaps a truncated chunk."""
        stamps = []
        counts: Counter[int] = Counter()
        try:
            for inner, record in _records(opcode, content):
                if inner == _SCHEMA:
                    self._add_schema(record)
                elif inner == _CHANNEL:
                    self._add_channel(record)
                elif inner == _MESSAGE:
                    channel, _, stamp, _ = _MESSAGE_HEADER.unpack_from(record)
                    counts[channel] += 1
                    stamps.append(stamp)
        except Exception:  # each decoder has its own errors for damaged data
            self._broken_chunks += 1
            return
        self._counts += counts
        if stamps:
            self._blocks.append(_Block(opcode, offset, len(content), min(stamps), max(stamps)))

    def _add_schema(self, record: bytes) -> None:
        (number,) = struct.unpack_from('<H', record)
        name, position = _string(record, 2)
        encoding, position = _string(record, position)
        definition, _ = _string(record, position)
        self._schemas[number] = (name, encoding, definition)

    def _add_channel(self, record: bytes) -> None:
        from rosbags.interfaces import (
            Connection,
            ConnectionExtRosbag2,
            MessageDefinition,
            MessageDefinitionFormat,
        )

        number, schema = struct.unpack_from('<HH', record)
        topic, position = _string(record, 4)
        encoding, position = _string(record, position)
        name, language, definition = self._schemas.get(schema, ('', '', ''))
        formats = {
            'ros2msg': MessageDefinitionFormat.MSG,
            'ros2idl': MessageDefinitionFormat.IDL,
            'omgidl': MessageDefinitionFormat.IDL,
        }
        self._channels[number] = Connection(
            id=number,
            topic=topic,
            msgtype=name,
            msgdef=MessageDefinition(
                formats.get(language, MessageDefinitionFormat.NONE), definition
            ),
            digest='',
            msgcount=0,
            ext=ConnectionExtRosbag2(encoding, parsed_qos(_properties(record, position))),
            owner=self,
        )


def parsed_qos(text: Any) -> list[Any]:
    """Return publishers' QoS (rosbags' `Qos`) from YAML or its content; [] if damaged."""
    from rosbags.rosbag2.metadata import parse_qos

    try:
        return parse_qos(text)
    except Exception:  # errors of any kind from invalid content
        return []


def _metadata(first_ns: int, last_ns: int, count: int) -> Any:
    from rosbags.rosbag2.metadata import ReaderMetadata

    # As in rosbags, the end is one past the last log time.
    end_ns = last_ns + 1 if count else 0
    return ReaderMetadata(end_ns - first_ns, first_ns, end_ns, count, None, None, None, None)


def _properties(record: bytes, position: int) -> str:
    """Return the publishers' QoS from the properties of a channel, empty if there is none."""
    (length,) = struct.unpack_from('<I', record, position)
    position += 4
    end = position + length
    while position < end:
        key, position = _string(record, position)
        value, position = _string(record, position)
        if key == 'offered_qos_profiles':
            return value
    return ''


def _records(opcode: int, content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield a chunk's complete records, or the record itself if it is not a chunk."""
    if opcode != _CHUNK:
        yield opcode, content
        return
    data = _decompressed(content)
    position = 0
    while position + _RECORD.size <= len(data):
        inner, length = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        if position + length > len(data):
            return
        yield inner, data[position : position + length]
        position += length


def _messages(opcode: int, content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield channel, log time and content of the messages in a block."""
    for inner, record in _records(opcode, content):
        if inner == _MESSAGE:
            channel, _, stamp, _ = _MESSAGE_HEADER.unpack_from(record)
            yield channel, stamp, record[_MESSAGE_HEADER.size :]


def _decompressed(chunk: bytes) -> bytes:
    """Return the records of a chunk, of a truncated one those that are complete.

    Raises:
        ValueError: if the chunk is complete and its checksum is wrong.
    """
    _, _, size, checksum = _CHUNK_HEADER.unpack_from(chunk)
    compression, position = _string(chunk, _CHUNK_HEADER.size)
    data = chunk[position + 8 :]
    if compression == 'zstd':
        data = zstd_module().ZstdDecompressor().decompress(data)
    elif compression == 'lz4':
        from lz4.frame import LZ4FrameDecompressor

        data = LZ4FrameDecompressor().decompress(data)
    elif compression:
        raise ValueError(f'unknown compression {compression!r}')
    if len(data) == size and checksum and zlib.crc32(data) != checksum:
        raise ValueError('chunk checksum mismatch')
    return data


def _string(data: bytes, position: int) -> tuple[str, int]:
    """Return the length-prefixed string at a position, and the position after it.

    Definitions in other encodings may not be text.
    """
    (length,) = struct.unpack_from('<I', data, position)
    end = position + 4 + length
    return data[position + 4 : end].decode(errors='replace'), end
