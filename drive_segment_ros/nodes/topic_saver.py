"""Saves images of topics as files, for example to view masks without RViz."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import DatasetError, ImageError, ParameterError
from drive_segment_ros.frame.rig import raw_topic
from drive_segment_ros.nodes.image_input import ImageInput
from drive_segment_ros.nodes.signals import signals_set
from drive_segment_ros.ros.images import encoded_image
from drive_segment_ros.whole_files import write_whole

_LOOK_PERIOD_S = 0.1


@dataclasses.dataclass(frozen=True)
class SavedTopics:
    """The result of saving.

    Attributes:
        images: written, all topics together.
        unreadable: number of messages without a readable image.
        folder: of the files, which are named by their stamp in nanoseconds; others of the same
            stamp end in `_2` and so on.
        topics: images written of each topic.
    """

    images: int
    unreadable: int
    folder: str
    topics: dict[str, int]


def save_topics(
    topics: Sequence[str],
    folder: Path,
    duration_s: float | None = None,
    stop: threading.Event | None = None,
) -> SavedTopics:
    """Write every image of some topics to a file, until interrupted (SIGINT, SIGTERM).

    Args:
        topics: of sensor_msgs/Image, or with the name of a transport at the end.
        folder: to write to; created if missing. Each of several topics has its own subfolder.
        duration_s: time to run; None until interrupted.
        stop: ends it when set.

    Raises:
        DatasetError: if a file cannot be written.
        DependencyError: if a package that a topic's transport needs is not installed.
        ParameterError: if a topic's name is invalid.
    """
    # The transports of `live` and the launch files; set before the middleware starts.
    os.environ.setdefault('FASTDDS_BUILTIN_TRANSPORTS', 'LARGE_DATA')
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    ended = stop or threading.Event()
    deadline = None if duration_s is None else time.monotonic() + duration_s
    context = rclpy.Context()
    with signals_set(ended):
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = rclpy.create_node('topic_saver', context=context)
            files = {
                topic: _Files(folder / topic.strip('/') if len(topics) > 1 else folder)
                for topic in topics
            }
            inputs = [_input(node, topic, files[topic].add) for topic in files]
            executor = SingleThreadedExecutor(context=context)
            executor.add_node(node)
            while not ended.is_set() and (deadline is None or time.monotonic() < deadline):
                executor.spin_once(timeout_sec=_LOOK_PERIOD_S)
            for images in inputs:
                images.destroy()
            node.destroy_node()
        finally:
            rclpy.shutdown(context=context)
    return SavedTopics(
        images=sum(saved.written for saved in files.values()),
        unreadable=sum(saved.unreadable for saved in files.values()),
        folder=str(folder),
        topics={topic: saved.written for topic, saved in files.items()},
    )


def _input(node: Any, topic: str, callback: Callable[[Any], None]) -> ImageInput:
    from rclpy.exceptions import NameValidationException

    raw = raw_topic(topic)
    try:
        return ImageInput(node, raw, callback, topic.removeprefix(raw).strip('/') or 'raw')
    except (NameValidationException, ValueError) as err:
        what = ' '.join(str(err).split())
        raise ParameterError(f'{topic!r} cannot be a topic: {what}') from err


class _Files:
    """Writes the images of one topic to a folder."""

    def __init__(self, folder: Path) -> None:
        self.written = self.unreadable = 0
        self._folder = folder
        self._hashes: dict[int, dict[int, int]] = {}  # numbers of contents, by stamp

    def add(self, message: Any) -> None:
        stamp = message.header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        try:
            content, suffix = encoded_image(message)
        except ImageError:
            self.unreadable += 1
            return
        # A driver may leave all stamps at zero; a bag that is played again repeats its images.
        hashes = self._hashes.setdefault(stamp_ns, {})
        number = hashes.setdefault(hash(content), len(hashes) + 1)
        path = self._folder / f'{stamp_ns}{f"_{number}" if number > 1 else ""}{suffix}'
        try:
            # Renamed when complete, so that the folder only has complete images.
            write_whole(path, content, synced=False)
        except OSError as err:
            raise DatasetError(f'cannot write {path}: {err.strerror}') from err
        self.written += 1
