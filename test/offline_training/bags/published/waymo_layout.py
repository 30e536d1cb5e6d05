"""Write the drive of `box_world` in the layout of Waymo v2: one Parquet file per component."""

from __future__ import annotations

from pathlib import Path

import box_world
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet
from scipy.spatial.transform import Rotation

SEGMENT = '10023947602400723454_1120_000_1140_000'
START_US = 1_552_440_195_362_591
TURN = 0.1
WIDTH, HEIGHT, FOCAL = 320, 200, 260.0
COLUMNS = 500
# Beam inclinations as the calibration lists them: lowest first, unevenly spaced.
INCLINATION = np.radians(
    np.concatenate([np.linspace(-17.6, -5.0, 24), np.linspace(-4.6, 2.3, 16)])
)
TURNED_DEG = 147.0


def rigid(R: NDArray, t: tuple[float, float, float]) -> NDArray[np.float64]:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


T_BASE_LIDAR = rigid(
    Rotation.from_euler('z', TURNED_DEG, degrees=True).as_matrix(), (1.43, 0.0, 2.184)
)
# Viewing direction of each camera, degrees from ahead to the left; x of its frame.
CAMERAS = {1: 0.0, 2: 45.0}
NAMES = {1: 'front', 2: 'front_left'}
K = np.array([[FOCAL, 0.0, 161.0], [0.0, FOCAL, 96.0], [0.0, 0.0, 1.0]])
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
TYPES = {'car': 1, 'person': 7, 'pole': 10, 'building': 14, 'road': 18, 'sky': 0}
# From the world of `box_world` to that of the set, whose origin is far away.
T_WORLD = rigid(Rotation.from_euler('z', 100, degrees=True).as_matrix(), (3021.5, -1480.25, 12.5))


def T_base_camera(number: int) -> NDArray[np.float64]:
    """Return T_base_camera; x of the camera frame is the viewing direction."""
    turn = Rotation.from_euler('z', CAMERAS[number], degrees=True).as_matrix()
    return rigid(turn, (1.54, 0.02, 2.1))


def us(time_s: float) -> int:
    return START_US + round(time_s * 1e6)


def stamp_ns(time_s: float) -> int:
    return us(time_s) * 1000


def world(time_s: float) -> NDArray[np.float64]:
    return T_WORLD @ box_world.pose(time_s)


def passing(degrees: float) -> float:
    """Return the fraction of a revolution, clockwise from behind, to an azimuth in degrees."""
    return ((180.0 - degrees) % 360.0) / 360.0


def write_table(root: Path, component: str, columns: dict, rows_a_group: int = 3) -> None:
    path = root / component / f'{SEGMENT}.parquet'
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(next(iter(columns.values())))
    columns = {'key.segment_context_name': [SEGMENT] * count, **columns}
    parquet.write_table(pa.table(columns), str(path), row_group_size=rows_a_group)


def range_image(number: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return range image (H, W, 4), pose (H, W, 6) and instance (H, W) per pixel of a frame."""
    # Columns go clockwise from behind in the vehicle frame, to which the LiDAR frame is rotated.
    part = (np.arange(COLUMNS) + 0.5) / COLUMNS
    azimuth = np.pi - part * 2 * np.pi - np.radians(TURNED_DEG)
    times = (number + part) * TURN
    elevations = np.degrees(INCLINATION[::-1])
    found = box_world.sweep(T_BASE_LIDAR, elevations, azimuth, times)
    column = np.rint((found.time / TURN - number) * COLUMNS - 0.5).astype(int)
    image = np.full((len(elevations), COLUMNS, 4), -1.0, np.float32)
    instance = np.zeros(image.shape[:2], np.int64)
    image[found.row, column] = 0.0
    image[found.row, column, 0] = np.linalg.norm(found.xyz, axis=1)
    image[found.row, column, 1] = 0.25
    instance[found.row, column] = found.instance
    T = T_WORLD @ box_world.pose(times)
    yaw, pitch, roll = Rotation.from_matrix(T[:, :3, :3]).as_euler('ZYX').T
    pose = np.stack([roll, pitch, yaw, *T[:, :3, 3].T], 1).astype(np.float32)
    return image, np.broadcast_to(pose, (len(elevations), COLUMNS, 6)), instance


def images(values: list[NDArray], kind: pa.DataType) -> dict:
    return {
        'values': pa.array([value.reshape(-1) for value in values], pa.list_(kind)),
        'shape': pa.array([list(value.shape) for value in values], pa.list_(pa.int32(), 3)),
    }


def matrices(values: list[NDArray]) -> pa.Array:
    return pa.array([value.reshape(-1) for value in values], pa.list_(pa.float64(), 16))


def write(
    root: Path, frames: int = 4, labelled: tuple[int, ...] = (1,)
) -> dict[int, NDArray[np.int64]]:
    """Write a segment; return the instance of each point by the sweep's stamp.

    Args:
        root: folder of the components.
        frames: number of frames.
        labelled: indices of the frames with labels.
    """
    ranges, poses, stamps, truth, labels = [], [], [], {}, []
    for number in range(frames):
        image, pose, instance = range_image(number)
        row, column = np.nonzero(image[..., 0] > 0)
        truth[stamp_ns(number * TURN)] = instance[row, column]
        # Another LiDAR comes first, because the set does not guarantee that the top one does.
        for laser in (2, 1):
            ranges.append(image if laser == 1 else image[:, ::4])
            stamps.append((us(number * TURN), laser))
        poses.append(pose)
        if number in labelled:
            semantic = np.array([TYPES[name] for name in box_world.NAMES])[instance]
            labels.append(np.stack([instance, semantic], -1).astype(np.int32))
    keys = {
        'key.frame_timestamp_micros': pa.array([micros for micros, _ in stamps], pa.int64()),
        'key.laser_name': pa.array([laser for _, laser in stamps], pa.int8()),
    }
    lidar = images(ranges, pa.float32())
    prefix = '[LiDARComponent].range_image_return1.'
    write_table(root, 'lidar', keys | {prefix + name: value for name, value in lidar.items()})
    top = {
        'key.frame_timestamp_micros': pa.array([us(k * TURN) for k in range(frames)], pa.int64()),
        'key.laser_name': pa.array([1] * frames, pa.int8()),
    }
    prefix = '[LiDARPoseComponent].range_image_return1.'
    write_table(
        root,
        'lidar_pose',
        top | {prefix + name: value for name, value in images(poses, pa.float32()).items()},
    )
    if labels:
        prefix = '[LiDARSegmentationLabelComponent].range_image_return1.'
        chosen = {name: value.take(pa.array(list(labelled))) for name, value in top.items()}
        values = images(labels, pa.int32())
        write_table(
            root,
            'lidar_segmentation',
            chosen | {prefix + name: value for name, value in values.items()},
        )
    write_table(
        root,
        'vehicle_pose',
        {
            'key.frame_timestamp_micros': top['key.frame_timestamp_micros'],
            '[VehiclePoseComponent].world_from_vehicle.transform': matrices(
                [world(number * TURN) for number in range(frames)]
            ),
        },
    )
    write_calibrations(root)
    write_images(root, frames)
    return truth


def write_calibrations(root: Path) -> None:
    beams = '[LiDARCalibrationComponent].beam_inclination'
    ends = [float(INCLINATION.min()), float(INCLINATION.max())]
    write_table(
        root,
        'lidar_calibration',
        {
            'key.laser_name': pa.array([2, 1], pa.int8()),
            '[LiDARCalibrationComponent].extrinsic.transform': matrices([np.eye(4), T_BASE_LIDAR]),
            f'{beams}.min': [-1.57, ends[0]],
            f'{beams}.max': [0.52, ends[1]],
            f'{beams}.values': pa.array([None, INCLINATION], pa.list_(pa.float64())),
        },
    )
    prefix = '[CameraCalibrationComponent].'
    count = len(CAMERAS)
    intrinsic = {'f_u': FOCAL, 'f_v': FOCAL, 'c_u': K[0, 2], 'c_v': K[1, 2]}
    intrinsic |= dict.fromkeys(('k1', 'k2', 'p1', 'p2', 'k3'), 0.0)
    columns = {f'{prefix}intrinsic.{name}': [v] * count for name, v in intrinsic.items()}
    write_table(
        root,
        'camera_calibration',
        {
            'key.camera_name': pa.array(list(CAMERAS), pa.int8()),
            **columns,
            f'{prefix}extrinsic.transform': matrices([T_base_camera(c) for c in CAMERAS]),
            f'{prefix}width': pa.array([WIDTH] * count, pa.int32()),
            f'{prefix}height': pa.array([HEIGHT] * count, pa.int32()),
            f'{prefix}rolling_shutter_direction': pa.array([2] * count, pa.int8()),
        },
    )


def write_images(root: Path, frames: int) -> None:
    rows = [(number, camera) for number in range(frames) for camera in CAMERAS]
    times = [(number + passing(CAMERAS[camera])) * TURN for number, camera in rows]
    pictures = []
    for (_, camera), time in zip(rows, times, strict=True):
        T = T_base_camera(camera) @ rigid(_OPTICAL, (0.0, 0.0, 0.0))
        picture = box_world.picture(T, K, (WIDTH, HEIGHT), time)
        pictures.append(box_world.encoded(picture, '.jpg'))
    seconds = START_US * 1e-6 + np.array(times)
    prefix = '[CameraImageComponent].'
    write_table(
        root,
        'camera_image',
        {
            'key.frame_timestamp_micros': pa.array([us(n * TURN) for n, _ in rows], pa.int64()),
            'key.camera_name': pa.array([camera for _, camera in rows], pa.int8()),
            f'{prefix}image': pa.array(pictures, pa.binary()),
            # The pose is of another time than the image.
            f'{prefix}pose.transform': matrices([world(time - 0.02) for time in times]),
            f'{prefix}pose_timestamp': seconds - 0.02,
            f'{prefix}rolling_shutter_params.shutter': np.full(len(rows), 0.005),
            f'{prefix}rolling_shutter_params.camera_trigger_time': seconds - 0.01,
            f'{prefix}rolling_shutter_params.camera_readout_done_time': seconds + 0.01,
        },
    )
