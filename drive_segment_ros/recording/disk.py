"""Quota and free-space guard of a dataset, and rotation of old drives."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.dataset.own_files import (
    DRIVE_FILE,
    PROTECTED,
    REMOVING,
    holds_drive,
)
from drive_segment_ros.dataset.repair import remove_drive
from drive_segment_ros.errors import DatasetError, DiskFullError
from drive_segment_ros.parameters import parameter
from drive_segment_ros.recording.drive_sizes import DriveSizes

GB = 10**9
# A frame is up to five files and a line; each occupies whole blocks, and folders grow.
_OVERHEAD_BYTES = 64 * 1024
_RATE_WINDOW_S = 60.0
# Interval of checks of other drives, which other recorders write and users remove.
_OTHERS_PERIOD_S = 1.0
# Longest wait for a file system to free the space of removed files.
_COMMIT_S = 5.0


@dataclasses.dataclass(frozen=True)
class DiskParameters:
    """Limits of the dataset's size."""

    quota_gb: float = parameter(
        0.0, 'largest size of the dataset, with all its drives; 0 for no quota', unit='GB',
        minimum=0.0, maximum=1e6,
    )  # fmt: skip
    min_free_gb: float = parameter(
        5.0,
        'free space left on the disk, regardless of the quota, for logs and system updates',
        unit='GB',
        minimum=0.0,
        maximum=1e6,
    )
    when_full: str = parameter(
        'stop',
        'stop: pause until there is space again; rotate: remove the oldest drives of the dataset, '
        'except those that contain a file named `protected`',
        choices=('stop', 'rotate'),
    )


class DatasetDisk:
    """The disk of a dataset; to be used by one thread.

    Attributes:
        free_bytes: free space of the disk.
        removed: names of the drives removed by rotation.
    """

    def __init__(
        self,
        dataset: Path,
        parameters: DiskParameters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the dataset's folder and measure it.

        Args:
            dataset: the folder; its parent folder must exist, so that nothing is written to the
                mount point of a disk that is not mounted.
            parameters: the parameters.
            clock: seconds, monotonic.

        Raises:
            DatasetError: as `check`.
        """
        self.dataset = dataset
        self.removed: list[str] = []
        self._parameters = parameters
        self._clock = clock
        try:
            self._mount = mount_point(dataset.parent if not dataset.exists() else dataset)
        except OSError as err:
            raise DatasetError(f'{dataset}: {err.strerror}; choose another folder') from err
        self._written: deque[tuple[float, int]] = deque()
        self._sizes = DriveSizes()
        self._looked_s = -_OTHERS_PERIOD_S
        self.check()

    @property
    def used_bytes(self) -> int:
        """Size of the dataset, bytes; `check` includes changes by others, once a second."""
        return self._sizes.total

    @property
    def room_bytes(self) -> int:
        """Space that may still be used, bytes; negative if a limit is exceeded."""
        room = self.free_bytes - round(self._parameters.min_free_gb * GB)
        if self._parameters.quota_gb:
            room = min(room, round(self._parameters.quota_gb * GB) - self.used_bytes)
        return room

    @property
    def seconds_left(self) -> float | None:
        """Remaining time, s, at the rate of the last minute; None if nothing was written."""
        now = self._clock()
        while self._written and self._written[0][0] < now - _RATE_WINDOW_S:
            self._written.popleft()
        written = sum(size for _, size in self._written)
        if not written or now <= self._written[0][0]:
            return None
        return max(0, self.room_bytes) * (now - self._written[0][0]) / written

    def check(self) -> None:
        """Check the disk, create the dataset's folder, and update free space and drives.

        Raises:
            DatasetError: if the disk is no longer mounted or is read-only, or the folder cannot be
                created.
        """
        if not os.path.ismount(self._mount):
            raise DatasetError(
                f'{self.dataset}: nothing is mounted at {self._mount} any more; connect the disk '
                'and mount it'
            ) from FileNotFoundError(errno.ENODEV, os.strerror(errno.ENODEV))
        try:
            self.dataset.mkdir(exist_ok=True)
            status = os.statvfs(self.dataset)
        except OSError as err:
            raise DatasetError(
                f'{self.dataset}: {err.strerror}; its parent folder must exist and be writable'
            ) from err
        if status.f_flag & os.ST_RDONLY:
            raise DatasetError(
                f'{self.dataset}: the disk is read-only, perhaps after a file system error; '
                'check it and mount it for writing'
            ) from OSError(errno.EROFS, os.strerror(errno.EROFS))
        self.free_bytes = status.f_bavail * status.f_frsize
        if self._clock() - self._looked_s >= _OTHERS_PERIOD_S:
            self._looked_s = self._clock()
            self._look_at_drives()

    def make_room(self, size: int, current: Path) -> None:
        """Check that a frame may be written; remove old drives for it if configured.

        Args:
            size: of its files, bytes.
            current: its drive, which is not removed.

        Raises:
            DiskFullError: if it may not be written.
            DatasetError: as `check`.
        """
        self.check()
        needed = size + _OVERHEAD_BYTES
        while self.room_bytes < needed:
            if self._parameters.when_full == 'stop' or not self._remove_oldest(current):
                raise DiskFullError(self._why_full(needed))
            self._wait_for_space(needed)

    def try_writing(self) -> None:
        """Write a small file and remove it, the only way to detect quotas and file system errors.

        Raises:
            DatasetError: if writing fails.
        """
        try:
            # Without a name it disappears in any case.
            with tempfile.TemporaryFile(dir=self.dataset) as file:
                file.write(bytes(_OVERHEAD_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as err:
            raise DatasetError(
                f'cannot write into {self.dataset}: {err.strerror}; {disk_advice(err)}'
            ) from err

    def _wait_for_space(self, needed: int) -> None:
        """Wait until the space of a removed drive is free.

        Some file systems, such as Btrfs and ZFS, free it with their next commit only; no further
        drive must be removed meanwhile.
        """
        before, until = self.free_bytes, time.monotonic() + _COMMIT_S
        enough = needed + round(self._parameters.min_free_gb * GB)
        self.check()
        if self.free_bytes <= before and self.free_bytes < enough:
            os.sync()
            while self.free_bytes <= before and time.monotonic() < until:
                time.sleep(0.1)
                self.check()

    def wrote(self, drive: Path) -> None:
        """Count bytes added to a drive."""
        self._note_rate(self._sizes.count(drive))

    def _note_rate(self, size: int) -> None:
        now = self._clock()
        if self._written and now - self._written[-1][0] < 1.0:
            # One sample per second is enough at any frame rate.
            begun, size_so_far = self._written.pop()
            self._written.append((begun, size_so_far + size))
        elif size:
            self._written.append((now, size))

    def _look_at_drives(self) -> None:
        """Count what was written and removed anywhere in the dataset since the last check."""
        with contextlib.suppress(OSError):  # removed since the last check; the next one reports it
            # The target of a link is elsewhere: it does not count.
            there = {
                path for path in self.dataset.iterdir() if path.is_dir() and not path.is_symlink()
            }
            self._note_rate(self._sizes.look(there))

    def _remove_oldest(self, current: Path) -> bool:
        """Remove the oldest drive; False if there is none that may be removed."""
        candidates = []
        for path in self._sizes.drives:
            if path.suffix == REMOVING:
                # Left by a crash: this removal is completed before another drive is removed.
                # Other files in it are not a drive and are kept.
                if holds_drive(path):
                    candidates.append((0, path))
            elif path != current:
                # Not a drive, already removed, or closed to this user, such as lost+found.
                with contextlib.suppress(OSError):
                    if not (path / PROTECTED).exists():
                        candidates.append(((path / DRIVE_FILE).stat().st_mtime_ns, path))
        for _, path in sorted(candidates):
            # A drive being written by another process, or that cannot be removed, is kept.
            with contextlib.suppress(DatasetError, OSError):
                remove_drive(path)
                self._sizes.forget(path)
                if path.suffix != REMOVING:
                    self.removed.append(path.name)
                return True
        return False

    def _why_full(self, needed: int) -> str:
        parameters = self._parameters
        rotates = parameters.when_full != 'stop'
        if self.free_bytes - parameters.min_free_gb * GB < needed:
            what = f'{self.free_bytes / GB:.2f} GB are free on its disk'
            todo = ['free some space']
            if self.free_bytes >= needed:
                what += f', disk.min_free_gb is {parameters.min_free_gb:g}'
                todo.append('lower disk.min_free_gb')
        else:
            what = (
                f'it has {self.used_bytes / GB:.2f} GB, disk.quota_gb is {parameters.quota_gb:g}'
            )
            todo = ['remove drives', 'raise disk.quota_gb']
        if rotates:
            what += '; no drive is left that rotation may remove'
            todo.insert(0, 'remove `protected` files')
        return f'{self.dataset} is full: {what}; {", or ".join(todo)}'


def mount_point(path: Path) -> Path:
    """Return the mount point of an existing folder."""
    path = path.resolve()
    while not os.path.ismount(path):
        path = path.parent
    return path
