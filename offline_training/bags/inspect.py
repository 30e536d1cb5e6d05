"""Inspects a bag before it is used: its content, what is missing, and how to fix it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from drive_segment_ros.errors import BagError, CalibrationError
from drive_segment_ros.frame.camera_offset import passing_of
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.frame.rig import camera_names
from drive_segment_ros.perception.beam_sources import SEGMENTS_FROM
from drive_segment_ros.perception.calibration import save_calibration
from drive_segment_ros.perception.camera_plausibility import plausibility_warnings
from drive_segment_ros.perception.cameras import CameraModel, is_rectified
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.coverage import sweep_facts
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagReader, Topic
from drive_segment_ros.ros.image_size import image_size
from drive_segment_ros.ros.joined_bags import Bags, open_drive
from offline_training.bags import sensors, vehicle
from offline_training.bags.calibrated_cameras import first_camera_info
from offline_training.bags.extrinsics_check import ExtrinsicsReport
from offline_training.bags.import_record import read_record
from offline_training.bags.inspect_pairs import (
    Vehicle,
    inspect_extrinsics,
    pair_stamps,
)
from offline_training.bags.inspect_report import (
    BagReport,
    CameraReport,
    LidarReport,
    PairReport,
    Problem,
)
from offline_training.bags.inspect_sensors import (
    coverage_problems,
    field_problems,
    first_image,
    first_sweep,
    time_problems,
)
from offline_training.bags.inspect_topics import (
    CLOCK_SKEW_S,
    read_once,
    topic_problems,
    topic_report,
)

# Stamping the start or end of the exposure, or a wide view, causes at most this delay.
_LARGE_DELAY_MS = 15.0
_APART = ', or add the bag that has them, with --join'
# The default of `extract`, and other frames whose transforms give the vehicle's pose.
_DEFAULT = GeometryParameters()
_ODOMETRY_FRAME = 'odom'
_WORLD_FRAMES = ('map', 'world')


def inspect(bags: Bags, calibration: Path | None = None, odometry: str = '') -> BagReport:
    """Report on a bag in one pass over it.

    Args:
        bags: bag folder or file, or several that are parts of one drive.
        calibration: where to write the calibration found, as a file that other commands and the
            nodes take; None writes nothing.
        odometry: topic of the vehicle's motion; empty takes the one that `extract` takes.

    Raises:
        BagError: if the bag cannot be read at all.
        CalibrationError: if the calibration file cannot be written.
    """
    with open_drive(bags) as reader:
        return _Inspection(reader, odometry).report(calibration)


class _Inspection:
    """The state of one inspection."""

    def __init__(self, reader: BagReader, odometry: str) -> None:
        record = read_record(reader.path)
        declared = {} if record is None else record.parameters
        self.point_motion = str(declared.get('point_motion', _DEFAULT.point_motion))
        self.reader = reader
        self.wanted_odometry = odometry
        self.motion = vehicle.Odometry()
        self.odometry_frame = _ODOMETRY_FRAME
        self.tf = vehicle.TfExtrinsics()
        self.problems: list[Problem] = []
        self.recorded = read_once(reader)
        self.models: dict[str, CameraModel] = {}
        self.clouds: dict[str, PointCloud] = {}
        self.tree = TransformTree()
        self.names = camera_names(topic.name for topic in sensors.cameras(reader))

    def report(self, calibration: Path | None) -> BagReport:
        reader = self.reader
        self.problems += self.recorded.problems
        try:
            self.tree, told = vehicle.static_transforms(reader)
            for line in told:
                self.problem(line, 'irrelevant unless a sensor depends on that frame')
        except BagError as err:
            self.problem(str(err), 'give a calibration file with --calibration')
        topics = [topic_report(t, self.recorded.stamps[t.name]) for t in reader.topics.values()]
        for report in topics:
            self.problems += topic_problems(reader.topics[report.name], report)
        cameras = [found for t in sensors.cameras(reader) if (found := self.camera(t))]
        lidars = [seen for t in sensors.lidars(reader) if (seen := self.lidar(t))]
        if not sensors.cameras(reader):
            self.problem(
                'no camera images',
                f'record sensor_msgs/Image, CompressedImage or encoded video{_APART}',
            )
        if not sensors.lidars(reader):
            self.problem('no LiDAR sweeps', f'record sensor_msgs/PointCloud2{_APART}')
        odometry = self.odometry()
        self.complete(cameras, lidars)
        pairs = [self.pair(camera, lidar) for camera in cameras for lidar in lidars]
        if calibration is not None:
            save_calibration(calibration, self.tree, self.models)
        for line in reader.damage:
            self.problem(line, 'the intact part can be extracted')
        return BagReport(
            bag=str(reader),
            duration_s=(reader.end_ns - reader.start_ns) * 1e-9,
            topics=topics,
            cameras=cameras,
            lidars=lidars,
            pairs=pairs,
            transforms=[
                f'{parent} -> {child}' + (' (/tf)' if child in self.tf.still else '')
                for parent, child, _ in self.tree.links
            ],
            odometry=odometry,
            problems=self.problems,
        )

    def problem(self, what: str, fix: str) -> None:
        self.problems.append(Problem(what, fix))

    def example(self, name: str, msgtype: str) -> Any:
        """Return the first message of a topic; None, and a problem, if it cannot be read."""
        if name not in self.recorded.first:
            self.problem(f'{name}: no message can be read', 'record it again')
            return None
        try:
            return self.reader.deserialize(self.recorded.first[name].raw, msgtype)
        except BagError as err:
            self.problem(f'{name}: the first message: {err}', 'extract skips such messages')
            return None

    def camera(self, topic: Topic) -> CameraReport | None:
        self.example(topic.name, topic.type)  # says if it is damaged
        message, picture, problems = first_image(self.reader, topic)
        self.problems += problems
        if message is None:
            return None
        size = (0, 0) if picture is None else picture.shape[:2]
        height, width = size if size != (0, 0) else image_size(message) or size
        encoding = next(
            getattr(message, name)
            for name in ('video', 'encoding', 'format')
            if hasattr(message, name)
        )
        info_topic = sensors.camera_info_topic(self.reader, topic.name)
        model = self.calibration(topic, info_topic)
        if model is not None and width and (model.width, model.height) != (width, height):
            self.problem(
                f'{topic.name}: images are {width} x {height}, calibrated for '
                f'{model.width} x {model.height}',
                'fine if the image was resized as a whole; if it was cropped, calibrate it again',
            )
        return CameraReport(
            name=self.names[topic.name],
            topic=topic.name,
            frame_id=message.header.frame_id,
            encoding=encoding,
            width=int(width),
            height=int(height),
            info_topic=info_topic,
            calibration=None if model is None else model.to_dict(),
        )

    def calibration(self, topic: Topic, info_topic: str | None) -> CameraModel | None:
        if info_topic is None:
            self.problem(
                f'{topic.name}: no camera_info in its namespace',
                'record it, or give a calibration file with --calibration',
            )
            return None
        if self.example(info_topic, sensors.CAMERA_INFO) is None:
            return None
        setting = _DEFAULT.rectified
        try:
            # The first messages of a driver may contain zeros.
            info = first_camera_info(self.reader, info_topic, setting, topic.name)
            rectified = is_rectified(setting, topic.name, info)
            model = CameraModel.from_camera_info(info, rectified)
        except (BagError, CalibrationError) as err:
            self.problem(f'{info_topic}: {err}', 'or give a calibration file with --calibration')
            return None
        for line in plausibility_warnings(model):
            self.problem(f'{info_topic}: {line}', 'or give a calibration file with --calibration')
        self.models[topic.name] = model
        return model

    def complete(self, cameras: list[CameraReport], lidars: list[LidarReport]) -> None:
        """Add extrinsics that are in /tf only."""
        joined = [(self.frame(c), lidar.frame_id) for c in cameras for lidar in lidars]
        joined += [(_DEFAULT.base_frame, lidar.frame_id) for lidar in lidars]
        self.tf = vehicle.complete_from_tf(self.reader, self.tree, joined, _ODOMETRY_FRAME)
        if self.tf.moving:
            self.problem(
                f'transforms in /tf of {", ".join(sorted(self.tf.moving))} change',
                'each frame uses those of its time; a calibration file has the first ones',
            )

    def frame(self, camera: CameraReport) -> str:
        """Return the optical frame: that of the images, or of camera_info where they have none."""
        model = self.models.get(camera.topic)
        return camera.frame_id or ('' if model is None else model.frame_id)

    def lidar(self, topic: Topic) -> LidarReport | None:
        self.example(topic.name, topic.type)  # says if it is damaged
        message, cloud, problems = first_sweep(self.reader, topic)
        self.problems += problems
        if message is None:
            return None
        frame = message.header.frame_id
        fields = [field.name for field in message.fields if field.name]
        beams = first = last = None
        points = message.width * message.height
        if cloud is None:
            return LidarReport(topic.name, frame, points, fields, beams, first, last)
        self.problems += field_problems(topic.name, message)
        self.clouds[topic.name] = cloud
        finite = int(np.isfinite(cloud.x).sum())
        if finite == 0:
            self.problem(
                f'{topic.name}: the first sweep has {points} points, none of them finite',
                'check that the sensor has a free view and the driver is configured for its model',
            )
        facts = sweep_facts(cloud)
        beams, made = facts['beams'] or None, SEGMENTS_FROM[facts['segments_from']]
        self.problems += coverage_problems(self.reader, topic, self.recorded.sizes[topic.name])
        if self.point_motion != 'compensated':
            late_s = self.published_s(topic.name)
            self.problems += time_problems(topic.name, message, cloud, late_s)
        if cloud.time is not None and finite:
            first, last = float(np.nanmin(cloud.time)), float(np.nanmax(cloud.time))
        return LidarReport(topic.name, frame, points, fields, beams, first, last, made)

    def published_s(self, topic: str) -> float | None:
        """Return how long after its stamp a message was stored, seconds, None without stamps."""
        header, bag = self.recorded.stamps[topic].T
        late = (bag - header)[header > 0]
        return float(np.median(late)) * 1e-9 if len(late) else None

    def pair(self, camera: CameraReport, lidar: LidarReport) -> PairReport:
        model, cloud = self.models.get(camera.topic), self.clouds.get(lidar.topic)
        T_camera_lidar = view = extrinsics = delay_ms = None
        try:
            T_camera_lidar = self.tree.camera_from_lidar(self.frame(camera), lidar.frame_id)
        except CalibrationError as err:
            fix = 'record /tf_static, or write a calibration file by hand'
            if not self.frame(camera):
                fix = f'for this recording, name it in a camera of {camera.topic} in --calibration'
            self.problem(f'{camera.topic} with {lidar.topic}: {err}', fix)
        if model is not None and cloud is not None and T_camera_lidar is not None:
            view = passing_of(cloud, model, T_camera_lidar)
        view_time = None if view is None else view.middle_s
        images, sweeps = self.recorded.stamps[camera.topic], self.recorded.stamps[lidar.topic]
        stamps = pair_stamps(images[:, 0], sweeps[:, 0], view_time or 0.0)
        if stamps is not None and abs(stamps.median_s) > CLOCK_SKEW_S:
            self.problem(
                f'{camera.topic} and {lidar.topic}: stamps are {abs(stamps.median_s):.3f} s apart',
                "no pair will be found; synchronise the sensors' clocks",
            )
        elif stamps is not None:
            if view_time is not None and stamps.steady:
                delay_ms = (stamps.median_s - view_time) * 1e3
                self.judge_delay(camera, delay_ms)
            if model is not None and T_camera_lidar is not None:
                topics = self.reader.topics[camera.topic], self.reader.topics[lidar.topic]
                apart_s = abs(stamps.median_s - (view_time or 0.0))
                if view is not None and view.span_s > stamps.period_s / 2:
                    apart_s = view.span_s  # half of a sweep that starts in view
                bag_stamps = images[stamps.images, 1], sweeps[stamps.sweeps, 1]
                known = Vehicle(
                    self.tree,
                    self.motion.topics,
                    self.odometry_frame,
                    _DEFAULT.base_frame,
                    self.point_motion,
                )
                extrinsics = inspect_extrinsics(
                    self.reader,
                    topics,
                    bag_stamps,
                    dataclasses.replace(model, frame_id=self.frame(camera)),
                    known,
                    apart_s,
                )
                self.judge_extrinsics(camera.topic, lidar.topic, extrinsics)
        return PairReport(
            camera=camera.topic,
            lidar=lidar.topic,
            offset_s=None if stamps is None else stamps.median_s,
            spread_s=None if stamps is None else stamps.spread_s,
            view_time_s=view_time,
            camera_lidar_offset_ms=delay_ms,
            transform=T_camera_lidar is not None,
            extrinsics=extrinsics,
        )

    def judge_delay(self, camera: CameraReport, delay_ms: float) -> None:
        if abs(delay_ms) > _LARGE_DELAY_MS:
            # The parameter applies to all extracted cameras.
            alone = f'--camera {camera.name} ' if len(self.names) > 1 else ''
            late, after = ('late', 'after') if delay_ms > 0 else ('early', 'before')
            self.problem(
                f'{camera.topic}: images are stamped {abs(delay_ms):.0f} ms {after} the LiDAR '
                f'passes their view; if it triggers the camera, the stamps are that much {late}',
                'stamp images with the middle of their exposure, by the same clock; until then '
                f'{alone}--set sync.camera_delay_s={1e-3 * delay_ms:.3f} corrects it',
            )

    def judge_extrinsics(self, camera: str, lidar: str, found: ExtrinsicsReport | None) -> None:
        if found is not None and found.ok is False:
            self.problem(
                f'{camera}: rotated by {found.angle_deg:.1f} degrees relative to {lidar}, by the '
                f'edges in both: yaw {found.yaw_deg:+.1f}, pitch {found.pitch_deg:+.1f}, '
                f'roll {found.roll_deg:+.1f} would correct it',
                'calibrate the extrinsics again; the proposals of `extract --preview` show the '
                'error',
            )

    def odometry(self) -> str | None:
        """Choose the vehicle's odometry as `extract` does; return topic and frames as text."""
        for name in vehicle.odometry_topics(self.reader):
            self.example(name, self.reader.topics[name].type)  # says if it is damaged
        for frame in (_ODOMETRY_FRAME, *_WORLD_FRAMES):
            found = vehicle.choose_odometry(
                self.reader, self.wanted_odometry, frame, _DEFAULT.base_frame
            )
            if not found.text:
                continue
            if frame != _ODOMETRY_FRAME:
                self.problem(
                    f'{found.topics[0]}: the vehicle moves in {frame}, not in {_ODOMETRY_FRAME}',
                    f'extract it with --set odometry_frame={frame}',
                )
            self.motion, self.odometry_frame = found, frame
            if found.warning:
                self.problem(found.warning, 'choose another one if this is wrong')
            return found.text
        self.problem(
            'no odometry',
            "sweeps cannot be moved to the image's instant; record nav_msgs/Odometry or /tf"
            + _APART,
        )
        return None
