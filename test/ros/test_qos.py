"""Subscriptions follow the publisher's reliability, on real DDS."""

from __future__ import annotations

import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from drive_segment_ros.errors import ParameterError
from drive_segment_ros.ros.qos import FollowingSubscription, suitable_reliability
from drive_segment_ros.ros.qos_overrides import PUBLISHER, create_with_overrides, unused_overrides

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
def node(ros_domain, monkeypatch):
    monkeypatch.setattr('drive_segment_ros.ros.qos._LOOK_PERIOD_S', 0.05)
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


def run_until(executor, condition, limit_s: float = 60.0) -> bool:
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
    held = subscription._subscriber.sub
    assert held._callback_type == type(held).CallbackType.MessageOnly
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
    assert subscription.problem.startswith('topic: incompatible QoS of listener (')
    assert "'auto'" in subscription.problem
    assert '\n' not in subscription.problem


@pytest.fixture
def make_node(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def make(**overrides):
        values = [
            Parameter(f'qos_overrides./{name.replace("__", ".")}', value=value)
            for name, value in overrides.items()
        ]
        nodes.append(rclpy.create_node('node', context=context, parameter_overrides=values))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_the_qos_a_user_gives_a_topic_goes_before_what_publishers_offer(make_node):
    node = make_node(topic__subscription__reliability='best_effort',
                     topic__subscription__depth=7, out__publisher__durability='transient_local',
                     topik__subscription__depth=3)  # fmt: skip
    publisher(node, RELIABLE)
    subscription = FollowingSubscription(node, String, 'topic', lambda message: None)
    (info,) = node.get_subscriptions_info_by_topic('topic')
    assert info.qos_profile.reliability == BEST_EFFORT
    assert subscription.reliability == 'best_effort'
    assert node.get_parameter('qos_overrides./topic.subscription.depth').value == 7
    (held,) = (one for one in node.subscriptions if one.topic_name == '/topic')
    subscription.look()
    assert subscription.reliability == 'best_effort'
    # The subscription is not recreated needlessly.
    assert held in list(node.subscriptions)
    # Topics without overrides follow the QoS of their publishers.
    assert FollowingSubscription(node, String, 'other', print).reliability == 'reliable'
    create_with_overrides(
        node.create_publisher, node, String, 'out', PUBLISHER, QoSProfile(depth=1)
    )
    (info,) = node.get_publishers_info_by_topic('out')
    assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert unused_overrides(node, ['out'], ['topic']) == [
        'qos_overrides./topik.subscription.depth'
    ]
    subscription.destroy()


def test_a_clash_with_the_users_own_qos_says_so(make_node):
    node = make_node(topic__subscription__reliability='reliable')
    publisher(node, BEST_EFFORT)
    subscription = FollowingSubscription(node, String, 'topic', lambda message: None)
    subscription.look()
    assert 'change or remove its qos_overrides' in subscription.problem
    subscription.destroy()


@pytest.mark.parametrize(
    ('override', 'value', 'words'),
    [
        ('reliability', 'sometimes', 'sometimes'),
        ('depth', 'deep', 'depth'),
        ('realiability', 'reliable', 'not a QoS policy; there are .*depth'),
        ('lifespan', 5, 'not a QoS policy'),
    ],
)
def test_a_qos_that_is_none_is_one_line(make_node, override, value, words):
    node = make_node(**{f'topic__subscription__{override}': value})
    with pytest.raises(ParameterError, match=words) as error:
        FollowingSubscription(node, String, 'topic', lambda message: None)
    assert 'qos_overrides./topic.subscription' in str(error.value)
    assert '\n' not in str(error.value)
