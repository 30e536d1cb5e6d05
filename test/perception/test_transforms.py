"""Rigid transforms and lookups in the transform tree."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.perception.transforms import TransformTree, inverse, transform_matrix

quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)
vectors = st.tuples(*[st.floats(-100, 100)] * 3)


def shift(x):
    return transform_matrix([x, 0, 0], [0, 0, 0, 1])


@given(vectors, quaternions)
def test_matrix_agrees_with_scipy_and_inverts(translation, quaternion):
    T = transform_matrix(translation, quaternion)
    np.testing.assert_allclose(T[:3, :3], Rotation.from_quat(quaternion).as_matrix(), atol=1e-12)
    np.testing.assert_array_equal(T[:, 3], [*translation, 1])
    np.testing.assert_allclose(inverse(T) @ T, np.eye(4), atol=1e-9)


@pytest.mark.parametrize(
    ('translation', 'quaternion'),
    [([0, 0, 0], [0, 0, 0, 0]), ([np.nan, 0, 0], [0, 0, 0, 1]), ([0, 0, 0], [0, np.inf, 0, 1])],
)
def test_no_transform_from_numbers_that_are_none(translation, quaternion):
    with pytest.raises(CalibrationError, match='not a rigid transform'):
        transform_matrix(translation, quaternion)


def test_lookup_through_any_chain_in_any_direction():
    turn = transform_matrix([1, 2, 3], [0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    tree = TransformTree()
    tree.set('base', 'roof', shift(2.0))
    tree.set('roof', 'lidar', turn)
    tree.set('base', 'mast', shift(-1.0))
    tree.set('mast', 'camera', inverse(turn))
    expected = inverse(shift(-1.0) @ inverse(turn)) @ shift(2.0) @ turn
    np.testing.assert_allclose(tree.lookup('camera', 'lidar'), expected)
    np.testing.assert_allclose(tree.lookup('lidar', 'camera'), inverse(expected), atol=1e-12)
    np.testing.assert_allclose(tree.lookup('base', 'lidar'), shift(2.0) @ turn)
    np.testing.assert_allclose(tree.lookup('lidar', 'base'), inverse(shift(2.0) @ turn))
    np.testing.assert_array_equal(tree.lookup('lidar', 'lidar'), np.eye(4))


def test_a_message_and_a_leading_slash():
    tree = TransformTree()
    tree.set_message(
        SimpleNamespace(
            header=SimpleNamespace(frame_id='/base'),
            child_frame_id='/lidar',
            transform=SimpleNamespace(
                translation=SimpleNamespace(x=1.0, y=2.0, z=3.0),
                rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=2.0),
            ),
        )
    )
    np.testing.assert_array_equal(tree.lookup('base', '/lidar')[:3, 3], [1, 2, 3])
    assert tree.frames == ['base', 'lidar']


def test_the_last_of_two_parents_wins():
    tree = TransformTree()
    tree.set('base', 'lidar', shift(1.0))
    tree.set('roof', 'lidar', shift(2.0))
    assert tree.lookup('roof', 'lidar')[0, 3] == 2.0
    with pytest.raises(CalibrationError):
        tree.lookup('base', 'lidar')


def test_the_last_link_of_a_cycle_wins():
    tree = TransformTree()
    tree.set('base', 'roof', shift(1.0))
    tree.set('roof', 'lidar', shift(1.0))
    tree.set('lidar', 'base', shift(5.0))
    assert tree.lookup('lidar', 'base')[0, 3] == 5.0
    assert tree.lookup('roof', 'lidar')[0, 3] == 1.0
    assert tree.lookup('roof', 'base')[0, 3] == 6.0


def test_an_unknown_frame_names_the_known_ones_and_the_remedy():
    tree = TransformTree()
    tree.set('base', 'lidar', shift(1.0))
    with pytest.raises(CalibrationError) as caught:
        tree.lookup('camera', 'lidar')
    assert str(caught.value) == (
        "no transform from 'lidar' to 'camera'; known frames: base, lidar; "
        'publish /tf_static or give --calibration'
    )


@pytest.mark.parametrize(('parent', 'child'), [('a', 'a'), ('/a', 'a'), ('', 'a'), ('a', '')])
def test_a_link_needs_two_frames(parent, child):
    with pytest.raises(CalibrationError, match='two different frames'):
        TransformTree().set(parent, child, np.eye(4))
