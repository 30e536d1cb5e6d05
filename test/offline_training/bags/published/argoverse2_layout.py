"""Write the drive of `box_world` in the layout of an Argoverse 2 log."""

from __future__ import annotations

from pathlib import Path

import box_world
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import feather
from scipy.spatial.transform import Rotation

LOG = '54bc6dbc-ebfb-3fba-b5b3-57f88b4b79ca'
START_NS = 315_968_112_437_425_433
TURN = 0.1
WIDTH, HEIGHT, FOCAL = 320, 180, 250.0
COLUMNS = 500
# Elevations in degrees by laser number of a VLP-32C, which does not increase with elevation.
ELEVATIONS = np.array(
    [
        *(-25.0, -1.0, -1.667, -15.639, -11.31, 0.0, -0.667, -8.843, -7.254, 0.333, -0.333),
        *(-6.148, -5.333, 1.333, 0.667, -4.0, -4.667, 1.667, 1.0, -3.667, -3.333, 3.333, 2.333),
        *(-2.667, -3.0, 7.0, 4.667, -2.333, -2.0, 15.0, 10.333, -1.333),
    ]
)
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
K = np.array([[FOCAL, 0.0, 163.0], [0.0, FOCAL, 88.0], [0.0, 0.0, 1.0]])
CAMERAS = {'ring_front_center': 0.0, 'ring_front_left': 45.0}
CATEGORY = {'car': 'REGULAR_VEHICLE', 'person': 'PEDESTRIAN', 'pole': 'BOLLARD'}


def rigid(R: NDArray, t: tuple[float, float, float]) -> NDArray[np.float64]:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


# The lower unit is mounted upside down.
T_BASE = {
    'up_lidar': rigid(Rotation.from_euler('z', -0.3, degrees=True).as_matrix(), (1.35, 0, 1.64)),
    'down_lidar': rigid(
        Rotation.from_euler('x', 180, degrees=True).as_matrix(), (1.355, 0, 1.565)
    ),
    **{
        name: rigid(
            Rotation.from_euler('z', degrees, degrees=True).as_matrix() @ _OPTICAL, (1.63, 0, 1.43)
        )
        for name, degrees in CAMERAS.items()
    },
}


def stamp(time_s: float) -> int:
    return START_NS + round(time_s * 1e9)


def turned(unit: str) -> tuple[NDArray, NDArray]:
    """Return the azimuth (rad, frame of the unit) and fraction of the revolution of each column.

    Both units rotate clockwise seen from above; the upper one starts behind, the lower one ahead.
    """
    part = (np.arange(COLUMNS) + 0.5) / COLUMNS
    begin = np.pi if unit == 'up_lidar' else 0.0
    ahead = begin - part * 2 * np.pi
    return (ahead if unit == 'up_lidar' else -ahead), part


def passing(degrees: float) -> float:
    """Return the fraction of a revolution at which the upper unit points to an azimuth."""
    return ((180.0 - degrees) % 360.0) / 360.0


def write_table(path: Path, columns: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.table(columns), str(path))


def se3(T: NDArray) -> dict[str, NDArray]:
    turns = Rotation.from_matrix(T[:, :3, :3]).as_quat()
    columns = {f'q{name}': turns[:, k] for name, k in zip('wxyz', (3, 0, 1, 2), strict=True)}
    return columns | {f't{name}_m': T[:, k, 3] for k, name in enumerate('xyz')}


def write(
    root: Path, sweeps: int = 4, labels: bool = True, moved_to: float = 0.0
) -> dict[int, NDArray[np.int64]]:
    """Write a log; return the instance of each point of the upper unit by the sweep's stamp.

    Args:
        root: folder of the set.
        sweeps: number of sweeps.
        labels: whether to write boxes.
        moved_to: time to which points are compensated, seconds after the start of the sweep.
    """
    log = root / 'val' / LOG
    truth = {}
    for number in range(sweeps):
        begin = number * TURN
        parts = []
        for first, unit in ((0, 'up_lidar'), (32, 'down_lidar')):
            azimuth, part = turned(unit)
            found = box_world.sweep(T_BASE[unit], ELEVATIONS, azimuth, begin + part * TURN)
            T = T_BASE[unit]
            base = found.at(begin + moved_to, T) @ T[:3, :3].T + T[:3, 3]
            parts.append((found.time, base, found.row + first, found.instance))
        time, xyz, laser, instance = (
            np.concatenate(values) for values in zip(*parts, strict=True)
        )
        order = np.argsort(time, kind='stable')
        laser, instance = laser[order], instance[order]
        truth[stamp(begin)] = instance[laser < 32]
        columns = {name: xyz[order, k].astype(np.float32) for k, name in enumerate('xyz')}
        columns['intensity'] = np.full(len(order), 24, np.uint8)
        columns['laser_number'] = laser.astype(np.uint8)
        columns['offset_ns'] = np.round((time[order] - begin) * 1e9).astype(np.int32)
        write_table(log / f'sensors/lidar/{stamp(begin)}.feather', columns)
    instants = {stamp(number * TURN): number * TURN for number in range(sweeps)}
    for name, degrees in CAMERAS.items():
        folder = log / 'sensors/cameras' / name
        folder.mkdir(parents=True)
        for half in range(2 * sweeps):  # as either unit passes
            time = (half / 2 + passing(degrees)) * TURN
            instants[stamp(time)] = time
            picture = box_world.picture(T_BASE[name], K, (WIDTH, HEIGHT), time)
            (folder / f'{stamp(time)}.jpg').write_bytes(box_world.encoded(picture, '.jpg'))
    # The set has poses at other times, too.
    instants |= {stamp(k / 200): k / 200 for k in range(int(200 * TURN * (sweeps + 1)))}
    times = np.array(sorted(instants))
    poses = box_world.pose(np.array([instants[ns] for ns in times.tolist()]))
    write_table(log / 'city_SE3_egovehicle.feather', {'timestamp_ns': times, **se3(poses)})
    write_table(
        log / 'calibration/egovehicle_SE3_sensor.feather',
        {'sensor_name': list(T_BASE), **se3(np.array(list(T_BASE.values())))},
    )
    count = len(CAMERAS)
    numbers = {'fx_px': FOCAL, 'fy_px': FOCAL, 'cx_px': 163.0, 'cy_px': 88.0}
    numbers |= {'k1': -0.27, 'k2': -0.21, 'k3': 0.33}
    intrinsics = {name: np.full(count, value) for name, value in numbers.items()}
    intrinsics['height_px'] = np.full(count, HEIGHT, np.uint16)
    intrinsics['width_px'] = np.full(count, WIDTH, np.uint16)
    write_table(
        log / 'calibration/intrinsics.feather', {'sensor_name': list(CAMERAS), **intrinsics}
    )
    if labels:
        write_table(log / 'annotations.feather', boxes(sweeps))
    return truth


def boxes(sweeps: int) -> dict:
    rows = [
        (number, k)
        for number in range(sweeps)
        for k, name in enumerate(box_world.NAMES[2:])
        if name in CATEGORY
    ]
    T_world_box = np.tile(np.eye(4), (len(rows), 1, 1))
    size = np.empty((len(rows), 3))
    for row, (number, k) in enumerate(rows):
        T_world_box[row, :3, 3] = (box_world.LOW[k] + box_world.HIGH[k]) / 2
        size[row] = box_world.HIGH[k] - box_world.LOW[k]
        T_world_box[row] = np.linalg.inv(box_world.pose(number * TURN)) @ T_world_box[row]
    return {
        'timestamp_ns': np.array([stamp(number * TURN) for number, _ in rows]),
        'track_uuid': [f'track {k}' for _, k in rows],
        'category': [CATEGORY[box_world.NAMES[k + 2]] for _, k in rows],
        **{f'{name}_m': size[:, k] for k, name in enumerate(('length', 'width', 'height'))},
        **se3(T_world_box),
        'num_interior_pts': np.full(len(rows), 10),
    }
