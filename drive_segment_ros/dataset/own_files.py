"""Which files of a folder belong to a drive: only these are removed, and never through links."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from drive_segment_ros.dataset.frame import FOLDERS, MODEL_FOLDERS, PROPOSAL_FOLDER
from drive_segment_ros.dataset.label_sets import PSEUDO_LABEL_FOLDER
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.text_files import read_json

DRIVE_FILE, INDEX_FILE = 'drive.json', 'frames.jsonl'
# Of a drive that is being made: what parts it has, and which of them are there, see `parts`.
PARTS_FOLDER, PLAN_FILE = 'parts', 'plan.json'
# What must not change within a drive, for its frames to belong together; nor do its cameras.
FIXED = ('lidar', 'odometry', 'parameters')
# A drive that is being removed has this suffix, so that no crash leaves a drive half of whose
# frames are gone.
REMOVING = '.removing'
PROTECTED = 'protected'
# Folders of a camera that hold frames' files.
FRAME_FOLDERS = (*FOLDERS, *MODEL_FOLDERS)
# With what `label` and `extract --preview` add.
CAMERA_FOLDERS = (*FRAME_FOLDERS, PSEUDO_LABEL_FOLDER, 'preview')
# The index holds the lock and goes last.
_CAMERA_FILES = (f'{INDEX_FILE}.tmp', INDEX_FILE)
# Without the first a folder is no drive.
_DRIVE_FILES = (DRIVE_FILE, f'{DRIVE_FILE}.tmp', PROTECTED)
_NO_CAMERAS = (PROPOSAL_FOLDER, 'preview', PARTS_FOLDER)
# A stamp, as `1700.jpg`; under a temporary name `1700.jpg.tmp` or `.1700.png.x7_k2m1q`.
_FRAME_FILE = re.compile(r'\d+\.[a-z]+(\.tmp)?|\.\d+\.[a-z]+\.\w+')
_CAMERA_NAME = re.compile(r'[A-Za-z0-9_-]{1,100}')


def check_camera_name(name: str, where: Path) -> None:
    """Make sure that a camera's name, found somewhere, may be that of a folder in a drive.

    Raises:
        DatasetError: if not.
    """
    if not _CAMERA_NAME.fullmatch(name) or name in (*_NO_CAMERAS, *_DRIVE_FILES):
        raise DatasetError(
            f'{where}: {name[:100]!r} is no name of a camera; it takes letters, digits, _ and -, '
            f'and {", ".join(_NO_CAMERAS)} are others'
        )


def camera_folders(drive: Path) -> list[Path]:
    """Return a drive's folders of cameras, by name: those it names, and those with an index.

    Links are among them, so that `refuse_links` sees them.
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
    """Make sure that no part of a drive lies elsewhere.

    Raises:
        DatasetError: if the drive, or one of its own folders or files, is a link.
    """
    parts = [drive, *(drive / name for name in (PROPOSAL_FOLDER, PARTS_FOLDER, *_DRIVE_FILES))]
    for camera in camera_folders(drive) if drive.is_dir() else ():
        parts += [camera, *(camera / name for name in (*CAMERA_FOLDERS, *_CAMERA_FILES))]
    for path in parts:
        if path.is_symlink():
            raise DatasetError(
                f'{path} is a link, and nothing is removed or written through links; work on '
                'the folder it leads to, or replace the link by it'
            )


def unfinished_files(drive: Path) -> list[Path]:
    """Return a drive's descriptions and indexes that a crash left under their temporary names."""
    names = [drive / f'{DRIVE_FILE}.tmp']
    names += [camera / f'{INDEX_FILE}.tmp' for camera in camera_folders(drive)]
    return [path for path in names if path.is_file()]


def frame_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a drive's folder that are named as those of frames are."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if _FRAME_FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                yield path


def part_files(drive: Path) -> list[Path]:
    """Return what a drive that is being made has beside its frames, the plan last."""
    folder = drive / PARTS_FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return []
    manifests = sorted(path for path in folder.glob('*.json') if path.stem.isdigit())
    return [path for path in (*manifests, folder / PLAN_FILE) if path.is_file()]


def is_bare(folder: Path) -> bool:
    """Tell whether a folder holds nothing but a drive's own files without a frame.

    Empty folders may be anybody's: without anything else of a drive it is not one.
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
    """Tell whether a folder, which is no link, holds only a camera's own, and no frame."""
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
        OSError: if it is not, by now.
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
    """Tell whether anything in a folder has the name of a drive's own file or folder."""
    return (
        bool(camera_folders(folder))
        or bool(part_files(folder))
        or any((folder / name).exists() for name in (PROPOSAL_FOLDER, *_DRIVE_FILES))
        or bool(_emptied_cameras(folder))
    )


def _emptied_cameras(folder: Path) -> list[Path]:
    """Return what a crash amid a removal leaves of cameras; else empty folders are others'."""
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
    """Remove a drive's own files, and then its folders; those that hold anything else stay.

    Raises:
        OSError: if a file cannot be removed.
    """
    cameras = camera_folders(folder)
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
        # Folders first: one that has neither these nor an index is not known as a camera's.
        for name in CAMERA_FOLDERS:
            _remove_empty(camera / name)
        for name in _CAMERA_FILES:
            (camera / name).unlink(missing_ok=True)
        _remove_empty(camera)
    for path in (folder / PROPOSAL_FOLDER, folder / PARTS_FOLDER, *_emptied_cameras(folder)):
        _remove_empty(path)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # missing, or it holds something else
        folder.rmdir()
