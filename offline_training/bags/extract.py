"""Recorded bags to a dataset: every image with a sweep becomes a frame with object segments.

A recording is planned once (`plan_drive`) and divided into parts by time (`bounds`). A worker
reads each part and writes its frames (`extract_part`), then the parts are joined. No sensor data
pass through this process.
"""

from __future__ import annotations

import dataclasses
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.compiled_kernels import FRAMES, are_compiled
from drive_segment_ros.errors import BagError, DriveSegmentError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.warm_up import warm_up
from drive_segment_ros.perception.beam_sources import SEGMENTS_FROM
from drive_segment_ros.ros.bag_files import is_storage, storage_stem
from drive_segment_ros.ros.joined_bags import drives
from drive_segment_ros.storage import is_remote
from offline_training.bags.drive_extraction import DriveExtraction
from offline_training.bags.drive_plan import PlanJob, plan_drive
from offline_training.bags.extract_part import PartJob, extract_part
from offline_training.bags.import_record import record_of
from offline_training.bags.kept_open import close_recordings
from offline_training.common.engine import Engine, open_engine
from offline_training.common.files import absolute

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ExtractOptions:
    """The options of an extraction.

    Attributes:
        cameras: cameras to extract, see `sensors.choose_cameras`; empty for all.
        lidar: point cloud topic; empty if the bag has only one.
        odometry: topic of nav_msgs/Odometry or tf messages; empty for the one whose frames fit
            best, see `MotionSources`.
        calibration: calibration file that overrides the bag's calibration.
        workers: processes, 0 = one per core.
        scheduler: address of a dask.distributed scheduler to work on instead; empty for none.
        preview: whether to draw each frame, under `DATASET/<drive>/<camera>/preview`.
        resume: whether to continue unfinished drives.
        join: whether all bags are parts of one drive, for example one bag per sensor.
        frames: range of the first camera's images, FIRST:LAST, which selects the time range to
            extract from each drive; empty for all.
    """

    cameras: Sequence[str] = ()
    lidar: str = ''
    odometry: str = ''
    calibration: Path | None = None
    workers: int = 0
    scheduler: str = ''
    preview: bool = False
    resume: bool = False
    join: bool = False
    frames: str = ''


@dataclasses.dataclass
class ExtractReport:
    """The result of an extraction.

    Attributes:
        dataset: the folder written.
        images, sweeps: messages read.
        frames: written, without those of an earlier run.
        dropped: images that became no frame, by reason.
        frames_per_second: over the total time, including the start of the workers.
        damage: what could not be read, one line each.
        segments_from: number of frames by the source of their segments, a key of
            `SEGMENTS_FROM`.
        incomplete_sweeps: frames whose sweep lacks beams or a sector, which are not labelled.
        failed: reason for each drive that was not extracted completely.
    """

    dataset: str
    images: int = 0
    sweeps: int = 0
    frames: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    frames_per_second: float = 0.0
    damage: list[str] = dataclasses.field(default_factory=list)
    segments_from: dict[str, int] = dataclasses.field(default_factory=dict)
    incomplete_sweeps: int = 0
    failed: dict[str, str] = dataclasses.field(default_factory=dict)


Progress = Callable[[str, int, int], None]


def extract(
    bags: Sequence[Path],
    dataset: Path,
    params: FrameParameters | Callable[[Mapping[str, Any]], FrameParameters],
    options: ExtractOptions | None = None,
    on_progress: Progress = lambda drive, done, total: None,
) -> ExtractReport:
    """Extract bags to a dataset, each to a drive named after the bag.

    If two bags have the same name, a number is appended to the later drive's. A bag that cannot be
    extracted, or that crashes its workers, does not prevent the extraction of others.

    Args:
        bags: bag folders or files.
        dataset: folder to write to; existing drives are not changed unless resumed.
        params: parameters of frames; or a function that returns them for the import record of a
            bag, see `import_record`.
        options: topics, workers, and so on.
        on_progress: called with the drive, the number of images done and the total.

    Raises:
        DriveSegmentError: if no bag could be extracted; the first bag's error.
    """
    options = options or ExtractOptions()
    if options.scheduler:
        # Workers have other working directories.
        bags, dataset = [absolute(bag) for bag in bags], absolute(dataset)
    twice = [bag for bag, count in Counter(bag.resolve() for bag in bags).items() if count > 1]
    if twice:
        raise BagError(f'{twice[0]} is given twice; give each bag once')
    began = time.perf_counter()
    run = uuid.uuid4().hex
    parts = drives(bags, options.join)
    work = [
        DriveExtraction(dataset / name, tuple(part), options.preview, options.resume, run)
        for part, name in zip(parts, drive_names([part[0] for part in parts]), strict=True)
    ]
    imports = ['offline_training.bags.preloaded']
    if not options.scheduler and not are_compiled(FRAMES):
        # Compile once here instead of in every worker.
        warm_up(FrameParameters())
    try:
        with open_engine(options.workers, options.scheduler, imports) as engine:
            _extract_all(work, engine, params, options, on_progress)
    finally:
        # Also after an interruption: local workers have ended, and existing parts are joined.
        for drive in work:
            drive.close()
        close_recordings()
    report = ExtractReport(str(dataset))
    for drive in work:
        _add(report, drive)
    report.frames_per_second = report.frames / (time.perf_counter() - began)
    errors = [drive.error for drive in work if drive.error is not None]
    for error in errors[1:]:
        _log.error('%s', error)
    if len(errors) == len(work):
        raise errors[0]
    return report


def drive_name(bag: Path) -> str:
    """Return the name of the drive a bag becomes: its folder's, or its file's without suffix."""
    if is_remote(bag):
        return storage_stem(bag) if is_storage(bag) else bag.name
    bag = bag.resolve()
    return bag.name if bag.is_dir() else storage_stem(bag)


def drive_names(bags: Sequence[Path]) -> list[str]:
    """Return the names of the drives that bags become, all different, in their order."""
    names: list[str] = []
    for bag in bags:
        name, number = drive_name(bag), 1
        while name in names:
            number += 1
            name = f'{drive_name(bag)}_{number}'
        names.append(name)
    return names


def _extract_all(
    work: Sequence[DriveExtraction],
    engine: Engine,
    params: FrameParameters | Callable[[Mapping[str, Any]], FrameParameters],
    options: ExtractOptions,
    on_progress: Progress,
) -> None:
    """Write the parts of all drives, and join those of each."""

    def plan_jobs() -> Iterator[PlanJob]:
        for drive in work:
            try:
                record = record_of(drive.bags)
                declared = {} if record is None else record.parameters
                yield PlanJob(
                    drive.bags,
                    tuple(options.cameras),
                    options.lidar,
                    options.odometry,
                    options.calibration and absolute(options.calibration),
                    params(declared) if callable(params) else params,
                    None if record is None else dataclasses.asdict(record),
                    options.frames,
                )
            except DriveSegmentError as err:
                drive.error = err

    def part_jobs() -> Iterator[PartJob]:
        for planned in engine.run(plan_drive, plan_jobs()):
            drive = of_bags[planned.job.bags]
            if planned.result is None:
                drive.error = planned.error
            else:
                yield from drive.begin(planned.result, engine.parallel)

    of_bags = {drive.bags: drive for drive in work}
    of_folder = {drive.path: drive for drive in work}
    for part in engine.run(extract_part, part_jobs()):
        drive = of_folder[part.job.drive]
        drive.take(part)
        on_progress(drive.path.name, drive.images_done, drive.images)
        if not drive.awaits:
            drive.finish(engine)
    for drive in work:
        drive.finish(engine)


def _add(report: ExtractReport, drive: DriveExtraction) -> None:
    """Add the result of a drive to the report, and log losses."""
    name, total = drive.path.name, drive.total
    report.images += total.images
    report.sweeps += total.sweeps
    report.frames += total.frames
    # No Counter: `dataclasses.asdict` turns its keys into tuples.
    report.dropped = dict(Counter(report.dropped) + Counter(total.dropped))
    report.damage += total.damage
    for reason, message in total.failures.items():
        _log.warning('%s: %s: %d frames: %s', name, reason, total.dropped[reason], message)
    report.segments_from = dict(Counter(report.segments_from) + drive.segments_from)
    if drive.segments_from['none']:
        _log.warning(
            '%s: %d sweeps by %s', name, drive.segments_from['none'], SEGMENTS_FROM['none']
        )
    report.incomplete_sweeps += len(drive.lacking)
    for stamp, text in list(drive.lacking.items())[:1]:
        _log.warning(
            '%s: %d sweeps are incomplete, the missing part is not labelled; the first, of '
            '%d ns: %s',
            name,
            len(drive.lacking),
            stamp,
            text,
        )
    if drive.error is not None:
        report.failed[name] = str(drive.error)
