"""Find what crashes left behind in a dataset, and take it away.

Crashes never break a frame; they leave files that no frame refers to, and folders of drives that
were being begun or removed. What a damaged disk broke is taken out of the index as well.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.frame import FOLDERS, MODEL_FOLDERS
from drive_segment_ros.dataset.index import IndexWriter
from drive_segment_ros.errors import DatasetError

# A drive that is being removed has this suffix, so that no crash leaves a drive half of whose
# frames are gone.
REMOVING = '.removing'


@dataclasses.dataclass
class RepairReport:
    """What was found and done.

    Attributes:
        dataset: the folder.
        drives: number of drives looked at.
        frames: number of whole frames in them.
        repaired: a line for each thing done, with the drive's name.
        problems: a line for each thing found and not mended.
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
        DatasetError: if there is no such folder, or it cannot be changed.
    """
    if not dataset.is_dir():
        raise DatasetError(f'{dataset} is not a folder; give the folder of a dataset')
    if (dataset / 'drive.json').exists():
        raise DatasetError(f'{dataset} is one drive; give the folder above it')
    report = RepairReport(str(dataset))
    for folder in sorted(path for path in dataset.iterdir() if path.is_dir()):
        if (folder / 'frames.jsonl').exists() or (folder / 'drive.json').exists():
            try:
                _repair_folder(folder, report)
            except DatasetError as err:
                report.problems.append(str(err))
            except OSError as err:
                raise DatasetError(f'cannot repair {folder}: {err.strerror}') from err
        elif folder.suffix == REMOVING or _is_unbegun(folder):
            shutil.rmtree(folder)
            report.repaired.append(f'{folder.name}: removed, no frame was in it')
    return report


def remove_drive(folder: Path) -> None:
    """Remove a whole drive; a crash on the way leaves it whole or not a drive any more.

    Raises:
        DatasetError: if another process is writing it.
        OSError: if it cannot be removed.
    """
    index = IndexWriter(folder / 'frames.jsonl')
    try:
        doomed = folder
        if folder.suffix != REMOVING:
            doomed = folder.with_name(folder.name + REMOVING)
            folder.rename(doomed)
        # Without it the folder is no drive.
        (doomed / 'drive.json').unlink(missing_ok=True)
        shutil.rmtree(doomed)
    finally:
        index.close()


def _is_unbegun(folder: Path) -> bool:
    """Tell whether a folder holds at most a drive's own folders, and these nothing."""
    return all(
        path.name in FOLDERS and path.is_dir() and not any(path.iterdir())
        for path in folder.iterdir()
    )


def _repair_folder(folder: Path, report: RepairReport) -> None:
    if folder.suffix == REMOVING:
        remove_drive(folder)
        report.repaired.append(f'{folder.name}: removed, as was begun')
        return
    index = IndexWriter(folder / 'frames.jsonl')
    try:
        if index.repaired:
            report.repaired.append(f'{folder.name}: cut an incomplete last line off frames.jsonl')
        if not (folder / 'drive.json').exists():
            _repair_unbegun(folder, index.records, report)
            return
        report.drives += 1
        whole = _whole_frames(folder, index, report)
        report.frames += len(whole)
        _remove_unreferenced(folder, whole, report)
    finally:
        index.close()


def _repair_unbegun(folder: Path, records: list[dict[str, Any]], report: RepairReport) -> None:
    """Remove a drive without `drive.json`, unless it has frames: then someone took that away."""
    if records:
        report.problems.append(
            f'{folder}: drive.json is missing beside {len(records)} frames; copy it from a drive '
            'of the same sensors'
        )
        return
    shutil.rmtree(folder)
    report.repaired.append(f'{folder.name}: removed, no frame was in it')


def _whole_frames(folder: Path, index: IndexWriter, report: RepairReport) -> list[dict[str, Any]]:
    """Return the records whose files are all there; take the others out of the index."""
    whole: list[dict[str, Any]] = []
    broken: list[dict[str, Any]] = []
    for record in index.records:
        (whole if _is_whole(folder, record) else broken).append(record)
    if broken:
        index.replace(whole)
        stamps = ', '.join(str(record['stamp_ns']) for record in broken[:3])
        more = ', ...' if len(broken) > 3 else ''
        report.repaired.append(
            f'{folder.name}: took {len(broken)} frames without their files out of the index '
            f'({stamps}{more})'
        )
    return whole


def _is_whole(folder: Path, record: dict[str, Any]) -> bool:
    names = [record.get(name) for name in FOLDERS]
    names += [record[name] for name in MODEL_FOLDERS if name in record]
    try:
        return all((folder / name).stat().st_size > 0 for name in names if name is not None)
    except FileNotFoundError:
        return False


def _remove_unreferenced(
    folder: Path, records: list[dict[str, Any]], report: RepairReport
) -> None:
    """Remove the files in the drive's own folders that no frame names."""
    known = {record[name] for record in records for name in (*FOLDERS, *MODEL_FOLDERS)
             if name in record}  # fmt: skip
    for name in (*FOLDERS, *MODEL_FOLDERS):
        if not (folder / name).is_dir():
            continue
        leftovers = [
            path for path in (folder / name).iterdir() if f'{name}/{path.name}' not in known
        ]
        size = sum(path.stat().st_size for path in leftovers)
        for path in leftovers:
            path.unlink()
        if leftovers:
            report.repaired.append(
                f'{folder.name}: removed {len(leftovers)} files of no frame from {name}, '
                f'{size} bytes'
            )
