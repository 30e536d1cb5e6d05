"""Reads a camera's calibration in a node: selects the part that applies, and checks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from drive_segment_ros.nodes.image_input import ImageInput
from drive_segment_ros.perception.camera_plausibility import plausibility_warnings
from drive_segment_ros.perception.cameras import CameraModel, is_rectified


class CameraIntake:
    """Reads camera_info by the same rule as `extract`, see `is_rectified`.

    Attributes:
        problem: what is implausible about the last calibration, one line; empty if nothing is.
    """

    def __init__(
        self, node: Any, setting: str, images: Callable[[], ImageInput | None], topic: str
    ) -> None:
        """Start without a calibration.

        Args:
            node: rclpy node, to whose log problems are written once.
            setting: the parameter `rectified`.
            images: returns the images' subscription, None before there is one.
            topic: of raw images, used until a subscription gives the transport.
        """
        self.problem = ''
        self._node = node
        self._setting = setting
        self._images = images
        self._topic = topic
        self._seen: tuple[Any, ...] = ()
        self._model: CameraModel | None = None

    def image_topic(self) -> str:
        """Return the images' topic after remapping."""
        images = self._images()
        chosen = None if images is None else images.subscription
        name = self._topic if chosen is None else chosen.topic
        return str(self._node.resolve_topic_name(name))

    def rectified(self, camera_info: Any) -> bool:
        """Return whether the images of a camera_info are rectified."""
        return is_rectified(self._setting, self.image_topic(), camera_info)

    def look(self, camera_info: Any) -> CameraModel:
        """Read a camera_info; problems are stored in `problem` and logged once.

        Raises:
            CalibrationError: if it is invalid; drivers send zeros before they are calibrated.
        """
        rectified = self.rectified(camera_info)
        camera = CameraModel.from_camera_info(camera_info, rectified)
        values = (camera.K, camera.D, camera.R, camera.P)
        seen = (
            rectified,
            camera.width,
            camera.height,
            camera.distortion_model,
            *(np.asarray(v).tobytes() for v in values),
        )
        if self._model is not None and seen == self._seen:
            return self._model
        self._seen, self._model = seen, camera
        used = 'P, as the images are rectified' if rectified else 'K and D'
        self._node.get_logger().info(f'camera_info of {self.image_topic()}: using {used}')
        self.problem = '; '.join(plausibility_warnings(camera))
        if self.problem:
            self._node.get_logger().warning(self.problem)
        return camera
