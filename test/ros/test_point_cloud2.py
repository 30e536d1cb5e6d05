"""PointCloud2 messages: layout, colours, and the round trip through our reader."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from std_msgs.msg import Header

from drive_segment_ros.errors import CloudError
from drive_segment_ros.perception.clouds import cloud_from_message, structured_view
from drive_segment_ros.ros.point_cloud2 import coloured_points, point_cloud2

N = 1000


@pytest.fixture
def points() -> np.ndarray:
    random = np.random.default_rng(1)
    x, y, z = random.normal(size=(3, N)).astype(np.float32)
    rgb = random.integers(0, 256, (N, 3), dtype=np.uint8)
    label = random.integers(0, 60_000, N, dtype=np.uint16)
    return coloured_points(x, y, z, rgb, label=label, confidence=x * 0.5)


def test_round_trip(points):
    message = point_cloud2(points, Header(frame_id='lidar'))
    np.testing.assert_array_equal(structured_view(message), points)
    cloud = cloud_from_message(message)
    np.testing.assert_array_equal(cloud.z, points['z'])
    assert (cloud.frame_id, cloud.height, cloud.width) == ('lidar', 1, N)


def test_layout_is_what_viewers_expect(points):
    message = point_cloud2(points, Header())
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        ('x', 0, 7, 1), ('y', 4, 7, 1), ('z', 8, 7, 1), ('rgb', 12, 7, 1),
        ('label', 16, 4, 1), ('confidence', 18, 7, 1),
    ]  # fmt: skip
    assert (message.point_step, message.row_step) == (22, 22 * N)
    assert len(message.data) == 22 * N
    assert message.is_dense
    assert not message.is_bigendian


def test_rgb_is_packed_as_the_point_cloud_library_packs_it():
    points = coloured_points([0.0], [0.0], [0.0], np.array([[0x12, 0x34, 0x56]], np.uint8))
    assert points['rgb'].tobytes() == bytes([0x56, 0x34, 0x12, 0x00])


def test_nan_makes_the_cloud_sparse_and_padding_stays():
    dtype = np.dtype({'names': ['x', 'v'], 'formats': ['f4', ('f4', 3)], 'offsets': [0, 8],
                      'itemsize': 32})  # fmt: skip
    points = np.zeros(4, dtype)
    points['x'][2] = np.nan
    message = point_cloud2(points, Header())
    assert not message.is_dense
    assert (message.point_step, len(message.data)) == (32, 128)
    assert message.fields[1].count == 3


def test_big_endian_records_are_turned():
    points = np.array([(1.5,), (2.5,)], [('x', '>f4')])
    message = point_cloud2(points, Header())
    np.testing.assert_array_equal(structured_view(message)['x'], [1.5, 2.5])


def test_organised_and_empty_clouds():
    message = point_cloud2(np.zeros((3, 5), [('x', 'f4')]), Header())
    assert (message.height, message.width, message.row_step) == (3, 5, 20)
    empty = point_cloud2(coloured_points([], [], [], np.zeros((0, 3), np.uint8)), Header())
    assert (empty.height, empty.width, len(empty.data)) == (1, 0, 0)


def test_integers_of_64_bits_are_refused():
    with pytest.raises(CloudError, match="'id': a PointCloud2 cannot hold int64"):
        point_cloud2(np.zeros(2, [('id', 'i8')]), Header())


@pytest.fixture
def reference():
    """Return the module sensor_msgs_py.point_cloud2, or skip the test."""
    reason = 'sensor_msgs_py is part of a ROS installation'
    return pytest.importorskip('sensor_msgs_py.point_cloud2', reason=reason)


PADDED = np.dtype(
    {
        'names': ['x', 'v', 'ring'],
        'formats': ['f4', ('f4', 3), 'u2'],
        'offsets': [0, 8, 20],
        'itemsize': 32,
    }
)


@pytest.mark.parametrize('shape', [(0,), (7,), (3, 5)])
@pytest.mark.parametrize('dtype', [PADDED, np.dtype([('x', '>f4'), ('id', 'u1'), ('t', 'f8')])])
def test_sensor_msgs_py_makes_the_same_message(reference, monkeypatch, dtype, shape):
    points = np.zeros(shape, dtype)
    points['x'] = np.arange(points.size).reshape(shape)
    theirs = point_cloud2(points, Header(frame_id='lidar'))
    monkeypatch.setitem(sys.modules, 'sensor_msgs_py.point_cloud2', None)
    assert point_cloud2(points, Header(frame_id='lidar')) == theirs


def test_sensor_msgs_py_reads_what_we_read(points, reference):
    message = point_cloud2(points, Header())
    read, ours = reference.read_points(message), structured_view(message)
    assert read.dtype == ours.dtype
    np.testing.assert_array_equal(read, ours)


@pytest.mark.parametrize('axis', 'xyz')
def test_a_cloud_with_an_invalid_coordinate_is_not_dense(points, axis):
    assert point_cloud2(points, Header()).is_dense
    points[axis][3] = np.nan
    assert not point_cloud2(points, Header()).is_dense
