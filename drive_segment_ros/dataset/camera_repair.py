"""Repair of one camera of a drive: torn lines, broken frames and leftover files are removed."""

from __future__ import annotations

import contextlib
import dataclasses
import stat
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.frame import FOLDERS, proposal_path
from drive_segment_ros.dataset.index import IndexWriter
from drive_segment_ros.dataset.own_files import FRAME_FOLDERS, INDEX_FILE, frame_files
from drive_segment_ros.errors import DatasetError

# A crash leaves the frame in hand; more whole frames that no line names mean a lost index.
_FRAMES_IN_HAND = 3


@dataclasses.dataclass
class RepairReport:
    """The result of a repair.

    Attributes:
        dataset: the folder.
        drives: number of drives checked.
        frames: number of whole frames in them.
        repaired: a line for each thing done, with the drive's name.
        problems: a line for each thing found and left as it is.
    """

    dataset: str
    drives: int = 0
    frames: int = 0
    repaired: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


class CameraRepair:
    """A camera of a drive that is being repaired.

    Attributes:
        folder: its folder.
        name: as the report calls it.
        index: its index, locked; None where it cannot be opened.
        records: the frames its index names, whole ones only once it is repaired.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f'{folder.parent.name}/{folder.name}'
        self.index: IndexWriter | None = None
        self.records: list[dict[str, Any]] = []

    def open(self, locks: contextlib.ExitStack) -> None:
        """Open and lock the index.

        Raises:
            DatasetError: if it is missing, damaged, or written by another process.
        """
        path = self.folder / INDEX_FILE
        if not path.exists() and any(next(frame_files(self.folder / n), None) for n in FOLDERS):
            raise DatasetError(
                f'{self.folder}: {INDEX_FILE} is missing; put it back, nothing was touched'
            )
        self.index = IndexWriter(path)
        locks.callback(self.index.close)
        self.records = self.index.records

    def repair(self, report: RepairReport) -> None:
        """Remove frames with missing files, and files that belong to no frame.

        Raises:
            DatasetError: if more is lost than a crash takes.
        """
        assert self.index is not None
        if self.index.repaired:
            report.repaired.append(f'{self.name}: cut an incomplete last line off {INDEX_FILE}')
        whole = [record for record in self.records if self._is_whole(record)]
        self._refuse_lost_parts(whole)
        if len(whole) < len(self.records):
            self._take_out(self.index, whole, report)
        for name in FRAME_FOLDERS:
            known = {record[name] for record in whole if name in record}
            remove_unreferenced(self.folder, name, known, self.name, report)

    def _is_whole(self, record: dict[str, Any]) -> bool:
        paths = [self.folder / record[name] for name in FRAME_FOLDERS if name in record]
        if 'sweep_stamp_ns' in record:
            paths.append(self.folder.parent / proposal_path(record['sweep_stamp_ns']))
        try:
            found = [path.stat() for path in paths]
        except (FileNotFoundError, NotADirectoryError):
            return False
        return all(stat.S_ISREG(status.st_mode) and status.st_size > 0 for status in found)

    def _refuse_lost_parts(self, whole: list[dict[str, Any]]) -> None:
        """Leave a camera alone that lost more than a crash takes: somebody may bring it back."""
        count = len(self.records)
        missing = [name for name in FOLDERS if not (self.folder / name).is_dir()]
        lost = count - len(whole)
        if count and (missing or lost > max(len(whole), _FRAMES_IN_HAND)):
            what = f'{missing[0]}/ is missing' if missing else f'the files of {lost} are missing'
            raise DatasetError(
                f'{self.folder}: of {count} frames {what}; put them back, or remove the drive'
            )
        known = {Path(record['image']).stem for record in self.records if 'image' in record}
        found = [
            {
                path.stem
                for path in frame_files(self.folder / name)
                if path.stat().st_size and path.suffix != '.tmp'
            }
            for name in FOLDERS
        ]
        unknown = set.intersection(*found) - known
        if len(unknown) > _FRAMES_IN_HAND:
            raise DatasetError(
                f'{self.folder}: {len(unknown)} whole frames are not in {INDEX_FILE}; put back '
                'the copy that names them, or remove their files'
            )

    def _take_out(
        self, index: IndexWriter, whole: list[dict[str, Any]], report: RepairReport
    ) -> None:
        """Take the frames that lost a file out of the index."""
        kept = {record['stamp_ns'] for record in whole}
        broken = [str(r['stamp_ns']) for r in self.records if r['stamp_ns'] not in kept]
        index.replace(whole)
        self.records = whole
        more = ', ...' if len(broken) > 3 else ''
        report.repaired.append(
            f'{self.name}: took {len(broken)} frames without their files out of the index '
            f'({", ".join(broken[:3])}{more})'
        )


def remove_unreferenced(
    folder: Path, name: str, known: set[str], named: str, report: RepairReport
) -> None:
    """Remove the files named as frames' files are that no frame names."""
    leftovers = [path for path in frame_files(folder / name) if f'{name}/{path.name}' not in known]
    size = sum(path.stat().st_size for path in leftovers)
    for path in leftovers:
        path.unlink()
    if leftovers:
        report.repaired.append(
            f'{named}: removed {len(leftovers)} files of no frame from {name}, {size} bytes'
        )
