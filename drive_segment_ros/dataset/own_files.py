"""The files that belong to a drive: only these are removed, and never through links."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from drive_segment_ros.dataset.frame import FOLDERS, MODEL_FOLDERS, PROPOSAL_FOLDER
from drive_segment_ros.dataset.label_sets import PSEUDO_LABEL_FOLDER
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.text_files import read_json
from drive_segment_ros.whole_files import final_name

DRIVE_FILE, INDEX_FILE = 'drive.json', 'frames.jsonl'
# Of a drive that is being extracted: the plan of its parts and their manifests, see `parts`.
PARTS_FOLDER, PLAN_FILE = 'parts', 'plan.json'
# Entries that must not change within a drive, like its cameras.
FIXED = ('lidar', 'odometry', 'parameters')
# Suffix of a drive that is being removed, so that a crash never leaves a drive without part of its
# frames.
REMOVING = '.removing'
PROTECTED = 'protected'
# Folders of a camera with the files of frames.
FRAME_FOLDERS = (*FOLDERS, *MODEL_FOLDERS)
# With those of `label` and `extract --preview`.
CAMERA_FOLDERS = (*FRAME_FOLDERS, PSEUDO_LABEL_FOLDER, 'preview')
# The index is locked and removed last.
_CAMERA_FILES = (f'{INDEX_FILE}.tmp', INDEX_FILE)
# Without the first a folder is not a drive.
_DRIVE_FILES = (DRIVE_FILE, f'{DRIVE_FILE}.tmp', PROTECTED)
_NO_CAMERAS = (PROPOSAL_FOLDER, 'preview', PARTS_FOLDER)
# A stamp, such as `1700.jpg`; with a temporary name `1700.jpg.tmp` or `.1700.png.x7_k2m1q`.
_FRAME_FILE = re.compile(r'\d+\.[a-z]+(\.tmp)?|\.\d+\.[a-z]+\.\w+')
_CAMERA_NAME = re.compile(r'[A-Za-z0-9_-]{1,100}')
# The start of a part, nanoseconds.
_MANIFEST = re.compile(r'(0|[1-9][0-9]{0,19})\.json')


def is_camera_name(name: str) -> bool:
    """Return whether a camera's folder in a drive may have a name."""
    return bool(_CAMERA_NAME.fullmatch(name)) and name not in (*_NO_CAMERAS, *_DRIVE_FILES)


def check_camera_name(name: str, where: Path) -> None:
    """Check that a camera's name is valid for a folder in a drive.

    Raises:
        DatasetError: if not.
    """
    if not is_camera_name(name):
        raise DatasetError(
            f'{where}: {name[:100]!r} is not a valid camera name; use letters, digits, _ and -, '
            f'except {", ".join((*_NO_CAMERAS, PROTECTED))}'
        )


def camera_folders(drive: Path) -> list[Path]:
    """Return a drive's folders of cameras by name: those in its description or with an index.

    Links are included, so that `refuse_links` sees them.
    """
    names = {path.parent.name for path in drive.glob(f'*/{INDEX_FILE}')}
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        names |= set(read_json(drive / DRIVE_FILE)['cameras'])
    return [
        drive / name
        for name in sorted(names)
        if _CAMERA_NAME.fullmatch(name)
        and name not in _NO_CAMERAS
        and ((drive / name).is_dir() or (drive / name).is_symlink())
    ]


def refuse_links(drive: Path) -> None:
    """Check that no part of a drive is a link.

    Raises:
        DatasetError: if the drive, or one of its own folders or files, is a link.
    """
    parts = [drive, *(drive / name for name in (PROPOSAL_FOLDER, PARTS_FOLDER, *_DRIVE_FILES))]
    for camera in camera_folders(drive) if drive.is_dir() else ():
        parts += [camera, *(camera / name for name in (*CAMERA_FOLDERS, *_CAMERA_FILES))]
    for path in parts:
        if path.is_symlink():
            raise DatasetError(
                f'{path} is a link, and nothing is removed or written through links; use the '
                'folder it points to, or replace the link by that folder'
            )


def unfinished_files(drive: Path) -> list[Path]:
    """Return a drive's descriptions and indexes left under temporary names by a crash."""
    found: list[Path] = []
    owners = [(drive, DRIVE_FILE), *((camera, INDEX_FILE) for camera in camera_folders(drive))]
    for folder, name in owners if drive.is_dir() else ():
        for path in sorted(folder.iterdir()):
            if (path.name == f'{name}.tmp' or final_name(path.name) == name) and path.is_file():
                found.append(path)
    return found


def frame_files(folder: Path) -> Iterator[Path]:
    """Yield the files in a drive's folder that have the names of frames' files."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if _FRAME_FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                yield path


def manifest_start(name: str) -> int | None:
    """Return the start of the part whose manifest has a name; None for other files."""
    found = _MANIFEST.fullmatch(name)
    return None if found is None else int(found[1])


def is_part_file(name: str) -> bool:
    """Return whether a file of `parts` is a manifest, or left under the temporary name of one.

    Also whether it is a temporary plan; the plan is not.
    """
    final = final_name(name)
    return manifest_start(final or name) is not None or final == PLAN_FILE


def part_files(drive: Path) -> list[Path]:
    """Return the files of a drive that is being extracted other than its frames, the plan last."""
    folder = drive / PARTS_FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return []
    manifests = sorted(path for path in folder.iterdir() if is_part_file(path.name))
    return [path for path in (*manifests, folder / PLAN_FILE) if path.is_file()]


def is_bare(folder: Path) -> bool:
    """Return whether a folder holds only files of a drive, but no frame.

    A folder with only empty folders is not recognised as a drive.
    """
    begun = False
    for path in folder.iterdir():
        if path.is_symlink():
            return False
        if path.is_file():
            if path.name not in _DRIVE_FILES or path.name == PROTECTED:
                return False
            begun = True
        elif _is_bare_camera(path):
            begun = True
        elif any(path.iterdir()) or not _CAMERA_NAME.fullmatch(path.name):
            return False
        else:
            begun |= path.name == PROPOSAL_FOLDER
    return begun


def _is_bare_camera(folder: Path) -> bool:
    """Return whether a folder, which is no link, holds only files of a camera, but no frame."""
    if not folder.is_dir() or folder.name in _NO_CAMERAS:
        return False
    entries = list(folder.iterdir())
    return bool(entries) and all(
        not path.is_symlink()
        and (
            (path.is_dir() and path.name in CAMERA_FOLDERS and not any(path.iterdir()))
            or (path.is_file() and path.name in _CAMERA_FILES)
        )
        for path in entries
    )


def remove_bare(folder: Path) -> None:
    """Remove a folder that `is_bare`.

    Raises:
        OSError: if it no longer is.
    """
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
            continue
        entries = list(path.iterdir())
        for part in sorted(entries, key=Path.is_file):  # the index holds the lock and goes last
            part.unlink() if part.is_file() else part.rmdir()
        path.rmdir()
    folder.rmdir()


def holds_drive(folder: Path) -> bool:
    """Return whether a folder has anything with the name of a drive's file or folder."""
    return (
        bool(camera_folders(folder))
        or bool(part_files(folder))
        or any((folder / name).exists() for name in (PROPOSAL_FOLDER, *_DRIVE_FILES))
        or bool(_emptied_cameras(folder))
    )


def _emptied_cameras(folder: Path) -> list[Path]:
    """Return what an interrupted removal leaves of cameras; otherwise nothing."""
    if folder.suffix != REMOVING:
        return []
    return [
        path
        for path in folder.iterdir()
        if _CAMERA_NAME.fullmatch(path.name)
        and path.is_dir()
        and not path.is_symlink()
        and not any(path.iterdir())
    ]


def remove_own_files(folder: Path) -> None:
    """Remove a drive's files, then its folders; folders with other files are kept.

    Raises:
        OSError: if a file cannot be removed.
    """
    cameras = camera_folders(folder)
    for path in unfinished_files(folder):
        path.unlink()
    for part in (
        folder / PROPOSAL_FOLDER,
        *(c / name for c in cameras for name in CAMERA_FOLDERS),
    ):
        for path in frame_files(part):
            path.unlink()
    for path in part_files(folder):
        path.unlink()
    for name in _DRIVE_FILES:
        (folder / name).unlink(missing_ok=True)
    for camera in cameras:
        # Folders first: a camera without these and without an index is not recognised as such.
        for name in CAMERA_FOLDERS:
            _remove_empty(camera / name)
        for name in _CAMERA_FILES:
            (camera / name).unlink(missing_ok=True)
        _remove_empty(camera)
    for path in (folder / PROPOSAL_FOLDER, folder / PARTS_FOLDER, *_emptied_cameras(folder)):
        _remove_empty(path)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # missing, or it holds other files
        folder.rmdir()
