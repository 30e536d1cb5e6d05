"""Which files of a folder are a drive's own: nothing else is ever removed, nor through a link."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from drive_segment_ros.dataset.frame import FOLDERS, MODEL_FOLDERS
from drive_segment_ros.errors import DatasetError

# A drive that is being removed has this suffix, so that no crash leaves a drive half of whose
# frames are gone.
REMOVING = '.removing'
PROTECTED = 'protected'
FRAME_FOLDERS = (*FOLDERS, *MODEL_FOLDERS)
# With what `label` and `extract --preview` add.
_OWN_FOLDERS = (*FRAME_FOLDERS, 'pseudo_label', 'preview')
# Without it a folder is no drive; the index holds the lock and goes last.
_OWN_FILES = ('drive.json', 'drive.json.tmp', PROTECTED, 'frames.jsonl.tmp', 'frames.jsonl')
# A stamp, as `1700.jpg`; under a temporary name `1700.jpg.tmp` or `.1700.png.x7_k2m1q`.
_FRAME_FILE = re.compile(r'\d+\.[a-z]+(\.tmp)?|\.\d+\.[a-z]+\.\w+')


def refuse_links(drive: Path) -> None:
    """Make sure that no part of a drive lies elsewhere.

    Raises:
        DatasetError: if the drive, or one of its own folders or files, is a link.
    """
    for path in (drive, *(drive / name for name in (*_OWN_FOLDERS, *_OWN_FILES))):
        if path.is_symlink():
            raise DatasetError(
                f'{path} is a link, and nothing is removed or written through links; work on '
                'the folder it leads to, or replace the link by it'
            )


def frame_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a drive's folder that are named as those of frames are."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if _FRAME_FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                yield path


def is_bare(folder: Path) -> bool:
    """Tell whether a folder holds nothing but a drive's own files without a frame.

    An empty folder may be anybody's: it is not one.
    """
    entries = list(folder.iterdir())
    return bool(entries) and all(
        not path.is_symlink()
        and (
            (path.is_dir() and path.name in _OWN_FOLDERS and not any(path.iterdir()))
            or (path.is_file() and path.name in _OWN_FILES and path.name != PROTECTED)
        )
        for path in entries
    )


def holds_drive(folder: Path) -> bool:
    """Tell whether anything in a folder has the name of a drive's own file or folder."""
    return any((folder / name).exists() for name in (*_OWN_FOLDERS, *_OWN_FILES))


def remove_own_files(folder: Path) -> None:
    """Remove a drive's own files, and then its folders; those that hold anything else stay.

    Raises:
        OSError: if a file cannot be removed.
    """
    for name in _OWN_FOLDERS:
        for path in frame_files(folder / name):
            path.unlink()
    for name in _OWN_FILES:
        (folder / name).unlink(missing_ok=True)
    for path in (*(folder / name for name in _OWN_FOLDERS), folder):
        with contextlib.suppress(OSError):  # missing, or it holds something else
            path.rmdir()
