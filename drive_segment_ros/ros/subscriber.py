"""Message filters: message_filters' own where that is installed, else equal ones.

A filter is anything with `registerCallback(callback, *args)`; filters are chained by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class _SimpleFilter:
    """Calls back with what comes; as `message_filters.SimpleFilter`."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

    def registerCallback(self, callback: Callable[..., None], *args: Any) -> int:
        """Have `callback(*messages, *args)` called from now on; return its number."""
        number = len(self.callbacks)
        self.callbacks[number] = (callback, args)
        return number

    def signalMessage(self, *messages: Any) -> None:
        """Call every callback with these messages."""
        for callback, args in self.callbacks.values():
            callback(*messages, *args)


class _Subscriber(_SimpleFilter):
    """The filter at the head of a chain, a subscription; as `message_filters.Subscriber`.

    Attributes:
        sub: rclpy's subscription, whose attributes are this one's as well.
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
        """Take a message from the subscription."""
        self.signalMessage(message)

    def getTopic(self) -> str:
        """Return the topic as it was given."""
        return self.topic

    def __getattr__(self, name: str) -> Any:
        if name == 'sub':  # not there yet
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
