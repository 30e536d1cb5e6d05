"""Beams found in raw, skewed sweeps without `ring` equal those of the simulator."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from drive_segment_ros.perception.beams import find_beams
from drive_segment_ros.perception.clouds import PointCloud
from offline_training.simulator.ego import ego_poses
from offline_training.simulator.lidars import ELEVATIONS_DEG, Lidar
from offline_training.simulator.parameters import LidarParameters
from offline_training.simulator.world import World


@pytest.fixture(scope='module')
def towns(world: World) -> dict[int, World]:
    """The towns of two seeds, in which the vehicle is moving."""
    other = World(5)
    other.traffic.advance(1.0)
    towns = {2: world, 5: other}
    for town in towns.values():
        start, end = ego_poses(town.traffic, np.array([0.4, 0.6]))
        assert np.linalg.norm(end[:3, 3] - start[:3, 3]) > 0.5
    return towns


def sweep(town: World, seed: int, model: str, rain: float = 0.0) -> NDArray[np.void]:
    """Simulate a sweep of 0.2 s by a LiDAR yawed by 90 degrees; 1 % of its points are NaN."""
    lidar = Lidar(LidarParameters(model=model, yaw_deg=90.0), rate_hz=5.0, seed=seed)
    return lidar.sweep(town, 2, rain, 0.01, np.random.default_rng(seed)).points


def without_ring(points: NDArray[np.void]) -> PointCloud:
    x, y, z = points['x'], points['y'], points['z']
    return PointCloud(0, 'lidar', x, y, z, time=points['t'], width=len(points))


@pytest.mark.parametrize('rain', [0.0, 0.5])
@pytest.mark.parametrize('seed', [2, 5])
@pytest.mark.parametrize('model', ELEVATIONS_DEG)
def test_beams_found_without_ring_are_the_simulators(towns, model, seed, rain):
    points = sweep(towns[seed], seed, model, rain)
    cloud = without_ring(points)
    table = find_beams([cloud])
    assert table is not None
    assert table.axis == 2
    # A beam without returns cannot be found and has no number.
    beams, numbers = np.unique(points['ring'], return_inverse=True)
    assert len(table.elevation) == len(beams)
    finite = np.isfinite(cloud.x)
    assert np.mean(table.ring(cloud)[finite] == numbers[finite]) >= 0.995


@pytest.mark.parametrize('seed', [2, 5])
def test_a_solid_state_sensor_has_no_beams(towns, seed):
    assert find_beams([without_ring(sweep(towns[seed], seed, 'solid_state'))]) is None
