"""Adds a recorded drive, processed as by `extract`: pairs, segments, painted sweeps, drops."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.errors import DriveSegmentError, MotionError
from drive_segment_ros.frame.build import build
from drive_segment_ros.frame.events import Image
from drive_segment_ros.frame.paint import Mask, paint
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.picture import Picture
from drive_segment_ros.frame.rig import camera_names
from drive_segment_ros.perception.masks import colour_table
from drive_segment_ros.perception.overlay import palette
from drive_segment_ros.perception.transforms import inverse
from drive_segment_ros.ros.bags import BagReader, header_stamp_ns
from drive_segment_ros.ros.images import decode_image
from drive_segment_ros.ros.video import VIDEO_TYPES, VideoStream
from offline_training.bags import sensors
from offline_training.bags.bag_rig import find_rig
from offline_training.common.classes import ClassName
from offline_training.evaluation.prediction import Predictor
from offline_training.view.frame_view import add_pixels
from offline_training.view.recording import LIDAR, PAINTED, POINTS, WIDTH, ViewRecording

_log = logging.getLogger(__name__)

_NO_SEGMENT = (96, 96, 96)
_PAINTED_PX = 2.5


@dataclasses.dataclass(frozen=True)
class DriveView:
    """Adds a drive to a Rerun recording.

    Attributes:
        made: the recording.
        params: parameters of the segments.
        classes: classes of pseudo-labels and masks.
        predictor: model for the masks; None for no masks.
        frames: extracted frames to show, by camera and stamp, with their segments and
            pseudo-labels; None shows every image with newly computed segments.
    """

    made: ViewRecording
    params: FrameParameters
    classes: Sequence[ClassName]
    predictor: Predictor | None
    frames: Mapping[tuple[str, int], FrameRecord] | None = None

    def add(
        self, reader: BagReader, cameras: Sequence[str], advance: Callable[[int], None]
    ) -> None:
        """Read the drive and add its images, sweeps and poses.

        Args:
            reader: the open drive.
            cameras: see `sensors.choose_cameras`.
            advance: called with the number of images read since the last call.

        Raises:
            DriveSegmentError: if a sensor or its calibration is missing.
        """
        rig = find_rig(reader, self.params, cameras)
        stream = rig.stream()
        newest: dict[str, int] = {}
        wanted = (1, 2**63) if self.frames is None else _span(self.frames)
        for _, event in rig.events():
            for pair in stream.push(event):
                self._add_pair(pair)
            if isinstance(event, Image) and wanted[0] <= event.stamp_ns <= wanted[1]:
                newest[event.camera] = event.stamp_ns
                self.made.dropped(event.camera, event.stamp_ns, stream.cameras[event.camera].drops)
            advance(isinstance(event, Image))
        for pair in stream.finish():
            self._add_pair(pair)
        for camera, stamp_ns in newest.items():
            self.made.dropped(camera, stamp_ns, stream.cameras[camera].drops)

    def _add_pair(self, pair: Pair) -> None:
        name, stamp_ns, sweep = pair.image.camera, pair.image.stamp_ns, pair.sweep
        frame = None if self.frames is None else self.frames.get((name, stamp_ns))
        if self.frames is not None and frame is None:
            return
        self._place(pair)
        self.made.offset(name, stamp_ns, pair.offset_s)
        try:
            picture = _decoded(pair)
            label = add_pixels(self.made, name, stamp_ns, picture, frame, self.predictor)
            segments = sweep.segments(self.params.proposals, pair.T_base_lidar)
            kinds = segments.kind()
            segment = build(pair, self.params).label_image if frame is None else frame.segment()
            self.made.segments(name, stamp_ns, segment, np.arange(len(kinds)), kinds)
            cloud = sweep.cloud
            xyz = np.stack([cloud.x, cloud.y, cloud.z], axis=1)
            colours = palette(kinds)
            colours[0] = _NO_SEGMENT
            self.made.cloud(POINTS, sweep.stamp_ns, xyz, colours[segments.label])
            if label is not None:
                mask = Mask(None, label, np.full_like(label, 255), picture.shape[:2])
                image = dataclasses.replace(pair.image, content=mask)
                painted = paint(dataclasses.replace(pair, image=image), self.params)
                table = colour_table([item.color for item in self.classes])
                self.made.cloud(
                    f'{PAINTED}/{name}',
                    sweep.stamp_ns,
                    xyz[painted.index],
                    table[painted.label],
                    _PAINTED_PX,
                )
        except DriveSegmentError as err:
            _log.warning('%s at %d: %s', name, stamp_ns, err)

    def _place(self, pair: Pair) -> None:
        """Add the poses of the vehicle and its sensors."""
        image_ns, sweep_ns = pair.instant_ns, pair.sweep.stamp_ns
        for stamp_ns in (image_ns, sweep_ns):
            with contextlib.suppress(MotionError):
                self.made.pose(pair.trajectory.poses([stamp_ns])[0], stamp_ns)
        T_base_lidar = np.eye(4) if pair.T_base_lidar is None else pair.T_base_lidar
        self.made.place(LIDAR, T_base_lidar, min(image_ns, sweep_ns))
        T_base_camera = T_base_lidar @ inverse(pair.T_camera_lidar)
        self.made.camera(pair.image.camera, pair.camera, T_base_camera, pair.image.stamp_ns)


def _span(frames: Mapping[tuple[str, int], FrameRecord]) -> tuple[int, int]:
    """Return the first and the last stamp of frames, ns."""
    stamps = [stamp_ns for _, stamp_ns in frames]
    return min(stamps), max(stamps)


def _decoded(pair: Pair) -> NDArray[np.uint8]:
    content: Picture = pair.image.content
    scale = min(1.0, WIDTH / pair.camera.width)
    return content.decode(round(pair.camera.height * scale), round(pair.camera.width * scale))


def add_images(
    made: ViewRecording,
    reader: BagReader,
    cameras: Sequence[str],
    predictor: Predictor | None,
    advance: Callable[[int], None],
) -> None:
    """Add the images of a drive without a usable LiDAR.

    Args:
        made: the recording.
        reader, cameras, advance: as for `DriveView.add`.
        predictor: model for the masks; None for no masks.
    """
    topics = sensors.choose_cameras(reader, cameras)
    names = camera_names(topic.name for topic in [*sensors.cameras(reader), *topics])
    videos = {t.name: VideoStream() for t in topics if t.type in VIDEO_TYPES}
    for message in reader.messages([topic.name for topic in topics]):
        advance(1)
        try:
            image = reader.deserialize(message.raw, message.msgtype)
            if message.topic in videos:
                image = videos[message.topic].push(image)
            stamp_ns = header_stamp_ns(image) or message.bag_stamp_ns
            add_pixels(made, names[message.topic], stamp_ns, decode_image(image), None, predictor)
        except DriveSegmentError as err:
            _log.warning('%s at %d: %s', message.topic, message.bag_stamp_ns, err)
