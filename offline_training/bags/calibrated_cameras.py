"""The usable cameras of a bag: those with known intrinsics and extrinsics."""

from __future__ import annotations

import dataclasses
import logging
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import BagError, CalibrationError, DriveSegmentError
from drive_segment_ros.frame.rig import camera_names
from drive_segment_ros.perception.camera_plausibility import plausibility_warnings
from drive_segment_ros.perception.cameras import CameraModel, is_rectified
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagReader, Topic
from offline_training.bags import sensors, vehicle

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CalibratedCamera:
    """A camera of a bag.

    Attributes:
        name: see `camera_names`.
        topic: of its images.
        info_topic: its camera_info; empty if a calibration file replaces it.
        model: the first one; its frame is that of the images if they have one.
    """

    name: str
    topic: Topic
    info_topic: str
    model: CameraModel


@dataclasses.dataclass(frozen=True)
class CalibratedCameras:
    """The usable cameras of a bag and their extrinsics.

    Attributes:
        cameras: by name, in the order of their topics.
        T_camera_lidar: (4, 4) of each camera, by name.
        tf: extrinsics that are in /tf only; they are added to the tree.
    """

    cameras: dict[str, CalibratedCamera]
    T_camera_lidar: dict[str, NDArray[np.float64]]
    tf: vehicle.TfExtrinsics


def find_cameras(
    reader: BagReader,
    wanted: Sequence[str],
    lidar_frame: str,
    tree: TransformTree,
    from_file: Mapping[str, CameraModel],
    rectified: str,
    base_frame: str,
    odometry_frame: str,
) -> CalibratedCameras:
    """Find the requested cameras that have calibration and extrinsics.

    Warnings name the skipped cameras and implausible calibrations.

    Args:
        reader: the open bag.
        wanted: see `choose_cameras`.
        lidar_frame: of the sweeps.
        tree: of tf_static and the calibration file; extrinsics that only /tf has are added.
        from_file: the calibration file's cameras, by topic or frame; they take precedence.
        rectified: the parameter, see `is_rectified`.
        base_frame, odometry_frame: see `complete_from_tf`.

    Raises:
        BagError: if the bag has no such camera.
        DriveSegmentError: if no camera is usable; the message is that of the first.
    """
    topics = sensors.choose_cameras(reader, wanted)
    # Named among all cameras of the bag, so that names do not depend on the selection.
    everything = [*sensors.cameras(reader), *topics]
    names = camera_names(topic.name for topic in everything)
    cameras: dict[str, CalibratedCamera] = {}
    failures: dict[str, DriveSegmentError] = {}
    for topic in topics:
        try:
            cameras[names[topic.name]] = _calibrated(
                reader, names[topic.name], topic, from_file, rectified
            )
        except (BagError, CalibrationError) as err:
            failures[topic.name] = err
    pairs = [(camera.model.frame_id, lidar_frame) for camera in cameras.values()]
    pairs.append((base_frame, lidar_frame))
    tf = vehicle.complete_from_tf(reader, tree, pairs, odometry_frame)
    placed = {}
    for camera in list(cameras.values()):
        try:
            placed[camera.name] = tree.camera_from_lidar(camera.model.frame_id, lidar_frame)
        except CalibrationError as err:
            failures[camera.topic.name] = CalibrationError(f'{reader}: {camera.topic.name}: {err}')
            del cameras[camera.name]
    if not cameras:
        raise next(iter(failures.values()))
    for topic_name, failure in failures.items():
        _log.warning('camera %s is skipped: %s', names[topic_name], failure)
    for camera in cameras.values():
        for line in plausibility_warnings(camera.model):
            _log.warning('%s: %s: %s', reader, camera.topic.name, line)
    return CalibratedCameras(cameras, placed, tf)


def _calibrated(
    reader: BagReader,
    name: str,
    topic: Topic,
    from_file: Mapping[str, CameraModel],
    rectified: str,
) -> CalibratedCamera:
    """Return a camera with its model from the calibration file or the bag.

    Raises:
        BagError: if none of its images can be read.
        CalibrationError: if neither has a model.
    """
    frame_id = sensors.first_whole(reader, topic).header.frame_id
    info_topic = sensors.camera_info_topic(reader, topic.name) or ''
    for key in (topic.name, info_topic, frame_id):
        if key and key in from_file:
            # The file is valid for the whole drive.
            info_topic, model = '', from_file[key]
            info = types.SimpleNamespace(p=model.P, d=model.D)
            setting = is_rectified(rectified, topic.name, info)
            model = dataclasses.replace(model, rectified=setting)
            break
    else:
        if not info_topic:
            raise CalibrationError(
                f'{reader} has no camera_info for {topic.name}; record it or give --calibration'
            )
        info = first_camera_info(reader, info_topic, rectified, topic.name)
        model = CameraModel.from_camera_info(info, is_rectified(rectified, topic.name, info))
    frame = frame_id or model.frame_id
    return CalibratedCamera(name, topic, info_topic, dataclasses.replace(model, frame_id=frame))


def first_camera_info(reader: BagReader, topic: str, rectified: str, image_topic: str) -> Any:
    """Return the first usable sensor_msgs/CameraInfo of a topic; drivers send zeros at first.

    Args:
        reader: the open bag.
        topic: of camera_info.
        rectified: the parameter, see `is_rectified`.
        image_topic: of the images that go with it.

    Raises:
        BagError: if the first one is damaged and none is usable.
        CalibrationError: if there is none; the message is that of the first one.
    """
    raw = b''
    for message in reader.messages([topic]):
        raw = raw or message.raw
        try:
            info = reader.deserialize(message.raw, sensors.CAMERA_INFO)
        except BagError:
            continue
        if is_calibrated(info, rectified, image_topic):
            return info
    info = reader.deserialize(raw, sensors.CAMERA_INFO)
    CameraModel.from_camera_info(info, is_rectified(rectified, image_topic, info))
    raise CalibrationError(f'{reader}: {topic} has no calibration; calibrate the camera')


def is_calibrated(info: Any, rectified: str, image_topic: str) -> bool:
    """Return whether a camera_info message has the matrix that its images need."""
    return bool((info.p if is_rectified(rectified, image_topic, info) else info.k).any())
