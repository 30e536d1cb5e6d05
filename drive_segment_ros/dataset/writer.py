"""Write a drive so that a crash at any instant leaves every finished frame whole.

Each file is written under a temporary name, synced and renamed; the frame's line in `frames.jsonl`
comes last. Measured on ext4, the syncs cost 1.6 ms a frame.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.dataset.frame import FOLDERS, MODEL_FOLDERS, EncodedFrame, Frame
from drive_segment_ros.dataset.index import IndexWriter
from drive_segment_ros.dataset.own_files import FRAME_FOLDERS, frame_files, refuse_links
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.text_files import read_json

TEMPORARY = '.tmp'
# What must not change within a drive, for its frames to belong together.
_FIXED = ('sensors', 'calibration', 'parameters')


class DriveWriter:
    """Adds frames to one drive of a dataset; a context manager."""

    def __init__(self, path: Path | str, drive: Mapping[str, Any], resume: bool = False) -> None:
        """Create the drive's folder and `drive.json`, or take up an existing drive.

        Args:
            path: the drive's folder, `DATASET/<drive>`.
            drive: content of `drive.json`: sensors, calibration, parameters, software version,
                source.
            resume: whether an existing drive may be added to.

        Raises:
            DatasetError: if the folder holds something already and `resume` is off, if it was
                recorded with other sensors or parameters, if another process writes it, if a
                part of it is a link, or if it cannot be written.
        """
        self.path = Path(path)
        if not resume and self.path.exists() and not _is_empty_folder(self.path):
            raise DatasetError(
                f'{self.path} exists and is not overwritten; choose another output folder or '
                'resume it'
            )
        refuse_links(self.path)
        try:
            for name in FOLDERS:
                (self.path / name).mkdir(parents=True, exist_ok=True)
            self._index = IndexWriter(self.path / 'frames.jsonl')
        except OSError as err:
            raise _cannot_write(self.path, err) from err
        try:
            self._begin(drive)
        except OSError as err:
            self.close()
            raise _cannot_write(self.path, err) from err
        except BaseException:
            self.close()
            raise
        self.stamps = {record['stamp_ns'] for record in self._index.records}

    def is_current(self) -> bool:
        """Tell whether the drive at its path is still the one that is open.

        It is not once the drive was removed or its disk unmounted, even if that is back again.
        """
        return self._index.is_current()

    @property
    def repaired(self) -> bool:
        """Whether a torn last line, left by a crash, was cut off the index."""
        return self._index.repaired

    def add(self, frame: Frame | EncodedFrame) -> None:
        """Write one frame; when this returns, it is on the disk.

        Raises:
            DatasetError: if the drive has a frame of this stamp, or the disk refuses; frames
                written before stay valid and nothing of this one stays.
        """
        encoded = frame.encoded() if isinstance(frame, Frame) else frame
        if encoded.stamp_ns in self.stamps:
            raise DatasetError(f'{self.path} already has a frame of stamp {encoded.stamp_ns}')
        try:
            self._make_folders(encoded)
            for name, data in encoded.files.items():
                _write_temporary(self.path / name, data)
            for name in encoded.files:
                _publish(self.path / name)
            # The names must be on the disk before the line that refers to them.
            for folder in {(self.path / name).parent for name in encoded.files}:
                _sync_folder(folder)
            self._index.append(encoded.record)
        except OSError as err:
            # A line that may have reached the disk must not be left without its files.
            if not self._index.damaged:
                for name in encoded.files:
                    _discard(self.path / name)
            raise _cannot_write(self.path, err) from err
        self.stamps.add(encoded.stamp_ns)

    def remove(self) -> None:
        """Take an empty drive away again; one that has frames, or files of others, stays."""
        if self.stamps:
            return
        with contextlib.suppress(OSError):
            for name in FRAME_FOLDERS:
                with contextlib.suppress(FileNotFoundError):
                    (self.path / name).rmdir()
            for name in ('drive.json', 'frames.jsonl'):
                (self.path / name).unlink()
            self.path.rmdir()

    def close(self) -> None:
        """Release the drive; harmless when called again."""
        self._index.close()

    def __enter__(self) -> DriveWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _make_folders(self, frame: EncodedFrame) -> None:
        """Make the folders that only some drives have, before their first file."""
        for folder in MODEL_FOLDERS:
            if folder in frame.record and not (self.path / folder).is_dir():
                (self.path / folder).mkdir()
                _sync_folder(self.path)

    def _begin(self, drive: Mapping[str, Any]) -> None:
        """Write `drive.json`, or check it against what is there; clear a crash's leftovers."""
        path = self.path / 'drive.json'
        text = json.dumps(drive, indent=2, sort_keys=True, allow_nan=False) + '\n'
        for name in FRAME_FOLDERS:
            for leftover in frame_files(self.path / name):
                if leftover.suffix == TEMPORARY:
                    leftover.unlink()
        if not path.exists():
            try:
                _write_temporary(path, text.encode())
                _publish(path)
                _sync_folder(self.path)
                _sync_folder(self.path.parent)
            except OSError:
                _discard(path)
                raise
            return
        try:
            existing = read_json(path)
            if not isinstance(existing, dict):
                raise ValueError('it is no object')
        except ValueError as err:
            raise DatasetError(f'{path} is not JSON: {err}; choose another folder') from err
        wanted = json.loads(text)
        changed = [key for key in _FIXED if existing.get(key) != wanted.get(key)]
        if changed:
            raise DatasetError(
                f'{self.path} was written with other {", ".join(changed)}; resume it with those '
                'or choose another folder'
            )


def _write_temporary(path: Path, data: bytes) -> None:
    file = os.open(
        f'{path}{TEMPORARY}', os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
    )
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def _publish(path: Path) -> None:
    os.replace(f'{path}{TEMPORARY}', path)


def _discard(path: Path) -> None:
    for name in (f'{path}{TEMPORARY}', path):
        with contextlib.suppress(OSError):
            os.unlink(name)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _cannot_write(path: Path, err: OSError) -> DatasetError:
    return DatasetError(
        f'cannot write {path}: {err.strerror}; {disk_advice(err)}; frames written before are kept '
        'and may be resumed'
    )
