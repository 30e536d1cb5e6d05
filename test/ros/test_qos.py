"""Subscriptions follow the publisher's reliability, on real DDS."""

from __future__ import annotations

import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from drive_segment_ros.ros.qos import FollowingSubscription, suitable_reliability

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


@pytest.mark.parametrize(
    ('offered', 'wanted', 'expected'),
    [
        ([], 'auto', 'reliable'),
        ([RELIABLE], 'auto', 'reliable'),
        ([RELIABLE, BEST_EFFORT], 'auto', 'best_effort'),
        ([BEST_EFFORT], 'reliable', 'reliable'),
        ([RELIABLE], 'best_effort', 'best_effort'),
    ],
)
def test_suitable_reliability(offered, wanted, expected):
    assert suitable_reliability(offered, wanted) == expected


@pytest.fixture
def node(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('listener', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.run_until = lambda condition: run_until(executor, condition)
    yield node
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def run_until(executor, condition, limit_s: float = 10.0) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.05)
        if condition():
            return True
    return False


def publisher(node, reliability):
    return node.create_publisher(String, 'topic', QoSProfile(depth=5, reliability=reliability))


def test_hears_a_best_effort_publisher_that_comes_later_and_a_reliable_one_after(node):
    heard: list[str] = []
    subscription = FollowingSubscription(node, String, 'topic', lambda m: heard.append(m.data))
    assert subscription.reliability == 'reliable'
    for policy, name in ((BEST_EFFORT, 'best_effort'), (RELIABLE, 'reliable')):
        talker = publisher(node, policy)

        def heard_it(talker=talker, name=name):
            talker.publish(String(data=name))
            return name in heard and subscription.reliability == name

        assert node.run_until(heard_it)
        assert subscription.problem == ''
        assert subscription.publishers == 1
        node.destroy_publisher(talker)
        assert node.run_until(lambda: subscription.publishers == 0)
    subscription.destroy()
    assert node.count_subscribers('topic') == 0


def test_an_rclpy_that_hands_on_the_message_alone_will_do(node, monkeypatch):
    monkeypatch.setattr('drive_segment_ros.ros.qos._HAS_INFO', False)
    heard: list[str] = []
    subscription = FollowingSubscription(node, String, 'topic', lambda m: heard.append(m.data))
    callback_type = type(subscription._subscription).CallbackType
    assert subscription._subscription._callback_type == callback_type.MessageOnly
    talker = publisher(node, RELIABLE)

    def heard_it():
        talker.publish(String(data='x'))
        return heard

    assert node.run_until(heard_it)
    assert subscription.lost == 0
    subscription.destroy()
    node.destroy_publisher(talker)


def test_clash_is_put_into_words(node):
    subscription = FollowingSubscription(
        node, String, 'topic', lambda m: None, reliability='reliable'
    )
    publisher(node, BEST_EFFORT)
    assert node.run_until(lambda: subscription.problem)
    assert subscription.problem.startswith('topic: QoS keeps out the messages of listener (')
    assert "'auto'" in subscription.problem
    assert '\n' not in subscription.problem
