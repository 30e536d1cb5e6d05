"""What a mask's messages need beside them: its calibration, and what its labels mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from drive_segment_ros.frame.picture import check_shape
from drive_segment_ros.inference.model import ModelClass
from drive_segment_ros.perception.cameras import CameraModel


def mask_camera_info(
    camera_info: Any, header: Any, picture: tuple[int, int], mask: tuple[int, int], rectified: bool
) -> Any:
    """Return the rclpy sensor_msgs/CameraInfo of a mask: its image's, brought to its size.

    That of rectified images has the camera matrix of their P as K, and no distortion: K and D of
    the raw image would not be this one's.

    Args:
        camera_info: of the image; region of interest and binning are applied.
        header: of the image.
        picture: (height, width) of the image or a reduced copy of it, px.
        mask: (height, width), px.
        rectified: whether the images are rectified.

    Raises:
        CalibrationError: if camera_info makes no sense or belongs to another image.
    """
    from sensor_msgs.msg import CameraInfo

    camera = CameraModel.from_camera_info(camera_info, rectified=rectified)
    check_shape(picture[1], picture[0], camera)
    height, width = mask
    camera = camera.scaled(width, height)
    message = CameraInfo(header=header, height=height, width=width)
    message.r, message.p = camera.R.ravel(), camera.P.ravel()
    if rectified:
        message.distortion_model = 'plumb_bob'
        message.d = [0.0] * 5
        message.k = camera.P[:, :3].ravel()
    else:
        message.distortion_model = camera.distortion_model
        message.d = camera.D.tolist()
        message.k = camera.K.ravel()
    return message


def label_info_type() -> type:
    """Return vision_msgs/LabelInfo, or std_msgs/String where vision_msgs is not installed."""
    try:
        from vision_msgs.msg import LabelInfo
    except ImportError:
        from std_msgs.msg import String

        return String
    return LabelInfo


def label_info(classes: Sequence[ModelClass], threshold: float, stamp: Any) -> Any:
    """Return the message that says what labels mean.

    Without vision_msgs it is a std_msgs/String that holds JSON: `threshold` and `class_map`, a
    list of `class_id`, `class_name` and `color`.

    Args:
        classes: of the model.
        threshold: confidence below which a pixel is unknown, 0 to 1.
        stamp: builtin_interfaces/Time.
    """
    kind = label_info_type()
    if kind.__name__ == 'String':
        entries = [
            {'class_id': number, 'class_name': item.name, 'color': item.color}
            for number, item in enumerate(classes)
        ]
        return kind(data=json.dumps({'threshold': threshold, 'class_map': entries}))
    from vision_msgs.msg import VisionClass

    message = kind(threshold=threshold)
    message.header.stamp = stamp
    message.class_map = [
        VisionClass(class_id=number, class_name=item.name) for number, item in enumerate(classes)
    ]
    return message
