"""Finds and removes what crashes left incomplete in a dataset.

Crashes never break a frame; they leave files that no frame refers to, and drives that were being
created or removed. Frames broken by a damaged disk are also removed from the index. Only files
with the names of a drive's files are touched, and links are not followed. A camera that cannot be
repaired does not prevent the repair of others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.camera_repair import (
    CameraRepair,
    RepairReport,
    remove_unreferenced,
)
from drive_segment_ros.dataset.frame import PROPOSAL_FOLDER, proposal_path
from drive_segment_ros.dataset.index import IndexWriter
from drive_segment_ros.dataset.own_files import (
    DRIVE_FILE,
    INDEX_FILE,
    REMOVING,
    camera_folders,
    holds_drive,
    is_bare,
    part_files,
    refuse_links,
    remove_bare,
    remove_own_files,
    unfinished_files,
)
from drive_segment_ros.dataset.part_joining import join_parts, locked, remove_manifests
from drive_segment_ros.dataset.parts import read_parts
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.text_files import read_json
from drive_segment_ros.what_is import not_wanted


def repair(dataset: Path) -> RepairReport:
    """Remove leftovers from a dataset; drives being written are skipped.

    Args:
        dataset: the folder of drives.

    Raises:
        DatasetError: if there is no such folder, it is a drive itself, or has no drive in it.
    """
    if not dataset.is_dir():
        raise DatasetError(not_wanted(dataset, 'a dataset', 'give a folder of drives'))
    if (dataset / DRIVE_FILE).exists():
        raise DatasetError(f'{dataset} is a single drive; give its parent folder')
    folders = sorted(path for path in dataset.iterdir() if path.is_dir())
    drives = [folder for folder in folders if _is_drive(folder)]
    if not drives:
        raise DatasetError(
            not_wanted(
                dataset, 'a dataset: it holds no drive', 'nothing was changed, give one that does'
            )
        )
    report = RepairReport(str(dataset))
    for folder in folders:
        try:
            if folder in drives:
                _repair_drive(folder, report)
            elif not folder.is_symlink() and is_bare(folder):
                _remove_bare(folder, report)
        except DatasetError as err:
            report.problems.append(str(err))
        except OSError as err:
            report.problems.append(f'{folder}: {err.filename or folder.name}: {err.strerror}')
    return report


def remove_drive(folder: Path) -> None:
    """Remove a drive; after a crash it is either complete or no longer a drive.

    Other files in its folder are kept, under the name with `.removing`.

    Raises:
        DatasetError: if another process is writing it, or a part of it is a link.
        OSError: if it cannot be removed.
    """
    refuse_links(folder)
    with contextlib.ExitStack() as locks:
        for camera in camera_folders(folder):
            locks.callback(IndexWriter(camera / INDEX_FILE).close)
        doomed = folder
        if folder.suffix != REMOVING:
            doomed = folder.with_name(folder.name + REMOVING)
            folder.rename(doomed)
        # Without it the folder is not a drive.
        (doomed / DRIVE_FILE).unlink(missing_ok=True)
        remove_own_files(doomed)


def _is_drive(folder: Path) -> bool:
    if folder.suffix == REMOVING:
        return holds_drive(folder) or next(folder.iterdir(), None) is None
    return (folder / DRIVE_FILE).exists() or bool(camera_folders(folder) or part_files(folder))


def _repair_drive(folder: Path, report: RepairReport) -> None:
    refuse_links(folder)
    if folder.suffix == REMOVING:
        remove_drive(folder)
        report.repaired.append(f'{folder.name}: completed its removal')
        return
    if part_files(folder):
        _join(folder, report)
    cameras = [CameraRepair(path) for path in camera_folders(folder)]
    whole: list[dict[str, Any]] = []
    problems: list[str] = []
    with contextlib.ExitStack() as locks:
        for camera in cameras:
            with _told(problems, camera.folder):
                camera.open(locks)
        with _told(problems, folder):
            problems += _lost_cameras(folder, cameras)
            for camera in cameras:
                with _told(problems, camera.folder):
                    if camera.index is not None:
                        camera.repair(report)
                        whole += camera.records
        report.problems += problems
        if not problems:
            # A camera that cannot be read may refer to any of them.
            sweeps = {proposal_path(r['sweep_stamp_ns']) for r in whole if 'sweep_stamp_ns' in r}
            remove_unreferenced(folder, PROPOSAL_FOLDER, sweeps, folder.name, report)
            for path in unfinished_files(folder):
                path.unlink()
                report.repaired.append(f'{folder.name}: removed an unfinished {path.name}')
            if not whole and is_bare(folder):
                _remove_bare(folder, report)
                return
        report.drives += 1
        report.frames += len(whole)


def _join(folder: Path, report: RepairReport) -> None:
    """Join the finished parts of an extraction that was abandoned to a drive."""
    with locked(folder):
        parts = read_parts(folder)
        frames = join_parts(folder, parts)
        remove_manifests(folder)
    report.repaired.append(
        f'{folder.name}: joined {len(parts)} finished parts, {sum(frames.values())} frames'
    )


@contextlib.contextmanager
def _told(problems: list[str], folder: Path) -> Iterator[None]:
    """Report an error of a camera and continue with the next."""
    try:
        yield
    except DatasetError as err:
        problems.append(str(err))
    except OSError as err:
        problems.append(f'{folder}: {err.filename or folder.name}: {err.strerror}')


def _remove_bare(folder: Path, report: RepairReport) -> None:
    """Remove a drive without frames, left by a killed run or one that dropped all images."""
    remove_bare(folder)
    report.repaired.append(f'{folder.name}: removed, it had no frames')


def _lost_cameras(folder: Path, cameras: list[CameraRepair]) -> list[str]:
    """Return problems with the cameras of a drive: missing or not described ones.

    Raises:
        DatasetError: if it lost its description or its proposals and must not be changed.
    """
    frames = {camera.folder.name: len(camera.records) for camera in cameras}
    if not any(frames.values()):
        return []
    file = folder / DRIVE_FILE
    try:
        described = set(read_json(file)['cameras'].keys())
    except FileNotFoundError:
        raise DatasetError(
            f'{folder}: {DRIVE_FILE} of {sum(frames.values())} frames is missing; copy it '
            'from a drive of the same sensors'
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise DatasetError(
            f'{file} is damaged: {err}; copy it from a drive of the same sensors'
        ) from err
    if not (folder / PROPOSAL_FOLDER).is_dir():
        raise DatasetError(
            f'{folder}: {PROPOSAL_FOLDER}/ is missing; restore it, or remove the drive'
        )
    lost = [
        f'{folder / name} is missing; restore it, or remove the camera from {DRIVE_FILE}'
        for name in sorted(described - frames.keys())
    ]
    unknown = sorted(name for name, count in frames.items() if count and name not in described)
    return lost + [f'{file} has no camera {name}; restore the one that has' for name in unknown]
