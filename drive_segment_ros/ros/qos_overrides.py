"""The user's QoS for a topic: ROS 2's parameters `qos_overrides.TOPIC.ENTITY.POLICY`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rclpy.exceptions import ParameterException
from rclpy.qos import QoSPolicyKind, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from drive_segment_ros.errors import ParameterError

_PREFIX = 'qos_overrides.'
PUBLISHER, SUBSCRIPTION = 'publisher', 'subscription'


def create_with_overrides(
    create: Callable[..., Any],
    node: Any,
    message_type: type,
    topic: str,
    entity: str,
    qos: QoSProfile,
    **options: Any,
) -> Any:
    """Create a publisher or subscription with the user's QoS overrides, if any.

    Only given policies are declared: rclpy keeps a declared policy permanently, while these
    subscriptions adapt to the publishers.

    Args:
        create: called with message type, topic and the keywords `qos_profile` and
            `qos_overriding_options`, such as `node.create_publisher`.
        node: rclpy node.
        message_type: message class.
        topic: relative or absolute name.
        entity: `PUBLISHER` or `SUBSCRIPTION`.
        qos: without overrides; modified to the one in use.
        options: further ones of `create`.

    Raises:
        ParameterError: if a policy or its value is invalid.
    """
    prefix = f'{_PREFIX}{node.resolve_topic_name(topic)}.{entity}'
    kinds = [_policy(name) for name in _given(node) if name.rpartition('.')[0] == prefix]
    try:
        return create(
            message_type,
            topic,
            qos_profile=qos,
            qos_overriding_options=QoSOverridingOptions(kinds),
            **options,
        )
    except (ParameterException, RuntimeError, TypeError, ValueError) as err:
        if not kinds:
            raise
        raise ParameterError(f'{prefix}: {" ".join(str(err).split())}') from err


def unused_overrides(node: Any, published: Iterable[str], subscribed: Iterable[str]) -> list[str]:
    """Return the overrides of topics that a node does not have.

    Args:
        node: rclpy node.
        published, subscribed: its topics, relative or absolute.
    """
    prefixes = {
        f'{_PREFIX}{node.resolve_topic_name(topic)}.{entity}'
        for entity, topics in ((PUBLISHER, published), (SUBSCRIPTION, subscribed))
        for topic in topics
    }
    return [name for name in _given(node) if name.rpartition('.')[0] not in prefixes]


def _given(node: Any) -> list[str]:
    # rclpy has no public way to ask.
    overrides = getattr(node, '_parameter_overrides', {})
    return [name for name in overrides if name.startswith(_PREFIX)]


def _policy(name: str) -> QoSPolicyKind:
    policy = name.rpartition('.')[2]
    usable = {kind.name.lower(): kind for kind in QoSPolicyKind if kind.name != 'INVALID'}
    if f'.{SUBSCRIPTION}.' in name:
        usable.pop('lifespan', None)
    if policy not in usable:
        raise ParameterError(f'{name}: not a QoS policy; there are {", ".join(usable)}')
    return usable[policy]
