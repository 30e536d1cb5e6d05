"""The topics published for a mask, as far as they have subscribers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from drive_segment_ros.frame.paint import Mask
from drive_segment_ros.inference.model import ModelClass
from drive_segment_ros.nodes.lifecycle import ManagedNode
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.masks import colour_image, colour_table, overlay
from drive_segment_ros.ros.images import compressed_message, image_message
from drive_segment_ros.ros.mask_info import label_info, label_info_type, mask_camera_info
from drive_segment_ros.ros.qos import transient_local

# Reliable, as large messages get lost with best effort; deep enough for a subscriber's pause
# without blocking the node.
_QOS = QoSProfile(depth=5)
# Topic -> message type; that of `label_info` depends on what is installed.
TOPICS: dict[str, type] = {
    'segmentation/label/image_raw': Image,
    'segmentation/label/camera_info': CameraInfo,
    'segmentation/color/image_raw': Image,
    'segmentation/overlay/image_raw': Image,
    'segmentation/overlay/image_raw/compressed': CompressedImage,
    'segmentation/overlay/camera_info': CameraInfo,
    'segmentation/confidence/image_raw': Image,
}
LABEL_INFO_TOPIC = 'segmentation/label/label_info'


@dataclasses.dataclass(frozen=True)
class OverlayParameters:
    """The appearance of the overlay."""

    opacity: float = parameter(
        0.5, 'opacity of the classes over the image', minimum=0.0, maximum=1.0, dynamic=True
    )
    jpeg_quality: int = parameter(
        80,
        'JPEG quality of the compressed overlay',
        minimum=1,
        maximum=100,
        dynamic=True,
    )


class MaskOutputs:
    """The publishers of masks and their accompanying topics.

    Attributes:
        table: (256, 3) uint8 BGR, the colour of each label.
    """

    def __init__(self, node: ManagedNode, rectified: Callable[[Any], bool]) -> None:
        """Advertise.

        Args:
            node: the node that owns the publishers.
            rectified: returns for a camera_info whether the camera's images are rectified.
        """
        self.table = colour_table([])
        self._classes: list[ModelClass] = []
        self._rectified = rectified
        self._label_info_ns, self._threshold = 0, 0.0
        self._node = node
        self._publishers = {t: node.advertise(kind, t, _QOS) for t, kind in TOPICS.items()}
        self._label_info = node.advertise(label_info_type(), LABEL_INFO_TOPIC, transient_local())

    def set_classes(self, classes: list[ModelClass]) -> None:
        """Set the classes of the labels."""
        self._classes = classes
        self.table = colour_table([item.color for item in classes])

    def publish_label_info(self, threshold: float) -> None:
        """Publish the classes of the labels, latched."""
        now = self._node.get_clock().now()
        self._label_info_ns, self._threshold = now.nanoseconds, threshold
        self._label_info.publish(label_info(self._classes, threshold, now.to_msg()))

    def keep_label_info_stamped(self) -> None:
        """Publish it again if its stamp is not in the past; to be called often.

        Simulated time is zero before /clock is received, and jumps back when a bag is restarted.
        """
        now_ns = self._node.get_clock().now().nanoseconds
        if now_ns and not 0 < self._label_info_ns <= now_ns:
            self.publish_label_info(self._threshold)

    def wanted(self) -> bool:
        """Whether any topic that needs a mask has a subscriber."""
        return any(p.get_subscription_count() for p in self._publishers.values())

    def publish(self, mask: Mask, picture: NDArray[np.uint8], look: OverlayParameters) -> None:
        """Publish the topics that have subscribers: first those for machines, then pictures.

        Args:
            mask: to publish.
            picture: (H, W, 3) uint8 BGR, the image or a reduced copy of it.
            look: appearance of the overlay.
        """
        self._image('segmentation/label/image_raw', mask.label, 'mono8', mask.header)
        self._image('segmentation/confidence/image_raw', mask.confidence, 'mono8', mask.header)
        if self._has('segmentation/color/image_raw'):
            colour = colour_image(mask.label, self.table)
            self._image('segmentation/color/image_raw', colour, 'bgr8', mask.header)
        raw = self._has('segmentation/overlay/image_raw')
        if not raw and not self._has('segmentation/overlay/image_raw/compressed'):
            return
        painted = overlay(picture, mask.label, self.table, look.opacity)
        self._image('segmentation/overlay/image_raw', painted, 'bgr8', mask.header)
        if self._has('segmentation/overlay/image_raw/compressed'):
            jpeg = compressed_message(painted, mask.header, look.jpeg_quality)
            self._publishers['segmentation/overlay/image_raw/compressed'].publish(jpeg)

    def publish_camera_info(self, mask: Mask, picture_shape: tuple[int, int], info: Any) -> None:
        """Publish the calibration of mask and overlay.

        Args:
            mask: the mask it belongs to.
            picture_shape: (height, width) of the overlay, px.
            info: sensor_msgs/CameraInfo of the image.

        Raises:
            CalibrationError: if camera_info is of another image size.
        """
        for topic, size in (
            ('segmentation/label/camera_info', mask.label.shape),
            ('segmentation/overlay/camera_info', picture_shape),
        ):
            if self._has(topic):
                message = mask_camera_info(
                    info, mask.header, mask.shape, size, self._rectified(info)
                )
                self._publishers[topic].publish(message)

    def _has(self, topic: str) -> bool:
        return bool(self._publishers[topic].get_subscription_count())

    def _image(self, topic: str, pixels: NDArray[np.uint8], encoding: str, header: Any) -> None:
        if self._has(topic):
            self._publishers[topic].publish(image_message(pixels, encoding, header))
