"""A camera's images, compressed or raw, whichever is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drive_segment_ros.ros.qos import FollowingSubscription
from drive_segment_ros.ros.subscriber import SimpleFilter

TRANSPORTS = ('auto', 'raw', 'compressed')


class ImageInput(SimpleFilter):
    """A message filter of `TOPIC` or `TOPIC/compressed`, by image_transport's naming.

    On `auto` it takes the compressed images where both are published: they are what a frame
    keeps, and cost the middleware a tenth. As long as nothing is published, nothing is chosen.

    Attributes:
        subscription: the one in use, None before one is chosen.
        candidates: the topics that may be chosen, with their message types.
    """

    def __init__(
        self,
        node: Any,
        topic: str,
        callback: Callable[[Any], None] | None = None,
        transport: str = 'auto',
        **options: Any,
    ) -> None:
        """Choose at once if a transport is given, else with `look`.

        Args:
            node: rclpy node.
            topic: the raw image's name; remapping either transport's topic works.
            callback: called with each Image or CompressedImage; more may follow by
                `registerCallback`.
            transport: one of `TRANSPORTS`.
            options: for `FollowingSubscription`.
        """
        from sensor_msgs.msg import CompressedImage, Image

        super().__init__()
        if callback is not None:
            self.registerCallback(callback)
        self.subscription: FollowingSubscription | None = None
        self._node = node
        self._options = options
        types = {'compressed': (CompressedImage, f'{topic}/compressed'), 'raw': (Image, topic)}
        self._candidates = list(types.values()) if transport == 'auto' else [types[transport]]
        self.candidates = [(name, kind) for kind, name in self._candidates]
        if transport == 'auto':
            self.look()
        else:
            self._choose(*self._candidates[0])

    @property
    def problem(self) -> str:
        """Why images cannot be heard, one line; empty if they can or none are published."""
        return '' if self.subscription is None else self.subscription.problem

    def look(self) -> None:
        """Take the first transport that is published, if that in use is not; call it often."""
        if self.subscription is not None and self._is_published(self.subscription.topic):
            return
        for message_type, topic in self._candidates:
            if self._is_published(topic):
                self._choose(message_type, topic)
                return

    def destroy(self) -> None:
        """End the subscription."""
        if self.subscription is not None:
            self.subscription.destroy()
            self.subscription = None

    def _choose(self, message_type: type, topic: str) -> None:
        if self.subscription is not None and self.subscription.topic == topic:
            return
        self.destroy()
        self.subscription = FollowingSubscription(
            self._node, message_type, topic, self.signalMessage, **self._options
        )

    def _is_published(self, topic: str) -> bool:
        # Publishers' infos, not count_publishers, whose answer ignores remappings.
        return bool(self._node.get_publishers_info_by_topic(topic))
