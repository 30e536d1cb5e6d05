"""The index of a camera in a drive, `frames.jsonl`: a frame exists once its line does."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.frame import FOLDERS, MODEL_FOLDERS
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.text_files import parse_json, shown

# A line has some 700 bytes.
_LONGEST_LINE = 1_000_000
_LATEST_NS = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Index:
    """The content of a `frames.jsonl`.

    Attributes:
        records: one dict per frame, in the order written.
        complete_bytes: length of the complete lines.
        torn: whether an incomplete last line follows, as after a crash.
    """

    records: list[dict[str, Any]]
    complete_bytes: int
    torn: bool


def parse_index(data: bytes, name: str | Path) -> Index:
    """Parse the bytes of a `frames.jsonl`; only its last line may be incomplete.

    Raises:
        DatasetError: if any other line is not a JSON object with a stamp, or a value is invalid.
    """
    records: list[dict[str, Any]] = []
    position = 0
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            record = _parse_line(line)
        except ValueError as err:
            if number == len(lines) and not _is_object(line):
                return Index(records, position, torn=True)
            raise DatasetError(
                f'{name}: line {number} is not a frame: {err}; the file was edited or the disk '
                'is damaged, remove the line'
            ) from None
        records.append(record)
        position += len(line)
    return Index(records, position, torn=False)


class IndexWriter:
    """Appends frames to a `frames.jsonl`, with an exclusive lock.

    The lock is the kernel's (`flock`), so it is released when the process ends in any way.

    Attributes:
        records: the frames that it had when it was opened.
        repaired: whether an incomplete last line was removed then.
        damaged: whether a failed line could not be removed; the index must be opened again.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the index, lock it and remove an incomplete last line.

        Args:
            path: of the `frames.jsonl`.

        Raises:
            DatasetError: if it is locked or broken.
            OSError: if it cannot be opened.
        """
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            index = parse_index(path.read_bytes(), path)
            if index.torn:
                os.ftruncate(self._file, index.complete_bytes)
        except BlockingIOError:
            os.close(self._file)
            raise DatasetError(
                f'{path.parent.parent}: another process is writing this drive; stop it or choose '
                'another folder'
            ) from None
        except BaseException:
            os.close(self._file)
            raise
        self.records = index.records
        self.damaged = False
        self.repaired = index.torn
        self._length = index.complete_bytes

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one line and sync it; on a full disk no part of it remains.

        Raises:
            OSError: if the line cannot be written; `damaged` is set if it may have been written
                nevertheless, as on a disk that disappeared.
        """
        line = _line(record)
        try:
            written = os.write(self._file, line)
            if written != len(line):
                # A short write means that the disk is full: writing the rest raises the error.
                os.write(self._file, line[written:])
            os.fsync(self._file)
        except OSError:
            self.damaged = True
            os.ftruncate(self._file, self._length)
            self.damaged = False
            raise
        self._length += len(line)

    def is_current(self) -> bool:
        """Return whether the file at its path is still the open one."""
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except OSError:
            return False

    def replace(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Replace the records of the index atomically, while it stays locked.

        Raises:
            OSError: if it cannot be written; the old one is kept.
        """
        temporary = self._path.with_suffix('.jsonl.tmp')
        data = index_lines(records)
        file = os.open(
            temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
            os.replace(temporary, self._path)
        except BaseException:
            os.close(file)
            raise
        os.close(self._file)
        self._file, self._length = file, len(data)

    def close(self) -> None:
        """Close the file, which releases the lock; may be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def index_lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the content of a `frames.jsonl`."""
    return b''.join(_line(record) for record in records)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, allow_nan=False).encode() + b'\n'


def _is_object(line: bytes) -> bool:
    """Return whether a line is complete JSON."""
    return line.rstrip().endswith(b'}') and line.endswith(b'\n')


def _parse_line(line: bytes) -> dict[str, Any]:
    """Return a frame's record.

    Raises:
        ValueError: if the line is not a record, or a value in it is invalid.
    """
    if not line.endswith(b'\n'):
        raise ValueError('it has no end')
    if len(line) > _LONGEST_LINE:
        raise ValueError(f'it has {len(line)} bytes')
    return check_record(parse_json(line))


def check_record(record: Any) -> dict[str, Any]:
    """Return an untrusted record of a frame.

    Raises:
        ValueError: if it is none, or a value in it is invalid.
    """
    if not isinstance(record, dict) or 'stamp_ns' not in record:
        raise ValueError('it is no object with a stamp_ns')
    for name, value in record.items():
        if name in (*FOLDERS, *MODEL_FOLDERS):
            _check_path(name, value)
        elif name in _CHECKS and not _CHECKS[name](value):
            raise ValueError(f'its {name} is invalid')
    return record


def _check_path(folder: str, value: Any) -> None:
    """Check that a value is the name of a file in the folder of its kind."""
    name = value.removeprefix(f'{folder}/') if isinstance(value, str) else ''
    # Printable, as half a surrogate pair is no name of a file.
    if not name.isprintable() or name in ('', value, '.', '..') or '/' in name:
        raise ValueError(f'its {folder} is {shown(value)}, not a file in {folder}/')


def _is_stamp(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LATEST_NS


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e18


def _is_pose(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(row, list) and len(row) == 4 for row in value)
        and all(_is_number(part) for row in value for part in row)
    )


# Entries of a record that are read in addition to its paths; it may have others.
_CHECKS: dict[str, Callable[[Any], bool]] = {
    'stamp_ns': _is_stamp,
    'sweep_stamp_ns': _is_stamp,
    'offset_s': lambda value: value is None or _is_number(value),
    'motion': lambda value: isinstance(value, str) and value.isprintable(),
    'points_dropped': lambda value: type(value) is int and abs(value) < 1e12,
    'T_odom_base': lambda value: value is None or _is_pose(value),
}
