"""The inputs of one camera of a rig: its image and calibration topics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sensor_msgs.msg import CameraInfo as CameraInfoMessage

from drive_segment_ros.frame.events import CameraInfo, Event
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.nodes.camera_intake import CameraIntake
from drive_segment_ros.nodes.image_input import ImageInput
from drive_segment_ros.nodes.lifecycle import ManagedNode
from drive_segment_ros.ros.diagnostics import ERROR, WARN
from drive_segment_ros.ros.events import image_event


class CameraInput:
    """Subscribes to a camera and pushes its messages into a pipeline.

    Attributes:
        name: the camera's, as in a dataset.
        namespace: of its topics, relative to the node's; empty for the only camera.
        images, info: the subscriptions.
        info_topic: of its calibration.
        intake: reads its calibration.
        received: number of images received.
        calibrated: number of valid calibrations received.
    """

    def __init__(
        self,
        node: ManagedNode,
        name: str,
        namespace: str,
        params: GeometryParameters,
        push: Callable[[Event], None],
        transport: str,
        quality: dict[str, Any],
    ) -> None:
        """Subscribe, until the node is deactivated.

        Args:
            node: the node that owns it.
            name: of the camera.
            namespace: of its topics.
            params: how images and calibrations are read.
            push: called with the events.
            transport: of the images, see `ImageInput`.
            quality: `reliability` and `depth` of the subscriptions.
        """
        self.name = name
        self.namespace = namespace
        self.received = self.calibrated = 0
        self._heard_s = 0.0
        self._params = params
        self._push = push
        topic = topic_of(namespace, 'image_raw')
        self.images: ImageInput
        self.intake = CameraIntake(node, params.rectified, lambda: self.images, topic)
        self.images = node.own(
            ImageInput(node, topic, node.guarded(self._on_image, topic), transport, **quality)
        )
        self.info_topic = topic_of(namespace, 'camera_info')
        self.info = node.subscribe(CameraInfoMessage, self.info_topic, self._on_info, **quality)

    @property
    def label(self) -> str:
        """The label of its images in diagnostics: `image`, or `front/image`."""
        return topic_of(self.namespace, 'image')

    @property
    def silent_s(self) -> float:
        """Time since its last image, seconds; 0 before the first."""
        return time.monotonic() - self._heard_s if self.received else 0.0

    @property
    def lost(self) -> int:
        """Number of images that the middleware reports as lost."""
        subscription = self.images.subscription
        return 0 if subscription is None else subscription.lost

    def problems(self) -> dict[str, int]:
        """Return problems of its topics and its calibration, by level."""
        return {
            self.intake.problem: WARN,
            self.images.problem: ERROR,
            self.info.problem: ERROR,
        }

    def _on_image(self, message: Any) -> None:
        self._heard_s = time.monotonic()
        self.received += 1
        self._push(image_event(self.name, message, self._params))

    def _on_info(self, message: Any) -> None:
        event = CameraInfo(self.name, self.intake.look(message))
        self.calibrated += 1
        self._push(event)


def topic_of(namespace: str, topic: str) -> str:
    """Return a topic of a camera, relative to the node's namespace."""
    return f'{namespace.rstrip("/")}/{topic}' if namespace else topic
