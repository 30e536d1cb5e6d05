"""`drive-segment` in processes of its own, and a subscriber in this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

WAIT_S, SETTLE_S, MATCH_S, LIMIT_S = '60', 2.0, 60.0, 120.0


def own_domain() -> None:
    """Have this process and those it starts talk among themselves alone."""
    os.environ |= {
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA',
    }


def command(*arguments: object) -> dict[str, Any]:
    """Run a `drive-segment` command and return what it prints with `--json`.

    Raises:
        RuntimeError: if it fails.
    """
    return _finished(_start(*arguments, '--json'), str(arguments[0]))


def play_to_node(
    bag: object, play: list[object], live: list[object], topics: dict[str, type]
) -> tuple[dict, dict, dict[str, int]]:
    """Play a bag to a node that is listened to.

    Args:
        bag: to play.
        play, live: further arguments of the commands.
        topics: of the node, with their types.

    Returns:
        Summaries of `live` and `play`, and how many messages came on each topic.

    Raises:
        RuntimeError: if one of the commands fails.
    """
    with _Listener(topics) as listener:
        node = _start('live', *live, '--json')
        try:
            listener.wait_until_matched(MATCH_S)
            played = command('play', bag, '--wait', WAIT_S, *play)
            time.sleep(SETTLE_S)
        finally:
            node.send_signal(signal.SIGINT)
            try:
                summary = _finished(node, 'live')
            except subprocess.TimeoutExpired:
                node.kill()
                raise
    return summary, played, listener.received


class _Listener:
    """Subscribes, on a thread; messages stay as they arrive, for taking them apart is not timed.

    Attributes:
        received: messages by topic.
    """

    def __init__(self, topics: dict[str, type]) -> None:
        import rclpy
        from rclpy.event_handler import SubscriptionEventCallbacks
        from rclpy.executors import SingleThreadedExecutor

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node('listener', context=self._context)
        self.received = dict.fromkeys(topics, 0)
        self._matched = dict.fromkeys(topics, False)
        for topic, kind in topics.items():
            self._node.create_subscription(
                kind,
                topic,
                lambda _, t=topic: self._count(t),
                10,
                raw=True,
                event_callbacks=SubscriptionEventCallbacks(
                    matched=lambda _, t=topic: self._matched.update({t: True})
                ),
            )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)

    def __enter__(self) -> _Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        import rclpy

        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def wait_until_matched(self, limit_s: float) -> None:
        """Wait for the node's publishers: discovery takes seconds, and unheard is not made."""
        deadline = time.monotonic() + limit_s
        while not all(self._matched.values()):
            if time.monotonic() > deadline:
                raise RuntimeError(f'no node publishes {", ".join(self._matched)}')
            time.sleep(0.05)
        # The publishers' side may learn of it later.
        time.sleep(SETTLE_S)

    def _count(self, topic: str) -> None:
        self.received[topic] += 1


def _start(*arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, '-m', 'drive_segment_ros.cli', *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def _finished(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    answer, _ = process.communicate(timeout=LIMIT_S)
    if process.returncode != 0:
        raise RuntimeError(f'drive-segment {name} failed, see above')
    return json.loads(answer)
