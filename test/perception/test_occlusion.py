"""Occlusion by parallax: points that a camera beside the LiDAR sees in simple scenes."""

from __future__ import annotations

import numpy as np
import pytest

from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.occlusion import visible
from drive_segment_ros.perception.projection import project_sweep

# Rotation from LiDAR axes (x forward, z up) to optical axes (z forward, y down).
TURN = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]])
AZIMUTH = np.radians(np.arange(-45, 45, 0.2))
# Beams are 0.33 degrees apart around the horizon and further apart below, as on real sensors.
BEAMS = np.radians(np.concatenate([np.arange(-25, -8, 1.5), np.arange(-8, 8, 0.33)]))
WALL, POLE, GROUND = 0, 1, 2


def make_camera():
    K = np.array([[960.0, 0, 480], [0, 960.0, 270], [0, 0, 1]])
    return CameraModel(
        width=960,
        height=540,
        K=K,
        D=np.zeros(0),
        R=np.eye(3),
        P=np.column_stack([K, np.zeros(3)]),
        distortion_model='',
        frame_id='camera',
        rectified=False,
    )


def camera_at(position):
    """Return T_camera_lidar of a camera at `position` in the LiDAR frame, looking along x."""
    T = np.eye(4)
    T[:3, :3] = TURN
    T[:3, 3] = -TURN @ np.asarray(position, float)
    return T


def scan(surfaces):
    """Ray-cast planar surfaces; return the cloud and the number of the surface each point hit.

    Each surface is (normal, offset, inside): points p with normal . p = offset and inside(p).
    """
    elevation, azimuth = (a.ravel() for a in np.meshgrid(BEAMS, AZIMUTH, indexing='ij'))
    rays = np.column_stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    distance = np.full(len(rays), np.inf)
    hit = np.full(len(rays), -1)
    for number, (normal, offset, inside) in enumerate(surfaces):
        with np.errstate(divide='ignore', invalid='ignore'):
            reach = offset / (rays @ np.asarray(normal, float))
            reach[~((reach > 0) & inside(rays * reach[:, None]))] = np.inf
        hit[reach < distance] = number
        distance = np.minimum(distance, reach)
    points = (rays * distance[:, None])[hit >= 0]
    x, y, z = points.T
    return PointCloud(stamp_ns=0, frame_id='lidar', x=x, y=y, z=z), hit[hit >= 0]


def everywhere(points):
    return np.ones(len(points), bool)


def wall_at(x):
    return ((1, 0, 0), x, everywhere)


def pole_at(x, y, width):
    return ((1, 0, 0), x, lambda p: np.abs(p[:, 1] - y) < width / 2)


def seen(cloud, position):
    projected = project_sweep(cloud, make_camera(), camera_at(position), None)
    return projected, visible(projected, make_camera())


@pytest.mark.parametrize('position', [(0, 0.5, 0), (0, -0.5, 0), (0.2, 0.5, -0.3)])
@pytest.mark.parametrize('width', [0.3, 1.8])
def test_a_pole_in_front_of_a_wall(position, width):
    cloud, surface = scan([wall_at(20.0), pole_at(8.0, 0.4, width)])
    projected, sees = seen(cloud, position)
    surface = surface[projected.index]
    # The pole's silhouette, from its corners; one step of the LiDAR at the pole is 3.4 px.
    depth = 8.0 - position[0]
    left, right = (480 - 960 * (0.4 + s * width / 2 - position[1]) / depth for s in (1, -1))
    into = np.minimum(projected.u - left, right - projected.u)
    # Above its highest return, the pole's extent is unknown.
    low, high = projected.v[surface == POLE].min(), projected.v[surface == POLE].max()
    hidden = (surface == WALL) & (into > 4.0) & (projected.v > low) & (projected.v < high)
    assert hidden.sum() > 100
    assert (~sees[hidden]).mean() > 0.95
    assert sees[(surface == WALL) & (into < 0)].all()
    assert sees[surface == POLE].all()


def test_a_car_seen_from_below_the_lidar():
    def front(p):
        return (np.abs(p[:, 1]) < 0.9) & (np.abs(p[:, 2] + 1.2) < 0.7)

    ground = ((0, 0, -1), 2.0, everywhere)
    cloud, surface = scan([wall_at(40.0), ((1, 0, 0), 10.0, front), ground])
    projected, sees = seen(cloud, (0, 0, -0.8))
    surface = surface[projected.index]
    top = 270 - 960 * (-0.5 + 0.8) / 10.0
    beside = np.abs(projected.u - 480) > 0.9 * 96
    # Points the LiDAR sees over the roof project onto the car; a beam step is 5.5 px.
    under_roof = (surface != POLE) & (projected.v > top + 6) & (projected.v < top + 60)
    inside = under_roof & (np.abs(projected.u - 480) < 0.9 * 96 - 4)
    assert inside.sum() > 50
    assert (~sees[inside]).mean() > 0.95
    assert sees[beside].all()
    assert sees[(surface != POLE) & (projected.v < top)].all()
    assert sees[surface == POLE].all()


@pytest.mark.parametrize('position', [(0, 0.5, 0), (0.3, 0, -0.5), (1.0, 0.5, -1.0)])
@pytest.mark.parametrize('slope', [0.0, 0.1, -0.02])
def test_slanted_ground_hides_nothing_of_itself(position, slope):
    cloud, _ = scan([((slope, 0.05, -1), 2.0, everywhere)])
    near = (cloud.x < 120) & (np.abs(cloud.y) < 120)
    cloud = PointCloud(
        stamp_ns=0, frame_id='lidar', x=cloud.x[near], y=cloud.y[near], z=cloud.z[near]
    )
    projected, sees = seen(cloud, position)
    assert len(projected) > 1000
    assert sees.mean() > 0.995


@pytest.mark.parametrize('position', [(0, 0.5, 0), (0, 0, -0.5)])
def test_a_facade_along_the_road_hides_nothing_of_itself(position):
    cloud, _ = scan([((0.02, 1, 0), 6.0, lambda p: p[:, 0] < 150)])
    projected, sees = seen(cloud, position)
    assert len(projected) > 1000
    assert sees.mean() > 0.995


def test_without_parallax_all_is_seen():
    fence = ((1, 0, 0), 5.0, lambda p: np.floor(p[:, 1] / 0.03) % 2 == 0)
    cloud, surface = scan([wall_at(20.0), fence])
    assert np.bincount(surface).min() > 1000
    projected, sees = seen(cloud, (0, 0, 0))
    assert len(projected) > 1000
    assert sees.all()


def test_no_points():
    cloud, _ = scan([wall_at(20.0)])
    projected, sees = seen(cloud, (100.0, 0, 0))
    assert len(projected) == 0
    assert sees.shape == (0,)
