"""Write a simulated HDL-64 drive in the layout of a SemanticKITTI sequence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.clouds import PointCloud, cloud_from_message
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import TransformTree, inverse
from drive_segment_ros.ros.bags import BagReader, header_stamp_ns

# The simulator's classes, and their ids in the label files of SemanticKITTI.
_NAMES = (
    *('road', 'sidewalk', 'ground', 'vegetation', 'building', 'fence', 'pole', 'sign'),
    *('car', 'truck_bus', 'person', 'two_wheeler', 'other_static', 'sky'),
)
_IDS = (40, 48, 72, 70, 50, 51, 80, 81, 10, 18, 30, 31, 99, 0)
_UNLABELLED = 255


def write(bag: Path, truth: Path, root: Path) -> list[NDArray[np.uint16]]:
    """Write a sequence; return the beam of each point, an array per sweep.

    Clouds are compensated to the time of the image, and have neither beam numbers nor times.
    Points are listed beam by beam from the highest, each from ahead to the left.

    Args:
        bag: simulated bag with one camera, `front`.
        truth: folder of its ground truth.
        root: folder of the set.
    """
    folder = root / 'sequences' / '08'
    for name in ('velodyne', 'labels', 'image_2'):
        (folder / name).mkdir(parents=True)
    tree, trajectory = TransformTree(), Trajectory(1e9)
    with BagReader(bag) as reader:

        def read(topic: str) -> list:
            return [reader.deserialize(m.raw, m.msgtype) for m in reader.messages([topic])]

        for message in read('/tf_static'):
            tree.set_messages(message.transforms)
        for message in read('/odom'):
            at, turn = message.pose.pose.position, message.pose.pose.orientation
            trajectory.add(
                header_stamp_ns(message), [at.x, at.y, at.z], [turn.x, turn.y, turn.z, turn.w]
            )
        images = {header_stamp_ns(m): m for m in read('/camera/front/image_raw/compressed')}
        K = np.array(read('/camera/front/camera_info')[0].k).reshape(3, 3)
        sweeps = [cloud_from_message(message) for message in read('/lidar/points')]
    T_base_lidar = tree.lookup('base_link', 'lidar')
    T_camera_lidar = inverse(tree.lookup('base_link', 'front_camera_optical')) @ T_base_lidar
    P = np.column_stack([K, np.zeros(3)])
    lines = [f'P{k}: {_numbers(P)}' for k in range(4)] + [f'Tr: {_numbers(T_camera_lidar[:3])}']
    (folder / 'calib.txt').write_text('\n'.join(lines) + '\n')
    names = json.loads((truth / 'point_labels' / 'classes.json').read_text())['classes']
    id_of = np.zeros(_UNLABELLED + 1, np.uint32)
    id_of[: len(names)] = [_IDS[_NAMES.index(name)] for name in names]
    times, poses, rings = [], [], []
    for number, cloud in enumerate(sweeps):
        fired = min(images, key=lambda stamp, at=cloud.stamp_ns: abs(at - 50_000_000 - stamp))
        azimuth = np.arctan2(cloud.y, cloud.x) % (2.0 * np.pi)
        order = np.lexsort([azimuth, cloud.ring])
        moved = _moved(cloud, trajectory, T_base_lidar, fired)
        points = np.column_stack([moved, cloud.intensity / 255.0])[order]
        with np.load(truth / 'point_labels' / f'{cloud.stamp_ns}.npz') as labels:
            label = id_of[labels['semantic']] | labels['instance'].astype(np.uint32) << 16
        (folder / 'velodyne' / f'{number:06d}.bin').write_bytes(points.astype('<f4').tobytes())
        (folder / 'labels' / f'{number:06d}.label').write_bytes(
            label[order].astype('<u4').tobytes()
        )
        (folder / 'image_2' / f'{number:06d}.jpg').write_bytes(bytes(images[fired].data))
        times.append((fired - min(images)) * 1e-9)
        poses.append(trajectory.pose(fired) @ T_base_lidar @ inverse(T_camera_lidar))
        rings.append(cloud.ring[order])
    (folder / 'times.txt').write_text(''.join(f'{time:.6e}\n' for time in times))
    relative = [_numbers((inverse(poses[0]) @ T)[:3]) for T in poses]
    (folder / 'poses.txt').write_text('\n'.join(relative) + '\n')
    return rings


def _moved(
    cloud: PointCloud, trajectory: Trajectory, T_base_lidar: NDArray[np.float64], to_ns: int
) -> NDArray[np.float64]:
    """Return the points of a cloud, (N, 3), compensated to `to_ns`, in the LiDAR frame."""
    times, which = np.unique(cloud.time, return_inverse=True)
    stamps = [cloud.stamp_ns + round(float(time) * 1e9) for time in times]
    T = trajectory.poses([to_ns, *stamps]) @ T_base_lidar
    T = (inverse(T[0]) @ T[1:])[which]
    xyz = np.stack([cloud.x, cloud.y, cloud.z], 1)
    return np.einsum('nij,nj->ni', T[:, :3, :3], xyz) + T[:, :3, 3]


def _numbers(values: NDArray) -> str:
    return ' '.join(f'{value:.12e}' for value in np.ravel(values))
