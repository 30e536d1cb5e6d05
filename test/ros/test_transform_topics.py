"""/tf and /tf_static through tf2_ros or through our own listener, with the same result."""

from __future__ import annotations

import sys
import types

import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from drive_segment_ros.ros import transform_topics


class Buffer:
    def __init__(self) -> None:
        self.moving: list[str] = []
        self.static: list[str] = []

    def set_transform(self, transform, authority: str) -> None:
        self.moving.append(transform.child_frame_id)

    def set_transform_static(self, transform, authority: str) -> None:
        self.static.append(transform.child_frame_id)


@pytest.fixture
def node(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    overrides = [
        Parameter('qos_overrides./tf.subscription.reliability', value='best_effort'),
        Parameter('qos_overrides./tf.subscription.depth', value=7),
    ]
    node = rclpy.create_node('node', context=context, parameter_overrides=overrides)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture(params=['ours', 'tf2_ros'])
def listen(request, monkeypatch):
    if request.param == 'tf2_ros':
        pytest.importorskip('tf2_ros', reason='tf2_ros is part of a ROS installation')
    else:
        # Any message class serves to subscribe; the test calls the callbacks itself.
        monkeypatch.setitem(sys.modules, 'tf2_ros', None)
        monkeypatch.setattr(transform_topics, 'message_type', lambda: TransformStamped)
    return transform_topics.listen


def test_both_topics_fill_the_buffer_with_the_qos_the_user_gave(node, listen):
    buffer = Buffer()
    listener = listen(node, buffer)
    (moving,) = node.get_subscriptions_info_by_topic('/tf')
    (static,) = node.get_subscriptions_info_by_topic('/tf_static')
    assert moving.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert node.get_parameter('qos_overrides./tf.subscription.depth').value == 7
    assert static.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert static.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    messages = [TransformStamped(child_frame_id=name) for name in ('a', 'b')]
    listener.callback(types.SimpleNamespace(transforms=messages))
    listener.static_callback(types.SimpleNamespace(transforms=messages[1:]))
    assert (buffer.moving, buffer.static) == (['a', 'b'], ['b'])
    listener.unregister()
    assert node.count_subscribers('/tf') == node.count_subscribers('/tf_static') == 0
