"""Reports input topics without messages, and the topics that exist instead."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drive_segment_ros.ros.diagnostics import ERROR, WARN

# Drivers take some seconds to start; a topic that is silent for longer is misnamed or inactive.
_NEVER_S = 10.0
_NAMED = 4


class MissingTopics:
    """Reports inputs that have never arrived: first as a warning, later as an error."""

    def __init__(
        self,
        node: Any,
        topics: Mapping[str, Sequence[tuple[str, type]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start waiting.

        Args:
            node: rclpy node.
            topics: for each input its topics, any of which will do, and their message types.
            clock: seconds, monotonic.
        """
        self._node = node
        self._topics = topics
        self._clock = clock
        self._since_s = clock()
        self._told: set[str] = set()

    def problems(self, received: Mapping[str, int]) -> dict[str, int]:
        """Return the missing inputs as text with a level; errors are logged once.

        Args:
            received: messages by input.
        """
        missing = [name for name in self._topics if not received.get(name)]
        if not missing:
            return {}
        if self._clock() - self._since_s < _NEVER_S:
            return {f'waiting for {", ".join(missing)}': WARN}
        texts = {name: self._explain(name) for name in missing}
        for name in missing:
            if name not in self._told:
                self._told.add(name)
                self._node.get_logger().error(texts[name])
        return dict.fromkeys(texts.values(), ERROR)

    def _explain(self, name: str) -> str:
        topics = [
            (self._node.resolve_topic_name(t), _type_name(t_)) for t, t_ in self._topics[name]
        ]
        expected = ' or '.join(topic for topic, _ in topics)
        graph = dict(self._node.get_topic_names_and_types())
        text = f'{name}: no message has been received on {expected}'
        for topic, kind in topics:
            others = self._others(topic)
            if others:
                wrong = [t for t in graph.get(topic, []) if t != kind]
                as_what = f' as {", ".join(wrong)} instead of {kind}' if wrong else ''
                return f'{text}; {", ".join(others)} publishes it{as_what}'
        kinds = {kind for _, kind in topics}
        alike = sorted(t for t, types in graph.items() if kinds & set(types) and self._others(t))
        if not alike:
            return f'{text}; it has no publisher, and no topic has its type'
        shown = ', '.join(alike[:_NAMED]) + (', ...' if len(alike) > _NAMED else '')
        return f'{text}; it has no publisher; topics of its type: {shown}; remap it'

    def _others(self, topic: str) -> list[str]:
        """Return the nodes that publish a topic, without this one."""
        own = self._node.get_fully_qualified_name()
        infos = self._node.get_publishers_info_by_topic(topic)
        nodes = {f'{i.node_namespace.rstrip("/")}/{i.node_name}' for i in infos}
        return sorted(nodes - {own})


def _type_name(message_type: type) -> str:
    """Return a message class's name in the ROS graph: `sensor_msgs/msg/Image`."""
    package, kind, *_ = message_type.__module__.split('.')
    return f'{package}/{kind}/{message_type.__name__}'
