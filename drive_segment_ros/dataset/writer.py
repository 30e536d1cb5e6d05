"""Writes a drive so that every finished frame survives a crash.

Each file is written under a temporary name, synced and renamed; the frame's line in its camera's
`frames.jsonl` is written last.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.dataset.frame import (
    FOLDERS,
    MODEL_FOLDERS,
    PROPOSAL_FOLDER,
    EncodedFrame,
    Frame,
    proposal_path,
)
from drive_segment_ros.dataset.index import IndexWriter
from drive_segment_ros.dataset.own_files import (
    DRIVE_FILE,
    FIXED,
    FRAME_FOLDERS,
    INDEX_FILE,
    camera_folders,
    check_camera_name,
    frame_files,
    is_bare,
    refuse_links,
    remove_bare,
    unfinished_files,
)
from drive_segment_ros.dataset.proposal_file import are_same_sweep
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import is_remote, location
from drive_segment_ros.text_files import read_json
from drive_segment_ros.whole_files import (
    TEMPORARY,
    discard,
    publish,
    sync_folder,
    write_temporary,
)


class DriveWriter:
    """Adds frames to one drive of a dataset; a context manager.

    Attributes:
        path: the drive's folder.
        stamps: of the existing frames, nanoseconds, by camera.
    """

    def __init__(self, path: Path | str, drive: Mapping[str, Any], resume: bool = False) -> None:
        """Create the drive's folder and `drive.json`, or open an existing drive.

        Cameras that an existing drive lacks are added to it.

        Args:
            path: the drive's folder, `DATASET/<drive>`.
            drive: content of `drive.json`: `cameras` by name, LiDAR, odometry, parameters,
                software version, source.
            resume: whether an existing drive may be added to.

        Raises:
            DatasetError: if it is a URL, if the folder is not empty and `resume` is off, if it
                was recorded with other sensors or parameters, if another process writes it, if a
                part of it is a link, if the name of a camera is invalid, or if it cannot be
                written.
        """
        self.path = location(path)
        refuse_remote(self.path)
        for name in drive.get('cameras', {}):
            check_camera_name(name, self.path)
        if not resume and self.path.exists() and not _is_empty_folder(self.path):
            raise DatasetError(
                f'{self.path} exists and is not overwritten; choose another output folder or '
                'resume it'
            )
        refuse_links(self.path)
        self.stamps: dict[str, set[int]] = {}
        self._indexes: dict[str, IndexWriter] = {}
        # Sweeps that a frame refers to; other files of proposals are leftovers of a crash.
        self._sweeps: set[int] = set()
        self._info: dict[str, Any] = {}
        try:
            (self.path / PROPOSAL_FOLDER).mkdir(parents=True, exist_ok=True)
            for folder in camera_folders(self.path):
                self._open(folder.name)
            self._begin(drive)
        except OSError as err:
            self.close()
            raise _cannot_write(self.path, err) from err
        except BaseException:
            self.close()
            raise

    def is_current(self, camera: str = '') -> bool:
        """Return whether a camera's files, or all, at the drive's path are still the open ones.

        They are not if the drive was removed or its disk unmounted, even if remounted since.
        """
        indexes = [self._indexes[camera]] if camera else self._indexes.values()
        return all(index.is_current() for index in indexes)

    @property
    def repaired(self) -> bool:
        """Whether an incomplete last line, left by a crash, was removed from an index."""
        return any(index.repaired for index in self._indexes.values())

    def add_camera(self, name: str, entry: Mapping[str, Any]) -> None:
        """Add a camera to the drive, for example after a late calibration; known ones are kept.

        Args:
            name: of the camera.
            entry: its entry in `drive.json`: topic, frame, model, `T_camera_lidar`, offset.

        Raises:
            DatasetError: if the drive has another camera of this name, the name is invalid, or
                writing fails; the drive is not changed then.
        """
        self.add_cameras({name: entry})

    def add_cameras(self, cameras: Mapping[str, Mapping[str, Any]]) -> None:
        """Add several cameras, see `add_camera`.

        Raises:
            DatasetError: as `add_camera`.
        """
        known, wanted = self._info['cameras'], json.loads(_json_text(cameras))
        for name, entry in wanted.items():
            check_camera_name(name, self.path)
            if known.get(name, entry) != entry:
                raise DatasetError(
                    f'{self.path} was written with another camera {name}; resume it with that or '
                    'choose another folder'
                )
        if wanted.keys() <= known.keys():
            return
        info = {**self._info, 'cameras': {**known, **wanted}}
        try:
            for name in wanted:
                self._open(name)
            self._describe(info)
        except OSError as err:
            raise _cannot_write(self.path, err) from err

    def add(self, frame: Frame | EncodedFrame) -> None:
        """Write one frame; when this returns, it is stored safely.

        The first frame of a sweep also writes its proposals.

        Raises:
            DatasetError: if the drive lacks the camera, or has a frame or another sweep of this
                stamp, or writing fails; frames written before remain valid and nothing of this
                one is kept.
        """
        encoded = frame.encoded() if isinstance(frame, Frame) else frame
        if encoded.camera not in self._info['cameras']:
            raise DatasetError(f'{self.path} has no camera {encoded.camera}; add it first')
        if encoded.stamp_ns in self.stamps[encoded.camera]:
            raise DatasetError(
                f'{self.path} already has a frame of stamp {encoded.stamp_ns} of {encoded.camera}'
            )
        index = self._indexes[encoded.camera]
        files = dict(encoded.files)
        try:
            if encoded.sweep_stamp_ns in self._sweeps and self._has_sweep(encoded):
                del files[proposal_path(encoded.sweep_stamp_ns)]
            self._make_folders(encoded)
            for name, data in files.items():
                write_temporary(self.path / name, data)
            for name in files:
                publish(self.path / name)
            # The files must be safe on the disk before the line that refers to them.
            for folder in {(self.path / name).parent for name in files}:
                sync_folder(folder)
            index.append(encoded.record)
        except OSError as err:
            # A line that may have been written must not be left without its files.
            if not index.damaged:
                for name in files:
                    discard(self.path / name)
            raise _cannot_write(self.path, err) from err
        self.stamps[encoded.camera].add(encoded.stamp_ns)
        self._sweeps.add(encoded.sweep_stamp_ns)

    def remove(self) -> None:
        """Remove an empty drive; one with frames or other files is kept."""
        if not any(self.stamps.values()):
            with contextlib.suppress(OSError):
                if is_bare(self.path):
                    remove_bare(self.path)

    def close(self) -> None:
        """Close the drive; may be called again."""
        for index in self._indexes.values():
            index.close()

    def __enter__(self) -> DriveWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self, camera: str) -> None:
        """Create a camera's folders, and open and lock its index."""
        if camera in self._indexes:
            return
        folder = self.path / camera
        folder.mkdir(exist_ok=True)
        index = IndexWriter(folder / INDEX_FILE)
        self._indexes[camera] = index
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        sync_folder(folder)
        self.stamps[camera] = {record['stamp_ns'] for record in index.records}
        self._sweeps |= {
            record['sweep_stamp_ns'] for record in index.records if 'sweep_stamp_ns' in record
        }

    def _make_folders(self, frame: EncodedFrame) -> None:
        """Create the folders that only some cameras have, before their first file."""
        camera = self.path / frame.camera
        for folder in MODEL_FOLDERS:
            if folder in frame.record and not (camera / folder).is_dir():
                (camera / folder).mkdir()
                sync_folder(camera)

    def _has_sweep(self, frame: EncodedFrame) -> bool:
        """Return whether the proposals of a frame's sweep exist.

        Raises:
            DatasetError: if there are those of another sweep.
        """
        name = proposal_path(frame.sweep_stamp_ns)
        try:
            there = (self.path / name).read_bytes()
        except FileNotFoundError:
            return False
        try:
            same = are_same_sweep(there, frame.files[name])
        except ValueError as err:
            raise DatasetError(f'{self.path / name} holds no proposals: {err}') from err
        if not same:
            raise DatasetError(
                f'{self.path} already has another sweep of stamp {frame.sweep_stamp_ns}; choose '
                'another folder'
            )
        return True

    def _begin(self, drive: Mapping[str, Any]) -> None:
        """Write `drive.json`, or compare it with the existing one; remove leftovers of a crash."""
        folders = [self.path / camera / name for camera in self._indexes for name in FRAME_FOLDERS]
        for folder in (self.path / PROPOSAL_FOLDER, *folders):
            for leftover in frame_files(folder):
                if leftover.suffix == TEMPORARY:
                    leftover.unlink()
        for leftover in unfinished_files(self.path):
            leftover.unlink()
        path = self.path / DRIVE_FILE
        wanted = json.loads(_json_text({'cameras': {}, **drive}))
        if not path.exists():
            for camera in wanted['cameras']:
                self._open(camera)
            self._describe(wanted)
            sync_folder(self.path.parent)
            return
        try:
            existing = read_json(path)
            if not isinstance(existing, dict) or not isinstance(existing.get('cameras'), dict):
                raise ValueError('it is no object with cameras')
        except ValueError as err:
            raise DatasetError(
                f'{path} is not JSON of a drive: {err}; choose another folder'
            ) from err
        changed = [key for key in FIXED if existing.get(key) != wanted.get(key)]
        if changed:
            raise DatasetError(
                f'{self.path} was written with other {", ".join(changed)}; resume it with those '
                'or choose another folder'
            )
        self._info = existing
        for camera in existing['cameras']:
            check_camera_name(camera, path)
            self._open(camera)
        self.add_cameras(wanted['cameras'])

    def _describe(self, info: dict[str, Any]) -> None:
        """Write `drive.json` atomically; nothing of it is kept if writing fails."""
        path = self.path / DRIVE_FILE
        try:
            write_temporary(path, _json_text(info).encode())
            with contextlib.suppress(FileNotFoundError):
                # Its time is the start of the drive, by which rotation orders drives.
                begun = os.stat(path)
                os.utime(f'{path}{TEMPORARY}', ns=(begun.st_atime_ns, begun.st_mtime_ns))
            publish(path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(f'{path}{TEMPORARY}')
            raise
        self._info = info
        sync_folder(self.path)


def refuse_remote(path: Path) -> None:
    """Raise DatasetError for a URL: object storage can neither be locked nor appended to."""
    if is_remote(path):
        raise DatasetError(
            f'{path} is not on this machine; record the drive to a local folder and copy it '
            'afterwards'
        )


def _json_text(content: Any) -> str:
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + '\n'


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _cannot_write(path: Path, err: OSError) -> DatasetError:
    return DatasetError(
        f'cannot write {path}: {err.strerror}; {disk_advice(err)}; frames written before are kept '
        'and may be resumed'
    )
