"""A camera's images: compressed, raw or encoded as video, depending on what is published."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from drive_segment_ros.errors import DependencyError
from drive_segment_ros.ros.qos import FollowingSubscription
from drive_segment_ros.ros.subscriber import SimpleFilter
from drive_segment_ros.ros.video import VideoStream

TRANSPORTS = ('auto', 'raw', 'compressed', 'ffmpeg', 'foxglove')
_VIDEO = {
    'ffmpeg': ('ffmpeg_image_transport_msgs', 'FFMPEGPacket'),
    'foxglove': ('foxglove_msgs', 'CompressedVideo'),
}


class ImageInput(SimpleFilter):
    """A message filter of `TOPIC` or `TOPIC/compressed`, by image_transport's naming.

    With `auto` compressed images are preferred if both are published: they are stored in frames
    unchanged, and need far less bandwidth. Encoded video, `TOPIC/ffmpeg` or `TOPIC/foxglove`, is
    used if there is neither; its packets become images that are decoded on access. Nothing is
    chosen until something is published.

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
            callback: called with each Image, CompressedImage or `VideoImage`; more may follow by
                `registerCallback`.
            transport: one of `TRANSPORTS`.
            options: for `FollowingSubscription`.

        Raises:
            DependencyError: if the messages of the transport given are not installed.
        """
        from sensor_msgs.msg import CompressedImage, Image

        super().__init__()
        if callback is not None:
            self.registerCallback(callback)
        self.subscription: FollowingSubscription | None = None
        self._node = node
        self._options = options
        types = {'compressed': (CompressedImage, f'{topic}/compressed'), 'raw': (Image, topic)}
        for name, (package, message) in _VIDEO.items():
            found = _imported(package, message)
            if found is not None:
                types[name] = found, f'{topic}/{name}'
            elif name == transport:
                raise DependencyError(f'images of transport {name} need {package}; install it')
        self._candidates = list(types.values()) if transport == 'auto' else [types[transport]]
        self.candidates = [(name, kind) for kind, name in self._candidates]
        if transport == 'auto':
            self.look()
        else:
            self._choose(*self._candidates[0])

    @property
    def problem(self) -> str:
        """Why images cannot be received, one line; empty if they can or none are published."""
        return '' if self.subscription is None else self.subscription.problem

    def look(self) -> None:
        """Switch to the first published transport if the current one is not; call it often."""
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
        callback = self.signalMessage
        if topic.endswith(tuple(f'/{name}' for name in _VIDEO)):
            callback = _decoding(VideoStream(), self.signalMessage)
        self.subscription = FollowingSubscription(
            self._node, message_type, topic, callback, **self._options
        )

    def _is_published(self, topic: str) -> bool:
        # The publishers' infos, as count_publishers ignores remappings.
        return bool(self._node.get_publishers_info_by_topic(topic))


def _imported(package: str, message: str) -> Any:
    """Return a message's class, None if its package is not installed."""
    try:
        return getattr(importlib.import_module(f'{package}.msg'), message)
    except (ImportError, AttributeError):
        return None


def _decoding(stream: VideoStream, signal: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a callback that passes on a video's packets as images."""
    from std_msgs.msg import Header

    def hear(message: Any) -> None:
        header = getattr(message, 'header', None)
        if header is None:  # Foxglove's message has the fields of a header
            header = Header(stamp=message.timestamp, frame_id=message.frame_id)
        signal(stream.push(message, header))

    return hear
