"""Beams of clouds without ring: real sweeps, simulated sensors, and clouds without beams."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drive_segment_ros.perception.beams import BeamTable, find_beams
from drive_segment_ros.perception.clouds import PointCloud, cloud_from_message
from drive_segment_ros.ros.bags import BagReader

SENSORS_DEG = {
    '16 even': np.linspace(15.0, -15.0, 16),
    '32 even': np.linspace(10.67, -30.67, 32),
    '64 in two blocks': np.r_[np.linspace(2.0, -8.33, 32), np.linspace(-8.83, -24.33, 32)],
    '64 dense at the horizon': np.r_[
        [15.0, 11.0, 8.0, 5.0, 3.0, 2.0], np.linspace(1.83, -6.0, 48), np.linspace(-7.0, -25.0, 10)
    ],
    '128 even': np.linspace(22.5, -22.5, 128),
}


def cloud_of(points: NDArray, time: NDArray | None = None) -> PointCloud:
    x, y, z = np.asarray(points, np.float32).reshape(-1, 3).T
    return PointCloud(0, 'lidar', x, y, z, time=time, width=len(x))


def simulated(
    elevation_deg: NDArray, *, speed: float = 0.0, offset: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> tuple[NDArray, NDArray, NDArray]:
    """Simulate a sweep of a street; return shuffled points moved to time 0, times and beams."""
    rng = np.random.default_rng(3)
    steps, beams = 900, len(elevation_deg)
    ring, step = np.tile(np.arange(beams), steps), np.repeat(np.arange(steps), beams)
    azimuth, elevation = 1.0 - 2 * np.pi * step / steps, np.radians(elevation_deg)[ring]
    level = np.cos(elevation)
    ray = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], 1)
    time = 0.1 * step / steps
    origin = np.outer(time, [speed, 0.0, 0.0])
    with np.errstate(divide='ignore'):
        distance = np.where(ray[:, 2] < 0.0, -1.8 / ray[:, 2], np.inf)
        for _ in range(25):
            side = rng.choice([-1.0, 1.0])
            centre = np.array([rng.uniform(-40.0, 40.0), side * rng.uniform(4.0, 25.0), 0.0])
            half = rng.uniform([0.5, 0.5, 0.5], [5.0, 3.0, 8.0])
            enter, leave = (centre - half - origin) / ray, (centre + half - origin) / ray
            first = np.minimum(enter, leave).max(1)
            last = np.maximum(enter, leave).min(1)
            hit = (first > 0.0) & (first < np.minimum(last, distance))
            distance[hit] = first[hit]
    distance += rng.normal(0.0, 0.02, len(distance))
    seen = rng.permutation(np.flatnonzero((distance > 1.5) & (distance < 120.0)))
    points = ray[seen] * distance[seen, None] + origin[seen] + np.array(offset)
    return points, time[seen], ring[seen]


@pytest.fixture(scope='module')
def real_sweeps(real_bag: Path) -> list[tuple[PointCloud, NDArray]]:
    """Return every eighth sweep and sweep 54, shuffled and without `ring`, with their rings."""
    with BagReader(real_bag) as bag:
        topic = '/lidar/points'
        kept = [m for i, m in enumerate(bag.messages([topic])) if i % 8 == 0 or i == 54]
        clouds = [cloud_from_message(bag.deserialize(m.raw, m.msgtype)) for m in kept]
    sweeps = []
    for i, cloud in enumerate(clouds):
        order = np.random.default_rng(i).permutation(len(cloud))
        points = np.stack([cloud.x, cloud.y, cloud.z], 1)[order]
        sweeps.append((cloud_of(points, cloud.time[order]), cloud.ring[order]))
    return sweeps


def test_real_sweeps_alone_get_the_beams_of_their_ring_field(real_sweeps):
    for cloud, ring in real_sweeps:
        table = find_beams([cloud])
        assert table is not None
        assert len(table.elevation) == 64
        assert table.axis == 2
        assert np.mean(table.ring(cloud) == ring) >= 0.99


def test_several_real_sweeps_together_fit_each_of_them(real_sweeps):
    table = find_beams([cloud for cloud, _ in real_sweeps[:7]])
    assert table is not None
    for cloud, ring in real_sweeps:
        assert np.mean(table.ring(cloud) == ring) >= 0.99


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('sensor', SENSORS_DEG)
def test_beams_of_any_sensor_about_any_axis(sensor, axis):
    points, time, ring = simulated(SENSORS_DEG[sensor])
    cloud = cloud_of(np.roll(points, axis - 2, axis=1), time)
    table = find_beams([cloud])
    assert table is not None
    assert table.axis == axis
    # Beams that hit nothing cannot be found.
    beams, numbers = np.unique(ring, return_inverse=True)
    assert len(table.elevation) == len(beams)
    assert np.mean(table.ring(cloud) == numbers) > 0.999


@pytest.mark.parametrize('sensor', SENSORS_DEG)
def test_driving_at_10_metres_per_second_leaves_the_beams_in_place(sensor):
    points, time, ring = simulated(SENSORS_DEG[sensor], speed=10.0)
    table = find_beams([cloud_of(points, time)])
    assert table is not None
    np.testing.assert_allclose(
        np.degrees(table.elevation), SENSORS_DEG[sensor][np.unique(ring)], atol=0.03
    )


@pytest.mark.parametrize('boxes', [(), [(8, 12, -2, 2, 0, 1.6), (-20, -15, -5, 5, 0, 4)]])
@pytest.mark.parametrize('noise', [0.0, 0.02])
@pytest.mark.parametrize('timed', [True, False])
def test_even_beams_over_an_empty_plane(make_sweep, timed, noise, boxes):
    even = np.linspace(8.0, -25.0, 64)
    sweep = make_sweep(elevation_deg=even, columns=900, noise=noise, boxes=boxes)
    cloud = dataclasses.replace(sweep, ring=None, time=sweep.time if timed else None)
    table = find_beams([cloud])
    assert table is not None
    seen = np.isfinite(sweep.x)
    beams, numbers = np.unique(sweep.ring[seen], return_inverse=True)
    np.testing.assert_allclose(np.degrees(table.elevation), even[beams], atol=0.01)
    assert (table.ring(cloud)[seen] == numbers).all()


@pytest.mark.parametrize('sensor', SENSORS_DEG)
def test_a_frame_beside_the_optical_centre_leaves_the_beams_in_place(sensor):
    points, _, ring = simulated(SENSORS_DEG[sensor], offset=(0.03, -0.02, 0.036))
    table = find_beams([cloud_of(points)])
    assert table is not None
    np.testing.assert_allclose(
        np.degrees(table.elevation), SENSORS_DEG[sensor][np.unique(ring)], atol=0.03
    )


def test_points_without_position_get_no_beam():
    points, time, _ = simulated(SENSORS_DEG['16 even'])
    points[:3] = [[np.nan, 1.0, 1.0], [1.0, np.inf, 1.0], [0.0, 0.0, 0.0]]
    cloud = cloud_of(points, time)
    table = find_beams([cloud])
    assert table is not None
    found = table.ring(cloud)
    assert found.dtype == np.int32
    assert found[:3].tolist() == [-1, -1, -1]
    assert found[3:].min() == 0


def rosette() -> NDArray:
    """Return points in the rosette pattern of a solid-state LiDAR, which has no beams."""
    phase = np.linspace(0.0, 200.0, 60_000)
    radius = np.sin(7.3 * phase)
    ray = np.stack(
        [np.ones_like(phase), 0.6 * radius * np.cos(phase), 0.4 * radius * np.sin(phase)], 1
    )
    return ray * np.random.default_rng(0).uniform(3.0, 60.0, (len(ray), 1))


def merged() -> NDArray:
    """Return the merged points of two LiDARs that are 1.2 m apart."""
    points = simulated(SENSORS_DEG['32 even'])[0]
    aside = np.array([0.0, 0.6, 0.1])
    return np.concatenate([points + aside, points - aside])


@pytest.mark.parametrize(
    'points',
    [
        pytest.param(np.random.default_rng(0).uniform(-30, 30, (50_000, 3)), id='random'),
        pytest.param(np.random.default_rng(0).uniform(-30, 30, (1_000, 3)), id='few random'),
        pytest.param(np.random.default_rng(0).uniform(-30, 30, (100, 3)), id='too few'),
        pytest.param(np.full((5_000, 3), np.nan), id='nan'),
        pytest.param(np.ones((5_000, 3)), id='one place'),
        pytest.param(np.empty((0, 3)), id='empty'),
        pytest.param(rosette(), id='solid state'),
        pytest.param(merged(), id='merged'),
    ],
)
def test_clouds_without_beams_have_no_table(points):
    assert find_beams([cloud_of(points)]) is None


def test_no_clouds_have_no_table():
    assert find_beams([]) is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=130, unique=True),
    st.integers(0, 2),
    st.integers(0, 2**32 - 1),
)
def test_ring_is_the_nearest_beam_in_elevation(elevations, axis, seed):
    table = BeamTable(np.sort(np.array(elevations))[::-1], axis)
    points = np.random.default_rng(seed).normal(0.0, 10.0, (200, 3)).astype(np.float32)
    ring = table.ring(cloud_of(np.roll(points, axis - 2, axis=1)))
    elevation = np.arcsin(points[:, 2] / np.linalg.norm(points.astype(float), axis=1))
    error = np.abs(elevation[:, None] - table.elevation)
    chosen = error[np.arange(len(points)), ring]
    np.testing.assert_allclose(chosen, error.min(1), atol=1e-5)
