"""The LiDAR chain on one core: from a cloud message's bytes to a segment for each projected point.

The sweep is the real drive's (DRIVE_SEGMENT_DATA names it, else it is looked for beside the
repository) or, where there is none, a simulated one of the same sensor; the result says which.
Peer: Open3D's DBSCAN on the same points, ground left out for it, in metres as it is usually used.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from drives import some_bag

from drive_segment_ros.memory import keep_freed_memory
from drive_segment_ros.perception import (
    clustering,
    flatness,
    ground,
    range_image,
    road_plane,
    roughness,
)
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

# Wide enough for cars' neighbouring returns at 30 m, the usual choice for this sensor.
DBSCAN_RADIUS, DBSCAN_MIN_POINTS = 0.7, 5
WIDTH, HEIGHT = 960, 540


def run(quick: bool = False) -> dict[str, Any]:
    """Measure each stage and the whole; a ratio is the time over the chain's.

    Args:
        quick: few repetitions.
    """
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        bag, source = some_bag(Path(folder), duration_s=0.3)
        message, camera, T_camera_lidar, picture = _first_of(bag)
    params = ProposalParameters()
    up = np.array([0.0, 0.0, 1.0])

    def chain() -> Any:
        cloud = cloud_from_message(message).packed()
        sweep = find_proposals(cloud, params, up)
        projected = project_sweep(cloud, camera, T_camera_lidar, None)
        projected_label = sweep.label[projected.index]
        return projected_label[visible(projected, camera)]

    cloud = cloud_from_message(message).packed()
    ring = cloud.ring
    if ring is None:
        raise RuntimeError('the benchmark needs a cloud with a ring field')
    sweep = find_proposals(cloud, params, up)
    image = sweep.image
    assert image is not None
    height = image.xyz[2].copy()
    flat = flatness.flat_cells(image.xyz, image.range, height, params.ground_slope_deg)
    column = np.arange(image.range.shape[1], dtype=np.int32)
    sector = np.broadcast_to(column * road_plane.SECTORS // len(column), image.range.shape)
    distance = np.hypot(image.xyz[0], image.xyz[1])
    level = road_plane.LevelPoints(distance.reshape(-1), height.reshape(-1), sector.reshape(-1))
    plane = road_plane.road_plane(level, flat.reshape(-1))
    excluded = (image.range > 0) & (sweep.cell_label < FIRST_OBJECT_LABEL)
    kind = ((image.range > 0) & ~excluded).astype(np.uint8)
    projected = project_sweep(cloud, camera, T_camera_lidar, None)
    tasks: dict[str, Callable[[], Any]] = {
        'lidar.chain': chain,
        'lidar.decode': lambda: cloud_from_message(message).packed(),
        'lidar.range_image': lambda: range_image.range_image(cloud, ring),
        'lidar.ground': lambda: (
            flatness.flat_cells(image.xyz, image.range, height, params.ground_slope_deg),
            road_plane.road_plane(level, flat.reshape(-1)),
            ground.height_above_ground(level, flat.reshape(-1), plane),
            ground.height_above_road(level, flat.reshape(-1), plane),
        ),
        'lidar.roughness': lambda: roughness.rough_cells(image.range, excluded),
        'lidar.clusters': lambda: clustering.cluster(image.xyz, image.range, kind),
        'lidar.proposals': lambda: find_proposals(cloud, params, up),
        'lidar.projection': lambda: project_sweep(cloud, camera, T_camera_lidar, None),
        'lidar.occlusion': lambda: visible(projected, camera),
        'lidar.densify': _densify_task(sweep, projected, picture),
        'lidar.open3d_dbscan': _dbscan_task(cloud, sweep),
    }
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        seconds = {}
        for name, task in tasks.items():
            slow = name in ('lidar.open3d_dbscan', 'lidar.densify')
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
    """Time each run of a task, after one that compiles and warms caches."""
    task()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def _first_of(bag: Path) -> tuple[Any, CameraModel, np.ndarray, np.ndarray]:
    """Return a bag's first cloud, its camera at working resolution, extrinsics and first image."""
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
