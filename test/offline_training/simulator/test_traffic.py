from __future__ import annotations

import numpy as np
import pytest

from offline_training.simulator.lanes import make_lanes
from offline_training.simulator.street_plan import make_street_plan
from offline_training.simulator.terrain import Terrain
from offline_training.simulator.traffic import STEP_S, Traffic

LENGTHS = [4.5] * 12 + [11.5, 8.0]


@pytest.fixture(scope='module')
def poses() -> np.ndarray:
    """Poses of all movers over 40 s, (steps, movers, 6)."""
    rng = np.random.default_rng(1)
    plan, terrain = make_street_plan(rng), Terrain(rng)
    traffic = Traffic(plan, terrain, LENGTHS, [False] * len(LENGTHS), 5, rng)
    samples = []
    for second in range(1, 41):
        traffic.advance(second)
        start, steps = traffic.window(second - 1, second)
        assert start == second - 1
        samples += list(steps[1:])
    assert len(traffic._history) <= 150  # memory does not grow with the drive
    return np.stack(samples)


def test_vehicles_do_not_run_into_each_other(poses: np.ndarray) -> None:
    count = len(LENGTHS)
    # Each vehicle is approximated by three circles along its length.
    along = np.linspace(-0.4, 0.4, 3)[None, None, :, None] * np.array(LENGTHS)[None, :, None, None]
    yaw = poses[::10, :count, 3]
    heading = np.stack([np.cos(yaw), np.sin(yaw)], -1)[:, :, None]
    spots = poses[::10, :count, None, :2] + along * heading
    for a in range(count):
        for b in range(a):
            apart = np.linalg.norm(spots[:, a, :, None] - spots[:, b, None], axis=-1)
            assert apart.min() > 1.7, (a, b)


def test_motion_is_smooth_and_of_town_speed(poses: np.ndarray) -> None:
    step = np.diff(poses, axis=0)
    speed = np.linalg.norm(step[..., :2], axis=-1) / STEP_S
    assert speed.max() < 14.0
    turn = (step[..., 3] + np.pi) % (2 * np.pi) - np.pi
    vehicles = turn[:, : len(LENGTHS)]
    assert np.abs(vehicles).max() / STEP_S < 1.5
    acceleration = np.abs(np.diff(speed[:, : len(LENGTHS)], axis=0)) / STEP_S
    assert np.percentile(acceleration, 99) < 4.0


def test_the_car_drives_turns_and_stops(poses: np.ndarray) -> None:
    ego = poses[:, 0]
    speed = np.linalg.norm(np.diff(ego[:, :2], axis=0), axis=1) / STEP_S
    assert speed.max() > 4.0
    assert speed.min() < 0.5
    assert np.ptp(np.unwrap(ego[:, 3])) > 1.0


def test_lanes_join_without_a_kink() -> None:
    lanes = make_lanes(make_street_plan(np.random.default_rng(4)))
    for lane in lanes:
        assert lane.following
        for k in lane.following:
            assert np.allclose(lane.points[-1], lanes[k].points[0], atol=1e-6)
            bend = (lanes[k].yaw[0] - lane.yaw[-1] + np.pi) % (2 * np.pi) - np.pi
            assert abs(bend) < 0.05
