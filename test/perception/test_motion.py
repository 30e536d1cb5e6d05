"""Trajectories: interpolation, coverage, memory, order of arrival; motion during a sweep."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from drive_segment_ros.errors import MotionError
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import inverse, transform_matrix

START = 1_557_539_956_450_180_054
SECOND = 1_000_000_000
STILL = (0.0, 0.0, 0.0, 1.0)

quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


def straight(count=11, speed=10.0, step_ns=SECOND // 10):
    """Return the trajectory of a straight drive along x."""
    trajectory = Trajectory()
    for i in range(count):
        trajectory.add(START + i * step_ns, [speed * i * step_ns * 1e-9, 0, 0], STILL)
    return trajectory


def covers(trajectory: Trajectory, start_ns: int, end_ns: int) -> bool:
    """Return whether the trajectory gives poses from one stamp to another."""
    try:
        trajectory.poses([start_ns, end_ns])
    except MotionError:
        return False
    return True


@settings(deadline=None)
@given(quaternions, quaternions, st.integers(0, SECOND), st.booleans())
def test_interpolation_agrees_with_scipy(q0, q1, after_ns, flip):
    trajectory = Trajectory()
    trajectory.add(START, [0, 0, 0], q0)
    trajectory.add(START + SECOND, [1, 2, 3], -np.array(q1) if flip else q1)
    T = trajectory.pose(START + after_ns)
    rotations = Rotation.from_quat([q0, q1])
    if rotations[0].inv().__mul__(rotations[1]).magnitude() < 3.14:
        expected = Slerp([0, SECOND], rotations)(after_ns).as_matrix()
        np.testing.assert_allclose(T[:3, :3], expected, atol=1e-7)
    np.testing.assert_allclose(T[:3, 3], np.array([1, 2, 3]) * after_ns * 1e-9, atol=1e-9)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)


def test_a_sample_is_given_back_as_it_is():
    trajectory = straight()
    assert trajectory.pose(START + SECOND // 10)[0, 3] == 1.0


@pytest.mark.parametrize('order', list(itertools.permutations(range(4)))[::5])
def test_the_order_of_arrival_does_not_matter(order):
    trajectory = Trajectory()
    for i in order:
        trajectory.add(START + i * SECOND, [i * i, 0, 0], STILL)
    assert trajectory.pose(START + SECOND * 5 // 2)[0, 3] == 6.5
    assert covers(trajectory, START, START + 3 * SECOND)


def test_a_pose_depends_on_the_two_samples_around_it_only():
    trajectory = straight(3)
    before = trajectory.pose(START + 123_456_789)
    for i in range(3, 40):
        trajectory.add(START + i * SECOND // 10, np.random.default_rng(i).normal(size=3), STILL)
    np.testing.assert_array_equal(trajectory.pose(START + 123_456_789), before)


def test_a_second_sample_of_a_stamp_replaces_the_first():
    trajectory = straight(2)
    trajectory.add(START, [-1, 0, 0], STILL)
    assert len(trajectory) == 2
    assert trajectory.pose(START)[0, 3] == -1.0


def test_cover_and_what_is_missing():
    trajectory = straight()
    assert covers(trajectory, START, START + SECOND)
    assert not covers(trajectory, START - 1, START + SECOND)
    assert not covers(trajectory, START, START + SECOND + 1)
    with pytest.raises(MotionError, match=r'ends 12\.5 ms too early'):
        trajectory.pose(START + SECOND + 12_500_000)
    with pytest.raises(MotionError, match=r'starts 3\.0 ms too late'):
        trajectory.pose(START - 3_000_000)
    assert not covers(Trajectory(), START, START)
    with pytest.raises(MotionError, match='no odometry yet'):
        Trajectory().pose(START)


def test_nothing_is_known_of_a_pause_of_odometry():
    trajectory = Trajectory()
    for second in (0, 1, 2, 5, 6):
        trajectory.add(START + second * SECOND, [float(second), 0, 0], STILL)
    assert covers(trajectory, START, START + 2 * SECOND)
    assert covers(trajectory, START + 5 * SECOND, START + 5 * SECOND)
    assert covers(trajectory, START + 5 * SECOND, START + 6 * SECOND)
    for first, last in ((2.5, 2.5), (1.0, 4.0), (4.0, 5.5), (0.0, 6.0)):
        start, end = START + round(first * SECOND), START + round(last * SECOND)
        assert not covers(trajectory, start, end)
        with pytest.raises(MotionError, match=r'has a gap of 3\.0 s'):
            trajectory.poses([start, end])


def test_memory_is_bounded_by_age():
    trajectory = Trajectory(max_age_s=1.0)
    for i in range(1000):
        trajectory.add(START + i * SECOND // 100, [i, 0, 0], STILL)
    assert len(trajectory) == 101


def test_clear_and_a_jump_back_start_anew():
    trajectory = straight()
    trajectory.clear()
    assert not covers(trajectory, START, START)
    trajectory = straight()
    trajectory.add(START - 100 * SECOND, [5, 0, 0], STILL)
    assert len(trajectory) == 1
    assert trajectory.pose(START - 100 * SECOND)[0, 3] == 5


@pytest.mark.parametrize(
    ('translation', 'quaternion'),
    [([0, np.nan, 0], STILL), ([0, 0, 0], [0, 0, 0, 0]), ([0, 0, 0], [0, 0, np.inf, 1])],
)
def test_a_sample_that_is_no_pose_is_refused(translation, quaternion):
    trajectory = straight()
    with pytest.raises(MotionError, match='is not a valid pose'):
        trajectory.add(START + 5, translation, quaternion)
    assert len(trajectory) == 11


def test_a_window_has_a_sample_more_on_each_side_and_stays_as_it_is():
    trajectory = straight()
    window = trajectory.window(START + SECOND // 2, START + SECOND // 2 + 1)
    count = len(window)
    np.testing.assert_array_equal(
        window.pose(START + SECOND // 2), trajectory.pose(START + SECOND // 2)
    )
    trajectory.clear()
    assert len(window) == count >= 2


def test_sweep_motion_brings_a_standing_point_to_one_place():
    trajectory = Trajectory()
    for i in range(21):
        yaw = 0.5 * i / 20
        trajectory.add(
            START + i * SECOND // 100,
            [i * 0.1, 0.02 * i * i, 0],
            [0, 0, np.sin(yaw / 2), np.cos(yaw / 2)],
        )
    T_base_lidar = transform_matrix([1.0, 0.2, 2.0], [0, 0, 0.7, 0.7])
    sweep, image = START + SECOND // 10, START + SECOND // 20
    motion = trajectory.sweep_motion(sweep, image, T_base_lidar, -0.08, 0.06)
    assert (motion.times[0], motion.times[-1]) == (-0.08, 0.06)
    assert np.diff(motion.times).max() <= 0.005 + 1e-12
    world = np.array([30.0, -4.0, 1.0, 1.0])
    at_image = inverse(trajectory.pose(image) @ T_base_lidar) @ world
    for time, T in zip(motion.times, motion.T, strict=True):
        T_odom_lidar = trajectory.pose(sweep + round(time * SECOND)) @ T_base_lidar
        np.testing.assert_allclose(T @ inverse(T_odom_lidar) @ world, at_image[:3], atol=1e-9)


def test_sweep_motion_of_no_duration_is_one_place():
    motion = straight().sweep_motion(START, START, np.eye(4), 0.1, 0.1)
    assert motion.T.shape == (1, 3, 4)
    np.testing.assert_allclose(motion.T[0, :, 3], [1.0, 0, 0])


def test_sweep_motion_tells_what_is_not_covered():
    with pytest.raises(MotionError, match=r'ends 50\.0 ms too early'):
        straight().sweep_motion(START + SECOND, START + SECOND, np.eye(4), -0.1, 0.05)
