"""Writes frames to drives on the disk: a short queue, a thread, and a reason for each drop.

`submit` never blocks. Errors are counted and reported, and writing is tried again with the next
frame, so that recording continues once the cause is gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.dataset.frame import FOLDERS, PROPOSAL_FOLDER, EncodedFrame
from drive_segment_ros.dataset.own_files import INDEX_FILE
from drive_segment_ros.dataset.writer import DriveWriter, refuse_remote
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.motion import JUMP_BACK_NS
from drive_segment_ros.recording.disk import GB, DatasetDisk, DiskParameters
from drive_segment_ros.recording.drop_reasons import (
    MAY_BE_TRIED,
    DuplicateFrameError,
    drop_reason,
)
from drive_segment_ros.worker import Worker


@dataclasses.dataclass(frozen=True)
class RecorderParameters(DiskParameters):
    """Parameters of recording to disk."""

    queue: int = parameter(
        30,
        'frames that may wait for the disk; the oldest is dropped; 3 s at 10 Hz, about 15 MB of '
        'JPEG or 100 MB of raw images',
        minimum=2,
        maximum=1000,
    )
    drive_minutes: float = parameter(
        30.0,
        'longest drive; then a new one begins, so that rotation has old ones to remove',
        unit='min',
        minimum=0.1,
        maximum=1e4,
    )


@dataclasses.dataclass(frozen=True)
class _Item:
    """A frame and the `drive.json` it belongs under."""

    frame: EncodedFrame
    drive: Mapping[str, Any]


class Recorder:
    """Writes frames to drives of a dataset on a separate thread.

    Each submitted frame is recorded, or dropped with a reason. Frames whose drive was removed or
    moved while it was written are `removed`, not recorded.

    A drive is named after the UTC time of its first stamp, and holds all cameras. A new one begins
    where stamps jump back, where sensors, calibration or parameters change, and after some time.
    A new camera is added to the current drive.
    """

    def __init__(self, dataset: Path, parameters: RecorderParameters, name: str = '') -> None:
        """Measure the dataset, which may take seconds if it is large, and start the thread.

        Args:
            dataset: folder of drives; its parent folder must exist.
            parameters: the parameters.
            name: suffix of the drives' names, such as the vehicle's name.

        Raises:
            DatasetError: if the dataset is a URL, is on a read-only disk, or cannot be created.
        """
        refuse_remote(dataset)
        self._disk = DatasetDisk(dataset, parameters)
        self._name = name
        self._writer: DriveWriter | None = None
        self._path: Path | None = None
        # Content of `drive.json` of the current drive: without its cameras, and these by name.
        self._drive: Mapping[str, Any] = {}
        self._cameras: dict[str, Any] = {}
        self._first_ns = 0
        self._newest_ns: dict[str, int] = {}
        self._longest_ns = round(parameters.drive_minutes * 60e9)
        self._lock = threading.Lock()
        self._cause = self._problem = self._removal = ''
        self._recorded = 0
        # Number of frames by camera's folder, to count those lost with it.
        self._frames_of: Counter[Path] = Counter()
        self._device = 0
        self._closing = False
        self._drops: Counter[str] = Counter()
        self._room = self._room_figures()
        self._worker: Worker[_Item | None] = Worker(
            self._work, size=parameters.queue, on_drop=self._on_drop, name='recorder'
        )

    def submit(self, frame: EncodedFrame, drive: Mapping[str, Any]) -> None:
        """Submit a frame without blocking; if too many wait, the oldest is dropped.

        Args:
            frame: the frame.
            drive: content of its `drive.json`; its cameras are those known so far, the frame's
                among them.
        """
        self._worker.submit(_Item(frame, drive))

    def look(self) -> None:
        """Let the thread check the disk if it is idle; to be called periodically."""
        if self._worker.wait_idle(0.0):
            self._worker.submit(None)

    def close(self, timeout_s: float = 10.0) -> None:
        """Write waiting frames, as far as time allows, and close the drive."""
        self._closing = True
        if self._worker.close(timeout_s, drain=True):
            self._end_drive()

    @property
    def problem(self) -> str:
        """Why the last frame could not be written, and which were removed since; one line.

        Empty if the last could be written and all are there.
        """
        return '; '.join(text for text in (self._problem, self._removal) if text)

    def status(self) -> dict[str, Any]:
        """Return counts, the current drive and the remaining space, ready for JSON."""
        with self._lock:
            return {
                'drive': '' if self._path is None else self._path.name,
                'recorded': self._recorded,
                'dropped': dict(self._drops),
                'waiting': self._worker.pending,
                'problem': self.problem,
                **self._room,
            }

    def _drop(self, reason: str, count: int = 1) -> None:
        with self._lock:
            self._drops[reason] += count

    def _on_drop(self, item: _Item | None) -> None:
        if item is not None:
            self._drop('stopped' if self._closing else 'disk_slow')

    def _work(self, item: _Item | None) -> None:
        """Write a frame, or only check the disk; on the thread."""
        try:
            if item is None:
                self._look()
            else:
                self._write(item)
                if self._worker.commit():
                    with self._lock:
                        self._recorded += 1
                self._cause = self._problem = ''
        except Exception as err:
            # An unexpected error must not end the thread; it is reported.
            known = isinstance(err, DatasetError)
            self._problem = str(err) if known else f'unexpected {type(err).__name__}: {err}'
            self._cause = drop_reason(err)
            if item is not None and self._worker.commit():
                self._drop(self._cause)
        figures = self._room_figures()
        with self._lock:
            self._room = figures

    def _look(self) -> None:
        """Check whether the disk is available and the last problem is over."""
        self._disk.check()
        self._see_whether_removed()
        if self._cause == 'disk_full':
            self._disk.make_room(0, self._path or self._disk.dataset)
        if self._cause in MAY_BE_TRIED:
            self._disk.try_writing()
            self._cause = self._problem = ''

    def _see_whether_removed(self) -> None:
        """Detect that the drive was removed or moved; a new one is started then."""
        path = self._path
        if path is None or os.stat(self._disk.dataset).st_dev != self._device:
            # Another disk is mounted there: the frames are on the first one.
            return
        broken = {path / name for name in self._cameras if not self._is_whole(name)}
        if not broken:
            return
        self._close_writer()
        self._path = None
        # With the dataset's folder, finished drives may be lost as well.
        gone = [f for f in self._frames_of if f in broken or not (f / INDEX_FILE).exists()]
        lost = sum(self._frames_of.pop(f) for f in gone if f.parent.name not in self._disk.removed)
        if not lost:
            return
        what = path if len(broken) == len(self._cameras) else min(broken)
        with self._lock:
            self._recorded -= lost
            self._drops['removed'] += lost
            self._removal = (
                f'{what} was removed or moved while it was recorded: {self._drops["removed"]} '
                'frames are no longer in the dataset; new ones are written to a new drive'
            )

    def _is_whole(self, camera: str) -> bool:
        """Return whether a camera's files of the current drive still exist."""
        assert self._path is not None
        folder = self._path / camera
        parts = (folder.parent / PROPOSAL_FOLDER, *(folder / n for n in (INDEX_FILE, *FOLDERS)))
        if not all(part.exists() for part in parts):
            return False
        return self._writer is None or self._writer.is_current(camera)

    def _write(self, item: _Item) -> None:
        frame = item.frame
        size = sum(len(data) for data in frame.files.values())
        if self._path is not None and self._is_another_drive(item):
            self._end_drive()
        self._disk.make_room(size, self._path or self._disk.dataset)
        self._see_whether_removed()
        if self._writer is not None and not self._writer.is_current():
            self._close_writer()
        writer = self._writer or self._open(item)
        if frame.stamp_ns in writer.stamps.get(frame.camera, ()):
            raise DuplicateFrameError(
                f'{writer.path / frame.camera}: a second frame of stamp {frame.stamp_ns}'
            )
        try:
            self._add_cameras(writer, item.drive)
            writer.add(frame)
        except DatasetError:
            # Opened again, to be consistent with the disk.
            self._close_writer()
            raise
        newest_ns = self._newest_ns.get(frame.camera, frame.stamp_ns)
        self._newest_ns[frame.camera] = max(newest_ns, frame.stamp_ns)
        self._frames_of[writer.path / frame.camera] += 1
        self._disk.wrote(writer.path)

    def _is_another_drive(self, item: _Item) -> bool:
        stamp_ns = item.frame.stamp_ns
        return (
            # Frames of one camera may be later than another's, for example after a late
            # calibration.
            stamp_ns < self._newest_ns.get(item.frame.camera, 0) - JUMP_BACK_NS
            or stamp_ns > self._first_ns + self._longest_ns
            or {**item.drive, 'cameras': {}} != self._drive
            or any(self._cameras.get(n, entry) != entry for n, entry in _cameras(item.drive))
        )

    def _add_cameras(self, writer: DriveWriter, drive: Mapping[str, Any]) -> None:
        """Add the cameras that the current drive lacks."""
        new = {name: entry for name, entry in _cameras(drive) if name not in self._cameras}
        if new:
            writer.add_cameras(new)
            self._cameras.update(new)

    def _open(self, item: _Item) -> DriveWriter:
        """Open the drive of a frame: the current one, or a new one with a unique name."""
        if self._path is None or not self._path.is_dir():
            self._path = self._new_folder(item.frame.stamp_ns)
            self._drive = {**item.drive, 'cameras': {}}
            self._cameras = dict(_cameras(item.drive))
            self._first_ns = item.frame.stamp_ns
            self._newest_ns = {}
        # Created by this process; the lock in it excludes others.
        try:
            drive = {**self._drive, 'cameras': self._cameras}
            self._writer = DriveWriter(self._path, drive, resume=True)
        except DatasetError as err:
            if not isinstance(err.__cause__, OSError):
                # Damaged by others: it is not changed.
                self._path = None
            raise
        self._device = os.stat(self._path).st_dev
        return self._writer

    def _new_folder(self, stamp_ns: int) -> Path:
        time = datetime.datetime.fromtimestamp(stamp_ns // 10**9, datetime.timezone.utc)
        name = f'{time:%Y%m%d_%H%M%S}' + (f'_{self._name}' if self._name else '')
        for number in range(1, 10_000):
            path = self._disk.dataset / (name if number == 1 else f'{name}_{number}')
            try:
                with contextlib.suppress(FileExistsError):
                    path.mkdir()
                    return path
            except OSError as err:
                raise DatasetError(
                    f'cannot create {path}: {err.strerror}; {disk_advice(err)}'
                ) from err
        raise DatasetError(f'{self._disk.dataset} has 10000 drives named {name}; use another')

    def _end_drive(self) -> None:
        if self._writer is not None:
            # An empty drive is removed.
            self._writer.remove()
        self._close_writer()
        self._path = None

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _room_figures(self) -> dict[str, Any]:
        seconds = self._disk.seconds_left
        return {
            'used_gb': round(self._disk.used_bytes / GB, 3),
            'free_gb': round(self._disk.free_bytes / GB, 3),
            'room_gb': round(self._disk.room_bytes / GB, 3),
            'time_left_s': None if seconds is None else round(seconds),
            'drives_removed': list(self._disk.removed),
        }


def _cameras(drive: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return drive.get('cameras', {}).items()
