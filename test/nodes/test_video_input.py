"""Nodes receive encoded video as images; stand-ins replace the packages of its messages."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from drive_segment_ros.errors import DependencyError  # noqa: E402
from drive_segment_ros.nodes.image_input import ImageInput, _decoding  # noqa: E402
from drive_segment_ros.ros.images import decode_image  # noqa: E402
from drive_segment_ros.ros.video import VideoStream  # noqa: E402

LIMIT_S = 60.0


def packets(encode_video, encoder: str = 'libx264') -> list[tuple[int, bytes]]:
    noise = np.random.default_rng(0).integers(0, 255, (64, 160, 3), np.uint8)
    return encode_video([np.ascontiguousarray(noise[:, k : k + 96]) for k in range(8)], encoder, 4)


@pytest.fixture
def node(ros_domain):
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    made = rclpy.create_node('camera', context=context)
    yield made
    made.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize('transport', ['auto', 'ffmpeg'])
def test_video_is_heard_as_images(node, monkeypatch, encode_video, decode_video, transport):
    # An Image has all fields that are read of a packet.
    monkeypatch.setitem(
        sys.modules, 'ffmpeg_image_transport_msgs.msg', SimpleNamespace(FFMPEGPacket=Image)
    )
    sent = packets(encode_video)
    expected = decode_video('h264', sent)
    publisher = node.create_publisher(Image, 'front/image_raw/ffmpeg', 20)
    heard: list = []
    images = ImageInput(
        node, 'front/image_raw', heard.append, transport, depth=20, reliability='reliable'
    )
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + LIMIT_S
    while not publisher.get_subscription_count() and time.monotonic() < deadline:
        images.look()
        executor.spin_once(timeout_sec=0.05)
    for number, data in sent:
        message = Image(encoding='h264;yuv420p;bgr8', data=data)
        message.header.stamp.sec, message.header.frame_id = number, 'optical'
        publisher.publish(message)
    while len(heard) < len(sent) and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
    images.destroy()
    executor.shutdown()
    assert [image.header.stamp.sec for image in heard] == [number for number, _ in sent]
    for image in reversed(heard):
        assert np.array_equal(decode_image(image), expected[image.header.stamp.sec])


def test_foxgloves_video_gets_a_header(encode_video, decode_video):
    from builtin_interfaces.msg import Time

    heard: list = []
    hear = _decoding(VideoStream(), heard.append)
    sent = packets(encode_video, 'libx265')
    for number, data in sent:
        stamp = Time(sec=number)
        hear(SimpleNamespace(timestamp=stamp, frame_id='optical', data=data, format='h265'))
    (last, _) = sent[-1]
    assert (heard[-1].header.stamp.sec, heard[-1].header.frame_id) == (last, 'optical')
    assert np.array_equal(decode_image(heard[-1]), decode_video('hevc', sent)[last])


def test_a_transport_whose_messages_are_missing_is_refused(node):
    with pytest.raises(DependencyError, match='of transport foxglove need foxglove_msgs'):
        ImageInput(node, 'front/image_raw', transport='foxglove')
