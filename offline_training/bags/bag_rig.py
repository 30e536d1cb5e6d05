"""The rig of a bag: cameras, LiDAR, their extrinsics, and the source of the vehicle's motion."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError, CalibrationError
from drive_segment_ros.frame.events import CameraInfo, Event, Image
from drive_segment_ros.frame.motion_sources import MotionSource
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.perception.calibration import load_calibration
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagMessage, BagReader, peek_header
from drive_segment_ros.ros.events import (
    MessagePicture,
    RawMessage,
    camera_info_event,
    pose_event,
    raw_sweep_event,
    transform_event,
)
from drive_segment_ros.ros.video import VIDEO_TYPES, VideoStream, primed
from offline_training.bags import sensors, vehicle
from offline_training.bags.calibrated_cameras import CalibratedCamera, find_cameras

_log = logging.getLogger(__name__)

_FOREVER_NS = 2**63


@dataclasses.dataclass(frozen=True)
class BagRig:
    """The rig of a recording.

    Attributes:
        reader: the open bag, or the bags of one drive; None while pickled.
        params: how cameras, clouds and motion are read.
        cameras: by name.
        lidar: the point cloud topic.
        odometry: topics of the vehicle's motion; empty if there is none.
        motion: its frames; None if unknown.
        transforms: those that are valid for the whole drive.
        moving: topics of time-dependent transforms, if a sensor depends on one.
    """

    reader: BagReader | None
    params: GeometryParameters
    cameras: Mapping[str, CalibratedCamera]
    lidar: str
    odometry: tuple[str, ...]
    motion: MotionSource | None
    transforms: TransformTree
    moving: tuple[str, ...]

    def stream(
        self,
        on_error: Callable[[str, str], object] = lambda reason, text: None,
        offsets: Mapping[str, float] | None = None,
    ) -> FrameStream:
        """Return a new stream for the rig's events; see `FrameStream` for the arguments."""
        stream = FrameStream(
            self.params,
            self.cameras,
            expects_motion=lambda: bool(self.odometry),
            calibration=self.transforms,
            offsets=offsets,
            on_error=on_error,
        )
        if self.motion is not None:
            # The same if reading starts in the middle of the recording.
            stream.vehicle.motion.sources.takes(*dataclasses.astuple(self.motion))
        return stream

    def events(
        self, start_ns: int | None = None, own: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Event]]:
        """Yield the events in the order of bag time, each with its bag stamp.

        Args:
            start_ns: the bag stamp to start at; None for the beginning.
            own: range of bag stamps in which images are counted, the end excluded; None for all.
        """
        first, last = own or (0, _FOREVER_NS)
        for camera in self.cameras.values():
            yield 0, CameraInfo(camera.name, camera.model)
        images = {camera.topic.name: camera for camera in self.cameras.values()}
        infos = {c.info_topic: c for c in self.cameras.values() if c.info_topic}
        topics = {*images, *infos, self.lidar, *self.odometry, *self.moving}
        videos = {
            topic: VideoStream() if start_ns is None else primed(self.opened, topic, start_ns)
            for topic, camera in images.items()
            if camera.topic.type in VIDEO_TYPES
        }
        for message in self.opened.messages(topics, start_ns):
            bag_ns = message.bag_stamp_ns
            if message.topic in images:
                counted = first <= bag_ns < last
                yield (
                    bag_ns,
                    self._image(
                        images[message.topic], message, counted, videos.get(message.topic)
                    ),
                )
            elif message.topic == self.lidar:
                raw = RawMessage(message.raw, message.msgtype)
                yield bag_ns, raw_sweep_event(raw, *_header(message.raw), self.params)
            else:
                # A damaged message: its neighbours are sufficient.
                with contextlib.suppress(BagError, CalibrationError):
                    for event in self._calibration_or_motion(infos, message):
                        yield bag_ns, event

    def pairs(self, stream: FrameStream) -> Iterator[Pair]:
        """Yield the pairs that a stream forms from all events."""
        for _, event in self.events():
            yield from stream.push(event)
        yield from stream.finish()

    @property
    def opened(self) -> BagReader:
        """The open bag."""
        assert self.reader is not None
        return self.reader

    def _image(
        self,
        camera: CalibratedCamera,
        message: BagMessage,
        counted: bool,
        video: VideoStream | None,
    ) -> Image:
        content: Any = RawMessage(message.raw, message.msgtype)
        if video is not None:
            # A damaged message counts as lost.
            with contextlib.suppress(BagError):
                content = video.push(self.opened.deserialize(message.raw, message.msgtype))
        picture = MessagePicture(content, self.params)
        return Image(camera.name, *_header(message.raw), picture, counted)

    def _calibration_or_motion(
        self, infos: Mapping[str, CalibratedCamera], message: BagMessage
    ) -> Iterator[Event]:
        decoded = self.opened.deserialize(message.raw, message.msgtype)
        if message.topic in infos:
            camera = infos[message.topic]
            setting, topic = self.params.rectified, camera.topic.name
            yield camera_info_event(camera.name, decoded, setting, topic)
        elif message.msgtype == sensors.ODOMETRY:
            yield pose_event(decoded)
        else:
            for item in decoded.transforms:
                transform = transform_event(item, static=False)
                moves = transform.parent.lstrip('/') == self.params.odometry_frame.lstrip('/')
                if message.topic in (self.odometry if moves else self.moving):
                    yield transform


def find_rig(
    reader: BagReader,
    params: GeometryParameters,
    cameras: Sequence[str] = (),
    lidar: str = '',
    odometry: str = '',
    calibration: Path | None = None,
) -> BagRig:
    """Find the rig of a bag.

    A camera that cannot be used is skipped with a warning.

    Args:
        reader: the open bag.
        params: how cameras, clouds and motion are read.
        cameras: to use, see `sensors.choose_cameras`; empty for all.
        lidar: its topic, if there are several.
        odometry: its topic, if there are several.
        calibration: a file that takes precedence over the bag.

    Raises:
        DriveSegmentError: if the bag lacks a sensor, or no camera of it can be used.
    """
    transforms, models = _calibrated(reader, calibration)
    lidar_topic = sensors.choose_lidar(reader, lidar)
    lidar_frame = sensors.first_whole(reader, lidar_topic).header.frame_id
    motion = vehicle.choose_odometry(reader, odometry, params.odometry_frame, params.base_frame)
    if motion.warning:
        _log.warning('%s: %s', reader.path.name, motion.warning)
    found = find_cameras(
        reader,
        cameras,
        lidar_frame,
        transforms,
        models,
        params.rectified,
        params.base_frame,
        params.odometry_frame,
    )
    moving = found.tf.moving
    if moving:
        _log.warning(
            '%s: transforms in /tf of %s change: each frame uses those of its time, '
            'drive.json has the first ones',
            reader.path.name,
            ', '.join(sorted(moving)),
        )
    still = TransformTree()
    for parent, child, T in transforms.links:
        if child not in moving:
            still.set(parent, child, T)
    return BagRig(
        reader,
        params,
        found.cameras,
        lidar_topic.name,
        motion.topics,
        motion.source,
        still,
        tuple(vehicle.tf_topics(reader)) if moving else (),
    )


def _calibrated(
    reader: BagReader, calibration: Path | None
) -> tuple[TransformTree, dict[str, CameraModel]]:
    """Return the transforms of the bag's tf_static and of a file, which takes precedence."""
    try:
        transforms, told = vehicle.static_transforms(reader)
        for line in told:
            _log.warning('%s: %s', reader.path.name, line)
    except BagError as err:
        if calibration is None:
            raise
        _log.warning('%s; those of %s are used', err, calibration)
        transforms = TransformTree()
    models: dict[str, CameraModel] = {}
    if calibration is not None:
        tree, models = load_calibration(calibration)
        for link in tree.links:
            transforms.set(*link)
    return transforms, models


def _header(raw: bytes) -> tuple[int, str]:
    """Return stamp and frame of an encoded message; zeros for a damaged one, which is dropped."""
    try:
        return peek_header(raw)
    except BagError:
        return 0, ''
