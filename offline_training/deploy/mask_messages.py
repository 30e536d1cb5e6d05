"""The messages that the segmentation node publishes for a mask, of rosbags' classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.frame.paint import PaintedSweep
from drive_segment_ros.frame.rig import raw_topic
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.masks import colour_image, colour_table, overlay
from drive_segment_ros.perception.resizing import resize_image
from drive_segment_ros.ros.bags import header_stamp_ns
from drive_segment_ros.ros.point_cloud2 import coloured_points
from offline_training.common.bag_messages import MessageFactory
from offline_training.common.classes import ClassName
from offline_training.evaluation.prediction import Prediction

# The defaults of the node's parameters.
_OPACITY, _JPEG_QUALITY = 0.5, 80
LABEL, POINTS = 'segmentation/label/image_raw', 'segmentation/points'
# Topic, below the camera's namespace, and message.
Message = tuple[str, Any]


class MaskMessages:
    """Creates the messages of a model's masks."""

    def __init__(self, classes: Sequence[ClassName], make: MessageFactory) -> None:
        self._names = [item.name for item in classes]
        self._table = colour_table([item.color for item in classes])
        self._make = make

    def meaning(self, stamp_ns: int) -> Message:
        """Return the classes of the labels."""
        return 'segmentation/label/label_info', self._make.label_info(stamp_ns, self._names)

    def of_image(
        self, mask: Prediction, image: Any, picture: NDArray[np.uint8]
    ) -> Iterator[Message]:
        """Yield the mask of an image in all forms, each of the mask's size.

        Args:
            mask: of the image.
            image: its message, whose stamp and frame are used.
            picture: (H, W, 3) uint8 BGR, the image or a reduced copy of it.
        """
        header = header_stamp_ns(image), image.header.frame_id
        painted = overlay(
            resize_image(picture, *mask.label.shape), mask.label, self._table, _OPACITY
        )
        for topic, pixels in (
            (LABEL, mask.label),
            ('segmentation/confidence/image_raw', mask.confidence),
            ('segmentation/color/image_raw', colour_image(mask.label, self._table)),
            ('segmentation/overlay/image_raw', painted),
        ):
            yield topic, self._make.image(*header, pixels)
        jpeg = cv2.imencode('.jpg', painted, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        compressed = self._make.compressed_image(*header, np.asarray(jpeg, np.uint8))
        yield 'segmentation/overlay/image_raw/compressed', compressed

    def of_camera(self, camera: CameraModel, image: Any) -> Iterator[Message]:
        """Yield the calibration of an image's mask.

        Args:
            camera: of the mask.
            image: the message of the image, whose stamp and frame are used.
        """
        message = self._make.camera_info(
            header_stamp_ns(image),
            image.header.frame_id,
            (camera.width, camera.height),
            camera.K,
            camera.D,
            camera.distortion_model,
            camera.R,
            camera.P,
        )
        for kind in ('label', 'overlay'):
            yield f'segmentation/{kind}/camera_info', message

    def of_sweep(self, painted: PaintedSweep) -> Message:
        """Return a painted sweep, with the sweep's stamp and frame."""
        cloud, index = painted.cloud, painted.index
        points = coloured_points(
            cloud.x[index],
            cloud.y[index],
            cloud.z[index],
            self._table[painted.label][:, ::-1],
            label=painted.label,
            confidence=painted.confidence,
        )
        return POINTS, self._make.point_cloud(cloud.stamp_ns, cloud.frame_id, points)


def camera_namespaces(topics: Iterable[str]) -> dict[str, str]:
    """Return the namespace of each camera's topics: that of its images, as in the live node.

    Cameras in one namespace are distinguished by the names of their images.

    Args:
        topics: of the images.
    """
    parents = {topic: raw_topic(topic).rpartition('/')[0] for topic in topics}
    all_parents = list(parents.values())
    return {
        topic: parent if all_parents.count(parent) == 1 else raw_topic(topic)
        for topic, parent in parents.items()
    }
