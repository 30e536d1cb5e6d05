"""From a bag's messages to frame jobs: one pass, in order, with memory that stays bounded."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

from drive_segment_ros.errors import BagError, CalibrationError
from drive_segment_ros.perception.cameras import CameraModel, is_rectified
from drive_segment_ros.perception.motion import JUMP_BACK_NS
from drive_segment_ros.perception.motion_sources import MotionSources
from drive_segment_ros.perception.synchronisation import Matcher, Pair
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagMessage, BagReader, header_stamp_ns, peek_stamp_ns
from offline_training.bags import sensors
from offline_training.bags.frame_job import FrameJob, Link, Pose

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
        rectified: the parameter, see `is_rectified`.
        odometry: topics of nav_msgs/Odometry or tf messages with the vehicle's motion.
        odometry_frame: parent frame of the motion in tf messages.
        base_frame: its child frame, see `MotionSources`.
        tf: topics with the transforms of `moving`.
        moving: frames whose place on the vehicle changes.
    """

    camera: str
    camera_type: str
    lidar: str
    info: str
    rectified: str
    odometry: tuple[str, ...]
    odometry_frame: str
    base_frame: str
    tf: tuple[str, ...] = ()
    moving: frozenset[str] = frozenset()

    @property
    def topics(self) -> set[str]:
        """All of them."""
        return {self.camera, self.lidar, self.info, *self.odometry, *self.tf}


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
        self._sources = MotionSources(
            sensors.odometry_frame, sensors.base_frame, self._poses.clear
        )
        self._links: deque[tuple[int, Link]] = deque()
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
            if is_calibrated(
                self._reader, message.raw, self._sensors.rectified, self._sensors.camera
            ):
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
            links=self._links_at(pair.image_stamp_ns),
        )

    def _add_poses(self, message: BagMessage) -> None:
        try:
            decoded = self._reader.deserialize(message.raw, message.msgtype)
        except BagError:
            return  # one damaged sample; its neighbours will do
        if message.msgtype == sensors.ODOMETRY:
            pose = decoded.pose.pose
            if self._sources.takes('odometry', decoded.header.frame_id, decoded.child_frame_id):
                self._remember(_pose(decoded, pose.position, pose.orientation))
        else:
            for item in decoded.transforms:
                self._add_transform(item, message.topic in self._sensors.odometry)
        while self._poses and self._poses[0][0] < self._poses[-1][0] - _MEMORY_NS:
            self._poses.popleft()

    def _add_transform(self, item: Any, moves: bool) -> None:
        """Take a TransformStamped: `moves` tells whether the vehicle's motion comes from tf."""
        parent, child = item.header.frame_id.lstrip('/'), item.child_frame_id.lstrip('/')
        if parent == self._sensors.odometry_frame.lstrip('/'):
            if moves and self._sources.takes('tf', parent, child):
                self._remember(_pose(item, item.transform.translation, item.transform.rotation))
        elif child in self._sensors.moving:
            tree = TransformTree()
            tree.set_message(item)
            stamp_ns = header_stamp_ns(item)
            self._links.extend((stamp_ns, link) for link in tree.links)
            while self._links and self._links[0][0] < stamp_ns - _MEMORY_NS:
                self._links.popleft()

    def _links_at(self, stamp_ns: int) -> list[Link]:
        """Return of each moving frame the transform stamped nearest to an instant."""
        nearest: dict[str, tuple[int, Link]] = {}
        for at, link in self._links:
            known = nearest.get(link[1])
            if known is None or abs(at - stamp_ns) <= abs(known[0] - stamp_ns):
                nearest[link[1]] = at, link
        return [link for _, link in nearest.values()]

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


def is_calibrated(reader: BagReader, raw: bytes, rectified: str, image_topic: str) -> bool:
    """Whether a camera_info message is whole and holds the matrix; drivers send zeros at first."""
    try:
        info = reader.deserialize(raw, sensors.CAMERA_INFO)
    except BagError:
        return False
    return bool((info.p if is_rectified(rectified, image_topic, info) else info.k).any())


def first_camera_info(reader: BagReader, topic: str, rectified: str, image_topic: str) -> bytes:
    """Return the first usable camera_info message.

    Args:
        reader: the open bag.
        topic: of camera_info.
        rectified: the parameter, see `is_rectified`.
        image_topic: of the images that go with it.

    Raises:
        CalibrationError: if there is none; the message is that of the first one.
    """
    raw = b''
    for message in reader.messages([topic]):
        raw = raw or message.raw
        if is_calibrated(reader, message.raw, rectified, image_topic):
            return message.raw
    info = reader.deserialize(raw, sensors.CAMERA_INFO)
    CameraModel.from_camera_info(info, is_rectified(rectified, image_topic, info))
    raise CalibrationError(f'{reader.path}: {topic} holds no calibration; calibrate the camera')


def _pose(message: Any, position: Any, orientation: Any) -> Pose:
    return (
        header_stamp_ns(message),
        (position.x, position.y, position.z),
        (orientation.x, orientation.y, orientation.z, orientation.w),
    )
