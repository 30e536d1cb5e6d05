"""Imports selected drives of a published set, by one or several workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from drive_segment_ros.errors import DatasetError, DriveSegmentError
from drive_segment_ros.storage import is_remote
from offline_training.bags.published.drive import DriveEntry
from offline_training.bags.published.import_drive import (
    ImportedDrive,
    ImportJob,
    bag_folder,
    import_drive,
    is_imported,
)
from offline_training.bags.published.registry import find_set
from offline_training.common.engine import open_engine

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """The options of an import.

    Attributes:
        drives: by name; empty takes all.
        frames: sweeps of each, FIRST:LAST; empty for all.
        cameras: by name; empty for all.
        workers: processes, 0 is one per core.
        scheduler: address of a dask.distributed scheduler to work on instead; empty for none.
        resume: whether to pass over drives that are there.
        overwrite: whether to replace drives that are there.
    """

    drives: Sequence[str] = ()
    frames: str = ''
    cameras: Sequence[str] = ()
    workers: int = 0
    scheduler: str = ''
    resume: bool = False
    overwrite: bool = False


@dataclasses.dataclass
class ImportReport:
    """The result of an import.

    Attributes:
        set: its title.
        licence, weights: see `SetGeometry`.
        output: folder of the bags.
        drives: those imported.
        present: those that were there already, with `--resume`.
        failed: why others could not be imported, by name.
    """

    set: str
    licence: str
    weights: str
    output: str
    drives: list[ImportedDrive] = dataclasses.field(default_factory=list)
    present: list[str] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)


def list_drives(name: str, root: Path) -> list[DriveEntry]:
    """Return the drives of a set's folder.

    Raises:
        DatasetError: if there is no such set, no such folder, or nothing of the set in it.
    """
    importer = find_set(name)
    if not root.is_dir():
        raise DatasetError(f'{root} is not a folder')
    found = importer.drives(root)
    if not found:
        raise DatasetError(f'{root} has no files of {importer.title}; expected: {importer.layout}')
    return found


def import_set(
    name: str,
    root: Path,
    output: Path,
    options: ImportOptions | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> ImportReport:
    """Import drives, a bag each.

    One that cannot be imported does not keep the others from it.

    Args:
        name: of the set, see `registry.set_names`.
        root: the set's folder.
        output: folder to write bags to, and truths beside them.
        options: what of it, and with what.
        on_progress: called with what is counted, how many are done and how many there are.

    Raises:
        DriveSegmentError: if no drive can be imported; the first one's error.
    """
    options = options or ImportOptions()
    # Workers elsewhere begin in other folders.
    output = output.absolute()
    root = root if is_remote(root) else root.absolute()
    entries = {entry.name: entry for entry in list_drives(name, root)}
    wanted = list(dict.fromkeys(options.drives)) or list(entries)
    unknown = [drive for drive in wanted if drive not in entries]
    if unknown:
        raise DatasetError(f'{root} has no drive {unknown[0]}; it has {_shortened(entries)}')
    importer = find_set(name)
    geometry = importer.geometry
    report = ImportReport(importer.title, geometry.licence, geometry.weights, str(output))
    if options.resume:
        report.present = [drive for drive in wanted if is_imported(bag_folder(output, drive))]
        wanted = [drive for drive in wanted if drive not in report.present]
    jobs = [
        ImportJob(
            name, root, drive, output, options.frames, tuple(options.cameras), options.overwrite
        )
        for drive in wanted
    ]
    errors: list[DriveSegmentError] = []
    if not jobs:
        return report
    if len(jobs) == 1 and not options.scheduler:
        # Nothing to share out: here each message is seen to be done.
        drive = jobs[0].drive
        report.drives.append(
            import_drive(jobs[0], lambda done, total: on_progress(drive, done, total))
        )
        return report
    with open_engine(min(options.workers, len(jobs)), options.scheduler) as engine:
        for number, outcome in enumerate(engine.run(import_drive, jobs)):
            if outcome.error is not None:
                errors.append(outcome.error)
                report.failed[outcome.job.drive] = str(outcome.error)
            elif outcome.result is not None:
                report.drives.append(outcome.result)
            on_progress('drives', number + 1, len(jobs))
    if errors and not report.drives and not report.present:
        raise errors[0]
    return report


def _shortened(names: Collection[str]) -> str:
    shown = list(names)[:8]
    more = len(names) - len(shown)
    return ', '.join(shown) + (f' and {more} more' if more else '')
