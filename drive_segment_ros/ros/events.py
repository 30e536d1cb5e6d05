"""ROS messages, of rclpy's or rosbags' classes, as events for a frame stream.

Images and points are decoded on first access.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CloudError, DriveSegmentError, ImageError
from drive_segment_ros.frame.events import CameraInfo, Image, Pose, Transform
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.perception.cameras import CameraModel, is_rectified
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.transforms import quaternion_of, translation_of
from drive_segment_ros.ros.bag_storage import default_type_store
from drive_segment_ros.ros.image_size import image_size, reduction
from drive_segment_ros.ros.images import decode_image, encoded_image


def stamp_ns(message: Any) -> int:
    """Return a message's header stamp in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


@dataclasses.dataclass(frozen=True)
class RawMessage:
    """A message of a bag, still encoded, as it is sent to other processes.

    Attributes:
        raw: CDR.
        msgtype: its type.
    """

    raw: bytes
    msgtype: str

    def decoded(self, error: type[DriveSegmentError]) -> Any:
        """Return the message.

        Raises:
            DriveSegmentError: of the class given, if it is damaged.
        """
        try:
            return default_type_store().deserialize_cdr(self.raw, self.msgtype)
        except Exception as err:  # generated code raises errors of any kind for invalid bytes
            raise error(f'a {self.msgtype} message is damaged: {err}') from err


class MessagePicture:
    """An image message that is decoded on access, see `frame.picture.Picture`."""

    def __init__(self, message: Any, params: GeometryParameters) -> None:
        """Store a sensor_msgs/Image or CompressedImage, or a `RawMessage` of one."""
        self._message = message
        self._limits = {'bits': params.image_bits, 'max_pixels': params.max_pixels}

    @property
    def message(self) -> Any:
        """The message, decoded from a bag's bytes if needed.

        Raises:
            ImageError: if it is damaged.
        """
        return self._decoded

    @functools.cached_property
    def _decoded(self) -> Any:
        message = self._message
        return message.decoded(ImageError) if isinstance(message, RawMessage) else message

    def size(self) -> tuple[int, int] | None:
        """Return (height, width), px; None if it is not known, or too large to be decoded."""
        size = image_size(self.message)
        if size is None or size[0] * size[1] > self._limits['max_pixels']:
            return None
        return size

    def decode(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) uint8 BGR, of the smallest size the file offers that is large enough.

        Raises:
            ImageError: if it cannot be decoded.
        """
        reduce = reduction(image_size(self.message), (height, width))
        return decode_image(self.message, reduce, **self._limits)

    def encoded(self) -> tuple[bytes, str]:
        """Return the content of an image file, and the file's suffix; see `encoded_image`."""
        return encoded_image(self.message, **self._limits)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the decoded message."""
        return {name: value for name, value in vars(self).items() if name != '_decoded'}


def image_event(camera: str, message: Any, params: GeometryParameters) -> Image:
    """Return the event of an image message.

    Args:
        camera: the camera's name.
        message: sensor_msgs/Image or CompressedImage.
        params: limits of images, and the number of bits used.
    """
    picture = MessagePicture(message, params)
    return Image(camera, stamp_ns(message), message.header.frame_id, picture)


def sweep_event(message: Any, params: GeometryParameters) -> Sweep:
    """Return the event of a sensor_msgs/PointCloud2, of a message or a `RawMessage` of one."""
    return Sweep(
        stamp_ns(message), message.header.frame_id, functools.partial(_read, message, params)
    )


def raw_sweep_event(
    raw: RawMessage, stamp_ns: int, frame_id: str, params: GeometryParameters
) -> Sweep:
    """Return the event of a sweep whose message is decoded on access to its points."""
    return Sweep(stamp_ns, frame_id, functools.partial(_read, raw, params))


def camera_info_event(camera: str, message: Any, setting: str, topic: str) -> CameraInfo:
    """Return the event of a sensor_msgs/CameraInfo.

    Args:
        camera: the camera's name.
        message: the message.
        setting: the parameter `rectified`, see `is_rectified`.
        topic: of the camera's images, resolved.

    Raises:
        CalibrationError: if it is invalid; drivers send zeros before they are calibrated.
    """
    rectified = is_rectified(setting, topic, message)
    return CameraInfo(camera, CameraModel.from_camera_info(message, rectified))


def pose_event(message: Any) -> Pose:
    """Return the event of a nav_msgs/Odometry."""
    pose = message.pose.pose
    return Pose(
        stamp_ns(message),
        'odometry',
        message.header.frame_id,
        message.child_frame_id,
        translation_of(pose.position),
        quaternion_of(pose.orientation),
    )


def transform_event(message: Any, *, static: bool) -> Transform:
    """Return the event of a geometry_msgs/TransformStamped, of /tf_static or of /tf."""
    return Transform(
        message.header.frame_id,
        message.child_frame_id,
        translation_of(message.transform.translation),
        quaternion_of(message.transform.rotation),
        None if static else stamp_ns(message),
    )


def _read(message: Any, params: GeometryParameters) -> PointCloud:
    if isinstance(message, RawMessage):
        message = message.decoded(CloudError)
    return params.cloud(message).packed()
