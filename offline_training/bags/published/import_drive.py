"""The import of one drive of a published set to a bag: the job of a worker."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from drive_segment_ros.errors import DatasetError
from offline_training.bags.import_record import ImportRecord, read_record, write_record
from offline_training.bags.published.bag_writer import WrittenDrive, write_drive
from offline_training.bags.published.drive import PublishedDrive, PublishedSet, SweepItem
from offline_training.bags.published.registry import find_set
from offline_training.common.frame_selection import parse_slice

# Images this much before the first sweep or after the last belong to them, ns.
_AROUND_NS = 5_000_000


@dataclasses.dataclass(frozen=True)
class ImportJob:
    """A drive to import.

    Attributes:
        set: as on the command line.
        root: the set's folder.
        drive: its name.
        output: folder of bags.
        frames: sweeps to take, FIRST:LAST; empty for all.
        cameras: those to take; empty for all.
        overwrite: whether to replace a bag that was imported before.
    """

    set: str
    root: Path
    drive: str
    output: Path
    frames: str = ''
    cameras: tuple[str, ...] = ()
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class ImportedDrive:
    """What became of a drive.

    Attributes:
        name: of the drive.
        bag: its bag.
        truth: beside it; empty without labels.
        images, sweeps, points: written.
        labelled: images and sweeps with a truth.
        notes: what is missing or odd, a line each.
    """

    name: str
    bag: str
    truth: str
    images: int
    sweeps: int
    points: int
    labelled: int
    notes: list[str]


def bag_folder(output: Path, drive: str) -> Path:
    """Return where a drive's bag goes; its truth goes beside it."""
    return output / drive.replace('/', '_')


def truth_folder(bag: Path) -> Path:
    """Return where the truth of a bag goes."""
    return bag.with_name(bag.name + '_truth')


def import_drive(
    job: ImportJob, progress: Callable[[int, int], None] = lambda done, total: None
) -> ImportedDrive:
    """Import a drive; bag and ground truth are either complete or absent.

    Raises:
        DatasetError: if a drive lacks what it cannot do without, or what is there already is
            not to be replaced.
    """
    importer = find_set(job.set)
    bag = bag_folder(job.output, job.drive)
    truth = truth_folder(bag)
    # If it exists, an import was killed, possibly between replacing the truth and the bag.
    making = job.output / f'.importing_{bag.name}'
    _refuse_strangers(job, bag, truth, killed=is_imported(making / bag.name))
    drive = chosen(importer.open(job.root, job.drive), job.frames, job.cameras)
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        written = write_drive(drive, making / bag.name, making / truth.name, progress)
        write_record(making / bag.name, record_of(job.drive, importer, written))
        for path in (truth, bag):
            if path.exists():
                shutil.rmtree(path)
        if (making / truth.name).exists():
            (making / truth.name).rename(truth)
        # Last: a drive is there when its bag is.
        (making / bag.name).rename(bag)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return ImportedDrive(
        job.drive,
        str(bag),
        str(truth) if truth.exists() else '',
        **dataclasses.asdict(written),
    )


def is_imported(bag: Path) -> bool:
    """Tell whether a bag is one that was imported; such are complete."""
    return read_record(bag) is not None


def chosen(drive: PublishedDrive, frames: str, cameras: tuple[str, ...]) -> PublishedDrive:
    """Return a drive with the sweeps and cameras asked for, and the images of that time.

    Raises:
        DatasetError: if it has no such camera, or no such sweep.
    """
    unknown = [name for name in cameras if name not in drive.cameras]
    if unknown:
        raise DatasetError(
            f'{drive.name} has no camera {unknown[0]}; it has {", ".join(drive.cameras)}'
        )
    kept = {name: drive.cameras[name] for name in drive.cameras if name in (cameras or [name])}
    images = [image for image in drive.images if image.camera in kept]
    sweeps = list(drive.sweeps)
    if frames:
        sweeps = sweeps[parse_slice(frames)]
        if not sweeps:
            raise DatasetError(
                f'{drive.name}: frames {frames} selects none of its {len(drive.sweeps)} sweeps'
            )
        first_ns, last_ns = _span(sweeps)
        images = [image for image in images if first_ns <= image.stamp_ns <= last_ns]
    return dataclasses.replace(drive, cameras=kept, sweeps=sweeps, images=images)


def record_of(name: str, importer: PublishedSet, written: WrittenDrive) -> ImportRecord:
    """Return what the bag's folder says of where the drive is from."""
    geometry = importer.geometry
    return ImportRecord(
        importer.title,
        name,
        geometry.licence,
        geometry.weights,
        dataclasses.asdict(geometry),
        geometry.parameters(),
        written.notes,
    )


def _span(sweeps: list[SweepItem]) -> tuple[int, int]:
    first_ns = min(min(sweep.begin_ns, sweep.stamp_ns) for sweep in sweeps)
    last_ns = max(max(sweep.end_ns, sweep.stamp_ns) for sweep in sweeps)
    return first_ns - _AROUND_NS, last_ns + _AROUND_NS


def _refuse_strangers(job: ImportJob, bag: Path, truth: Path, killed: bool) -> None:
    """Check that only what an import made is replaced, and that only if asked.

    Args:
        job: with whether it is asked.
        bag, truth: to replace.
        killed: whether an import of this drive was killed after it had written both.
    """
    for path in (bag, truth):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise DatasetError(f'{path} is not a folder made by import and is not replaced')
    there = [path for path in (bag, truth) if path.exists() and any(path.iterdir())]
    # Killed in between, it has replaced the truth already.
    if not there or (killed and not bag.exists()):
        return
    if not job.overwrite:
        raise DatasetError(
            f'{there[0]} exists and is not overwritten; choose another output, or replace it '
            'by --overwrite'
        )
    if not killed and not is_imported(bag):
        raise DatasetError(f'{there[0]} was not made by import and is not replaced; move it away')
