"""Recorded bags to a dataset: every image with a sweep becomes a frame with object segments."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import pickle
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drive_segment_ros
from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import (
    BagError,
    CalibrationError,
    DatasetError,
    DriveSegmentError,
)
from drive_segment_ros.frame.rig import camera_names
from drive_segment_ros.parameters import parameter, to_flat
from drive_segment_ros.perception.beam_sources import SEGMENTS_FROM
from drive_segment_ros.perception.calibration import load_calibration
from drive_segment_ros.perception.camera_doubts import doubts
from drive_segment_ros.perception.cameras import CameraModel, is_rectified
from drive_segment_ros.perception.coverage import UsualCoverage
from drive_segment_ros.perception.synchronisation import Matcher, SyncParameters
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bag_files import storage_stem
from drive_segment_ros.ros.bag_storage import default_type_store
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.camera_offset import CameraOffset
from drive_segment_ros.ros.frame_parameters import FrameParameters
from offline_training.bags import frame_job, sensors
from offline_training.bags.frame_job import Outcome, Setup
from offline_training.bags.job_stream import JobStream, Sensors, first_camera_info
from offline_training.common.worker_pool import in_order, worker_pool

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ExtractParameters(FrameParameters):
    """Everything that decides which frames there are and what they look like."""

    odometry_frame: str = parameter(
        'odom', 'parent frame of the transforms in /tf that are the motion of the vehicle'
    )
    sync: SyncParameters = dataclasses.field(default_factory=SyncParameters)


@dataclasses.dataclass(frozen=True)
class ExtractOptions:
    """What to extract and with what.

    Attributes:
        camera: image topic or its namespace; empty where the bag has one camera.
        lidar: point cloud topic; empty where the bag has one.
        odometry: topic of nav_msgs/Odometry or tf messages; empty takes the one whose frames fit
            best, see `MotionSources`.
        calibration: calibration file that overrides the bag's; None takes the bag's.
        workers: processes, 0 = one per core.
        scheduler: address of a dask.distributed scheduler to work on instead; empty for none.
        preview: whether to draw each frame, under `DATASET/<drive>/<camera>/preview`.
        resume: whether to go on with drives that were begun.
    """

    camera: str = ''
    lidar: str = ''
    odometry: str = ''
    calibration: Path | None = None
    workers: int = 0
    scheduler: str = ''
    preview: bool = False
    resume: bool = False


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
    params: ExtractParameters,
    options: ExtractOptions | None = None,
    on_progress: Progress = lambda drive, done, total: None,
) -> ExtractReport:
    """Extract bags to a dataset, a drive each, named like the bag.

    A bag that cannot be extracted does not keep the others from it.

    Args:
        bags: bag folders or files.
        dataset: folder to write to; drives in it already are never touched unless resumed.
        params: of the frame builder.
        options: topics, workers, and so on.
        on_progress: called with drive, images done and images in all.

    Raises:
        DriveSegmentError: the first bag's error, once all others are done.
    """
    options = options or ExtractOptions()
    names = [drive_name(bag) for bag in bags]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BagError(
            f'two bags would both become drive {twice[0]!r}; extract them to two datasets'
        )
    began = time.perf_counter()
    report = ExtractReport(str(dataset))
    errors: list[DriveSegmentError] = []
    with worker_pool(
        options.workers, options.scheduler, ['drive_segment_ros.ros.frame_builder']
    ) as pool:
        for bag, name in zip(bags, names, strict=True):
            try:
                with BagReader(bag) as reader:
                    extraction = _Extraction(reader, dataset / name, params, options)
                    extraction.run(*pool, report, on_progress)
            except DriveSegmentError as failure:
                errors.append(failure)
    report.frames_per_second = report.frames / (time.perf_counter() - began)
    if errors:
        for error in errors[1:]:
            _log.error('%s', error)
        raise errors[0]
    return report


def frame_jobs(reader: BagReader, options: ExtractOptions) -> JobStream:
    """Return a bag's images with their sweeps, paired as `extract` pairs them by default.

    Raises:
        DriveSegmentError: if the bag lacks a sensor or its calibration.
    """
    return _Extraction(reader, reader.path, ExtractParameters(), options).jobs()


def drive_name(bag: Path) -> str:
    """Return the name of the drive a bag becomes: its folder's, or its file's without suffix."""
    bag = bag.resolve()
    return bag.name if bag.is_dir() else storage_stem(bag)


class _Extraction:
    """One bag on its way to one drive."""

    def __init__(
        self, reader: BagReader, path: Path, params: ExtractParameters, options: ExtractOptions
    ) -> None:
        self._reader = reader
        self._path = path
        self._params = params
        self._options = options
        try:
            self._transforms, told = sensors.static_transforms(reader)
            for line in told:
                _log.warning('%s: %s', reader.path.name, line)
        except BagError as err:
            if options.calibration is None:
                raise
            _log.warning('%s; those of %s are taken', err, options.calibration)
            self._transforms = TransformTree()
        cameras: dict[str, CameraModel] = {}
        if options.calibration is not None:
            tree, cameras = load_calibration(options.calibration)
            for parent, child, T in tree.links:
                self._transforms.set(parent, child, T)
        camera = sensors.choose_camera(reader, options.camera)
        lidar = sensors.choose_lidar(reader, options.lidar)
        frame_id = sensors.first_whole(reader, camera).header.frame_id
        self._lidar_frame = sensors.first_whole(reader, lidar).header.frame_id
        odometry = sensors.choose_odometry(
            reader, options.odometry, params.odometry_frame, params.base_frame
        )
        if odometry.warning:
            _log.warning('%s: %s', reader.path.name, odometry.warning)
        self._sensors = Sensors(
            camera=camera.name,
            camera_type=camera.type,
            lidar=lidar.name,
            info=sensors.camera_info_topic(reader, camera.name) or '',
            rectified=params.rectified,
            odometry=odometry.topics,
            odometry_frame=params.odometry_frame,
            base_frame=params.base_frame,
        )
        self._first_info = self._find_info(cameras, frame_id)
        model = self._camera_model()
        # The workers know camera_info but no topic.
        self._params_found = dataclasses.replace(
            params, rectified='true' if model.rectified else 'false'
        )
        self._model = dataclasses.replace(model, frame_id=frame_id or model.frame_id)
        for line in doubts(self._model):
            _log.warning('%s: %s: %s', reader.path.name, camera.name, line)
        self._join_frames()
        T_base_lidar = None
        with contextlib.suppress(CalibrationError):  # not all vehicles name a base frame
            T_base_lidar = self._transforms.lookup(params.base_frame, self._lidar_frame)
        self._calibration = DriveCalibration(self._model, self._camera_from_lidar(), T_base_lidar)

    def _camera_model(self) -> CameraModel:
        info = default_type_store().deserialize_cdr(self._first_info, sensors.CAMERA_INFO)
        rectified = is_rectified(self._params.rectified, self._sensors.camera, info)
        return CameraModel.from_camera_info(info, rectified)

    def _join_frames(self) -> None:
        """Take from /tf what of the extrinsics is nowhere else."""
        pairs = [
            (self._model.frame_id, self._lidar_frame),
            (self._params.base_frame, self._lidar_frame),
        ]
        found = sensors.complete_from_tf(
            self._reader, self._transforms, pairs, self._params.odometry_frame
        )
        if found.moving:
            _log.warning(
                '%s: transforms in /tf of %s change: each frame takes those of its time, '
                'drive.json has the first',
                self._reader.path.name,
                ', '.join(sorted(found.moving)),
            )
            self._sensors = dataclasses.replace(
                self._sensors, tf=tuple(sensors.tf_topics(self._reader)), moving=found.moving
            )

    def _camera_from_lidar(self) -> NDArray[np.float64]:
        try:
            return self._transforms.camera_from_lidar(self._model.frame_id, self._lidar_frame)
        except CalibrationError as err:
            sensors = f'{self._sensors.camera} with {self._sensors.lidar}'
            raise CalibrationError(f'{self._reader.path}: {sensors}: {err}') from err

    def run(
        self, executor: Executor, parallel: int, report: ExtractReport, on_progress: Progress
    ) -> None:
        """Extract the bag and add what comes of it to the report.

        Raises:
            DriveSegmentError: if nothing comes of it, or the disk is full.
        """
        jobs = self.jobs()
        matcher = jobs.matcher
        drops: Counter[str] = Counter()
        failures: dict[str, str] = {}
        written = 0
        sweeps: dict[int, Mapping[str, Any]] = {}
        total = self._reader.topics[self._sensors.camera].count
        with DriveWriter(self._path, self._drive_info(), self._options.resume) as writer:
            stamps = writer.stamps[self._camera]
            resumed = len(stamps)
            jobs.done = set(stamps)
            try:
                # Two jobs a worker: one at work, one waiting.
                for outcome in in_order(executor, frame_job.run, jobs, 2 * parallel):
                    if outcome.frame is None:
                        drops[outcome.reason] += 1
                        failures.setdefault(outcome.reason, outcome.message)
                    elif outcome.frame.stamp_ns in stamps:
                        # A clock that was set back, or a recording of a bag that was looped.
                        drops['duplicate'] += 1
                    else:
                        writer.add(outcome.frame)
                        written += 1
                        sweeps[outcome.frame.stamp_ns] = outcome.frame.record
                        self._write_preview(outcome)
                    on_progress(self._path.name, resumed + written + drops.total(), total)
            finally:
                report.images += matcher.images
                report.sweeps += matcher.sweeps
                report.frames += written
                # No Counter: `dataclasses.asdict` turns its keys into tuples.
                report.dropped = dict(Counter(report.dropped) + matcher.drops + drops)
                report.damage += self._reader.damage
                writer.remove()
        self._judge_sweeps(sweeps, report)
        for reason, message in failures.items():
            _log.warning('%s: %d frames: %s', self._path.name, drops[reason], message)
        if not written and not resumed:
            reason = '; '.join(failures.values()) or matcher.report()
            raise BagError(f'{self._reader.path}: no frame could be extracted: {reason}')

    def _judge_sweeps(
        self, sweeps: Mapping[int, Mapping[str, Any]], report: ExtractReport
    ) -> None:
        """Say how segments were made, and which sweeps lack something; by the frames' records."""
        made = Counter(record['segments_from'] for record in sweeps.values())
        report.segments_from = dict(Counter(report.segments_from) + made)
        if made['none']:
            _log.warning(
                '%s: %d frames by %s', self._path.name, made['none'], SEGMENTS_FROM['none']
            )
        usual = UsualCoverage(sweeps.values())
        lacking = {stamp: usual.lacking(record) for stamp, record in sweeps.items()}
        lacking = {stamp: text for stamp, text in lacking.items() if text}
        report.incomplete_sweeps += len(lacking)
        for stamp, text in list(lacking.items())[:1]:
            _log.warning(
                '%s: %d frames have an incomplete sweep, what it lacks stays unlabelled; the '
                'first, of %d ns: %s',
                self._path.name,
                len(lacking),
                stamp,
                text,
            )

    def jobs(self) -> JobStream:
        """Return the bag's frame jobs."""
        matcher = Matcher(self._params.sync)
        matcher.set_offset(self._sensors.camera, self._offset_s)
        setup = pickle.dumps(
            Setup(
                self._params_found,
                self._transforms,
                self._options.preview,
                self._sensors.camera,
            )
        )
        return JobStream(self._reader, self._sensors, matcher, setup, self._first_info)

    def _find_info(self, cameras: Mapping[str, CameraModel], frame_id: str) -> bytes:
        """Return the camera_info message to begin with, from the calibration file or the bag.

        Raises:
            CalibrationError: if neither has one.
        """
        for name in (self._sensors.camera, self._sensors.info, frame_id):
            if name in cameras:
                # What the file says holds for the whole drive.
                self._sensors = dataclasses.replace(self._sensors, info='')
                return sensors.camera_info_bytes(cameras[name])
        if not self._sensors.info:
            raise CalibrationError(
                f'{self._reader.path} has no camera_info beside {self._sensors.camera}; record '
                'it or give --calibration'
            )
        return first_camera_info(
            self._reader, self._sensors.info, self._params.rectified, self._sensors.camera
        )

    @property
    def _camera(self) -> str:
        """The camera's name."""
        return camera_names([self._sensors.camera])[self._sensors.camera]

    @functools.cached_property
    def _offset_s(self) -> float:
        """What to add to image stamps, found as the live nodes find it."""
        params = self._params_found
        offset = CameraOffset(params.sync.fixed_offset_s, self._transforms, params)
        info = default_type_store().deserialize_cdr(self._first_info, sensors.CAMERA_INFO)
        for message in self._reader.messages([self._sensors.lidar]):
            if offset.value_s is not None:
                break
            with contextlib.suppress(BagError):  # a damaged sweep; the next will do
                sweep = self._reader.deserialize(message.raw, sensors.POINT_CLOUD)
                offset.look(info, sweep, self._model.frame_id)
        return offset.value_s or 0.0

    def _drive_info(self) -> dict[str, Any]:
        """Return the content of `drive.json`."""
        return {
            'cameras': {
                self._camera: self._calibration.camera_entry(self._sensors.camera, self._offset_s)
            },
            'lidar': self._calibration.lidar_entry(self._sensors.lidar, self._lidar_frame),
            'odometry': list(self._sensors.odometry),
            'parameters': to_flat(self._params),
            'software': f'drive_segment_ros {drive_segment_ros.__version__}',
            'source': {'bag': self._reader.path.name, 'damage': self._reader.damage},
        }

    def _write_preview(self, outcome: Outcome) -> None:
        if outcome.frame is None or outcome.preview is None:
            return
        path = self._path / self._camera / 'preview' / f'{outcome.frame.stamp_ns}.png'
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(outcome.preview)
        except OSError as err:
            raise DatasetError(f'cannot write {path}: {err.strerror}') from err
