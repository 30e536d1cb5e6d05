"""Extrinsics of the sensors and motion of the vehicle."""

from __future__ import annotations

import itertools

import numpy as np
from small_rig import MS, START, pose

from drive_segment_ros.frame.events import Pose, Transform
from drive_segment_ros.frame.vehicle import Extrinsics, Motion
from drive_segment_ros.perception.transforms import TransformTree

STILL = (0.0, 0.0, 0.0, 1.0)


def lidar_at(x: float, stamp_ns: int | None = None, parent: str = 'base_link') -> Transform:
    return Transform(parent, 'lidar', (x, 0.0, 0.0), STILL, stamp_ns)


def x_of(extrinsics: Extrinsics, stamp_ns: int = START) -> float:
    return float(extrinsics.at(stamp_ns).lookup('base_link', 'lidar')[0, 3])


def test_a_file_goes_before_tf_static_and_that_before_tf():
    file = TransformTree()
    file.place('base_link', 'lidar', (3.0, 0.0, 0.0), STILL)
    extrinsics = Extrinsics()
    extrinsics.add(lidar_at(1.0, START))
    assert x_of(extrinsics) == 1.0
    extrinsics.add(lidar_at(2.0))
    assert x_of(extrinsics) == 2.0
    extrinsics.add(lidar_at(1.0, START + MS))
    assert x_of(extrinsics) == 2.0
    known = Extrinsics(file)
    known.add(lidar_at(2.0))
    assert x_of(known) == 3.0


def test_of_a_frame_that_moves_the_last_transform_before_an_instant_holds():
    links = [lidar_at(float(k), START + 100 * k * MS) for k in range(4)]
    for order in itertools.permutations(links):
        extrinsics = Extrinsics()
        for link in order:
            extrinsics.add(link)
        assert [x_of(extrinsics, START + t * MS) for t in (-50, 0, 199, 200, 900)] == [
            0,
            0,
            1,
            2,
            3,
        ]
        assert extrinsics.moving == ['lidar']


def test_what_never_moves_is_kept_once_though_it_is_told_often():
    extrinsics = Extrinsics()
    for k in range(500):
        extrinsics.add(lidar_at(1.5, START + k * MS))
    assert x_of(extrinsics) == 1.5
    assert not extrinsics.moving
    assert len(extrinsics._changing['lidar']) <= 2


def test_a_transform_that_is_none_is_named_and_harms_no_other():
    extrinsics = Extrinsics()
    extrinsics.add(lidar_at(1.0))
    extrinsics.add(Transform('base_link', 'radar', (np.nan, 0.0, 0.0), STILL))
    assert x_of(extrinsics) == 1.0
    assert 'radar' in extrinsics.problems['radar']
    extrinsics.add(Transform('base_link', 'radar', (0.0, 0.0, 0.0), STILL))
    assert not extrinsics.problems


def test_poses_of_before_a_jump_of_their_clock_are_kept_apart():
    motion = Motion('odom', 'base_link', 1000 * MS)
    for stamp in (START + 5000 * MS, START + 5100 * MS, START, START + 100 * MS):
        motion.add(pose(stamp))
    assert motion.clock.epoch == 1
    assert len(motion.around(0, START + 5000 * MS, START + 5100 * MS)) == 2
    assert len(motion.around(1, START, START + 100 * MS)) == 2


def test_a_better_source_takes_the_place_of_another():
    motion = Motion('odom', 'base_link', 1000 * MS)
    motion.add(Pose(START, 'odometry', 'odom', 'trailer', (9.0, 0.0, 0.0), STILL))
    motion.add(pose(START + MS))
    motion.add(Pose(START + 2 * MS, 'odometry', 'odom', 'trailer', (9.0, 0.0, 0.0), STILL))
    assert len(motion) == 1
    assert motion.sources.taken is not None
    assert motion.sources.taken.child == 'base_link'


def test_a_pose_that_is_none_is_named():
    motion = Motion('odom', 'base_link', 1000 * MS)
    motion.add(Pose(START, 'odometry', 'odom', 'base_link', (np.nan, 0.0, 0.0), STILL))
    assert 'not a valid pose' in motion.problem
    motion.add(pose(START + MS))
    assert not motion.problem
