"""Repair of one camera of a drive: incomplete lines, broken frames and leftovers are removed."""

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

# A crash leaves at most the current frame without a line; more mean that the index was lost.
_FRAMES_IN_HAND = 3


@dataclasses.dataclass
class RepairReport:
    """The result of a repair.

    Attributes:
        dataset: the folder.
        drives: number of drives checked.
        frames: number of complete frames in them.
        repaired: a line for each repair, with the drive's name.
        problems: a line for each problem that was left unchanged.
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
        name: in the report.
        index: its index, locked; None if it cannot be opened.
        records: the frames in its index; after the repair, complete ones only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f'{folder.parent.name}/{folder.name}'
        self.index: IndexWriter | None = None
        self.records: list[dict[str, Any]] = []

    def open(self, locks: contextlib.ExitStack) -> None:
        """Open and lock the index.

        Raises:
            DatasetError: if it is damaged, written by another process, or missing while there are
                files of frames.
            OSError: if it cannot be opened.
        """
        path = self.folder / INDEX_FILE
        if not path.exists() and any(next(frame_files(self.folder / n), None) for n in FOLDERS):
            raise DatasetError(
                f'{self.folder}: {INDEX_FILE} is missing; restore it, nothing was changed'
            )
        self.index = IndexWriter(path)
        locks.callback(self.index.close)
        self.records = self.index.records

    def repair(self, report: RepairReport) -> None:
        """Remove frames with missing files, and files that belong to no frame.

        Raises:
            DatasetError: if more is missing than a crash explains.
        """
        assert self.index is not None
        if self.index.repaired:
            report.repaired.append(f'{self.name}: removed an incomplete last line of {INDEX_FILE}')
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
        """Refuse to repair a camera that lost more than a crash explains: it may be restored."""
        count = len(self.records)
        missing = [name for name in FOLDERS if not (self.folder / name).is_dir()]
        lost = count - len(whole)
        if count and (missing or lost > max(len(whole), _FRAMES_IN_HAND)):
            what = f'{missing[0]}/ is missing' if missing else f'the files of {lost} are missing'
            raise DatasetError(
                f'{self.folder}: of {count} frames {what}; restore them, or remove the drive'
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
                f'{self.folder}: {len(unknown)} complete frames are not in {INDEX_FILE}; restore '
                'a copy that lists them, or remove their files'
            )

    def _take_out(
        self, index: IndexWriter, whole: list[dict[str, Any]], report: RepairReport
    ) -> None:
        """Remove frames with missing files from the index."""
        kept = {record['stamp_ns'] for record in whole}
        broken = [str(r['stamp_ns']) for r in self.records if r['stamp_ns'] not in kept]
        index.replace(whole)
        self.records = whole
        more = ', ...' if len(broken) > 3 else ''
        report.repaired.append(
            f'{self.name}: removed {len(broken)} frames without their files from the index '
            f'({", ".join(broken[:3])}{more})'
        )


def remove_unreferenced(
    folder: Path, name: str, known: set[str], named: str, report: RepairReport
) -> None:
    """Remove files with the names of frames' files that belong to no frame."""
    leftovers = [path for path in frame_files(folder / name) if f'{name}/{path.name}' not in known]
    size = sum(path.stat().st_size for path in leftovers)
    for path in leftovers:
        path.unlink()
    if leftovers:
        report.repaired.append(
            f'{named}: removed {len(leftovers)} files without a frame from {name}, {size} bytes'
        )
