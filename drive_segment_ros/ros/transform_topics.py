"""/tf and /tf_static into a buffer: by tf2_ros if it is installed, else equivalently."""

from __future__ import annotations

from typing import Any, Protocol

from rclpy.qos import QoSProfile

from drive_segment_ros.ros.qos import transient_local
from drive_segment_ros.ros.qos_overrides import SUBSCRIPTION, create_with_overrides
from drive_segment_ros.ros.subscriber import Subscriber

_DEPTH = 100


class Buffer(Protocol):
    """The buffer interface, with tf2's names."""

    def set_transform(self, transform: Any, authority: str) -> None:
        """Store a geometry_msgs/TransformStamped of /tf."""

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """Store a geometry_msgs/TransformStamped of /tf_static."""


class _TransformListener:
    """Fills a buffer from both topics, like `tf2_ros.TransformListener`."""

    def __init__(
        self, buffer: Buffer, node: Any, *, qos: QoSProfile, static_qos: QoSProfile
    ) -> None:
        """Subscribe; the arguments are those of tf2_ros."""
        self.buffer = buffer
        self.node = node
        kind = message_type()
        self.tf_sub = node.create_subscription(kind, '/tf', self.callback, qos)
        self.tf_static_sub = node.create_subscription(
            kind, '/tf_static', self.static_callback, static_qos
        )

    def unregister(self) -> None:
        """End the subscriptions."""
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def callback(self, message: Any) -> None:
        """Handle a tf2_msgs/TFMessage of /tf."""
        for transform in message.transforms:
            self.buffer.set_transform(transform, 'default_authority')

    def static_callback(self, message: Any) -> None:
        """Handle a tf2_msgs/TFMessage of /tf_static."""
        for transform in message.transforms:
            self.buffer.set_transform_static(transform, 'default_authority')


class _OverriddenNode:
    """A node whose subscriptions use the user's QoS overrides.

    Attributes:
        created: the subscriptions.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self.created: list[Any] = []

    def create_subscription(
        self, message_type: type, topic: str, callback: Any, qos: QoSProfile, **options: Any
    ) -> Any:
        def create(message_type: type, topic: str, **qos_options: Any) -> Any:
            subscriber = Subscriber(self._node, message_type, topic, **qos_options, **options)
            subscriber.registerCallback(callback)
            self.created.append(subscriber.sub)
            return subscriber.sub

        return create_with_overrides(create, self._node, message_type, topic, SUBSCRIPTION, qos)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)


def listen(node: Any, buffer: Buffer) -> Any:
    """Subscribe to /tf and /tf_static until `unregister()` of the returned object is called.

    Raises:
        ParameterError: if the user's QoS overrides are invalid; nothing is subscribed to then.
    """
    try:
        from tf2_ros import TransformListener as Listener
    except ImportError:
        Listener = _TransformListener
    overridden = _OverriddenNode(node)
    try:
        return Listener(
            buffer,
            overridden,
            qos=QoSProfile(depth=_DEPTH),
            static_qos=transient_local(_DEPTH),
        )
    except BaseException:
        for subscription in overridden.created:
            node.destroy_subscription(subscription)
        raise


def message_type() -> type | None:
    """Return tf2_msgs/TFMessage, None if tf2_msgs is not installed: it is not on PyPI."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        return None
    return TFMessage
