"""The messages that accompany masks: calibration, and the classes of the labels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from drive_segment_ros.frame.picture import check_shape
from drive_segment_ros.inference.model import ModelClass
from drive_segment_ros.perception.cameras import CameraModel


def mask_camera(
    camera_info: Any, picture: tuple[int, int], mask: tuple[int, int], rectified: bool
) -> CameraModel:
    """Return the camera of a mask: that of its image, scaled to the mask's size.

    For rectified images K is the camera matrix of their P, and there is no distortion: K and D
    describe the raw image.

    Args:
        camera_info: of the image; region of interest and binning are applied.
        picture: (height, width) of the image or a reduced copy of it, px.
        mask: (height, width), px.
        rectified: whether the images are rectified.

    Raises:
        CalibrationError: if camera_info is invalid or belongs to another image.
    """
    camera = CameraModel.from_camera_info(camera_info, rectified=rectified)
    check_shape(picture[1], picture[0], camera)
    height, width = mask
    camera = camera.scaled(width, height)
    if not rectified:
        return camera
    K, D = camera.P[:, :3], np.zeros(5)
    return dataclasses.replace(camera, K=K, D=D, distortion_model='plumb_bob')


def mask_camera_info(
    camera_info: Any, header: Any, picture: tuple[int, int], mask: tuple[int, int], rectified: bool
) -> Any:
    """Return the rclpy sensor_msgs/CameraInfo of a mask, see `mask_camera`.

    Args:
        camera_info, picture, mask, rectified: as for `mask_camera`.
        header: of the image.

    Raises:
        CalibrationError: as `mask_camera`.
    """
    from sensor_msgs.msg import CameraInfo

    camera = mask_camera(camera_info, picture, mask, rectified)
    return CameraInfo(
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model,
        d=camera.D.tolist(),
        k=camera.K.ravel(),
        r=camera.R.ravel(),
        p=camera.P.ravel(),
    )


def label_info_type() -> type:
    """Return vision_msgs/LabelInfo, or std_msgs/String if vision_msgs is not installed."""
    try:
        from vision_msgs.msg import LabelInfo
    except ImportError:
        from std_msgs.msg import String

        return String
    return LabelInfo


def label_info(classes: Sequence[ModelClass], threshold: float, stamp: Any) -> Any:
    """Return the message with the classes of the labels.

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
