"""Write the drive of `box_world` in the layout of a PandaSet sequence."""

from __future__ import annotations

import json
from pathlib import Path

import box_world
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

# T_camera_lidar of the devkit's static calibration: quaternion (x, y, z, w), translation (m).
_EXTRINSICS = {
    'front_camera': (
        (0.0030578898829, 0.7114721800418, -0.7025205466606, 0.0162132000312),
        (0.0002585796504, -0.0390777716781, -0.0440125762408),
    ),
    'back_camera': (
        (0.7003585532940, -0.0015957586953, -0.0005330311533, 0.7137892310758),
        (-0.0004217634029, -0.2168314494967, -1.0553445472201),
    ),
}
# When each camera fires, seconds before the sweep's stamp.
FIRES = {'front_camera': 0.05, 'back_camera': 0.097}
SIZE, K = (320, 180), np.array([[328.0, 0.0, 162.0], [0.0, 328.0, 81.0], [0.0, 0.0, 1.0]])
PERIOD = 0.1
START = 1557539924.499982
# Elevations in degrees of the Pandar64, from its manual: dense in the middle, sparse outside.
ELEVATIONS = np.concatenate(
    [
        [14.87, 11.02, 8.047, 5.045, 3.028],
        2.016 - 0.16855 * np.arange(49),
        [-7.075, -8.071, -9.072, -9.897, -11.044, -12.018, -12.986, -13.942, -18.901, -24.909],
    ]
)
COLUMNS = 700
CLASSES = {1: 'Smoke', 7: 'Road', 13: 'Car', 30: 'Pedestrian', 41: 'Building', 38: 'Pole'}
_IDS = {'sky': 1, 'road': 7, 'car': 13, 'person': 30, 'building': 41, 'pole': 38}


def _rigid(R: NDArray, t: tuple[float, ...]) -> NDArray[np.float64]:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


# x of the LiDAR points left and y back, as it is mounted on the vehicle.
T_BASE_LIDAR = _rigid(
    Rotation.from_quat([-0.0056454, -0.0054487, 0.7182311, 0.6957604]).as_matrix(),
    (0.809, 0.0, 2.2085),
)
# In the published vehicle frame, y points ahead.
_T_BASE_EGO = _rigid(np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), (0, 0, 0))
WORLD = _rigid(Rotation.from_euler('z', 40, degrees=True).as_matrix(), (-75.0, 320.0, 3.0))


def T_base_camera(name: str) -> NDArray[np.float64]:
    turn, moved = _EXTRINSICS[name]
    return T_BASE_LIDAR @ np.linalg.inv(_rigid(Rotation.from_quat(turn).as_matrix(), moved))


def returns(number: int) -> box_world.Returns:
    """Return a sweep in order of time: clockwise seen from above, starting behind."""
    part = (np.arange(COLUMNS) + 0.5) / COLUMNS
    azimuth = np.pi / 2.0 - 2.0 * np.pi * part
    time = (number + 1) * PERIOD - PERIOD * (1.0 - part)
    found = box_world.sweep(T_BASE_LIDAR, ELEVATIONS, azimuth, time)
    return found.where(np.argsort(found.time, kind='stable'))


def _table(path: Path, **columns: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(columns).rename_axis('index')
    # Strings have dtype object, as in the pandas version that wrote the set.
    table = table.astype({name: object for name in ('uuid', 'label') if name in columns})
    table.columns = pd.Index(list(columns), dtype=object)
    table.to_pickle(path, protocol=4)


def _pose(T: NDArray) -> dict:
    x, y, z, w = Rotation.from_matrix(T[:3, :3]).as_quat()
    position = dict(zip('xyz', T[:3, 3].tolist(), strict=True))
    return {'position': position, 'heading': {'w': w, 'x': x, 'y': y, 'z': z}}


def stamp_ns(seconds: float) -> int:
    return round(float(seconds) * 1e9)


def write(
    root: Path, count: int = 4, late: float = 0.0, labels: bool = True
) -> dict[int, NDArray[np.int64]]:
    """Write a sequence; return the instance of each point of the Pandar64, by the sweep's stamp.

    Args:
        root: folder of the set.
        count: number of frames.
        late: error of the points' times, seconds.
        labels: whether to write point classes and boxes.
    """
    folder = root / '002'
    stamps = [START + (number + 1) * PERIOD for number in range(count)]
    egos, truth = [], {}
    for number in range(count):
        found = returns(number)
        truth[stamp_ns(stamps[number])] = found.instance
        world = found.world @ WORLD[:3, :3].T + WORLD[:3, 3]
        # Points of the other LiDAR are in the same table.
        other = world[:: len(world) // 300] + 0.01
        count_other = len(other)
        _table(
            folder / 'lidar' / f'{number:02d}.pkl.gz',
            **dict(zip('xyz', np.concatenate([world, other]).T, strict=True)),
            i=np.full(len(world) + count_other, 12.0),
            t=np.concatenate([START + found.time + late, np.full(count_other, stamps[number])]),
            d=np.concatenate([np.zeros(len(world), np.int64), np.ones(count_other, np.int64)]),
        )
        egos.append(_pose(WORLD @ box_world.pose((number + 1) * PERIOD) @ _T_BASE_EGO))
        if labels:
            ids = np.array([_IDS[name] for name in box_world.NAMES])[found.instance]
            _table(
                folder / 'annotations' / 'semseg' / f'{number:02d}.pkl.gz',
                **{'class': np.concatenate([ids, np.full(count_other, 1)])},
            )
            _write_boxes(folder / 'annotations' / 'cuboids' / f'{number:02d}.pkl.gz')
    if labels:
        names = json.dumps({str(key): name for key, name in CLASSES.items()})
        (folder / 'annotations' / 'semseg' / 'classes.json').write_text(names)
    (folder / 'lidar' / 'poses.json').write_text(json.dumps(egos))
    (folder / 'lidar' / 'timestamps.json').write_text(json.dumps(stamps))
    for name in _EXTRINSICS:
        _write_camera(folder / 'camera' / name, name, count)
    return truth


def _write_boxes(path: Path) -> None:
    names = box_world.NAMES[2:]
    middle = (box_world.LOW + box_world.HIGH) / 2.0 @ WORLD[:3, :3].T + WORLD[:3, 3]
    size = box_world.HIGH - box_world.LOW
    columns: dict[str, NDArray] = {
        'uuid': np.array([f'box-{k}' for k in range(len(names))], object),
        'label': np.array(names, object),
        'yaw': np.full(len(names), np.radians(40.0)),
        'stationary': np.ones(len(names), bool),
        'camera_used': np.full(len(names), -1),
    }
    for k, axis in enumerate('xyz'):
        columns[f'position.{axis}'] = middle[:, k]
        columns[f'dimensions.{axis}'] = size[:, k]
    columns['cuboids.sensor_id'] = np.full(len(names), -1)
    _table(path, **columns)


def _write_camera(folder: Path, name: str, count: int) -> None:
    folder.mkdir(parents=True)
    stamps, poses = [], []
    for number in range(count):
        time = (number + 1) * PERIOD - FIRES[name]
        picture = box_world.picture(T_base_camera(name), K, SIZE, time)
        (folder / f'{number:02d}.jpg').write_bytes(box_world.encoded(picture, '.jpg'))
        stamps.append(START + time)
        poses.append(_pose(WORLD @ box_world.pose(time) @ T_base_camera(name)))
    (folder / 'timestamps.json').write_text(json.dumps(stamps))
    (folder / 'poses.json').write_text(json.dumps(poses))
    intrinsics = {'fx': K[0, 0], 'fy': K[1, 1], 'cx': K[0, 2], 'cy': K[1, 2]}
    (folder / 'intrinsics.json').write_text(json.dumps(intrinsics))
