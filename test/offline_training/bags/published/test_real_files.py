"""Beams and LiDAR extrinsics from real sweeps and a real drive; skipped without the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checks import clouds
from scipy.spatial.transform import Rotation

from drive_segment_ros.perception.clouds import cloud_from_message
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagReader, header_stamp_ns
from offline_training.bags.published.import_set import ImportOptions, import_set
from offline_training.bags.published.sets import nuscenes
from offline_training.bags.published.sets.kitti_files import rings_of
from offline_training.bags.published.sets.nuscenes import BEAMS


@pytest.fixture
def cases(real_drive: Path) -> Path:
    """Return the folder of real sweeps, which is expected beside that of the real drives."""
    return real_drive.parents[1] / 'cases'


@pytest.mark.parametrize(
    ('case', 'topic', 'beams'),
    [
        ('semantickitti_noring', '/points', 64),
        ('kitti_frame0_noring', '/velodyne_points', 64),
        # The sweep is truncated within a beam.
        ('kitti_truncated_sweep', '/velodyne_points', 39),
    ],
)
def test_rows_of_a_real_sweep(cases, case, topic, beams):
    path = cases / case
    if not path.is_dir():
        pytest.skip(f'{path} is not at hand')
    with BagReader(path) as reader:
        (message,) = reader.messages([topic])
        cloud = cloud_from_message(reader.deserialize(message.raw, message.msgtype))
    rings = rings_of(np.stack([cloud.x, cloud.y, cloud.z], 1))
    assert rings is not None
    counts = np.bincount(rings)
    assert len(counts) == beams
    assert counts.min() > 1000


def test_beams_of_a_real_drive_and_where_its_lidar_is(real_bag, tmp_path):
    """A bag written in PandaSet's layout is imported with its beams and its LiDAR extrinsics."""
    T_base_lidar, rings = _write(real_bag, tmp_path / 'set' / '002', first=46, count=3)
    import_set('pandaset', tmp_path / 'set', tmp_path / 'bags', ImportOptions(workers=1))
    bag = tmp_path / 'bags' / '002'
    for cloud, ring in zip(clouds(bag), rings, strict=True):
        # The rings of the bag are by elevation in compensated clouds, shifted by up to 0.5 m.
        elevation = np.degrees(np.arcsin(cloud.z / np.sqrt(cloud.x**2 + cloud.y**2 + cloud.z**2)))
        assert len(np.unique(cloud.ring)) == 64
        assert _spread(elevation, cloud.ring) < min(0.05, _spread(elevation, ring))
    tree = TransformTree()
    with BagReader(bag) as reader:
        for message in reader.messages(['/tf_static']):
            tree.set_messages(reader.deserialize(message.raw, message.msgtype).transforms)
    found = tree.lookup('base_link', 'lidar')
    np.testing.assert_allclose(found[:3, 3], T_base_lidar[:3, 3], atol=0.05)
    apart = Rotation.from_matrix(found[:3, :3].T @ T_base_lidar[:3, :3])
    assert np.degrees(apart.magnitude()) < 0.2


def _spread(elevation: np.ndarray, ring: np.ndarray) -> float:
    """Return the median deviation of elevations from the median of their beam, degrees."""
    beam = np.array([np.median(elevation[ring == number]) for number in range(64)])
    return float(np.median(np.abs(elevation - beam[ring])))


def _write(
    recorded: Path, folder: Path, first: int, count: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Write frames of a bag in PandaSet's layout; return T_base_lidar and the bag's rings."""
    tree, poses = TransformTree(), {}
    wanted = slice(first, first + count)
    with BagReader(recorded) as reader:

        def read(topic: str) -> list:
            return [reader.deserialize(m.raw, m.msgtype) for m in reader.messages([topic])]

        for message in read('/tf_static'):
            tree.set_messages(message.transforms)
        for message in read('/tf'):
            one = TransformTree()
            one.set_messages(message.transforms)
            ((_, _, T),) = one.links
            poses[header_stamp_ns(message.transforms[0])] = T
        images = read('/camera/front/image_raw/compressed')[wanted]
        sweeps = [cloud_from_message(message) for message in read('/lidar/points')[wanted]]
    T_base_lidar = tree.lookup('base_link', 'lidar_top')
    T_base_camera = tree.lookup('base_link', 'front_camera_optical')
    T_base_ego = np.eye(4)
    T_base_ego[:2, :2] = ((0.0, 1.0), (-1.0, 0.0))
    for name in ('lidar', 'camera/front_camera'):
        (folder / name).mkdir(parents=True)
    for number, cloud in enumerate(sweeps):
        T = poses[cloud.stamp_ns] @ T_base_lidar
        xyz = np.stack([cloud.x, cloud.y, cloud.z], 1).astype(np.float64)
        world = xyz @ T[:3, :3].T + T[:3, 3]
        columns = dict(zip('xyz', world.T, strict=True))
        columns |= {'i': cloud.intensity, 't': cloud.stamp_ns * 1e-9 + np.float64(cloud.time)}
        table = pd.DataFrame({**columns, 'd': np.zeros(len(xyz), np.int64)})
        table.columns = pd.Index(list(table), dtype=object)
        table.to_pickle(folder / 'lidar' / f'{number:02d}.pkl.gz', protocol=4)
    camera = folder / 'camera' / 'front_camera'
    for number, image in enumerate(images):
        (camera / f'{number:02d}.jpg').write_bytes(bytes(image.data))
    _write_stamps(folder / 'lidar', [c.stamp_ns for c in sweeps], poses, T_base_ego)
    _write_stamps(camera, [header_stamp_ns(image) for image in images], poses, T_base_camera)
    intrinsics = {'fx': 1970.0131, 'fy': 1970.0091, 'cx': 970.0002, 'cy': 483.2988}
    (camera / 'intrinsics.json').write_text(json.dumps(intrinsics))
    return T_base_lidar, [cloud.ring for cloud in sweeps]


def _write_stamps(folder: Path, stamps: list[int], poses: dict, T_base_sensor: np.ndarray) -> None:
    written = []
    for stamp in stamps:
        T = poses[stamp] @ T_base_sensor
        x, y, z, w = Rotation.from_matrix(T[:3, :3]).as_quat()
        position = dict(zip('xyz', T[:3, 3].tolist(), strict=True))
        written.append({'position': position, 'heading': {'w': w, 'x': x, 'y': y, 'z': z}})
    (folder / 'poses.json').write_text(json.dumps(written))
    (folder / 'timestamps.json').write_text(json.dumps([stamp * 1e-9 for stamp in stamps]))


def test_a_real_sweep_of_nuscenes_is_listed_firing_by_firing(cases):
    """Points are in firing order, from which their times follow.

    Points without a return are at the position of the sensor when it fired, relative to that at
    the end of the sweep, to which the set compensates its points.
    """
    path = cases / 'nuscenes_noring'
    if not path.is_dir():
        pytest.skip(f'{path} is not at hand')
    with BagReader(path) as reader:
        (message,) = reader.messages(['/points'])
        cloud = cloud_from_message(reader.deserialize(message.raw, message.msgtype))
    xyz = np.stack([cloud.x, cloud.y, cloud.z], 1).reshape(-1, BEAMS, 3)
    distance = np.linalg.norm(xyz, axis=2)
    far = distance > 2.0
    elevation = np.degrees(np.arcsin(xyz[..., 2] / np.maximum(distance, 1e-3)))
    middle = [np.median(elevation[far[:, k], k]) for k in range(BEAMS)]
    assert (np.diff(middle) > 1.0).all()
    # Clockwise from the left, which is -x because y of the LiDAR points ahead.
    azimuth = np.degrees(np.unwrap(np.arctan2(xyz[:, 20, 1], xyz[:, 20, 0])))[far[:, 20]]
    turned = nuscenes._turned(np.tile(np.arange(BEAMS), len(xyz)).astype(np.float32))
    at = turned.reshape(-1, BEAMS)[far[:, 20], 20]
    assert azimuth[0] % 360.0 == pytest.approx(180.0, abs=3.0)
    assert np.abs(azimuth - azimuth[0] + 360.0 * (at - at[0])).max() < 3.0
    way = distance[0].min() * (1.0 - turned.reshape(-1, BEAMS))
    assert way[0, 0] > 0.4
    assert (np.abs(distance - way) < 0.005).mean() > 0.1
    assert distance[-1].min() < 0.001
