"""Parts of a drive, each written by one worker: there or not there, and joined when all are.

A part is a range of a recording's time. Its frames' files lie where those of the drive lie; what
the drive's indexes will say of them is in the part's manifest, `parts/<start>.json`, which is
written last: without it the part does not exist. `join_parts` makes `frames.jsonl` and, last of
all, `drive.json` of the manifests. Nothing is appended and nothing renamed, so that it can be done
on object storage; and a part that is written twice is the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.dataset.frame import EncodedFrame, proposal_path
from drive_segment_ros.dataset.index import IndexWriter, index_lines, parse_index
from drive_segment_ros.dataset.own_files import (
    DRIVE_FILE,
    FIXED,
    INDEX_FILE,
    PARTS_FOLDER,
    PLAN_FILE,
    camera_folders,
    check_camera_name,
)
from drive_segment_ros.dataset.proposal_file import sweep_digest
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import (
    file_names,
    is_remote,
    is_there,
    read_whole,
    write_files,
    write_whole,
)
from drive_segment_ros.text_files import parse_json


@dataclasses.dataclass(frozen=True)
class Part:
    """What a worker has written.

    Attributes:
        start_ns: where it begins in the recording, nanoseconds; names it.
        drive: what `drive.json` says without cameras; empty where there is no frame.
        cameras: what `drive.json` says of each camera that has frames.
        frames: the frames' records by camera, in order.
        sweeps: what tells a sweep from another of the same stamp, by stamp.
        summary: what whoever asked for it wants to know of it.
    """

    start_ns: int
    drive: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cameras: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    frames: Mapping[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    sweeps: Mapping[str, str] = dataclasses.field(default_factory=dict)
    summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class PartWriter:
    """Writes the frames of a part, and then its manifest.

    Attributes:
        stamps: of the frames that are there, before and in this part, by camera.
    """

    def __init__(self, drive: Path, start_ns: int) -> None:
        """Look at what is there; nothing is written yet.

        Args:
            drive: the drive's folder.
            start_ns: of the part.

        Raises:
            DatasetError: if what is there cannot be read.
        """
        self._drive = drive
        self._there = read_drive(drive)
        self._part = Part(start_ns, {}, {}, {}, {}, {})
        self.stamps: dict[str, set[int]] = {
            name: {record['stamp_ns'] for record in records}
            for name, records in _indexes(drive, self._there).items()
        }

    def describe(self, drive: Callable[[], Mapping[str, Any]]) -> None:
        """Say what `drive.json` is to say of the drive; the first holds, others are not asked.

        Raises:
            DatasetError: if the drive is there already, of other sensors or parameters.
        """
        info: dict[str, Any] = self._part.drive  # type: ignore[assignment]
        if info:
            return
        info.update(json.loads(_text(drive())))
        changed = [name for name in FIXED if self._there and self._there.get(name) != info[name]]
        if changed:
            raise other_than_before(self._drive, changed)

    def add_camera(self, name: str, entry: Callable[[], Mapping[str, Any]]) -> None:
        """Say what `drive.json` is to say of a camera; the first holds, others are not asked.

        Raises:
            DatasetError: if the drive has another camera of this name, or the name is none.
        """
        cameras: dict[str, Any] = self._part.cameras  # type: ignore[assignment]
        if name in cameras:
            return
        check_camera_name(name, self._drive)
        cameras[name] = json.loads(_text(entry()))
        if self._there and self._there['cameras'].get(name, cameras[name]) != cameras[name]:
            raise other_than_before(self._drive, [f'camera {name}'])

    def add(self, frame: EncodedFrame) -> None:
        """Write a frame's files, and its sweep's proposals with the first of them.

        Raises:
            DatasetError: if they cannot be written, or there was another sweep of this stamp.
        """
        proposals = proposal_path(frame.sweep_stamp_ns)
        files = dict(frame.files)
        of_sweep = files.pop(proposals)
        sweeps: dict[str, str] = self._part.sweeps  # type: ignore[assignment]
        digest = sweep_digest(of_sweep)
        known = sweeps.get(str(frame.sweep_stamp_ns))
        if known not in (None, digest):
            raise another_sweep(self._drive, frame.sweep_stamp_ns)
        try:
            if known is None:
                # The part before this may end with the same sweep, and be written just now.
                write_whole(self._drive / proposals, of_sweep)
            write_files(self._drive, files)
        except OSError as err:
            raise _cannot_write(self._drive, err) from err
        sweeps[str(frame.sweep_stamp_ns)] = digest
        frames: dict[str, list[dict[str, Any]]] = self._part.frames  # type: ignore[assignment]
        frames.setdefault(frame.camera, []).append(dict(frame.record))
        self.stamps.setdefault(frame.camera, set()).add(frame.stamp_ns)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the manifest: from now on the part exists.

        Raises:
            DatasetError: if it cannot be written.
        """
        part = dataclasses.replace(self._part, summary=summary)
        write_text(manifest(self._drive, part.start_ns), _text(dataclasses.asdict(part)))


def manifest(drive: Path, start_ns: int) -> Path:
    """Return the manifest of a part."""
    return drive / PARTS_FOLDER / f'{start_ns}.json'


def read_parts(drive: Path) -> list[Part]:
    """Return the parts that are there, in order.

    Raises:
        DatasetError: if one cannot be read.
    """
    folder = drive / PARTS_FOLDER
    try:
        names = file_names(folder) if is_there(folder) else []
        starts = sorted(
            int(name[:-5]) for name in names if name.endswith('.json') and name[:-5].isdigit()
        )
        return [_read_part(manifest(drive, start)) for start in starts]
    except OSError as err:
        raise DatasetError(f'cannot read {err.filename or folder}: {err.strerror}') from err


def read_plan(drive: Path) -> dict[str, Any] | None:
    """Return what parts a drive is written in; None where it is not being written.

    Raises:
        DatasetError: if it cannot be read.
    """
    return _object(drive / PARTS_FOLDER / PLAN_FILE)


def read_drive(drive: Path) -> dict[str, Any] | None:
    """Return what `drive.json` says; None where there is none.

    Raises:
        DatasetError: if it cannot be read, or names no cameras.
    """
    found = _object(drive / DRIVE_FILE)
    if found is not None and not isinstance(found.get('cameras'), dict):
        raise DatasetError(f'{drive / DRIVE_FILE} names no cameras; choose another folder')
    return found


def write_plan(drive: Path, plan: Mapping[str, Any]) -> None:
    """Write down what parts a drive is to be written in.

    Raises:
        DatasetError: if that cannot be written.
    """
    write_text(drive / PARTS_FOLDER / PLAN_FILE, _text(plan))


def join_parts(drive: Path, parts: Sequence[Part]) -> dict[str, int]:
    """Make a drive of its parts, and of what was joined before.

    Frames lie in the order of their stamps. Of several with one stamp the first part's is taken,
    whose files must be those that are there: see `overwritten`.

    Args:
        drive: the drive's folder.
        parts: in order.

    Returns:
        The number of frames by camera, empty where there is none.

    Raises:
        DatasetError: if two sweeps have one stamp, or the disk refuses.
    """
    there = read_drive(drive)
    info: dict[str, Any] = dict(there or {})
    cameras = dict(info.get('cameras', {}))
    sweeps: dict[str, str] = {}
    frames: dict[str, dict[int, Mapping[str, Any]]] = {
        name: {record['stamp_ns']: record for record in records}
        for name, records in _indexes(drive, there).items()
    }
    for part in parts:
        info = {**part.drive, **info}
        cameras = {**part.cameras, **cameras}
        for name, records in part.frames.items():
            of_camera = frames.setdefault(name, {})
            for record in records:
                if of_camera.setdefault(record['stamp_ns'], record) == record:
                    stamp = str(record['sweep_stamp_ns'])
                    if sweeps.setdefault(stamp, part.sweeps[stamp]) != part.sweeps[stamp]:
                        raise another_sweep(drive, record['sweep_stamp_ns'])
    if not any(frames.values()):
        return {}
    for name, of_camera in frames.items():
        lines = index_lines([of_camera[stamp] for stamp in sorted(of_camera)])
        write_text(drive / name / INDEX_FILE, lines)
    write_text(drive / DRIVE_FILE, _text({**info, 'cameras': cameras}))
    return {name: len(of_camera) for name, of_camera in frames.items()}


def overwritten(parts: Sequence[Part]) -> list[int]:
    """Return the numbers of parts some of whose files a later part has written anew, last first.

    That is so where a clock was set back by more than a part. Written once more, one after the
    other, their files are what the drive's indexes say.
    """
    owner: dict[tuple[str, int | str], tuple[int, str]] = {}
    found: set[int] = set()
    for number, part in enumerate(parts):
        written = [(('', stamp), digest) for stamp, digest in part.sweeps.items()]
        written += [
            ((camera, record['stamp_ns']), str(number))
            for camera, records in part.frames.items()
            for record in records
        ]
        for key, content in written:
            first, as_it_was = owner.setdefault(key, (number, content))
            if content != as_it_was:
                found.add(first)
    return sorted(found, reverse=True)


def repeated(parts: Sequence[Part]) -> int:
    """Return how many frames of parts have the stamp of one of a part before."""
    stamps = Counter(
        (camera, record['stamp_ns'])
        for part in parts
        for camera, records in part.frames.items()
        for record in records
    )
    return stamps.total() - len(stamps)


@contextlib.contextmanager
def locked(drive: Path) -> Iterator[None]:
    """Be the only one on this machine to write a drive's parts; of a remote one nobody is.

    Raises:
        DatasetError: if another process writes it, or the folder cannot be made.
    """
    if is_remote(drive):
        yield
        return
    with contextlib.ExitStack() as locks:
        try:
            (drive / PARTS_FOLDER).mkdir(parents=True, exist_ok=True)
            folder = os.open(drive / PARTS_FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            locks.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f'{drive}: another process is writing this drive; stop it or choose another folder'
            ) from None
        except OSError as err:
            raise _cannot_write(drive, err) from err
        for camera in camera_folders(drive):
            # A recorder may be at work there.
            IndexWriter(camera / INDEX_FILE).close()
        yield


def other_than_before(drive: Path, changed: Sequence[str]) -> DatasetError:
    """Return what to say where a drive that is there does not fit what is to be added to it."""
    return DatasetError(
        f'{drive} was written with other {", ".join(changed)}; resume it with those or choose '
        'another folder'
    )


def another_sweep(drive: Path, stamp_ns: int) -> DatasetError:
    """Return what to say where two sweeps have one stamp."""
    return DatasetError(
        f'{drive} already has another sweep of stamp {stamp_ns}; choose another folder'
    )


def remove_manifests(drive: Path) -> None:
    """Take the manifests away once a drive is whole; what others have put beside them stays.

    Raises:
        DatasetError: if the disk refuses.
    """
    folder = drive / PARTS_FOLDER
    try:
        for name in file_names(folder) if is_there(folder) else []:
            # The plan goes last: without it the others are nothing.
            if name.endswith('.json') and name[:-5].isdigit():
                (folder / name).unlink()
        if is_there(folder / PLAN_FILE):
            (folder / PLAN_FILE).unlink()
        if not is_remote(folder) and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as err:
        raise _cannot_write(drive, err) from err


def write_text(path: Path, text: str | bytes) -> None:
    """Write a file of a drive, whole or not at all.

    Raises:
        DatasetError: if it cannot be written.
    """
    try:
        write_whole(path, text if isinstance(text, bytes) else text.encode())
    except OSError as err:
        raise _cannot_write(path, err) from err


def _indexes(drive: Path, info: Mapping[str, Any] | None) -> dict[str, list[dict[str, Any]]]:
    """Return the records of each camera that a drive has."""
    indexes = {}
    for name in (info or {}).get('cameras', {}):
        path = drive / name / INDEX_FILE
        try:
            indexes[name] = parse_index(read_whole(path), path).records
        except FileNotFoundError:
            indexes[name] = []
        except OSError as err:
            raise DatasetError(f'cannot read {path}: {err.strerror}') from err
    return indexes


def _object(path: Path) -> dict[str, Any] | None:
    try:
        found = parse_json(read_whole(path))
    except FileNotFoundError:
        return None
    except OSError as err:
        raise DatasetError(f'cannot read {path}: {err.strerror}') from err
    except ValueError as err:
        raise DatasetError(f'{path} is not JSON that can be read: {err}') from err
    if not isinstance(found, dict):
        raise DatasetError(f'{path} is not a JSON object')
    return found


def _read_part(path: Path) -> Part:
    found = _object(path)
    try:
        return Part(**(found or {}))
    except TypeError as err:
        raise DatasetError(f'{path} is no manifest of a part: {err}; remove it') from err


def _text(content: Any) -> str:
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + '\n'


def _cannot_write(path: Path, err: OSError) -> DatasetError:
    return DatasetError(
        f'cannot write {path}: {err.strerror}; {disk_advice(err)}; parts written before are kept '
        'and may be resumed'
    )
