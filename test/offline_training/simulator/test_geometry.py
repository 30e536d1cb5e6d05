"""Projected points agree with the simulator's truth, for several lenses and LiDARs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import cloud_from_message
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.projection import project_sweep
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.events import pose_event
from offline_training.simulator import SimulatorParameters, simulate, truth_folder
from offline_training.simulator.cameras import Camera
from offline_training.simulator.parameters import CameraParameters

SENSORS = [
    ('pinhole', 'pandar64', 0.0, 'end'),
    ('plumb_bob', 'solid_state', 180.0, 'start'),
    ('equidistant', 'hdl64', 90.0, 'end'),
]


class Drive:
    """A simulated drive, read back from its bag like any recording."""

    def __init__(self, bag: Path, camera: CameraParameters) -> None:
        self.directions = Camera('front', camera).directions.reshape(
            camera.height, camera.width, 3
        )
        self.truth = truth_folder(bag)
        summary = json.loads((self.truth / 'truth.json').read_text())
        self.first_mover = summary['first_moving_instance']
        self.messages: dict[str, list[Any]] = {}
        with BagReader(bag) as reader:
            for topic, _, raw, kind in reader.messages():
                message = reader.deserialize(raw, kind)
                self.messages.setdefault(topic, []).append(message)
        self.tree = TransformTree()
        for transform in self.messages['/tf_static'][0].transforms:
            self.tree.set_message(transform)
        self.trajectory = Trajectory()
        for odometry in self.messages['/odom']:
            event = pose_event(odometry)
            self.trajectory.add(event.stamp_ns, event.translation, event.quaternion)
        self.camera = CameraModel.from_camera_info(
            self.messages['/camera/front/camera_info'][0], rectified=False
        )
        self.image_stamps = [stamp_ns(info) for info in self.messages['/camera/front/camera_info']]
        self.clouds = [cloud_from_message(cloud) for cloud in self.messages['/lidar/points']]

    def matches(self, number: int, with_motion: bool) -> Matches:
        """Pair points and the pixels they project to, without edges, occlusion and movers."""
        cloud, image_stamp = self.clouds[number], self.image_stamps[number]
        motion = None
        if with_motion:
            assert cloud.time is not None
            first, last = float(cloud.time.min()), float(cloud.time.max())
            T_base_lidar = self.tree.lookup('base_link', 'lidar')
            motion = self.trajectory.sweep_motion(
                cloud.stamp_ns, image_stamp, T_base_lidar, first, last
            )
        T_camera_lidar = self.tree.lookup('front_camera_optical', 'lidar')
        projected = project_sweep(cloud, self.camera, T_camera_lidar, motion)
        own = np.load(self.truth / 'point_labels' / f'{cloud.stamp_ns}.npz')['instance']
        seen = read_png(self.truth / 'front' / 'instance' / f'{image_stamp}.png')
        distance = read_png(self.truth / 'front' / 'distance' / f'{image_stamp}.png') / 256.0
        column, row = np.rint(projected.u).astype(int), np.rint(projected.v).astype(int)
        point, pixel = own[projected.index], seen[row, column]
        # Away from edges: all of the surrounding 5 x 5 pixels are of one instance.
        kernel = np.ones((5, 5), np.uint8)
        inner = (cv2.erode(seen, kernel) == cv2.dilate(seen, kernel))[row, column]
        cosine = self.directions[row, column, 2]
        measured, surface = projected.depth / np.maximum(cosine, 0.1), distance[row, column]
        # Points behind the surface in the image are hidden, and moving objects are elsewhere when
        # the image is taken: neither tests the geometry.
        hidden = (surface > 0) & (measured > surface * 1.02 + 0.1)
        standing = (point < self.first_mover) & (pixel < self.first_mover)
        use = inner & ~hidden & standing & (cosine > 0.1)
        # Distances are compared where the surface faces the ray: neighbours are equally far.
        slope = cv2.dilate(distance, kernel) - cv2.erode(distance, kernel)
        square = (slope < 0.3)[row, column] & (point == pixel) & standing & inner & (cosine > 0.1)
        return Matches(point[use], pixel[use], (measured - surface)[square])

    def all_matches(self, with_motion: bool) -> Matches:
        """Return the matches of all sweeps."""
        sweeps = [self.matches(k, with_motion) for k in range(len(self.clouds))]
        return Matches(*(np.concatenate(arrays) for arrays in zip(*sweeps, strict=True)))


class Matches(NamedTuple):
    """Points and the pixels that they project to."""

    point: NDArray[np.integer]  # (N,) instance
    pixel: NDArray[np.integer]  # (N,) instance
    error: NDArray[np.floating]  # (M,) measured less true distance, m, on surfaces facing the ray

    @property
    def share(self) -> float:
        """Share of points that project to a pixel of their own instance."""
        return float((self.point == self.pixel).mean())


def read_png(path: Path) -> NDArray[Any]:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec


@pytest.fixture(scope='module', params=SENSORS, ids=lambda sensors: '-'.join(sensors[:2]))
def drive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Drive:
    lens, lidar, yaw, stamp = request.param
    bag = tmp_path_factory.mktemp('geometry') / 'drive'
    values = {
        'seed': 5,  # the vehicle drives at 7 m/s
        'duration_s': 0.8,
        'rate_hz': 5.0,
        'camera.model': lens,
        'camera.width': 480,
        'camera.height': 270,
        'lidar.model': lidar,
        'lidar.yaw_deg': yaw,
        'lidar.stamp': stamp,
    }
    parameters = from_flat(SimulatorParameters, values)
    simulate(bag, parameters)
    return Drive(bag, parameters.camera)


def test_points_fall_on_pixels_of_their_own_instance(drive: Drive) -> None:
    matches = drive.all_matches(with_motion=True)
    assert len(matches.point) > 3000
    assert matches.share >= 0.99


def test_points_are_as_far_as_their_pixels_say(drive: Drive) -> None:
    # At 7 m/s a stamp that is wrong by 10 ms changes the distance by 7 cm.
    error = drive.all_matches(with_motion=True).error
    assert len(error) > 300
    assert abs(np.median(error)) < 0.02
    assert np.percentile(np.abs(error), 75) < 0.05


def test_without_motion_neither_is_so(drive: Drive) -> None:
    moved, left = drive.all_matches(with_motion=True), drive.all_matches(with_motion=False)
    assert left.share < moved.share
    assert np.percentile(np.abs(left.error), 75) > np.percentile(np.abs(moved.error), 75)
