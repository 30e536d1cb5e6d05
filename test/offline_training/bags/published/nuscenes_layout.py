"""Write the drive of `box_world` in the layout of a nuScenes scene."""

from __future__ import annotations

import json
from pathlib import Path

import box_world
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

SCENE = 'scene-0061'
START_US = 1_532_402_927_647_951
TURN = 0.05
WIDTH, HEIGHT, FOCAL = 320, 180, 250.0
# Elevations in degrees by ring, lowest first; the sensor has the two lowest swapped.
ELEVATIONS = np.array([-29.3, -30.6, *np.linspace(-27.9, 10.7, 30)])
COLUMNS = 600
# Sensors are rotated on the vehicle: y of the LiDAR and z of the cameras point ahead.
T_BASE_LIDAR = np.eye(4)
T_BASE_LIDAR[:3, :3] = Rotation.from_euler('z', -90, degrees=True).as_matrix()
T_BASE_LIDAR[:3, 3] = 0.94, 0.0, 1.84
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
K = np.array([[FOCAL, 0.0, 163.0], [0.0, FOCAL, 98.0], [0.0, 0.0, 1.0]])
# Viewing direction of each camera, degrees from ahead to the left.
CAMERAS = {'CAM_FRONT': 0.0, 'CAM_FRONT_LEFT': 55.0}
NUMBERS = {'car': 17, 'person': 2, 'pole': 28, 'building': 28, 'road': 24, 'sky': 0}
CATEGORIES = {
    0: 'noise',
    2: 'human.pedestrian.adult',
    17: 'vehicle.car',
    24: 'flat.driveable_surface',
    28: 'static.manmade',
}


def T_base_camera(channel: str) -> NDArray[np.float64]:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler('z', CAMERAS[channel], degrees=True).as_matrix() @ _OPTICAL
    T[:3, 3] = 1.7, 0.1, 1.5
    return T


def turned() -> tuple[NDArray, NDArray]:
    """Return azimuths (LiDAR frame) and fractions of the revolution, clockwise from the left."""
    part = (np.arange(COLUMNS) + 0.5) / COLUMNS
    ahead = np.pi / 2 - part * 2 * np.pi  # in the vehicle's frame
    return ahead + np.pi / 2, part


def passing(degrees: float) -> float:
    """Return the fraction of a revolution at which the LiDAR points to a vehicle azimuth."""
    return ((90.0 - degrees) % 360.0) / 360.0


def us(time_s: float) -> int:
    return START_US + round(time_s * 1e6)


def pose_row(token: str, T: NDArray, **more) -> dict:
    x, y, z, w = Rotation.from_matrix(T[:3, :3]).as_quat()
    return {'token': token, 'translation': T[:3, 3].tolist(), 'rotation': [w, x, y, z], **more}


def moved(world: NDArray, time_s: float) -> NDArray[np.float64]:
    """Return points (N, 3), given in the world frame, in the LiDAR frame at a time."""
    T = np.linalg.inv(box_world.pose(time_s) @ T_BASE_LIDAR)
    return world @ T[:3, :3].T + T[:3, 3]


def write(
    root: Path, sweeps: int = 8, labels: bool = True, moved_to: float = 0.0
) -> dict[int, NDArray[np.int64]]:
    """Write a scene; return the instance of each point by the sweep's stamp.

    Args:
        root: folder of the set.
        sweeps: number of sweeps at 20 Hz, every tenth a key frame; images are at 12 Hz.
        labels: whether key frames have lidarseg labels.
        moved_to: time to which points are compensated, seconds after the end of the sweep.
    """
    tables = root / 'v1.0-mini'
    tables.mkdir(parents=True)
    truth, data, poses, lidarseg = {}, [], [], []

    def add(channel: str, time: float, suffix: str, key: bool, content: bytes) -> str:
        token = f'{channel}{us(time)}'
        folder = 'samples' if key else 'sweeps'
        name = f'{folder}/{channel}/n015__{channel}__{us(time)}{suffix}'
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        image = channel != 'LIDAR_TOP'
        data.append(
            {
                'token': token,
                'sample_token': 'sample',
                'ego_pose_token': token,
                'calibrated_sensor_token': f'{channel} as built',
                'timestamp': us(time),
                'fileformat': 'jpg' if image else 'pcd',
                'is_key_frame': key,
                'height': HEIGHT if image else 0,
                'width': WIDTH if image else 0,
                'filename': name,
                'prev': '',
                'next': '',
            }
        )
        poses.append(pose_row(token, box_world.pose(time), timestamp=us(time)))
        return token

    azimuth, part = turned()
    for number in range(sweeps):
        end = (number + 1) * TURN
        times = end - TURN + part * TURN
        found = box_world.sweep(T_BASE_LIDAR, ELEVATIONS, azimuth, times)
        # Files list points firing by firing; one without a return is at the sensor's position.
        column = np.searchsorted(times, found.time - 1e-9)
        place = column * len(ELEVATIONS) + found.row
        T = np.repeat(box_world.pose(times) @ T_BASE_LIDAR, len(ELEVATIONS), axis=0)
        world, instance = T[:, :3, 3].copy(), np.zeros(len(T), np.int64)
        world[place], instance[place] = found.world, found.instance
        xyz = moved(world, end + moved_to)
        ring = np.tile(np.arange(len(ELEVATIONS)), COLUMNS)
        rows = np.column_stack([xyz, np.full(len(xyz), 12.0), ring]).astype('<f4')
        key = number % 10 == 0
        token = add('LIDAR_TOP', end, '.pcd.bin', key, rows.tobytes())
        truth[us(end) * 1000] = instance[instance > 0]
        if key and labels:
            semantic = np.array([NUMBERS[name] for name in box_world.NAMES], np.uint8)
            name = f'lidarseg/v1.0-mini/{token}_lidarseg.bin'
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(semantic[instance].tobytes())
            lidarseg.append({'token': token, 'sample_data_token': token, 'filename': name})
    for channel, degrees in CAMERAS.items():
        for number in range(int(sweeps * TURN * 12)):
            # At 12 Hz, delayed to when the LiDAR passes the camera in that revolution.
            turn = round(number / 12 / TURN)
            time = turn * TURN + passing(degrees) * TURN
            picture = box_world.picture(T_base_camera(channel), K, (WIDTH, HEIGHT), time)
            add(channel, time, '.jpg', number % 6 == 0, box_world.encoded(picture, '.jpg'))
    sensors = [pose_row('LIDAR_TOP as built', T_BASE_LIDAR, camera_intrinsic=[])]
    sensors += [
        pose_row(f'{c} as built', T_base_camera(c), camera_intrinsic=K.tolist()) for c in CAMERAS
    ]
    sensors.append(pose_row('RADAR_FRONT as built', np.eye(4), camera_intrinsic=[]))
    for row in sensors:
        row['sensor_token'] = row['token'].removesuffix(' as built')
    content = {
        'scene': [
            {
                'token': 'scene',
                'log_token': 'log',
                'nbr_samples': 1,
                'first_sample_token': 'sample',
                'last_sample_token': 'sample',
                'name': SCENE,
                'description': 'Parked cars',
            }
        ],
        'sample': [{'token': 'sample', 'timestamp': us(TURN), 'scene_token': 'scene'}],
        'sample_data': data,
        'ego_pose': poses,
        'calibrated_sensor': sensors,
        'sensor': [
            {'token': name, 'channel': name, 'modality': 'lidar' if 'LIDAR' in name else 'camera'}
            for name in ('LIDAR_TOP', *CAMERAS, 'RADAR_FRONT')
        ],
        'category': [
            {'token': name, 'name': name, 'description': '', 'index': index}
            for index, name in CATEGORIES.items()
        ],
    }
    if labels:
        content['lidarseg'] = lidarseg
    for name, rows in content.items():
        (tables / f'{name}.json').write_text(json.dumps(rows))
    return truth
