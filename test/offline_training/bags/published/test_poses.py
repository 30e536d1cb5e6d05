"""Poses of a published drive: extrapolation, and undoing the motion compensation of clouds."""

from __future__ import annotations

import box_world
import numpy as np
import pytest

from drive_segment_ros.errors import MotionError
from offline_training.bags.published.poses import Poses, as_measured

STAMPS = np.arange(5, dtype=np.int64) * 100_000_000 + 1_000_000_000


def published() -> Poses:
    return Poses.of(STAMPS, box_world.pose(STAMPS * 1e-9))


def test_beyond_its_ends_the_vehicle_goes_on_as_it_did():
    poses = published().covering(int(STAMPS[0]) - 110_000_000, int(STAMPS[-1]) + 90_000_000)
    assert poses.stamps_ns[0] <= STAMPS[0] - 110_000_000
    assert poses.stamps_ns[-1] >= STAMPS[-1] + 90_000_000
    assert (np.diff(poses.stamps_ns) > 0).all()
    true = np.linalg.inv(box_world.pose(1.0)) @ box_world.pose(poses.stamps_ns * 1e-9)
    found = np.linalg.inv(published().T_odom_base[0]) @ poses.T_odom_base
    np.testing.assert_allclose(found, true, atol=0.03)


def test_by_a_single_pose_the_vehicle_stands():
    T = box_world.pose(1.0)
    alone = Poses.of(STAMPS[:1], T[None]).covering(int(STAMPS[0]) - 50_000_000, int(STAMPS[0]))
    assert alone.stamps_ns.tolist() == [int(STAMPS[0]) - 50_000_000, int(STAMPS[0])]
    assert (alone.T_odom_base == alone.T_odom_base[0]).all()
    points = np.ones((3, 3))
    back = as_measured(points, np.full(3, -0.05), int(STAMPS[0]), alone, np.eye(4))
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_poses_are_put_in_order_and_told_apart():
    shuffled = np.array([2, 0, 1, 2], np.int64)
    T = np.tile(np.eye(4), (4, 1, 1))
    T[:, 0, 3] = (7.0, 5.0, 6.0, 9.0)
    poses = Poses.of(shuffled, T)
    assert poses.stamps_ns.tolist() == [0, 1, 2]
    assert poses.T_odom_base[:, 0, 3].tolist() == [0.0, 1.0, 2.0]


def test_points_that_were_moved_to_one_instant_are_back_where_they_were_measured():
    rng = np.random.default_rng(1)
    T_base_lidar = np.eye(4)
    T_base_lidar[:3, 3] = (1.0, 0.2, 2.0)
    time = rng.uniform(-0.1, 0.0, 500)
    measured = rng.uniform(-20.0, 20.0, (500, 3))
    at = np.linalg.inv(box_world.pose(1.2) @ T_base_lidar)
    T = at @ box_world.pose(1.2 + time) @ T_base_lidar
    moved = np.einsum('nij,nj->ni', T[:, :3, :3], measured) + T[:, :3, 3]
    assert np.linalg.norm(moved - measured, axis=1).max() > 1.0
    poses = published()
    back = as_measured(moved, time, 1_200_000_000, poses, T_base_lidar)
    # The tolerance allows for interpolation between poses 0.1 s apart, on a curve.
    np.testing.assert_allclose(back, measured, atol=0.02)
    with pytest.raises(MotionError, match='too late'):
        as_measured(moved, time, 1_050_000_000, poses, T_base_lidar)
