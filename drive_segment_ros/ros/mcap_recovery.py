"""Read an MCAP file that has no end: its recorder was killed, or the copy was cut short.

Readers start from the summary at the end of the file. Without it everything is still there in
sequence: records of opcode, length and content, messages mostly inside compressed chunks (format:
https://mcap.dev/spec). One pass finds what is whole, down to the last message of a chunk that
breaks off in the middle.
"""

from __future__ import annotations

import dataclasses
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from drive_segment_ros.errors import BagError

_MAGIC = b'\x89MCAP0\r\n'
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _LAST_OPCODE = 0x03, 0x04, 0x05, 0x06, 0x0F
_RECORD = struct.Struct('<BQ')  # opcode, length
_MESSAGE_HEADER = struct.Struct('<HIQQ')  # channel, sequence, log time, publish time
_CHUNK_HEADER = struct.Struct('<QQQI')  # first and last log time, uncompressed size, CRC


@dataclasses.dataclass(frozen=True)
class _Block:
    """A chunk, or a message outside of chunks: where it lies and the log times it spans."""

    opcode: int
    offset: int
    length: int
    first_ns: int
    last_ns: int


class RecoveredMcap:
    """What can be read of a damaged MCAP file, by the interface of rosbags' `Reader`.

    Attributes:
        connections: rosbags' `Connection`s with the message counts found.
        message_count: number of whole messages.
        start_time, end_time: log times of the first message and one past the last, nanoseconds.
        damage: one line that says what is lost.
    """

    def __init__(self, path: Path) -> None:
        """Scan the file.

        Raises:
            BagError: if it is not an MCAP file or holds no whole message.
        """
        self._path = path
        self._blocks: list[_Block] = []
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Any] = {}
        self._counts: Counter[int] = Counter()
        self._broken_chunks = 0
        with path.open('rb') as file:
            self._scan(file)
        if not self._blocks:
            raise BagError(f'{path.name}: not a single whole message; record or copy it again')
        self.connections = [
            channel._replace(msgcount=self._counts[number])
            for number, channel in self._channels.items()
        ]
        self.message_count = self._counts.total()
        self.start_time = min(block.first_ns for block in self._blocks)
        self.end_time = max(block.last_ns for block in self._blocks) + 1
        seconds = (self.end_time - 1 - self.start_time) * 1e-9
        self.damage = f'{path.name} is truncated after {seconds:.1f} s; what is whole is used'
        if self._broken_chunks:
            self.damage += f', {self._broken_chunks} damaged chunks are left out'

    def messages(
        self, connections: Collection[Any], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Any, int, bytes]]:
        """Yield connection, log time and content of messages with `start` <= log time < `stop`."""
        wanted = {connection.id: connection for connection in connections}
        first = -1 if start is None else start
        last = 2**64 if stop is None else stop
        with self._path.open('rb') as file:
            for block in self._blocks:
                if block.last_ns < first or block.first_ns >= last:
                    continue
                file.seek(block.offset)
                content = file.read(block.length)
                for channel, stamp, raw in sorted(_messages(block.opcode, content), key=_log_time):
                    if channel in wanted and first <= stamp < last:
                        yield wanted[channel], stamp, raw

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""

    def _scan(self, file: BinaryIO) -> None:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise BagError(f'{self._path.name} is not an MCAP file')
        size = self._path.stat().st_size
        while len(head := file.read(_RECORD.size)) == _RECORD.size:
            opcode, length = _RECORD.unpack(head)
            if not 1 <= opcode <= _LAST_OPCODE:
                return
            offset = file.tell()
            # A damaged length may be any number of 64 bits.
            content = file.read(min(length, size - offset))
            if opcode == _CHUNK or len(content) == length:
                self._note(opcode, offset, content)

    def _note(self, opcode: int, offset: int, content: bytes) -> None:
        """Remember what one top-level record, perhaps a chunk cut short, brings."""
        stamps = []
        try:
            for inner, record in _records(opcode, content):
                if inner == _SCHEMA:
                    self._add_schema(record)
                elif inner == _CHANNEL:
                    self._add_channel(record)
                elif inner == _MESSAGE:
                    channel, _, stamp, _ = _MESSAGE_HEADER.unpack_from(record)
                    self._counts[channel] += 1
                    stamps.append(stamp)
        except Exception:  # each decoder has its own errors for damaged data
            self._broken_chunks += 1
            return
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
        encoding, _ = _string(record, position)
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
            ext=ConnectionExtRosbag2(encoding, []),
            owner=self,
        )


def _records(opcode: int, content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield a chunk's whole records, or the record itself if it is no chunk."""
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


def _log_time(message: tuple[int, int, bytes]) -> int:
    return message[1]


def _decompressed(chunk: bytes) -> bytes:
    """Return the records of a chunk, as far as they go where the chunk is cut short.

    Raises:
        ValueError: if the chunk is complete and its checksum is wrong.
    """
    _, _, size, checksum = _CHUNK_HEADER.unpack_from(chunk)
    compression, position = _string(chunk, _CHUNK_HEADER.size)
    data = chunk[position + 8 :]
    if compression == 'zstd':
        data = _zstd_decompressor().decompress(data)
    elif compression == 'lz4':
        from lz4.frame import LZ4FrameDecompressor

        data = LZ4FrameDecompressor().decompress(data)
    elif compression:
        raise ValueError(f'unknown compression {compression!r}')
    if len(data) == size and checksum and zlib.crc32(data) != checksum:
        raise ValueError('chunk checksum mismatch')
    return data


def _zstd_decompressor() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdDecompressor()


def _string(data: bytes, position: int) -> tuple[str, int]:
    """Return the length-prefixed string at a position, and the position after it."""
    (length,) = struct.unpack_from('<I', data, position)
    end = position + 4 + length
    return data[position + 4 : end].decode(), end
