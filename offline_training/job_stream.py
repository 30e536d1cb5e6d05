"""From a bag's messages to frame jobs: one pass, in order, with memory that stays bounded."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

from drive_segment_ros.errors import BagError, CalibrationError
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.motion import JUMP_BACK_NS, VehicleFrame
from drive_segment_ros.perception.synchronisation import Matcher, Pair
from drive_segment_ros.ros.bags import BagMessage, BagReader, header_stamp_ns, peek_stamp_ns
from offline_training import recording
from offline_training.frame_job import FrameJob, Pose

_NS = 1_000_000_000
# How far around a pair's stamps its odometry may be needed: a sweep lasts up to half a second.
_REACH_NS = _NS // 2
# Bag time that a pair waits for its odometry.
_PATIENCE_NS = 2 * _NS
# Bag time that odometry is kept; pairs come out of the matcher well before.
_MEMORY_NS = 20 * _NS


@dataclasses.dataclass(frozen=True)
class Sensors:
    """The topics a drive's frames are made from.

    Attributes:
        camera, lidar: image and point cloud topics.
        camera_type: of the image messages.
        info: the camera_info topic.
        rectified: whether images are rectified: then P of camera_info counts, else K.
        odometry: topics of nav_msgs/Odometry or tf messages with the vehicle's motion.
        odometry_frame: parent frame of the motion in tf messages.
        base_frame: its child frame, see `VehicleFrame`.
    """

    camera: str
    camera_type: str
    lidar: str
    info: str
    rectified: bool
    odometry: tuple[str, ...]
    odometry_frame: str
    base_frame: str

    @property
    def topics(self) -> set[str]:
        """All of them."""
        return {self.camera, self.lidar, self.info, *self.odometry}


class JobStream:
    """Frame jobs of one drive, in the order of their images.

    Attributes:
        matcher: pairs images with sweeps; its counters are the result's.
        done: image stamps that need no job.
    """

    def __init__(
        self,
        reader: BagReader,
        sensors: Sensors,
        matcher: Matcher,
        setup: bytes,
        first_info: bytes,
    ) -> None:
        """Prepare the pass.

        Args:
            reader: the open bag.
            sensors: its topics.
            matcher: fresh, with the camera's offset set.
            setup: what goes into each job, see `FrameJob`.
            first_info: camera_info for images before the first usable one.
        """
        self.matcher = matcher
        self._reader = reader
        self._sensors = sensors
        self._setup = setup
        self._info = first_info
        self.done: Collection[int] = ()
        self._poses: deque[Pose] = deque()
        self._vehicle = VehicleFrame(sensors.base_frame, self._poses.clear)
        self._waiting: deque[tuple[Pair, int]] = deque()

    def __iter__(self) -> Iterator[FrameJob]:
        """Read the bag once and yield each pair as soon as its odometry is there."""
        for message in self._reader.messages(self._sensors.topics):
            self._waiting.extend((pair, message.bag_stamp_ns) for pair in self._take(message))
            yield from self._ready(message.bag_stamp_ns)
        self._waiting.extend((pair, 0) for pair in self.matcher.flush())
        yield from self._ready(math.inf)

    def _take(self, message: BagMessage) -> list[Pair]:
        if message.topic == self._sensors.camera:
            item = (message.raw, self._info)
            return self.matcher.add_image(_stamp_ns(message.raw), item, self._sensors.camera)
        if message.topic == self._sensors.lidar:
            return self.matcher.add_sweep(_stamp_ns(message.raw), message.raw)
        if message.topic == self._sensors.info:
            if is_calibrated(self._reader, message.raw, self._sensors.rectified):
                self._info = message.raw
        else:
            self._add_poses(message)
        return []

    def _ready(self, now_ns: float) -> Iterator[FrameJob]:
        """Yield the pairs whose odometry is complete, or has been waited for long enough."""
        while self._waiting:
            pair, since_ns = self._waiting[0]
            needed_ns = max(pair.image_stamp_ns, pair.sweep_stamp_ns) + _REACH_NS
            complete = self._poses and self._poses[-1][0] >= needed_ns
            if self._sensors.odometry and not complete and now_ns < since_ns + _PATIENCE_NS:
                return
            self._waiting.popleft()
            if pair.image_stamp_ns not in self.done:
                yield self._job(pair)

    def _job(self, pair: Pair) -> FrameJob:
        first = min(pair.image_stamp_ns, pair.sweep_stamp_ns) - _REACH_NS
        last = max(pair.image_stamp_ns, pair.sweep_stamp_ns) + _REACH_NS
        image, info = pair.image
        return FrameJob(
            setup=self._setup,
            image=image,
            image_type=self._sensors.camera_type,
            info=info,
            cloud=pair.sweep,
            offset_s=pair.offset_s,
            poses=[pose for pose in self._poses if first <= pose[0] <= last],
        )

    def _add_poses(self, message: BagMessage) -> None:
        try:
            decoded = self._reader.deserialize(message.raw, message.msgtype)
        except BagError:
            return  # one damaged sample; its neighbours will do
        if message.msgtype == recording.ODOMETRY:
            pose = decoded.pose.pose
            self._remember(_pose(decoded, pose.position, pose.orientation))
        else:
            for item in decoded.transforms:
                parent = item.header.frame_id.lstrip('/')
                if parent == self._sensors.odometry_frame and self._vehicle.is_moved_by(item):
                    moved = item.transform
                    self._remember(_pose(item, moved.translation, moved.rotation))
        while self._poses and self._poses[0][0] < self._poses[-1][0] - _MEMORY_NS:
            self._poses.popleft()

    def _remember(self, pose: Pose) -> None:
        if self._poses and pose[0] < self._poses[-1][0] - JUMP_BACK_NS:
            # As live: poses of before a step of the clock are of another time.
            self._poses.clear()
        self._poses.append(pose)


def _stamp_ns(raw: bytes) -> int:
    try:
        return peek_stamp_ns(raw)
    except BagError:
        return 0  # Damaged: dropped as one without a stamp.


def is_calibrated(reader: BagReader, raw: bytes, rectified: bool) -> bool:
    """Whether a camera_info message is whole and holds the matrix; drivers send zeros at first."""
    try:
        info = reader.deserialize(raw, recording.CAMERA_INFO)
    except BagError:
        return False
    return bool((info.p if rectified else info.k).any())


def first_camera_info(reader: BagReader, topic: str, rectified: bool) -> bytes:
    """Return the first usable camera_info message.

    Raises:
        CalibrationError: if there is none; the message is that of the first one.
    """
    raw = b''
    for message in reader.messages([topic]):
        raw = raw or message.raw
        if is_calibrated(reader, message.raw, rectified):
            return message.raw
    info = reader.deserialize(raw, recording.CAMERA_INFO)
    CameraModel.from_camera_info(info, rectified)
    raise CalibrationError(f'{reader.path}: {topic} holds no calibration; calibrate the camera')


def _pose(message: Any, position: Any, orientation: Any) -> Pose:
    return (
        header_stamp_ns(message),
        (position.x, position.y, position.z),
        (orientation.x, orientation.y, orientation.z, orientation.w),
    )
