"""The checks of `drive-segment doctor` on cameras: whether calibrations fit their images."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.doctor import Check
from drive_segment_ros.errors import BagError, CalibrationError
from drive_segment_ros.perception.camera_plausibility import plausibility_warnings
from drive_segment_ros.perception.cameras import CameraModel, is_rectified

_INFO = 'sensor_msgs/msg/CameraInfo'
_IMAGES = (
    'sensor_msgs/msg/Image',
    'sensor_msgs/msg/CompressedImage',
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket',
    'foxglove_msgs/msg/CompressedVideo',
)
# Discovery takes up to a second on one machine; cameras send at 1 Hz at least.
_DISCOVERY_S, _LISTEN_S = 1.0, 3.0


def check_bags(bags: Sequence[Path]) -> list[Check]:
    """Check the first camera_info of each camera in a bag, or in the bags of one drive.

    Raises:
        BagError: if a bag cannot be read.
    """
    from drive_segment_ros.ros.joined_bags import open_drive

    checks = []
    with open_drive(bags) as reader:
        images = [topic.name for topic in reader.topics.values() if topic.type in _IMAGES]
        for topic in reader.topics.values():
            if topic.type != _INFO:
                continue
            try:
                first = next(iter(reader.messages([topic.name])))
                info = reader.deserialize(first.raw, topic.type)
            except (StopIteration, BagError):
                checks.append(Check(topic.name, 'hint', 'no message can be read'))
                continue
            checks.append(check_camera(topic.name, info, images))
    return checks


def check_heard(listen_s: float = _LISTEN_S) -> list[Check]:
    """Check the cameras being published; none without ROS."""
    try:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import CameraInfo

        from drive_segment_ros.ros.qos import FollowingSubscription

        context = rclpy.Context()
        rclpy.init(context=context)
    except Exception:  # rclpy raises its own and RuntimeError without DDS; reported elsewhere
        return []
    heard: dict[str, Any] = {}
    subscriptions: dict[str, FollowingSubscription] = {}
    node = rclpy.create_node('drive_segment_doctor', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    began_s = time.monotonic()
    try:
        while (elapsed_s := time.monotonic() - began_s) < listen_s:
            topics = dict(node.get_topic_names_and_types())
            for name in (name for name, types in topics.items() if _INFO in types):
                if name not in subscriptions:

                    def hear(message: Any, name: str = name) -> None:
                        heard.setdefault(name, message)

                    subscriptions[name] = FollowingSubscription(node, CameraInfo, name, hear)
            if heard and elapsed_s > _DISCOVERY_S and len(heard) == len(subscriptions):
                break
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
    images = [name for name, types in topics.items() if not set(types).isdisjoint(_IMAGES)]
    return [check_camera(name, info, images) for name, info in sorted(heard.items())]


def check_camera(topic: str, info: Any, image_topics: Iterable[str]) -> Check:
    """Whether a camera_info is plausible.

    Args:
        topic: of the camera_info.
        info: sensor_msgs/CameraInfo.
        image_topics: all topics; those in its namespace determine which part of it is used.
    """
    namespace = topic.rpartition('/')[0]
    beside = [name for name in image_topics if name.startswith(namespace + '/')] or ['']
    told = []
    try:
        for rectified in sorted({is_rectified('auto', name, info) for name in beside}):
            told += plausibility_warnings(CameraModel.from_camera_info(info, rectified))
    except CalibrationError as err:
        return Check(topic, 'problem', str(err), 'have the driver publish the calibration')
    if told:
        advice = 'have the driver publish the calibration of its images'
        return Check(topic, 'hint', '; '.join(told), advice)
    return Check(topic, 'ok', f'{info.width} x {info.height}, {info.distortion_model or "none"}')
