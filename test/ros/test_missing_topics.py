"""Errors about topics without messages, on a fake and on a real ROS graph."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

import rclpy
from sensor_msgs.msg import CompressedImage, Image

from drive_segment_ros.ros.diagnostics import ERROR, WARN
from drive_segment_ros.ros.missing_topics import MissingTopics

IMAGE, TEXT = 'sensor_msgs/msg/Image', 'std_msgs/msg/String'


class Node:
    """A fake node in /camera without remappings; `graph` is (publisher, type) by topic."""

    def __init__(self, graph: dict[str, tuple[str, str]]) -> None:
        self.graph = graph
        self.logged: list[str] = []

    def get_logger(self):
        return SimpleNamespace(error=self.logged.append)

    def get_fully_qualified_name(self) -> str:
        return '/camera/node'

    def resolve_topic_name(self, topic: str) -> str:
        return f'/camera/{topic}'

    def get_topic_names_and_types(self):
        return [(topic, [kind]) for topic, (_, kind) in self.graph.items()]

    def get_publishers_info_by_topic(self, topic: str):
        topic = topic if topic.startswith('/') else self.resolve_topic_name(topic)
        if topic not in self.graph:
            return []
        namespace, _, name = self.graph[topic][0].rpartition('/')
        return [SimpleNamespace(node_namespace=namespace or '/', node_name=name)]


@pytest.mark.parametrize(
    ('graph', 'words'),
    [
        ({}, 'it has no publisher, and no topic has its type'),
        # A topic that the node itself publishes is not suggested.
        ({'/camera/label': ('/camera/node', IMAGE)}, 'no topic has its type'),
        (
            {'/cam/image': ('/driver', IMAGE), '/text': ('/talker', TEXT)},
            'it has no publisher; topics of its type: /cam/image; remap it',
        ),
        ({'/camera/image_raw': ('/driver', IMAGE)}, '; /driver publishes it'),
        (
            {'/camera/image_raw': ('/driver', TEXT)},
            f'/driver publishes it as {TEXT} instead of {IMAGE}',
        ),
    ],
)
def test_a_topic_that_never_comes_is_an_error_that_says_what_there_is(graph, words):
    now = [100.0]
    node = Node(graph)
    topics = [('image_raw', Image), ('image_raw/compressed', CompressedImage)]
    missing = MissingTopics(node, {'image': topics}, clock=lambda: now[0])
    assert missing.problems({}) == {'waiting for image': WARN}
    assert node.logged == []
    now[0] += 11.0
    ((text, level),) = missing.problems({}).items()
    assert level == ERROR
    topics = '/camera/image_raw or /camera/image_raw/compressed'
    expected = f'image: no message has been received on {topics}; '
    assert text.startswith(expected)
    assert text.endswith(words)
    missing.problems({})
    assert node.logged == [text]
    assert missing.problems({'image': 1}) == {}


def test_a_real_graph_tells_what_there_is_instead(ros_domain):
    context = rclpy.Context()
    arguments = ['--ros-args', '-r', '/car/image_raw:=/car/image']
    rclpy.init(context=context, args=arguments)
    node = rclpy.create_node('node', namespace='/car', context=context)
    driver = rclpy.create_node('driver', namespace='/front', context=context)
    driver.create_publisher(Image, 'image_raw', 1)
    now = [0.0]
    missing = MissingTopics(node, {'image': [('image_raw', Image)]}, clock=lambda: now[0])
    deadline = time.monotonic() + 60
    while not node.get_publishers_info_by_topic('/front/image_raw'):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    now[0] = 11.0
    assert missing.problems({}) == {
        'image: no message has been received on /car/image; it has no publisher; topics of its '
        'type: /front/image_raw; remap it': ERROR
    }
    driver.create_publisher(CompressedImage, '/car/image', 1)
    while not node.get_publishers_info_by_topic('/car/image'):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (text,) = missing.problems({})
    assert text.endswith(
        '/front/driver publishes it as sensor_msgs/msg/CompressedImage instead of '
        'sensor_msgs/msg/Image'
    )
    driver.destroy_node()
    node.destroy_node()
    rclpy.shutdown(context=context)
