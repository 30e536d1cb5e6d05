"""A topic's images as files: to look at masks where there is no RViz."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import DatasetError, ImageError
from drive_segment_ros.nodes.image_input import ImageInput
from drive_segment_ros.nodes.signals import signals_set
from drive_segment_ros.ros.images import encoded_image
from drive_segment_ros.whole_files import write_whole

_COMPRESSED = '/compressed'
_LOOK_PERIOD_S = 0.1


@dataclasses.dataclass(frozen=True)
class WatchReport:
    """What came.

    Attributes:
        topic: listened to.
        images: written.
        unreadable: messages that hold no image.
        folder: the files', named by their stamp in nanoseconds.
    """

    topic: str
    images: int
    unreadable: int
    folder: str


def watch(
    topic: str,
    folder: Path,
    duration_s: float | None = None,
    stop: threading.Event | None = None,
) -> WatchReport:
    """Write every image of a topic to a file, until interrupted (SIGINT, SIGTERM).

    Args:
        topic: of sensor_msgs/Image, or of CompressedImage where it ends in `/compressed`.
        folder: to write to; made if missing.
        duration_s: how long; None until interrupted.
        stop: ends it when set.

    Raises:
        DatasetError: if a file cannot be written.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    ended = stop or threading.Event()
    deadline = None if duration_s is None else time.monotonic() + duration_s
    context = rclpy.Context()
    with signals_set(ended):
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = rclpy.create_node('watcher', context=context)
            files = _Files(folder)
            transport = 'compressed' if topic.endswith(_COMPRESSED) else 'raw'
            images = ImageInput(node, topic.removesuffix(_COMPRESSED), files.add, transport)
            executor = SingleThreadedExecutor(context=context)
            executor.add_node(node)
            while not ended.is_set() and (deadline is None or time.monotonic() < deadline):
                executor.spin_once(timeout_sec=_LOOK_PERIOD_S)
            images.destroy()
            node.destroy_node()
        finally:
            rclpy.shutdown(context=context)
    return WatchReport(topic, files.written, files.unreadable, str(folder))


class _Files:
    """Images as files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.written = self.unreadable = 0
        self._folder = folder

    def add(self, message: Any) -> None:
        stamp = message.header.stamp
        name = str(stamp.sec * 1_000_000_000 + stamp.nanosec)
        try:
            content, suffix = encoded_image(message)
        except ImageError:
            self.unreadable += 1
            return
        path = self._folder / f'{name}{suffix}'
        try:
            # Whoever looks into the folder finds whole images.
            write_whole(path, content, synced=False)
        except OSError as err:
            raise DatasetError(f'cannot write {path}: {err.strerror}') from err
        self.written += 1
