"""The extrinsics check on synthetic scenes: floating boards seen by a LiDAR and a camera."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.motion import SweepMotion
from drive_segment_ros.perception.range_image import range_image
from offline_training.bags.extrinsics_check import check_extrinsics, depth_edges

WIDTH, HEIGHT, FOCAL = 320, 180, 400.0
K = np.array([[FOCAL, 0.0, WIDTH / 2], [0.0, FOCAL, HEIGHT / 2], [0.0, 0.0, 1.0]])
CAMERA = CameraModel(
    width=WIDTH,
    height=HEIGHT,
    K=K,
    D=np.zeros(5),
    R=np.eye(3),
    P=np.column_stack([K, np.zeros(3)]),
    distortion_model='plumb_bob',
    frame_id='camera',
    rectified=False,
)
# From a LiDAR frame with x ahead to the camera's optical frame (x right, y down, z ahead).
T_CAMERA_LIDAR = np.eye(4)
T_CAMERA_LIDAR[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]


class Boards:
    """Random boards around the sensors: azimuth, elevation, size, range and brightness of each."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.azimuth, self.elevation = rng.uniform(-24, 24, 25), rng.uniform(-11, 11, 25)
        self.width, self.height = rng.uniform(1.5, 5, (2, 25))
        self.range = np.sort(rng.uniform(5, 40, 25))[::-1]
        self.shade = rng.uniform(40, 220, 25)

    def look(self, rays: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return distance and brightness along rays (..., 3) in the LiDAR frame."""
        azimuth = np.degrees(np.arctan2(rays[..., 1], rays[..., 0]))
        elevation = np.degrees(np.arcsin(rays[..., 2] / np.linalg.norm(rays, axis=-1)))
        distance, shade = np.full(azimuth.shape, 80.0), np.full(azimuth.shape, 130.0)
        for k in range(len(self.range)):
            hit = abs(azimuth - self.azimuth[k]) < self.width[k] / 2
            hit &= abs(elevation - self.elevation[k]) < self.height[k] / 2
            distance[hit], shade[hit] = self.range[k], self.shade[k]
        return distance, shade

    def image(self) -> NDArray[np.uint8]:
        v, u = np.mgrid[:HEIGHT, :WIDTH]
        optical = np.stack([(u - K[0, 2]) / FOCAL, (v - K[1, 2]) / FOCAL, np.ones(u.shape)], -1)
        shade = self.look(optical @ T_CAMERA_LIDAR[:3, :3])[1]
        noise = np.random.default_rng(0).normal(0.0, 3.0, shade.shape)
        return np.clip(shade + noise, 0, 255).astype(np.uint8)

    def sweep(self, beams: bool = True) -> PointCloud:
        elevation, azimuth = np.meshgrid(
            np.radians(np.arange(12, -12, -0.4)),
            np.radians(np.arange(-40, 40, 0.2)),
            indexing='ij',
        )
        rays = np.stack(
            [
                np.cos(elevation) * np.cos(azimuth),
                np.cos(elevation) * np.sin(azimuth),
                np.sin(elevation),
            ],
            axis=-1,
        )
        points = (rays * self.look(rays)[0][..., None]).reshape(-1, 3)
        if not beams:
            rng = np.random.default_rng(1)
            points = points[rng.permutation(len(points))] + rng.normal(0, 1.0, points.shape)
        ring = np.repeat(np.arange(len(rays)), rays.shape[1])
        return PointCloud(
            stamp_ns=1,
            frame_id='lidar',
            x=points[:, 0],
            y=points[:, 1],
            z=points[:, 2],
            intensity=None,
            time=None,
            ring=ring if beams else None,
            height=1,
            width=len(points),
        )


SCENES = [Boards(seed) for seed in range(6)]


def turned(turn_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return wrong extrinsics that rotating the camera by `turn_deg` (about x, y, z) corrects."""
    T = T_CAMERA_LIDAR.copy()
    T[:3, :3] = cv2.Rodrigues(np.radians(turn_deg))[0] @ T[:3, :3]
    return T


@pytest.mark.parametrize(
    'turn_deg', [(0.0, 0.0, 0.0), (0.0, 1.5, 0.0), (-1.5, 0.0, 0.0), (0.5, -2.0, 2.0)]
)
def test_turn_of_the_camera_is_found(turn_deg: tuple[float, float, float]) -> None:
    images, sweeps = [s.image() for s in SCENES], [s.sweep() for s in SCENES]
    report = check_extrinsics(images, sweeps, CAMERA, turned(turn_deg))
    assert report is not None
    assert report.ok is not any(turn_deg)
    found = report.pitch_deg, report.yaw_deg, report.roll_deg
    np.testing.assert_allclose(found, turn_deg, atol=0.3)
    assert report.uncertainty_deg < 0.3
    assert report.frames == len(SCENES)


def test_images_of_something_else_prove_nothing() -> None:
    images = [Boards(seed + 100).image() for seed in range(len(SCENES))]
    report = check_extrinsics(images, [s.sweep() for s in SCENES], CAMERA, T_CAMERA_LIDAR)
    assert report is not None
    assert report.ok is None


def test_nothing_is_said_without_beams_or_edges() -> None:
    images = [s.image() for s in SCENES[:2]]
    sweeps = [s.sweep(beams=False) for s in SCENES[:2]]
    assert check_extrinsics(images, sweeps, CAMERA, T_CAMERA_LIDAR) is None
    backwards = turned((0.0, 180.0, 0.0))
    assert check_extrinsics(images, [s.sweep() for s in SCENES[:2]], CAMERA, backwards) is None


def test_depth_edges_lie_on_the_boards_rims() -> None:
    board = Boards(0)
    for name in ('azimuth', 'elevation', 'width', 'height', 'range', 'shade'):
        setattr(
            board, name, np.array([{'width': 8.0, 'height': 6.0, 'range': 10.0}.get(name, 0.0)])
        )
    sweep = board.sweep()
    assert sweep.ring is not None
    edges = depth_edges(range_image(sweep, sweep.ring))
    np.testing.assert_allclose(np.linalg.norm(edges.outer, axis=1), 10.0, atol=1e-3)
    azimuth = np.degrees(np.arctan2(edges.outer[:, 1], edges.outer[:, 0]))
    elevation = np.degrees(np.arcsin(edges.outer[:, 2] / 10.0))
    side, top = abs(abs(azimuth) - 4.0) < 0.21, abs(elevation - 3.0) < 0.41
    assert (side | top).all()
    assert min(np.count_nonzero(side & (azimuth > 0)), np.count_nonzero(side & (azimuth < 0))) > 10
    assert np.count_nonzero(top) > 30


@pytest.mark.parametrize(('known', 'turn_deg'), [(True, 0.0), (False, 0.0), (True, 2.0)])
def test_the_vehicles_way_between_sweep_and_image_is_no_turn(known: bool, turn_deg: float) -> None:
    # The vehicle moves 1 m across the view between sweep and image, as for a side camera at
    # 10 m/s; at a range of 28 m this looks like a rotation by 2 degrees.
    way = np.eye(4)[:3]
    way[1, 3] = 1.0
    motion = SweepMotion(times=np.zeros(1), T=way[None], T_odom_base=np.eye(4))
    sweeps = []
    for scene in SCENES:
        sweep = scene.sweep()
        sweeps.append(dataclasses.replace(sweep, y=sweep.y - 1.0))
    motions = [motion if known else None] * len(SCENES)
    images = [s.image() for s in SCENES]
    published = turned((0.0, turn_deg, 0.0))
    report = check_extrinsics(images, sweeps, CAMERA, published, motions)
    assert report is not None
    assert report.ok is (known and not turn_deg)
    if known:
        assert report.yaw_deg == pytest.approx(turn_deg, abs=0.3)
