"""Find what crashes left behind in a dataset, and take it away.

Crashes never break a frame; they leave files that no frame refers to, and folders of drives that
were being begun or removed. What a damaged disk broke is taken out of the index as well. Only what
is named as a drive's own files are is ever touched, and no link is followed.
"""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.frame import FOLDERS, MODEL_FOLDERS
from drive_segment_ros.dataset.index import IndexWriter
from drive_segment_ros.dataset.own_files import (
    FRAME_FOLDERS,
    REMOVING,
    frame_files,
    holds_drive,
    is_bare,
    refuse_links,
    remove_own_files,
)
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.text_files import read_json
from drive_segment_ros.what_is import not_wanted

# A crash leaves the frame in hand; more whole frames that no line names mean a lost index.
_FRAMES_IN_HAND = 3


@dataclasses.dataclass
class RepairReport:
    """What was found and done.

    Attributes:
        dataset: the folder.
        drives: number of drives looked at.
        frames: number of whole frames in them.
        repaired: a line for each thing done, with the drive's name.
        problems: a line for each thing found and left as it is.
    """

    dataset: str
    drives: int = 0
    frames: int = 0
    repaired: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


def repair(dataset: Path) -> RepairReport:
    """Take away a dataset's leftovers; drives that are being written are left alone.

    Args:
        dataset: the folder of drives.

    Raises:
        DatasetError: if there is no such folder, or no drive in it.
    """
    if not dataset.is_dir():
        raise DatasetError(not_wanted(dataset, 'a dataset', 'give a folder of drives'))
    if (dataset / 'drive.json').exists():
        raise DatasetError(f'{dataset} is one drive; give the folder above it')
    folders = sorted(path for path in dataset.iterdir() if path.is_dir())
    drives = [folder for folder in folders if _is_drive(folder)]
    if not drives:
        raise DatasetError(
            not_wanted(
                dataset, 'a dataset: it holds no drive', 'nothing was touched, give one that does'
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
    """Remove a drive; a crash on the way leaves it whole or not a drive any more.

    What others have put into its folder stays there, under the name with `.removing`.

    Raises:
        DatasetError: if another process is writing it, or a part of it is a link.
        OSError: if it cannot be removed.
    """
    refuse_links(folder)
    index = IndexWriter(folder / 'frames.jsonl')
    try:
        doomed = folder
        if folder.suffix != REMOVING:
            doomed = folder.with_name(folder.name + REMOVING)
            folder.rename(doomed)
        # Without it the folder is no drive.
        (doomed / 'drive.json').unlink(missing_ok=True)
        remove_own_files(doomed)
    finally:
        index.close()


def _is_drive(folder: Path) -> bool:
    if folder.suffix == REMOVING:
        return holds_drive(folder) or next(folder.iterdir(), None) is None
    return (folder / 'frames.jsonl').exists() or (folder / 'drive.json').exists()


def _repair_drive(folder: Path, report: RepairReport) -> None:
    refuse_links(folder)
    if folder.suffix == REMOVING:
        remove_drive(folder)
        report.repaired.append(f'{folder.name}: removed, as was begun')
        return
    if not (folder / 'frames.jsonl').exists() and not is_bare(folder):
        raise DatasetError(f'{folder}: frames.jsonl is missing; put it back, nothing was touched')
    index = IndexWriter(folder / 'frames.jsonl')
    try:
        if index.repaired:
            report.repaired.append(f'{folder.name}: cut an incomplete last line off frames.jsonl')
        whole = [record for record in index.records if _is_whole(folder, record)]
        _refuse_lost_parts(folder, index.records, whole)
        if len(whole) < len(index.records):
            _take_out(folder, index, whole, report)
        _remove_unreferenced(folder, whole, report)
        if not whole and is_bare(folder):
            _remove_bare(folder, report)
            return
        report.drives += 1
        report.frames += len(whole)
    finally:
        index.close()


def _remove_bare(folder: Path, report: RepairReport) -> None:
    """Remove what a run left that was killed, or whose images were all dropped."""
    remove_own_files(folder)
    report.repaired.append(f'{folder.name}: removed, no frame was in it')


def _refuse_lost_parts(
    folder: Path, records: list[dict[str, Any]], whole: list[dict[str, Any]]
) -> None:
    """Leave a drive alone that has lost more than a crash takes: somebody may bring it back.

    Raises:
        DatasetError: naming what is missing.
    """
    if records and not (folder / 'drive.json').exists():
        raise DatasetError(
            f'{folder}: drive.json is missing beside {len(records)} frames; copy it from a drive '
            'of the same sensors'
        )
    if records:
        _check_description(folder / 'drive.json')
    missing = [name for name in FOLDERS if not (folder / name).is_dir()]
    lost = len(records) - len(whole)
    if records and (missing or lost > max(len(whole), _FRAMES_IN_HAND)):
        what = f'{missing[0]}/ is missing' if missing else f'the files of {lost} are missing'
        raise DatasetError(
            f'{folder}: of {len(records)} frames {what}; put them back, or remove the drive'
        )
    known = {Path(record['image']).stem for record in records if 'image' in record}
    found = [{path.stem for path in frame_files(folder / name) if path.stat().st_size and
              path.suffix != '.tmp'} for name in FOLDERS]  # fmt: skip
    unknown = set.intersection(*found) - known
    if len(unknown) > _FRAMES_IN_HAND:
        raise DatasetError(
            f'{folder}: {len(unknown)} whole frames are not in frames.jsonl; put back the copy '
            'that names them, or remove their files'
        )


def _check_description(file: Path) -> None:
    try:
        read_json(file)
    except ValueError as err:
        raise DatasetError(
            f'{file} is damaged: {err}; copy it from a drive of the same sensors'
        ) from err


def _take_out(
    folder: Path, index: IndexWriter, whole: list[dict[str, Any]], report: RepairReport
) -> None:
    """Take the frames that lost a file out of the index."""
    kept = {record['stamp_ns'] for record in whole}
    broken = [str(r['stamp_ns']) for r in index.records if r['stamp_ns'] not in kept]
    index.replace(whole)
    more = ', ...' if len(broken) > 3 else ''
    report.repaired.append(
        f'{folder.name}: took {len(broken)} frames without their files out of the index '
        f'({", ".join(broken[:3])}{more})'
    )


def _is_whole(folder: Path, record: dict[str, Any]) -> bool:
    names = [record.get(name) for name in FOLDERS]
    names += [record[name] for name in MODEL_FOLDERS if name in record]
    try:
        found = [(folder / name).stat() for name in names if name is not None]
    except (FileNotFoundError, NotADirectoryError):
        return False
    return all(stat.S_ISREG(status.st_mode) and status.st_size > 0 for status in found)


def _remove_unreferenced(
    folder: Path, records: list[dict[str, Any]], report: RepairReport
) -> None:
    """Remove the files named as frames' files are that no frame names."""
    known = {record[name] for record in records for name in FRAME_FOLDERS if name in record}
    for name in FRAME_FOLDERS:
        leftovers = [
            path for path in frame_files(folder / name) if f'{name}/{path.name}' not in known
        ]
        size = sum(path.stat().st_size for path in leftovers)
        for path in leftovers:
            path.unlink()
        if leftovers:
            report.repaired.append(
                f'{folder.name}: removed {len(leftovers)} files of no frame from {name}, '
                f'{size} bytes'
            )
