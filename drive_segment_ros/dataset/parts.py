"""Parts of a drive, each written by one worker, complete or absent, and joined when all exist.

A part is a time range of a recording. Its frames' files are at their final paths in the drive;
their index entries are in the part's manifest, `parts/<start>.json`, which is written last:
without it the part does not exist. `join_parts` writes `frames.jsonl` from the manifests and,
last, `drive.json`. Each file is written as a whole, never appended to, so that it works on object
storage; writing a part twice gives the same files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.dataset.index import check_record, parse_index
from drive_segment_ros.dataset.own_files import (
    DRIVE_FILE,
    INDEX_FILE,
    PARTS_FOLDER,
    PLAN_FILE,
    check_camera_name,
    manifest_start,
)
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import file_names, is_there, read_many, read_whole, write_whole
from drive_segment_ros.text_files import parse_json


@dataclasses.dataclass(frozen=True)
class Part:
    """The manifest of a part.

    Attributes:
        start_ns: its start in the recording, nanoseconds; its name.
        drive: content of `drive.json` without cameras; empty without frames.
        cameras: entries in `drive.json` of each camera that has frames.
        frames: the frames' records by camera, in order.
        sweeps: a digest of each sweep, by stamp, to detect others of the same stamp.
        summary: the report of the extraction.
    """

    start_ns: int
    drive: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cameras: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    frames: Mapping[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    sweeps: Mapping[str, str] = dataclasses.field(default_factory=dict)
    summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def manifest(drive: Path, start_ns: int) -> Path:
    """Return the manifest of a part."""
    return drive / PARTS_FOLDER / f'{start_ns}.json'


def read_parts(drive: Path) -> list[Part]:
    """Return the existing parts, in order.

    Raises:
        DatasetError: if one cannot be read.
    """
    folder = drive / PARTS_FOLDER
    try:
        names = file_names(folder) if is_there(folder) else []
    except OSError as err:
        raise DatasetError(f'cannot read {folder}: {err.strerror}') from err
    starts = sorted(start for name in names if (start := manifest_start(name)) is not None)
    paths = [manifest(drive, start) for start in starts]
    return [_part(path, data) for path, data in zip(paths, read_many(paths), strict=True)]


def read_plan(drive: Path) -> dict[str, Any] | None:
    """Return the plan of a drive's parts; None if it is not being written.

    Raises:
        DatasetError: if it cannot be read.
    """
    return _object(drive / PARTS_FOLDER / PLAN_FILE)


def read_drive(drive: Path) -> dict[str, Any] | None:
    """Return the content of `drive.json`; None if there is none.

    Raises:
        DatasetError: if it cannot be read, or has no valid names of cameras.
    """
    found = _object(drive / DRIVE_FILE)
    if found is not None and not isinstance(found.get('cameras'), dict):
        raise DatasetError(f'{drive / DRIVE_FILE} has no cameras; choose another folder')
    for name in (found or {}).get('cameras', {}):
        check_camera_name(name, drive / DRIVE_FILE)
    return found


def write_plan(drive: Path, plan: Mapping[str, Any]) -> None:
    """Write the plan of a drive's parts.

    Raises:
        DatasetError: if it cannot be written.
    """
    write_text(drive / PARTS_FOLDER / PLAN_FILE, json_text(plan))


def other_than_before(drive: Path, changed: Sequence[str]) -> DatasetError:
    """Return the error for a drive that does not fit the frames to be added."""
    return DatasetError(
        f'{drive} was written with other {", ".join(changed)}; resume it with those or choose '
        'another folder'
    )


def another_sweep(drive: Path, stamp_ns: int) -> DatasetError:
    """Return the error for two sweeps with one stamp."""
    return DatasetError(
        f'{drive} already has another sweep of stamp {stamp_ns}; choose another folder'
    )


def write_text(path: Path, text: str | bytes) -> None:
    """Write a file of a drive atomically.

    Raises:
        DatasetError: if it cannot be written.
    """
    try:
        write_whole(path, text if isinstance(text, bytes) else text.encode())
    except OSError as err:
        raise cannot_write(path, err) from err


def read_indexes(drive: Path, info: Mapping[str, Any] | None) -> dict[str, list[dict[str, Any]]]:
    """Return the records of each camera that a drive has.

    Raises:
        DatasetError: if an index cannot be read.
    """
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
        return _parsed(path, read_whole(path))
    except FileNotFoundError:
        return None
    except OSError as err:
        raise DatasetError(f'cannot read {path}: {err.strerror}') from err


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    try:
        found = parse_json(data)
    except ValueError as err:
        raise DatasetError(f'{path} is not valid JSON: {err}') from err
    if not isinstance(found, dict):
        raise DatasetError(f'{path} is not a JSON object')
    return found


def _part(path: Path, data: bytes | OSError) -> Part:
    if isinstance(data, OSError):
        raise DatasetError(f'cannot read {path}: {data.strerror}') from data
    try:
        part = Part(**_parsed(path, data))
        _check(part, path)
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise DatasetError(f'{path} is not a manifest of a part: {err}; remove it') from err
    return part


def _check(part: Part, path: Path) -> None:
    """Check what is read of an untrusted manifest; raises an error of several kinds."""
    if not all(isinstance(one, dict) for one in (part.drive, part.cameras, part.frames)):
        raise TypeError('drive, cameras and frames are objects')
    if type(part.summary['images']) is not int:
        raise TypeError('images is a number')
    for name in (*part.cameras, *part.frames):
        check_camera_name(name, path)
    for records in part.frames.values():
        for record in records:
            check_record(record)
            part.sweeps[str(record['sweep_stamp_ns'])]


def json_text(content: Any) -> str:
    """Return the content of a JSON file of a drive."""
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + '\n'


def cannot_write(path: Path, err: OSError) -> DatasetError:
    """Return the error for a failed write."""
    return DatasetError(
        f'cannot write {path}: {err.strerror}; {disk_advice(err)}; parts written before are kept '
        'and may be resumed'
    )
