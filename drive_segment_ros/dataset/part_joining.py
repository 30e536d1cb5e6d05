"""Joins the parts written by workers to a drive; see `parts`."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.frame import PROPOSAL_FOLDER
from drive_segment_ros.dataset.index import IndexWriter, index_lines
from drive_segment_ros.dataset.own_files import (
    CAMERA_FOLDERS,
    DRIVE_FILE,
    INDEX_FILE,
    PARTS_FOLDER,
    PLAN_FILE,
    camera_folders,
    frame_files,
    is_part_file,
    unfinished_files,
)
from drive_segment_ros.dataset.parts import (
    Part,
    another_sweep,
    cannot_write,
    json_text,
    read_drive,
    read_indexes,
    write_text,
)
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import file_names, is_remote, is_there
from drive_segment_ros.whole_files import TEMPORARY


def join_parts(drive: Path, parts: Sequence[Part]) -> dict[str, int]:
    """Make a drive from its parts and from earlier joined parts.

    Frames are in the order of their stamps. Of several with one stamp that of the first part is
    used, whose files must be the existing ones: see `overwritten`.

    Args:
        drive: the drive's folder.
        parts: in order.

    Returns:
        The number of frames by camera, empty where there is none.

    Raises:
        DatasetError: if two sweeps have one stamp, or writing fails.
    """
    there = read_drive(drive)
    info: dict[str, Any] = dict(there or {})
    cameras = dict(info.get('cameras', {}))
    sweeps: dict[str, str] = {}
    frames: dict[str, dict[int, Mapping[str, Any]]] = {
        name: {record['stamp_ns']: record for record in records}
        for name, records in read_indexes(drive, there).items()
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
    write_text(drive / DRIVE_FILE, json_text({**info, 'cameras': cameras}))
    return {name: len(of_camera) for name, of_camera in frames.items()}


def overwritten(parts: Sequence[Part]) -> list[int]:
    """Return the numbers of parts with files overwritten by a later part, last first.

    This happens if a clock was set back by more than a part. When these parts are written again in
    this order, the files agree with the drive's indexes.
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
    """Return the number of frames with the stamp of a frame of an earlier part."""
    stamps = Counter(
        (camera, record['stamp_ns'])
        for part in parts
        for camera, records in part.frames.items()
        for record in records
    )
    return stamps.total() - len(stamps)


@contextlib.contextmanager
def locked(drive: Path) -> Iterator[None]:
    """Lock a drive's parts against other processes of this machine; remote ones are not locked.

    Raises:
        DatasetError: if another process writes it, or the folder cannot be created.
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
            raise cannot_write(drive, err) from err
        for camera in camera_folders(drive):
            # A recorder may be writing it.
            IndexWriter(camera / INDEX_FILE).close()
        yield


def remove_manifests(drive: Path) -> None:
    """Remove the manifests once a drive is complete; other files are kept.

    Raises:
        DatasetError: if a file cannot be removed.
    """
    folder = drive / PARTS_FOLDER
    try:
        for name in file_names(folder) if is_there(folder) else []:
            # The plan is removed last: without it the others are meaningless.
            if is_part_file(name):
                (folder / name).unlink()
        if is_there(folder / PLAN_FILE):
            (folder / PLAN_FILE).unlink()
        if not is_remote(folder) and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as err:
        raise cannot_write(drive, err) from err


def remove_unfinished(drive: Path) -> None:
    """Remove the temporary files of killed workers, once no worker writes any more.

    On object storage there are no partial files.

    Raises:
        DatasetError: if a file cannot be removed.
    """
    if is_remote(drive):
        return
    folders = [camera / name for camera in camera_folders(drive) for name in CAMERA_FOLDERS]
    try:
        for folder in (drive / PROPOSAL_FOLDER, *folders):
            for path in frame_files(folder):
                if path.name.startswith('.') or path.suffix == TEMPORARY:
                    path.unlink()
        for path in unfinished_files(drive):
            path.unlink()
    except OSError as err:
        raise cannot_write(drive, err) from err
