"""Our filters behave like those of message_filters, which are tested where installed."""

from __future__ import annotations

import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from drive_segment_ros.nodes.image_input import ImageInput
from drive_segment_ros.ros import subscriber
from drive_segment_ros.ros.qos import FollowingSubscription


@pytest.fixture
def node(ros_domain, monkeypatch):
    monkeypatch.setattr('drive_segment_ros.ros.qos._LOOK_PERIOD_S', 0.05)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('listener', namespace='/car', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def run_until(condition) -> bool:
        end = time.monotonic() + 60.0
        while not (held := condition()) and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        return bool(held)

    node.run_until = run_until
    yield node
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def genuine() -> type:
    reason = 'message_filters is part of a ROS installation'
    return pytest.importorskip('message_filters', reason=reason).Subscriber


@pytest.mark.parametrize(
    'kind', [lambda: subscriber._Subscriber, genuine], ids=['ours', 'message_filters']
)
def test_a_subscriber_is_a_filter_and_a_subscription(node, kind):
    Subscriber = kind()
    heard: list[tuple[object, ...]] = []
    qos = QoSProfile(depth=3, reliability=ReliabilityPolicy.BEST_EFFORT)
    head = Subscriber(node, String, 'topic', qos_profile=qos)
    assert head.registerCallback(lambda *all_of: heard.append(all_of)) == 0
    assert head.registerCallback(lambda *all_of: heard.append(all_of), 'more', 2) == 1
    (info,) = node.get_subscriptions_info_by_topic('topic')
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert (head.topic, head.getTopic(), head.node) == ('topic', 'topic', node)
    # Attributes of the subscription are available on the subscriber.
    assert (head.topic_name, head.msg_type) == ('/car/topic', String)
    with pytest.raises(AttributeError):
        head.no_such_thing  # noqa: B018
    talker = node.create_publisher(String, 'topic', 10)
    sent = String(data='x')

    def heard_it() -> bool:
        talker.publish(sent)
        return bool(heard)

    assert node.run_until(heard_it)
    assert heard[:2] == [(sent,), (sent, 'more', 2)]
    node.destroy_subscription(head.sub)
    assert node.count_subscribers('topic') == 0
    usual = Subscriber(node, String, 'usual')
    assert usual.sub.qos_profile.depth == 10
    raised = Subscriber(node, String, 'raises')

    def refuse(message: String) -> None:
        raise ValueError(message.data)

    raised.registerCallback(refuse)
    with pytest.raises(ValueError, match='x'):
        raised.signalMessage(sent)


def test_what_nodes_subscribe_with_is_message_filters_where_installed():
    message_filters = pytest.importorskip(
        'message_filters', reason='message_filters is part of a ROS installation'
    )
    assert subscriber.Subscriber is message_filters.Subscriber
    assert issubclass(FollowingSubscription, message_filters.SimpleFilter)
    assert issubclass(ImageInput, message_filters.SimpleFilter)


def test_filters_stay_chained_while_the_subscription_changes(node):
    heard: list[tuple[str, str]] = []
    following = FollowingSubscription(node, String, 'topic')
    following.registerCallback(lambda message, name: heard.append((message.data, name)), 'a')
    following.registerCallback(lambda message, name: heard.append((message.data, name)), 'b')
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    talker = node.create_publisher(String, 'topic', qos)

    def heard_it() -> bool:
        talker.publish(String(data='x'))
        return bool(heard)

    assert node.run_until(heard_it)
    assert following.reliability == 'best_effort'
    assert heard[:2] == [('x', 'a'), ('x', 'b')]
    following.destroy()
    assert node.count_subscribers('topic') == 0


def test_messages_that_never_came_are_counted(node):
    heard: list[str] = []
    following = FollowingSubscription(node, String, 'topic', lambda m: heard.append(m.data))
    talker = node.create_publisher(String, 'topic', 10)

    def heard_it() -> bool:
        talker.publish(String(data='first'))
        return bool(heard)

    assert node.run_until(heard_it)
    node.run_until(lambda: following.publishers == 1)
    assert following.lost == 0
    # The queue holds 5 messages: of 12 that arrive without spinning, 7 are lost.
    for number in range(12):
        talker.publish(String(data=str(number)))
    assert node.run_until(lambda: heard[-1] == '11')
    if following._last_number is None:
        pytest.skip('this middleware does not number messages')
    assert following.lost == 12 - sum(data.isdigit() for data in heard) > 0
    following.destroy()


def test_images_of_either_transport_go_down_one_chain(node):
    heard: list[object] = []
    images = ImageInput(node, 'image_raw', transport='compressed')
    images.registerCallback(lambda message, name: heard.append(name), 'front')
    talker = node.create_publisher(CompressedImage, 'image_raw/compressed', 10)

    def heard_it() -> bool:
        talker.publish(CompressedImage())
        return bool(heard)

    assert node.run_until(heard_it)
    assert heard[0] == 'front'
    images.destroy()
