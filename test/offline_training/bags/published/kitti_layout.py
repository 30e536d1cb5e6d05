"""Write the drive of `box_world` in the layouts of KITTI raw and of SemanticKITTI."""

from __future__ import annotations

import datetime
from pathlib import Path

import box_world
import numpy as np
from numpy.typing import NDArray

DATE = '2011_09_26'
WIDTH, HEIGHT, FOCAL = 320, 100, 190.0
PERIOD = 0.1036
ELEVATIONS = np.concatenate([np.linspace(2.0, -8.3, 32), np.linspace(-8.8, -24.8, 32)])
# Azimuth increases from ahead to the left; the sensor rotates the other way, starting behind.
AZIMUTHS = (np.arange(600) + 0.5) / 600 * 2.0 * np.pi
_START = datetime.datetime(2011, 9, 26, 13, 2, 25, 594360, tzinfo=datetime.timezone.utc)
START_NS = int(_START.timestamp()) * 1_000_000_000 + 594_360_375
_LATITUDE, _LONGITUDE, _RADIUS = 49.015, 8.4343, 6378137.0
IMU_HEIGHT = 0.93


def rotation(axis: str, degrees: float) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()


def rigid(R: NDArray, t: tuple[float, float, float]) -> NDArray[np.float64]:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


# Rounded values of the recordings: velodyne x ahead, y left; cameras z ahead, x right.
_OPTICAL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
T_VELO_IMU = rigid(rotation('z', 0.08), (-0.81, 0.32, -0.8))
T_CAM_VELO = rigid(rotation('x', 0.6) @ _OPTICAL, (-0.004, -0.076, -0.27))
R_RECT = rotation('y', -0.5) @ rotation('x', 0.4)
K = np.array([[FOCAL, 0.0, 155.0], [0.0, FOCAL, 45.0], [0.0, 0.0, 1.0]])
BASELINE = {'00': 0.0, '01': -0.54, '02': 0.06, '03': -0.47}
# Of the images before rectification.
RAW_SIZE = (336, 110)
K_RAW = np.array([[FOCAL * 1.2, 0.0, 168.0], [0.0, FOCAL * 1.2, 55.0], [0.0, 0.0, 1.0]])
T_BASE_IMU = rigid(np.eye(3), (0.0, 0.0, IMU_HEIGHT))
T_BASE_LIDAR = T_BASE_IMU @ np.linalg.inv(T_VELO_IMU)


def P_rect(number: str) -> NDArray[np.float64]:
    P = np.zeros((3, 4))
    P[:, :3] = K
    P[:, 3] = K @ [BASELINE[number], 0.002 if number == '02' else 0.0, 0.003]
    return P


def T_base_camera(number: str) -> NDArray[np.float64]:
    """Return T_base_camera of a rectified camera from its projection P (x, 1) = K (x + K^-1 p)."""
    T_own_rect = rigid(np.eye(3), tuple(np.linalg.solve(K, P_rect(number)[:, 3])))
    T_camera_velo = T_own_rect @ rigid(R_RECT, (0.0, 0.0, 0.0)) @ T_CAM_VELO
    return T_BASE_LIDAR @ np.linalg.inv(T_camera_velo)


def T_base_raw_camera(number: str) -> NDArray[np.float64]:
    """Return T_base_camera of a camera before rectification."""
    T_camera_first = rigid(rotation('y', 1.0), (BASELINE[number], 0.0, 0.0))
    return T_BASE_LIDAR @ np.linalg.inv(T_camera_first @ T_CAM_VELO)


def frame_time(number: int) -> float:
    """Return when the LiDAR points ahead and the cameras fire, seconds of the drive."""
    return number * PERIOD


def line(time_s: float) -> str:
    stamp = START_NS + round(time_s * 1e9)
    second = datetime.datetime.fromtimestamp(stamp // 1_000_000_000, datetime.timezone.utc)
    return f'{second:%Y-%m-%d %H:%M:%S}.{stamp % 1_000_000_000:09d}'


def stamp_ns(time_s: float) -> int:
    return START_NS + round(time_s * 1e9)


def returns(number: int) -> box_world.Returns:
    """Return a sweep in file order: beams from the highest, azimuth from ahead to the left."""
    begin = frame_time(number) - PERIOD / 2
    turned = 0.5 * (-np.arctan2(np.sin(AZIMUTHS), np.cos(AZIMUTHS)) / np.pi + 1.0)
    return box_world.sweep(T_BASE_LIDAR, ELEVATIONS, AZIMUTHS, begin + turned * PERIOD)


def bin_file(xyz: NDArray) -> bytes:
    return np.column_stack([xyz, np.full(len(xyz), 0.3)]).astype('<f4').tobytes()


def numbers(values: NDArray) -> str:
    return ' '.join(f'{value:.12e}' for value in np.ravel(values))


def write_raw(
    root: Path,
    count: int = 4,
    cameras: tuple[str, ...] = ('02', '03'),
    release: str = 'sync',
    lost: tuple[int, ...] = (),
) -> dict[int, NDArray[np.int64]]:
    """Write a raw recording; return the instance of each point by the sweep's stamp.

    Args:
        root: folder of the set.
        count: number of frames.
        cameras: camera numbers.
        release: `sync`, or `extract`: images before rectification, and points as text.
        lost: indices of missing sweeps.
    """
    day = root / DATE
    drive = day / f'{DATE}_drive_0005_{release}'
    (drive / 'velodyne_points' / 'data').mkdir(parents=True)
    write_raw_calibration(day)
    truth = {}
    stamps: dict[str, list[str]] = {'timestamps': [], 'timestamps_start': []}
    stamps['timestamps_end'] = []
    for number in range(count):
        time = frame_time(number)
        if number in lost:
            for lines in stamps.values():
                lines.append('')
            continue
        found = returns(number)
        truth[stamp_ns(time)] = found.instance
        path = drive / 'velodyne_points' / 'data' / f'{number:010d}.bin'
        if release == 'sync':
            path.write_bytes(bin_file(found.xyz))
        else:
            rows = np.column_stack([found.xyz, np.full(len(found.xyz), 0.3)])
            text = '\n'.join(' '.join(f'{value:.3f}' for value in row) for row in rows)
            path.with_suffix('.txt').write_text(text + '\n')
        stamps['timestamps'].append(line(time))
        stamps['timestamps_start'].append(line(time - PERIOD / 2))
        stamps['timestamps_end'].append(line(time + PERIOD / 2))
    for name, lines in stamps.items():
        (drive / 'velodyne_points' / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    for camera in cameras:
        folder = drive / f'image_{camera}' / 'data'
        folder.mkdir(parents=True)
        for number in range(count):
            time = frame_time(number)
            if release == 'sync':
                view = T_base_camera(camera), K, (WIDTH, HEIGHT)
            else:
                view = T_base_raw_camera(camera), K_RAW, RAW_SIZE
            picture = box_world.picture(*view, time)
            (folder / f'{number:010d}.png').write_bytes(box_world.encoded(picture))
        lines = [line(frame_time(number)) for number in range(count)]
        (folder.parent / 'timestamps.txt').write_text('\n'.join(lines) + '\n')
    write_oxts(drive / 'oxts', count)
    return truth


def write_raw_calibration(day: Path) -> None:
    lines = ['calib_time: 09-Jan-2012 13:57:47', 'corner_dist: 9.950000e-02']
    for number in BASELINE:
        values = {
            'S': np.array(RAW_SIZE),
            'K': K_RAW,
            'D': np.zeros(5),
            'R': rotation('y', 1.0),
            'T': np.array([BASELINE[number], 0.0, 0.0]),
            'S_rect': np.array([WIDTH, HEIGHT]),
            'R_rect': R_RECT,
            'P_rect': P_rect(number),
        }
        lines += [f'{name}_{number}: {numbers(value)}' for name, value in values.items()]
    (day / 'calib_cam_to_cam.txt').write_text('\n'.join(lines) + '\n')
    for name, T in (('velo_to_cam', T_CAM_VELO), ('imu_to_velo', T_VELO_IMU)):
        text = 'calib_time: 15-Mar-2012 11:37:16\n'
        text += f'R: {numbers(T[:3, :3])}\nT: {numbers(T[:3, 3])}\n'
        (day / f'calib_{name}.txt').write_text(text)


def write_oxts(folder: Path, count: int) -> None:
    (folder / 'data').mkdir(parents=True)
    scale = np.cos(np.radians(_LATITUDE))
    lines = []
    for number in range(count):
        time = frame_time(number) + 0.003  # OXTS records are not synchronous
        T = box_world.pose(time) @ T_BASE_IMU
        north = np.log(np.tan(np.radians(90.0 + _LATITUDE) / 2.0)) + T[1, 3] / (scale * _RADIUS)
        latitude = np.degrees(2.0 * np.arctan(np.exp(north))) - 90.0
        longitude = _LONGITUDE + np.degrees(T[0, 3] / (scale * _RADIUS))
        yaw = np.arctan2(T[1, 0], T[0, 0])
        values = [latitude, longitude, 112.0 + T[2, 3], 0.0, 0.0, yaw, *np.zeros(19)]
        text = ' '.join(f'{value:.13f}' for value in values) + ' 4 8 4 4 0'
        (folder / 'data' / f'{number:010d}.txt').write_text(text + '\n')
        lines.append(line(time))
    (folder / 'timestamps.txt').write_text('\n'.join(lines) + '\n')


def write_semantic(
    root: Path, count: int = 4, labels: bool = True, moved_to: float = 0.0
) -> dict[int, NDArray[np.int64]]:
    """Write a SemanticKITTI sequence; return the instance of each point by sweep number.

    Args:
        root: folder of the set.
        count: number of frames.
        labels: whether to write point labels.
        moved_to: time to which clouds are compensated, seconds after the time of the frame.
    """
    folder = root / 'sequences' / '08'
    for name in ('velodyne', 'image_2', *(['labels'] if labels else [])):
        (folder / name).mkdir(parents=True)
    T_first_velo = rigid(R_RECT, (0.0, 0.0, 0.0)) @ T_CAM_VELO
    lines = [f'P{k}: {numbers(P_rect(f"0{k}"))}' for k in range(4)]
    lines.append(f'Tr: {numbers(T_first_velo[:3])}')
    (folder / 'calib.txt').write_text('\n'.join(lines) + '\n')
    T_base_lidar = rigid(np.eye(3), (0.0, 0.0, 1.73))
    T_base_camera_2 = T_base_lidar @ np.linalg.inv(
        rigid(np.eye(3), tuple(np.linalg.solve(K, P_rect('02')[:, 3]))) @ T_first_velo
    )
    turned = 0.5 * (-np.arctan2(np.sin(AZIMUTHS), np.cos(AZIMUTHS)) / np.pi + 1.0)
    T_world_first = box_world.pose(0.0) @ T_base_lidar @ np.linalg.inv(T_first_velo)
    truth, times, poses = {}, [], []
    for number in range(count):
        time = frame_time(number)
        found = box_world.sweep(T_base_lidar, ELEVATIONS, AZIMUTHS, time + (turned - 0.5) * PERIOD)
        xyz = found.at(time + moved_to, T_base_lidar)
        (folder / 'velodyne' / f'{number:06d}.bin').write_bytes(bin_file(xyz))
        truth[number] = found.instance
        if labels:
            ids = {'road': 40, 'car': 10, 'person': 30, 'pole': 80, 'building': 50, 'sky': 0}
            semantic = np.array([ids[name] for name in box_world.NAMES])[found.instance]
            label = semantic.astype(np.uint32) | (found.instance.astype(np.uint32) << 16)
            (folder / 'labels' / f'{number:06d}.label').write_bytes(label.astype('<u4').tobytes())
        picture = box_world.picture(T_base_camera_2, K, (WIDTH, HEIGHT), time)
        (folder / 'image_2' / f'{number:06d}.png').write_bytes(box_world.encoded(picture))
        times.append(f'{time:.6e}')
        T = box_world.pose(time) @ T_base_lidar @ np.linalg.inv(T_first_velo)
        poses.append(numbers((np.linalg.inv(T_world_first) @ T)[:3]))
    (folder / 'times.txt').write_text('\n'.join(times) + '\n')
    (folder / 'poses.txt').write_text('\n'.join(poses) + '\n')
    return truth
