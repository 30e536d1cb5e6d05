"""Message filters: those of message_filters if it is installed, else equivalent ones.

A filter is an object with `registerCallback(callback, *args)`, by which filters are chained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class _SimpleFilter:
    """Calls back with each message, like `message_filters.SimpleFilter`."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

    def registerCallback(self, callback: Callable[..., None], *args: Any) -> int:
        """Register a callback for `callback(*messages, *args)`; return its number."""
        number = len(self.callbacks)
        self.callbacks[number] = (callback, args)
        return number

    def signalMessage(self, *messages: Any) -> None:
        """Call every callback with these messages."""
        for callback, args in self.callbacks.values():
            callback(*messages, *args)


class _Subscriber(_SimpleFilter):
    """The first filter of a chain, a subscription, like `message_filters.Subscriber`.

    Attributes:
        sub: rclpy's subscription; its attributes are also available on this object.
        node, topic: as given.
    """

    def __init__(self, node: Any, message_type: type, topic: str, **options: Any) -> None:
        """Subscribe.

        Args:
            node: rclpy node.
            message_type: message class.
            topic: relative or absolute name.
            options: of `create_subscription`; `qos_profile` is a depth of 10 if not given.
        """
        super().__init__()
        self.node = node
        self.topic = topic
        options.setdefault('qos_profile', 10)
        self.sub = node.create_subscription(message_type, topic, self.callback, **options)

    def callback(self, message: Any) -> None:
        """Handle a message of the subscription."""
        self.signalMessage(message)

    def getTopic(self) -> str:
        """Return the topic as it was given."""
        return self.topic

    def __getattr__(self, name: str) -> Any:
        if name == 'sub':  # not set yet
            raise AttributeError(name)
        return getattr(self.sub, name)


SimpleFilter: Any = _SimpleFilter
Subscriber: Any = _Subscriber
try:
    import message_filters
except ImportError:
    pass
else:
    SimpleFilter, Subscriber = message_filters.SimpleFilter, message_filters.Subscriber
