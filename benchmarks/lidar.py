"""The LiDAR chain on one core: from a point cloud message to the segment of each projected point.

Each part is timed inside the chain, that is, with the CPU caches as the previous parts leave them.
The parts cover the whole chain: `lidar.named`, their sum, is within 5 % of `lidar.chain`, which is
measured alternately, without timers in the parts.

The sweep is that of the real drive (DRIVE_SEGMENT_DATA, else searched beside the repository) or
else a simulated one of the same sensor; the result says which. For comparison, Open3D's DBSCAN
clusters the same points without ground, with a fixed radius in metres.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from drives import some_bag

from drive_segment_ros.memory import keep_freed_memory
from drive_segment_ros.perception import proposals
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud, cloud_from_message
from drive_segment_ros.perception.densify import DensifyParameters, densify
from drive_segment_ros.perception.occlusion import visible
from drive_segment_ros.perception.projection import project_sweep
from drive_segment_ros.perception.proposals import (
    FIRST_OBJECT_LABEL,
    ProposalParameters,
    SweepProposals,
    find_proposals,
)
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.images import decode_image

# Metres: bridges the gaps between neighbouring returns of a car at 30 m, as usual for this sensor.
DBSCAN_RADIUS, DBSCAN_MIN_POINTS = 0.7, 5
WIDTH, HEIGHT = 960, 540
# The functions that `find_proposals` calls, and the part of the chain that each is counted in.
PARTS = {
    'spinning_beams': 'lidar.beams',
    'range_image': 'lidar.range_image',
    'heights_and_distances': 'lidar.ground',
    'flat_cells': 'lidar.ground',
    'find_coverage': 'lidar.coverage',
    'road_plane': 'lidar.ground',
    'ground_surface': 'lidar.ground',
    'height_above': 'lidar.ground',
    'road_surface': 'lidar.ground',
    'object_cells': 'lidar.cell_labels',
    'rough_cells': 'lidar.roughness',
    'cluster': 'lidar.clusters',
    'add_ground': 'lidar.cell_labels',
    'raise_ground': 'lidar.cell_labels',
    'point_labels': 'lidar.point_labels',
    'limit_labels': 'lidar.point_labels',
}


def run(quick: bool = False) -> dict[str, Any]:
    """Time the chain and its parts; a ratio is the time over that of the chain.

    Args:
        quick: few repetitions.
    """
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        bag, source = some_bag(Path(folder), duration_s=0.3)
        message, camera, T_camera_lidar, picture = _first_of(bag)
    params = ProposalParameters()
    up = np.array([0.0, 0.0, 1.0])

    def chain(timed: Callable[..., Any] = lambda name, step, *args: step(*args)) -> Any:
        cloud = timed('lidar.decode', lambda: cloud_from_message(message).packed())
        sweep = find_proposals(cloud, params, up)
        projected = timed('lidar.projection', project_sweep, cloud, camera, T_camera_lidar, None)
        seen = timed('lidar.occlusion', visible, projected, camera)
        return sweep.label[projected.index][seen]

    cloud = cloud_from_message(message).packed()
    sweep = find_proposals(cloud, params, up)
    if sweep.source != 'ring':
        raise RuntimeError('the benchmark needs a cloud with a ring field')
    projected = project_sweep(cloud, camera, T_camera_lidar, None)
    tasks: dict[str, Callable[[], Any]] = {
        'lidar.proposals': lambda: find_proposals(cloud, params, up),
        'lidar.densify': _densify_task(sweep, projected, picture),
        'lidar.open3d_dbscan': _dbscan_task(cloud, sweep),
    }
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        seconds = _chain_and_parts(chain, 5 if quick else 200)
        for name, task in tasks.items():
            slow = name != 'lidar.proposals'
            seconds[name] = _seconds(task, (2 if slow else 5) if quick else (5 if slow else 200))
    finally:
        cv2.setNumThreads(threads)
    reference = float(np.median(seconds['lidar.chain']))
    return {
        'results': [
            {
                'name': name,
                'median_s': float(np.median(values)),
                'p95_s': float(np.percentile(values, 95)),
                'best_s': float(values.min()),
                'runs': len(values),
                'peer': name == 'lidar.open3d_dbscan',
                'ratio': float(np.median(values)) / reference,
            }
            for name, values in seconds.items()
        ],
        'sweep': source,
        'points': len(cloud),
    }


class _Stopwatch:
    """Adds up the time of each part in one run of the chain, seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, step: Callable[..., Any], *args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = step(*args, **options)
        taken = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + taken
        return result

    @contextlib.contextmanager
    def on_proposals(self) -> Iterator[None]:
        """Time the functions that `find_proposals` calls, during the `with` block."""
        with contextlib.ExitStack() as stack:
            for function, name in PARTS.items():
                step = getattr(proposals, function)
                patched = mock.patch.object(proposals, function, _timed(self, name, step))
                stack.enter_context(patched)
            # The selection of points for the ground, a method.
            where = proposals.LevelPoints.where
            patched = mock.patch.object(
                proposals.LevelPoints,
                'where',
                lambda points, chosen: self('lidar.ground', where, points, chosen),
            )
            stack.enter_context(patched)
            yield


def _timed(watch: _Stopwatch, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: watch(name, step, *args, **options)


def _chain_and_parts(chain: Callable[..., Any], runs: int) -> dict[str, np.ndarray]:
    """Return the times of the whole chain and, alternately, of its parts, seconds by name."""
    chain()
    whole, parts = [], []
    for _ in range(runs):
        start = time.perf_counter()
        chain()
        whole.append(time.perf_counter() - start)
        watch = _Stopwatch()
        with watch.on_proposals():
            chain(watch)
        parts.append(watch.seconds)
    seconds = {'lidar.chain': np.array(whole)}
    seconds['lidar.named'] = np.array([sum(part.values()) for part in parts])
    return seconds | {name: np.array([part[name] for part in parts]) for name in parts[0]}


def _densify_task(sweep: SweepProposals, projected: Any, picture: Any) -> Callable[[], Any]:
    label = sweep.label[projected.index]
    known = label > 0
    u, v, label = projected.u[known], projected.v[known], label[known]
    return lambda: densify(picture, u, v, label, DensifyParameters())


def _dbscan_task(cloud: PointCloud, sweep: SweepProposals) -> Callable[[], Any]:
    import open3d

    objects = sweep.label >= FIRST_OBJECT_LABEL
    points = np.stack([cloud.x, cloud.y, cloud.z], 1)[objects].astype(np.float64)

    def task() -> Any:
        cloud3d = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
        return cloud3d.cluster_dbscan(DBSCAN_RADIUS, DBSCAN_MIN_POINTS)

    return task


def _seconds(task: Callable[[], Any], runs: int) -> np.ndarray:
    """Return the time of each run of a task, seconds, after a warm-up run."""
    task()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def _first_of(bag: Path) -> tuple[Any, CameraModel, np.ndarray, np.ndarray]:
    """Return a bag's first cloud, camera model (960x540), T_camera_lidar and first image."""
    tree, cloud, info, image = TransformTree(), None, None, None
    with BagReader(bag) as reader:
        kinds = {name: topic.type.rpartition('/')[2] for name, topic in reader.topics.items()}
        for message in reader.messages(list(kinds)):
            kind = kinds[message.topic]
            content = reader.deserialize(message.raw, reader.topics[message.topic].type)
            if message.topic == '/tf_static':
                for transform in content.transforms:
                    tree.set_message(transform)
            elif kind == 'PointCloud2':
                cloud = cloud or content
            elif kind == 'CameraInfo':
                info = info or content
            elif kind in ('Image', 'CompressedImage'):
                image = image or content
            if cloud and info and image and tree.links:
                break
    if cloud is None or info is None or image is None:
        raise RuntimeError(f'{bag} lacks a cloud, an image or a camera_info')
    camera = CameraModel.from_camera_info(info, rectified=False).scaled(WIDTH, HEIGHT)
    T_camera_lidar = tree.lookup(camera.frame_id, cloud.header.frame_id)
    picture = cv2.resize(decode_image(image), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return cloud, camera, T_camera_lidar, picture
