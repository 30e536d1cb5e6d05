"""Runs `drive-segment` commands in child processes, with a subscriber in this one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

WAIT_S, SETTLE_S, MATCH_S, LIMIT_S = '60', 2.0, 60.0, 120.0
# The header's stamp in a serialised message, after four bytes for the encoding.
_STAMP = slice(4, 12)


def own_domain() -> None:
    """Isolate the DDS communication of this process and its children by environment variables."""
    os.environ |= {
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA',
    }


def command(*arguments: object) -> dict[str, Any]:
    """Run a `drive-segment` command; return the JSON object that it prints.

    Raises:
        RuntimeError: if it fails.
    """
    return _finished(_start(*arguments, '--json'), str(arguments[0]))


@dataclasses.dataclass(frozen=True)
class Played:
    """The result of playing a bag to a node.

    Attributes:
        live, play: summaries of the two commands.
        heard: for each subscribed topic, the arrival time of each message (monotonic clock,
            seconds) by its serialised header stamp.
    """

    live: dict[str, Any]
    play: dict[str, Any]
    heard: dict[str, dict[bytes, float]]

    @property
    def received(self) -> dict[str, int]:
        """Number of messages received on each topic."""
        return {topic: len(times) for topic, times in self.heard.items()}

    def delays_s(self, cause: str, effect: str) -> list[float]:
        """Return delays between messages of two topics with the same stamp, seconds.

        Args:
            cause, effect: subscribed topics; a delay is arrival of `effect` minus of `cause`.
        """
        causes = self.heard[cause]
        return [t - causes[stamp] for stamp, t in self.heard[effect].items() if stamp in causes]


def play_to_node(
    bag: object,
    play: list[object],
    live: list[object],
    topics: dict[str, type],
    inputs: dict[str, type] | None = None,
) -> Played:
    """Start a node by `live`, subscribe to its topics, and play a bag to it by `play`.

    Args:
        bag: path of the bag.
        play, live: further arguments of the commands.
        topics: topics of the node and their types, which must have a header.
        inputs: topics of the bag and their types, to subscribe to as well.

    Raises:
        RuntimeError: if one of the commands fails.
    """
    with _Listener(topics, inputs or {}) as listener:
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
    return Played(summary, played, listener.heard)


class _Listener:
    """Subscribes on a thread, and notes the arrival times of messages.

    Messages stay serialised, so that deserialisation does not affect the times.

    Attributes:
        heard: see `Played`.
    """

    def __init__(self, topics: dict[str, type], inputs: dict[str, type]) -> None:
        import rclpy
        from rclpy.event_handler import SubscriptionEventCallbacks
        from rclpy.executors import SingleThreadedExecutor

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node('listener', context=self._context)
        self.heard: dict[str, dict[bytes, float]] = {topic: {} for topic in (*topics, *inputs)}
        self._matched = dict.fromkeys(topics, False)
        for topic, kind in (topics | inputs).items():
            self._node.create_subscription(
                kind,
                topic,
                lambda message, t=topic: self._note(t, message),
                10,
                raw=True,
                event_callbacks=SubscriptionEventCallbacks(
                    matched=lambda _, t=topic: self._match(t)
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
        """Wait until the node's publishers have discovered the subscriptions.

        Raises:
            RuntimeError: if a topic has no publisher after `limit_s`.
        """
        deadline = time.monotonic() + limit_s
        while not all(self._matched.values()):
            if time.monotonic() > deadline:
                raise RuntimeError(f'no node publishes {", ".join(self._matched)}')
            time.sleep(0.05)
        # Publishers may match the subscription later.
        time.sleep(SETTLE_S)

    def _match(self, topic: str) -> None:
        if topic in self._matched:
            self._matched[topic] = True

    def _note(self, topic: str, message: bytes) -> None:
        self.heard[topic][bytes(message[_STAMP])] = time.monotonic()


def _start(*arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, '-m', 'drive_segment_ros.cli', *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def _finished(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    answer, _ = process.communicate(timeout=LIMIT_S)
    if process.returncode != 0:
        raise RuntimeError(f'drive-segment {name} failed, see above')
    return json.loads(answer)
