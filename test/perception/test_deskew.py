from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.deskew import is_compensated

BEAMS, COLUMNS, DURATION = 32, 900, 0.1


def moving_sweep(velocity, turn_rate, *, compensated: bool, axis: int = 2) -> PointCloud:
    """Return a sweep of a LiDAR that moves between houses, stamped at the end of the sweep.

    Args:
        velocity: (3,) m/s in the LiDAR's frame.
        turn_rate: rad/s about the spin axis.
        compensated: whether the points are moved to the stamp by the true motion.
        axis: index of the spin axis; coordinates are permuted cyclically.
    """
    elevation = np.radians(np.linspace(5.0, -25.0, BEAMS))
    ring, column = np.divmod(np.arange(BEAMS * COLUMNS), COLUMNS)
    time = (column + 0.5) / COLUMNS * DURATION - DURATION
    azimuth = column / COLUMNS * 2.0 * np.pi
    e = elevation[ring]
    ray = np.stack([np.cos(e) * np.cos(azimuth), np.cos(e) * np.sin(azimuth), np.sin(e)], 1)
    heading = turn_rate * time
    c, s = np.cos(heading), np.sin(heading)
    origin = time[:, None] * velocity
    world = np.stack([c * ray[:, 0] - s * ray[:, 1], s * ray[:, 0] + c * ray[:, 1], ray[:, 2]], 1)
    with np.errstate(divide='ignore'):
        # Ground 1.8 m below, house fronts 9 m to both sides and 20 m ahead and behind.
        hits = [(-1.8 - origin[:, 2]) / world[:, 2]]
        hits += [(side - origin[:, 1]) / world[:, 1] for side in (-9.0, 9.0)]
        hits += [(front - origin[:, 0]) / world[:, 0] for front in (-20.0, 20.0)]
    distance = np.min([np.where(hit > 0.0, hit, np.inf) for hit in hits], axis=0)
    distance += np.random.default_rng(0).normal(0.0, 0.01, len(distance))
    points = (
        origin + distance[:, None] * world if compensated else distance[:, None] * ray
    ).astype(np.float32)
    coordinate = {(axis + 1 + k) % 3: points[:, k].copy() for k in range(3)}
    return PointCloud(
        10**9,
        'lidar',
        coordinate[0],
        coordinate[1],
        coordinate[2],
        time=time.astype(np.float32),
        ring=ring.astype(np.int32),
    )


def told(cloud, velocity, turn_rate, axis=2) -> bool:
    roll = axis - 2
    return is_compensated(
        cloud, cloud.ring, axis, np.roll(velocity, roll), np.roll([0.0, 0.0, turn_rate], roll)
    )


@pytest.mark.parametrize('compensated', [True, False])
@pytest.mark.parametrize(
    ('speed', 'turn_rate'), [(3.0, 0.0), (15.0, 0.0), (-4.0, 0.0), (8.0, 0.4), (30.0, -0.2)]
)
@pytest.mark.parametrize('axis', [2, 0])
def test_driving_tells_whether_points_were_moved(compensated, speed, turn_rate, axis):
    velocity = np.array([speed, 0.0, 0.0])
    cloud = moving_sweep(velocity, turn_rate, compensated=compensated, axis=axis)
    assert told(cloud, velocity, turn_rate, axis) is compensated


@pytest.mark.parametrize('compensated', [True, False])
def test_column_by_column_order_tells_as_well(compensated):
    velocity = np.array([10.0, 0.0, 0.0])
    cloud = moving_sweep(velocity, 0.0, compensated=compensated)
    order = np.arange(len(cloud)).reshape(BEAMS, COLUMNS).T.reshape(-1)
    shuffled = dataclasses.replace(
        cloud,
        x=cloud.x[order],
        y=cloud.y[order],
        z=cloud.z[order],
        time=cloud.time[order],
        ring=cloud.ring[order],
    )
    assert told(shuffled, velocity, 0.0) is compensated


def test_standing_still_tells_nothing():
    velocity = np.array([0.5, 0.0, 0.0])
    cloud = moving_sweep(velocity, 0.0, compensated=True)
    assert not told(cloud, velocity, 0.0)


def test_missing_points_times_and_beams_do_no_harm():
    velocity = np.array([10.0, 0.0, 0.0])
    for compensated in (True, False):
        cloud = moving_sweep(velocity, 0.0, compensated=compensated)
        lost = np.random.default_rng(0).random(len(cloud)) < 0.3
        cloud.x[lost] = np.nan
        cloud.time[::7] = np.nan
        cloud.ring[::11] = -1
        assert told(cloud, velocity, 0.0) is compensated
    untimed = dataclasses.replace(cloud, time=np.full(len(cloud), np.nan, np.float32))
    assert not told(untimed, velocity, 0.0)
    assert not told(dataclasses.replace(cloud, time=None), velocity, 0.0)
    nothing = dataclasses.replace(cloud, x=np.full(len(cloud), np.nan, np.float32))
    assert not told(nothing, velocity, 0.0)
