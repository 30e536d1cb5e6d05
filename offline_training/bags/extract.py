"""Recorded bags to a dataset: every image with a sweep becomes a frame with object segments."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import pickle
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import BagError, DatasetError, DriveSegmentError
from drive_segment_ros.frame.drive_info import camera_info, drive_info
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.pairing_report import pairing_report
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.perception.beam_sources import SEGMENTS_FROM
from drive_segment_ros.perception.coverage import UsualCoverage
from drive_segment_ros.ros.bag_files import storage_stem
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.joined_bags import drives, open_drive
from offline_training.bags import frame_job
from offline_training.bags.bag_rig import find_rig
from offline_training.bags.frame_job import Outcome, Setup, jobs_of
from offline_training.bags.import_record import ImportRecord, read_record
from offline_training.common.worker_pool import in_order, worker_pool

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ExtractOptions:
    """What to extract and with what.

    Attributes:
        cameras: those wanted, see `sensors.choose_cameras`; empty for all.
        lidar: point cloud topic; empty where the bag has one.
        odometry: topic of nav_msgs/Odometry or tf messages; empty takes the one whose frames fit
            best, see `MotionSources`.
        calibration: calibration file that overrides the bag's; None takes the bag's.
        workers: processes, 0 = one per core.
        scheduler: address of a dask.distributed scheduler to work on instead; empty for none.
        preview: whether to draw each frame, under `DATASET/<drive>/<camera>/preview`.
        resume: whether to go on with drives that were begun.
        join: whether all bags are parts of one drive, its sensors recorded apart.
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


@dataclasses.dataclass
class ExtractReport:
    """What became of the bags.

    Attributes:
        dataset: the folder written.
        images, sweeps: messages read.
        frames: written, without those of an earlier run.
        dropped: images that became no frame, by reason.
        frames_per_second: over all the time taken, starting the workers included.
        damage: what could not be read, a line each.
        segments_from: frames by what their segments were made from, keys of `SEGMENTS_FROM`.
        incomplete_sweeps: frames whose sweep lacks beams or a sector; labels leave that out.
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


Progress = Callable[[str, int, int], None]


def extract(
    bags: Sequence[Path],
    dataset: Path,
    params: FrameParameters | Callable[[Mapping[str, Any]], FrameParameters],
    options: ExtractOptions | None = None,
    on_progress: Progress = lambda drive, done, total: None,
) -> ExtractReport:
    """Extract bags to a dataset, a drive each, named like the bag.

    Of two bags of one name the later drive is named with a number. A bag that cannot be extracted
    does not keep the others from it.

    Args:
        bags: bag folders or files.
        dataset: folder to write to; drives in it already are never touched unless resumed.
        params: how frames are made; or a function that returns it, given what a bag declares of
            itself, see `import_record`.
        options: topics, workers, and so on.
        on_progress: called with drive, images done and images in all.

    Raises:
        DriveSegmentError: the first bag's error, once all others are done.
    """
    options = options or ExtractOptions()
    twice = [bag for bag, count in Counter(bag.resolve() for bag in bags).items() if count > 1]
    if twice:
        raise BagError(f'{twice[0]} is given twice; give each bag once')
    parts = drives(bags, options.join)
    began = time.perf_counter()
    report = ExtractReport(str(dataset))
    errors: list[DriveSegmentError] = []
    with worker_pool(
        options.workers, options.scheduler, ['offline_training.bags.frame_job']
    ) as pool:
        for drive, name in zip(parts, drive_names([part[0] for part in parts]), strict=True):
            try:
                with open_drive(drive) as reader:
                    record = _record_of(drive)
                    chosen = params
                    if callable(chosen):
                        chosen = chosen({} if record is None else record.parameters)
                    extraction = _Extraction(reader, dataset / name, chosen, options, record)
                    extraction.run(*pool, report, on_progress)
            except DriveSegmentError as failure:
                errors.append(failure)
    report.frames_per_second = report.frames / (time.perf_counter() - began)
    if errors:
        for error in errors[1:]:
            _log.error('%s', error)
        raise errors[0]
    return report


def drive_name(bag: Path) -> str:
    """Return the name of the drive a bag becomes: its folder's, or its file's without suffix."""
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


def _record_of(bags: Sequence[Path]) -> ImportRecord | None:
    """Return where the bags of a drive were imported from, if they were: the first that says."""
    records = (read_record(bag) for bag in bags)
    return next((record for record in records if record is not None), None)


class _Extraction:
    """One drive on its way from its bag, or its bags, to a dataset."""

    def __init__(
        self,
        reader: BagReader,
        path: Path,
        params: FrameParameters,
        options: ExtractOptions,
        record: ImportRecord | None,
    ) -> None:
        self._reader = reader
        self._record = record
        self._path = path
        self._params = params
        self._options = options
        self._rig = find_rig(
            reader,
            params,
            options.cameras,
            options.lidar,
            options.odometry,
            options.calibration,
        )
        # Why images were lost, in words, by reason; the first of each.
        self._failures: dict[str, str] = {}
        self._stream = self._rig.stream(self._failures.setdefault)
        self._sweeps: dict[int, Mapping[str, Any]] = {}

    def run(
        self, executor: Executor, parallel: int, report: ExtractReport, on_progress: Progress
    ) -> None:
        """Extract the drive and add what comes of it to the report.

        Raises:
            DriveSegmentError: if nothing comes of it, or the disk is full.
        """
        pairs = self._rig.pairs(self._stream)
        first = next(pairs, None)
        if first is None:
            self._count(report, Counter(), 0)
            raise self._nothing()
        drops: Counter[str] = Counter()
        written = 0
        total = sum(camera.topic.count for camera in self._rig.cameras.values())
        setup = pickle.dumps(Setup(self._params, self._options.preview))
        with DriveWriter(self._path, self._drive_info(first), self._options.resume) as writer:
            resumed = sum(len(stamps) for stamps in writer.stamps.values())
            done = {name: set(stamps) for name, stamps in writer.stamps.items()}
            wanted = self._new_pairs(itertools.chain([first], pairs), writer, done)
            try:
                # Two jobs a worker: one at work, one waiting.
                jobs = jobs_of(setup, wanted)
                for outcomes in in_order(executor, frame_job.run, jobs, 2 * parallel):
                    for outcome in outcomes:
                        camera, stamp_ns = outcome.pair_of
                        if outcome.frame is None:
                            drops[outcome.reason] += 1
                            self._failures.setdefault(outcome.reason, outcome.message)
                        elif stamp_ns in writer.stamps.get(camera, ()):
                            # A clock that was set back, or a recording of a bag that was looped.
                            drops['duplicate'] += 1
                        else:
                            writer.add(outcome.frame)
                            written += 1
                            self._sweeps[outcome.frame.sweep_stamp_ns] = outcome.frame.record
                            self._write_preview(outcome)
                        on_progress(self._path.name, resumed + written + drops.total(), total)
            finally:
                self._count(report, drops, written)
                writer.remove()
        self._judge_sweeps(report)
        for lost in [camera.drops for camera in self._stream.cameras.values()]:
            drops = drops + lost
        for reason, message in self._failures.items():
            _log.warning('%s: %d frames: %s', self._path.name, drops[reason], message)
        if not written and not resumed:
            raise self._nothing()

    def _nothing(self) -> BagError:
        reason = '; '.join(self._failures.values()) or pairing_report(self._stream)
        return BagError(f'{self._reader}: no frame could be extracted: {reason}')

    def _new_pairs(
        self, pairs: Iterable[Pair], writer: DriveWriter, done: Mapping[str, Collection[int]]
    ) -> Iterator[Pair]:
        """Yield the pairs whose frames are not there; make their cameras known before."""
        known: set[str] = set()
        for pair in pairs:
            name = pair.image.camera
            if name not in known:
                known.add(name)
                writer.add_camera(name, camera_info(pair, self._rig.cameras[name].topic.name))
            if pair.image.stamp_ns not in done.get(name, ()):
                yield pair

    def _count(self, report: ExtractReport, drops: Counter[str], written: int) -> None:
        cameras = self._stream.cameras.values()
        report.images += sum(camera.clock.received for camera in cameras)
        report.sweeps += self._stream.sweep_clock.received
        report.frames += written
        for camera in cameras:
            drops = drops + camera.drops
        # No Counter: `dataclasses.asdict` turns its keys into tuples.
        report.dropped = dict(Counter(report.dropped) + drops)
        report.damage += self._reader.damage

    def _judge_sweeps(self, report: ExtractReport) -> None:
        """Say how segments were made, and which sweeps lack something; by the frames' records."""
        sweeps = self._sweeps
        made = Counter(record['segments_from'] for record in sweeps.values())
        report.segments_from = dict(Counter(report.segments_from) + made)
        if made['none']:
            _log.warning(
                '%s: %d sweeps by %s', self._path.name, made['none'], SEGMENTS_FROM['none']
            )
        usual = UsualCoverage(sweeps.values())
        lacking = {stamp: usual.lacking(record) for stamp, record in sweeps.items()}
        lacking = {stamp: text for stamp, text in lacking.items() if text}
        report.incomplete_sweeps += len(lacking)
        for stamp, text in list(lacking.items())[:1]:
            _log.warning(
                '%s: %d sweeps are incomplete, what they lack stays unlabelled; the first, of '
                '%d ns: %s',
                self._path.name,
                len(lacking),
                stamp,
                text,
            )

    def _drive_info(self, first: Pair) -> dict[str, Any]:
        source: dict[str, Any] = {'bag': self._reader.path.name, 'damage': self._reader.damage}
        if self._record is not None:
            source['import'] = dataclasses.asdict(self._record)
        rig = self._rig
        return drive_info(first, rig.lidar, rig.odometry, self._params, source)

    def _write_preview(self, outcome: Outcome) -> None:
        if outcome.frame is None or outcome.preview is None:
            return
        camera, stamp_ns = outcome.pair_of
        path = self._path / camera / 'preview' / f'{stamp_ns}.png'
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(outcome.preview)
        except OSError as err:
            raise DatasetError(f'cannot write {path}: {err.strerror}') from err
