"""The proposals node over DDS: `play` and `live` in two processes, a subscriber in a third.

The node makes everything it can: coloured cloud and overlay are subscribed to. Latency runs from
the arrival of the later message of a pair to the publication of what came of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from drives import some_bag

CAMERA, LIDAR = '/camera/front', '/lidar/points'
WAIT_S, SETTLE_S, LIMIT_S = '60', 3.0, 120.0


def run(quick: bool = False) -> dict[str, Any]:
    """Play a drive at rate 1.0 to a node and report its latency and what was lost.

    Raises:
        RuntimeError: if a command fails.
    """
    os.environ |= {
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA',
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag, source = some_bag(folder, duration_s=2.0 if quick else 6.0)
        calibration = folder / 'calibration.yaml'
        _command('inspect', bag, '--calibration', calibration)
        arguments = ['--calibration', calibration, '--camera', CAMERA, '--json']
        arguments += ['--remap', f'points:={LIDAR}', '--remap', 'odom:=/odom']
        node = _start('live', *arguments)
        received: dict[str, int] = {}
        stop = threading.Event()
        listener = threading.Thread(target=_listen, args=(received, stop))
        listener.start()
        try:
            played = _command('play', bag, '--wait', WAIT_S)
            stop.wait(SETTLE_S)
        finally:
            node.send_signal(signal.SIGINT)
            answer, _ = node.communicate(timeout=LIMIT_S)
            stop.set()
            listener.join()
    if node.returncode != 0:
        raise RuntimeError('drive-segment live failed, see above')
    summary = json.loads(answer)
    return {
        'results': [
            {
                'name': 'node.latency',
                'median_s': summary['latency_median_ms'] * 1e-3,
                'p95_s': summary['latency_p95_ms'] * 1e-3,
                'runs': summary['frames'],
                'peer': False,
                'ratio': None,
                'dropped': summary['dropped'],
            }
        ],
        'bag': source,
        'played': played,
        'received': received,
    }


def _listen(received: dict[str, int], stop: threading.Event) -> None:
    """Subscribe to all that the node publishes, and count it."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import CompressedImage, PointCloud2

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('listener', context=context)

    def count(topic: str) -> Any:
        received[topic] = 0
        return lambda _: received.update({topic: received[topic] + 1})

    for kind, topic in ((PointCloud2, 'points'), (CompressedImage, 'image_raw/compressed')):
        name = f'{CAMERA}/proposals/{topic}'
        node.create_subscription(kind, name, count(topic), 10)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def _start(*arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, '-m', 'drive_segment_ros.cli', *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def _command(*arguments: object) -> dict[str, Any]:
    process = _start(*arguments, '--json')
    answer, _ = process.communicate(timeout=LIMIT_S)
    if process.returncode != 0:
        raise RuntimeError(f'drive-segment {arguments[0]} failed, see above')
    return json.loads(answer)
