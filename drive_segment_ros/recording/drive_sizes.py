"""The sizes of a dataset's drives on disk, updated as they grow.

A drive is measured completely once, which takes seconds for a long one; then new lines of its
cameras' indexes give the new files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import deque
from pathlib import Path

from drive_segment_ros.dataset.frame import proposal_path
from drive_segment_ros.dataset.index import parse_index
from drive_segment_ros.dataset.own_files import FRAME_FOLDERS, INDEX_FILE
from drive_segment_ros.errors import DatasetError


@dataclasses.dataclass
class _Counted:
    """A drive's counted size: its files up to a position in each camera's index."""

    size: int
    index_bytes: dict[str, int]
    # The sweeps counted last, as frames of several cameras share the file of a sweep.
    sweeps: deque[int] = dataclasses.field(default_factory=lambda: deque(maxlen=100))


class DriveSizes:
    """The drives of a dataset and their sizes."""

    def __init__(self) -> None:
        self._drives: dict[Path, _Counted] = {}

    @property
    def drives(self) -> list[Path]:
        """The known drives."""
        return list(self._drives)

    @property
    def total(self) -> int:
        """Size of all, bytes."""
        return sum(drive.size for drive in self._drives.values())

    def forget(self, drive: Path) -> None:
        """Remove a drive from the count."""
        del self._drives[drive]

    def count(self, drive: Path) -> int:
        """Count the new frames in a drive's indexes; return their size, bytes."""
        known = self._drives.setdefault(drive, _Counted(0, {}))
        gained = sum(
            _gained(drive / camera, known)
            for camera, length in _index_bytes(drive).items()
            if length > known.index_bytes.get(camera, 0)
        )
        known.size += gained
        return gained

    def look(self, there: set[Path]) -> int:
        """Count what was written and removed since the last check; return the bytes written.

        Args:
            there: the drives there are now. One that is new, or was repaired, is measured in
                full, and not counted as written.
        """
        self._drives = {path: drive for path, drive in self._drives.items() if path in there}
        gained = 0
        for drive in there:
            known = self._drives.get(drive)
            lengths = _index_bytes(drive)
            if known is None or any(
                lengths.get(camera, 0) < length for camera, length in known.index_bytes.items()
            ):
                self._drives[drive] = _Counted(_size(drive), lengths)
            elif lengths != known.index_bytes:
                gained += self.count(drive)
        return gained


def _size(folder: Path) -> int:
    """Return the size of a folder's files on disk, bytes."""
    return sum(
        _blocks(os.path.join(where, name)) for where, _, names in os.walk(folder) for name in names
    )


def _index_bytes(drive: Path) -> dict[str, int]:
    """Return the length of each camera's index in a drive, bytes."""
    lengths = {}
    with contextlib.suppress(OSError):  # removed meanwhile, or not a drive
        for folder in os.scandir(drive):
            with contextlib.suppress(OSError):
                if folder.is_dir(follow_symlinks=False):
                    lengths[folder.name] = os.stat(f'{folder.path}/{INDEX_FILE}').st_size
    return lengths


def _gained(camera: Path, known: _Counted) -> int:
    """Count a camera's new frames; return their size, bytes."""
    counted = known.index_bytes.get(camera.name, 0)
    try:
        with (camera / INDEX_FILE).open('rb') as file:
            file.seek(counted)
            new = parse_index(file.read(), file.name)
    except (OSError, DatasetError):
        # Removed or damaged; detected by the next check or on reading.
        return 0
    known.index_bytes[camera.name] = counted + new.complete_bytes
    gained = new.complete_bytes
    for record in new.records:
        gained += sum(_blocks(camera / record[name]) for name in FRAME_FOLDERS if name in record)
        sweep = record.get('sweep_stamp_ns')
        if sweep is not None and sweep not in known.sweeps:
            known.sweeps.append(sweep)
            gained += _blocks(camera.parent / proposal_path(sweep))
    return gained


def _blocks(path: Path | str) -> int:
    """Return the size of a file on disk, bytes; 0 if it was removed meanwhile."""
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0
