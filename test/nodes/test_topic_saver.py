"""Images of topics are saved as files, raw or compressed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from drive_segment_ros.errors import DatasetError, ParameterError  # noqa: E402
from drive_segment_ros.nodes.topic_saver import _Files, save_topics  # noqa: E402

LIMIT_S = 60.0
PIXELS = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


def raw() -> Any:
    message = Image(height=48, width=64, encoding='mono8', step=64, data=PIXELS.tobytes())
    message.header.stamp.sec = 7
    return message


def compressed(data: bytes) -> Any:
    message = CompressedImage(format='jpeg', data=data)
    message.header.stamp.nanosec = 9
    return message


def published_until(topic: str, message: Any, saving: Callable[[threading.Event], Any]) -> Any:
    """Publish a message until `saving` has received one; return the result of `saving`."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node('camera', context=context)
    publisher = node.create_publisher(type(message), topic, 10)
    stop = threading.Event()
    results: list[Any] = []
    add, taken = _Files.add, threading.Event()

    def take(files: _Files, message: Any) -> None:
        add(files, message)
        taken.set()

    with mock.patch.object(_Files, 'add', take):
        saver = threading.Thread(target=lambda: results.append(saving(stop)))
        saver.start()
        deadline = time.monotonic() + LIMIT_S
        while saver.is_alive() and not taken.is_set() and time.monotonic() < deadline:
            publisher.publish(message)
            time.sleep(0.1)
        stop.set()
        saver.join(LIMIT_S)
    node.destroy_node()
    rclpy.shutdown(context=context)
    return results[0]


def test_raw_images_become_png_without_loss(ros_domain: int, tmp_path: Path) -> None:
    report = published_until(
        '/mask', raw(), lambda stop: save_topics(['/mask'], tmp_path / 'out', LIMIT_S, stop)
    )
    assert report.images > 0
    written = cv2.imread(str(tmp_path / 'out/7000000000.png'), cv2.IMREAD_UNCHANGED)
    assert (written == PIXELS[..., None]).all()


def test_compressed_images_are_kept_and_broken_ones_counted(
    ros_domain: int, tmp_path: Path
) -> None:
    data = cv2.imencode('.jpg', PIXELS)[1].tobytes()
    topic = '/mask/compressed'
    report = published_until(
        topic, compressed(data), lambda stop: save_topics([topic], tmp_path, LIMIT_S, stop)
    )
    assert (tmp_path / '9.jpg').read_bytes() == data
    assert report.unreadable == 0
    broken = published_until(
        topic, compressed(b'no image'), lambda stop: save_topics([topic], tmp_path, LIMIT_S, stop)
    )
    assert (broken.images, broken.unreadable > 0) == (0, True)


def test_several_topics_have_a_folder_each(ros_domain: int, tmp_path: Path) -> None:
    topics = ['/left/mask', '/right/mask']
    report = published_until(
        '/right/mask', raw(), lambda stop: save_topics(topics, tmp_path, LIMIT_S, stop)
    )
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob('*.png')] == [
        Path('right/mask/7000000000.png')
    ]
    assert report.topics == {'/left/mask': 0, '/right/mask': report.images}


def test_nothing_published_ends_in_time(ros_domain: int, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert save_topics(['/silence'], tmp_path / 'out', 0.2).images == 0
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / 'out').exists()


def test_a_folder_that_cannot_be_written(ros_domain: int, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()

    def saving(stop: threading.Event) -> str:
        with pytest.raises(DatasetError, match='cannot write') as error:
            save_topics(['/mask'], tmp_path / 'file', LIMIT_S, stop)
        return str(error.value)

    assert '7000000000.png' in published_until('/mask', raw(), saving)


@pytest.mark.parametrize('topic', ['/front-left/mask', 'two words', '/', ''])
def test_a_topic_that_cannot_be_is_one_line(ros_domain: int, tmp_path: Path, topic: str) -> None:
    with pytest.raises(ParameterError, match=f"'{topic}' cannot be a topic: ") as error:
        save_topics([topic], tmp_path, 0.1)
    assert '\n' not in str(error.value)


def test_images_of_one_stamp_have_a_file_each(tmp_path: Path) -> None:
    files = _Files(tmp_path)
    first, second = raw(), raw()
    second.data = (PIXELS + 1).tobytes()
    for message in (first, second, first):
        files.add(message)
    names = ['7000000000.png', '7000000000_2.png']
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    written = cv2.imread(str(tmp_path / names[0]), cv2.IMREAD_UNCHANGED)
    assert (written == PIXELS[..., None]).all()
