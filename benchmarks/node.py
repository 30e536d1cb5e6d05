"""Latency of the nodes over DDS: `play` and `live` in two processes, a subscriber in a third.

`node.latency` is that of the segmentation node with the `tiny` student and random weights, from
the arrival of an image to the publication of its label and colour image; `node.overhead` is the
part of it that is not inference. The bag is played at increasing rates to find the highest one at
which every image gets a mask.

`node.proposals_latency` is that of the proposals node with cloud and JPEG overlay subscribed to,
from the arrival of the later message of a pair. `node.proposals_watched` is the delay for a
viewer: from the arrival of an image at a subscriber to that of its overlay, waiting for the sweep
included.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from drives import some_bag
from inference import CLASSES, HEIGHT, WIDTH, tiny_model
from processes import Played, command, own_domain, play_to_node

from drive_segment_ros.ros.bags import BagReader

CAMERA, LIDAR = '/camera/front', '/lidar/points'
# Playback rates relative to the recording, which is at 10 Hz.
RATES = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)
ATTEMPTS = 2


def run(quick: bool = False) -> dict[str, Any]:
    """Measure both nodes.

    Args:
        quick: at the rate of the recording only.

    Raises:
        RuntimeError: if a command fails.
    """
    own_domain()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag, source = some_bag(folder, duration_s=2.0 if quick else 6.0)
        proposals = _proposals(bag, folder)
        masks = _masks(bag, tiny_model(folder / 'run'), () if quick else RATES)
    return {
        'results': [*masks, *proposals],
        'bag': source,
        'network': f'tiny, {CLASSES} classes, {HEIGHT}x{WIDTH}',
    }


def _masks(bag: Path, model: Path, rates: tuple[float, ...]) -> list[dict[str, Any]]:
    from sensor_msgs.msg import Image

    topics = {f'{CAMERA}/segmentation/{name}/image_raw': Image for name in ('label', 'color')}
    live: list[object] = ['--node', 'segmentation', '--model', model, '--camera', CAMERA]
    # Otherwise `play` would wait for subscribers to the other topics.
    play: list[object] = [word for topic in _topics(bag) for word in ('--topic', topic)]
    done = play_to_node(bag, play, live, topics)
    summary = done.live
    sustained = 0.0
    for rate in rates:
        runs = (play_to_node(bag, [*play, '--rate', rate], live, topics) for _ in range(ATTEMPTS))
        images_per_second = next(filter(None, map(_sustained, runs)), 0.0)
        if not images_per_second:
            break
        sustained = images_per_second
    latency = _result('node.latency', summary, 'latency')
    if rates:
        latency['sustained_images_per_second'] = sustained
    images = summary['received']['image']
    latency |= {'images': images, 'backend': summary['backend'], 'received': done.received}
    inference = _result('node.inference', summary, 'inference')
    return [latency, _result('node.overhead', summary, 'overhead'), inference]


def _topics(bag: Path) -> list[str]:
    """Return the topics of the camera in a bag."""
    with BagReader(bag) as reader:
        return [topic for topic in reader.topics if topic.startswith(CAMERA)]


def _sustained(done: Played) -> float:
    """Return the rate of images in a run, Hz; 0 if an image got no mask."""
    sent = sum(count for topic, count in done.play['sent'].items() if '/image_raw' in topic)
    return sent / done.play['duration_s'] if done.live['frames'] == sent else 0.0


def _proposals(bag: Path, folder: Path) -> list[dict[str, Any]]:
    from sensor_msgs.msg import CompressedImage, Image, PointCloud2

    calibration = folder / 'calibration.yaml'
    command('inspect', bag, '--calibration', calibration)
    overlay = f'{CAMERA}/proposals/image_raw/compressed'
    topics = {f'{CAMERA}/proposals/points': PointCloud2, overlay: CompressedImage}
    image = next(topic for topic in _topics(bag) if '/image_raw' in topic)
    inputs = {image: CompressedImage if image.endswith('/compressed') else Image}
    live: list[object] = ['--calibration', calibration, '--camera', CAMERA]
    live += ['--remap', f'points:={LIDAR}', '--remap', 'odom:=/odom']
    done = play_to_node(bag, [], live, topics, inputs)
    delays = done.delays_s(image, overlay)
    latency = _result('node.proposals_latency', done.live, 'latency')
    watched = {
        'name': 'node.proposals_watched',
        'median_s': float(np.median(delays)),
        'p95_s': float(np.quantile(delays, 0.95)),
        'runs': len(delays),
        'peer': False,
        'ratio': None,
    }
    return [latency | {'received': done.received}, watched]


def _result(name: str, summary: dict[str, Any], figure: str) -> dict[str, Any]:
    return {
        'name': name,
        'median_s': summary[f'{figure}_median_ms'] * 1e-3,
        'p95_s': summary[f'{figure}_p95_ms'] * 1e-3,
        'runs': summary['frames'],
        'peer': False,
        'ratio': None,
        'dropped': summary['dropped'],
    }
