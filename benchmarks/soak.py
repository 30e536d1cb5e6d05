"""Memory growth of the nodes over 10,000 small images; `runs` is the number of masks or frames.

`soak.image` is the segmentation node, `soak.rig` the recorder node with three cameras.

Node, camera and subscribers run in one process and communicate over DDS; every output that needs
no LiDAR is subscribed to. Growth is counted from the thousandth image on, when caches are full.
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soak_rig
import torch
from processes import own_domain

from offline_training.deploy.export import export
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.checkpoints import save_model

HEIGHT, WIDTH = 64, 112
IMAGES, SETTLED, QUICK = 10_000, 1_000, 1_500
LIMIT_S = 10.0


def run(quick: bool = False) -> dict[str, Any]:
    """Publish images, each after the outputs for the previous one; then run `soak.rig`.

    Args:
        quick: 1,500 images only.

    Raises:
        RuntimeError: if an image gets no mask.
    """
    own_domain()
    with tempfile.TemporaryDirectory() as name:
        torch.manual_seed(0)
        network = Segmenter(NetworkConfiguration(7, HEIGHT, WIDTH, 64, depth=2, heads=2)).eval()
        save_model(Path(name) / 'student/model.safetensors', network, {})
        export(Path(name), Path(name) / 'model')
        seconds, resident = _soak(Path(name) / 'model', QUICK if quick else IMAGES)
    settled = resident[SETTLED]
    return {
        'results': [
            {
                'name': 'soak.image',
                'median_s': float(np.median(seconds)),
                'p95_s': float(np.percentile(seconds, 95)),
                'runs': len(seconds),
                'peer': False,
                'ratio': None,
                'memory_mib': resident[-1] / 2**20,
                'growth_mib': (resident[-1] - settled) / 2**20,
                'largest_growth_mib': (max(resident[SETTLED:]) - settled) / 2**20,
            },
            *soak_rig.run(quick)['results'],
        ]
    }


def _soak(model: Path, images: int) -> tuple[list[float], list[int]]:
    """Return, for each image, seconds from publication to its overlay, and resident bytes."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import CompressedImage

    from drive_segment_ros.nodes.mask_outputs import TOPICS
    from drive_segment_ros.nodes.segmentation_node import SegmentationNode

    rclpy.init()
    node = SegmentationNode(parameter_overrides=[Parameter('model', value=str(model))])
    camera = rclpy.create_node('camera')
    came = threading.Event()
    for topic, kind in TOPICS.items():
        last = topic.endswith('overlay/image_raw/compressed')
        camera.create_subscription(kind, topic, lambda _, last=last: last and came.set(), 10)
    node.trigger_configure()
    node.trigger_activate()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(camera)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    publisher = camera.create_publisher(CompressedImage, 'image_raw/compressed', 10)
    pixels = np.random.default_rng(0).integers(0, 255, (2 * HEIGHT, 2 * WIDTH, 3))
    jpeg = cv2.imencode('.jpg', pixels.astype(np.uint8))[1].tobytes()
    seconds, resident = [], []
    try:
        while publisher.get_subscription_count() == 0:
            time.sleep(0.05)
        time.sleep(1.0)
        for index in range(images):
            came.clear()
            began = time.monotonic()
            message = CompressedImage(format='jpeg', data=jpeg)
            message.header.stamp.sec = index + 1
            publisher.publish(message)
            if not came.wait(LIMIT_S):
                raise RuntimeError(f'image {index} became no mask: {node.summary()}')
            seconds.append(time.monotonic() - began)
            resident.append(_resident_bytes())
    finally:
        executor.shutdown()
        thread.join()
        node.trigger_shutdown()
        node.destroy_node()
        camera.destroy_node()
        rclpy.shutdown()
        gc.collect()
    return seconds, resident


def _resident_bytes() -> int:
    pages = Path('/proc/self/statm').read_text(encoding='ascii').split()[1]
    return int(pages) * 4096
