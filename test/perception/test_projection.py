"""Projection of sweeps against a NumPy reference, with odd layouts and motion; view times."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.motion import SweepMotion
from drive_segment_ros.perception.projection import project_sweep, view_times
from drive_segment_ros.perception.transforms import transform_matrix

K = np.array([[480.0, 0, 318.0], [0, 480.0, 242.0], [0, 0, 1]])
# The camera looks along the LiDAR's x axis, 0.3 m below and 0.2 m beside it.
T_CAMERA_LIDAR = np.array([[0, -1, 0, 0.2], [0, 0, -1, -0.3], [1, 0, 0, 0.1], [0, 0, 0, 1.0]])
MODELS = {
    'pinhole': ('plumb_bob', np.zeros(5)),
    'plumb_bob': ('plumb_bob', np.array([-0.2, 0.05, 0.002, -0.001, 0.0])),
    'equidistant': ('equidistant', np.array([0.02, -0.01, 0.0, 0.0])),
}


def make_camera(model='pinhole', **changes):
    distortion_model, D = MODELS[model]
    values = {
        'width': 640,
        'height': 480,
        'K': K,
        'D': D,
        'R': np.eye(3),
        'P': np.column_stack([K, np.zeros(3)]),
        'distortion_model': distortion_model,
        'frame_id': 'camera',
        'rectified': False,
    }
    return CameraModel(**(values | changes))


def make_cloud(count=20000, seed=0, dtype=np.float32, with_time=True):
    """Return a 360 degree sweep, clockwise within 0.1 s, with some non-finite points."""
    rng = np.random.default_rng(seed)
    azimuth = np.linspace(np.pi, -np.pi, count)
    elevation = rng.uniform(-0.6, 0.6, count)
    distance = rng.uniform(0.3, 60.0, count)
    x = distance * np.cos(azimuth) * np.cos(elevation)
    y = distance * np.sin(azimuth) * np.cos(elevation)
    z = distance * np.sin(elevation)
    x[::97], y[::89], z[::83] = np.nan, np.inf, -np.inf
    time = np.linspace(-0.1, 0.0, count)
    return PointCloud(
        stamp_ns=0,
        frame_id='lidar',
        x=x.astype(dtype),
        y=y.astype(dtype),
        z=z.astype(dtype),
        time=time.astype(dtype) if with_time else None,
    )


def make_motion():
    """Return the motion of a fast drive through a bend, relative to the middle of the sweep."""
    times = np.linspace(-0.1, 0.0, 21)
    T = [
        transform_matrix([20 * (t + 0.05), 0, 0], [0, 0, np.sin(t + 0.05), np.cos(t + 0.05)])
        for t in times
    ]
    return SweepMotion(times, np.array(T)[:, :3], np.eye(4))


def reference(cloud, camera, motion):
    """Return index, pixel and depth of valid points, each moved by itself, in plain NumPy."""
    points = np.column_stack([cloud.x, cloud.y, cloud.z, np.ones(len(cloud))]).astype(float)
    T = np.broadcast_to(np.eye(4)[:3], (len(cloud), 3, 4))
    if motion is not None:
        time = np.zeros(len(cloud)) if cloud.time is None else cloud.time
        entries = motion.T.reshape(len(motion.times), 12).T
        T = np.stack([np.interp(time, motion.times, e) for e in entries], axis=1)
        T = T.reshape(-1, 3, 4)
    with np.errstate(invalid='ignore'):
        moved = np.einsum('nij,nj->ni', T, points)
        in_camera = moved @ T_CAMERA_LIDAR[:3, :3].T + T_CAMERA_LIDAR[:3, 3]
        uv, valid = camera.project(in_camera)
        depth = in_camera @ camera.rotation[2]
    return np.flatnonzero(valid), uv[valid], depth[valid]


def assert_same(projected, expected):
    index, uv, depth = expected
    np.testing.assert_array_equal(projected.index, index)
    np.testing.assert_allclose(projected.u, uv[:, 0], rtol=0, atol=1e-3)
    np.testing.assert_allclose(projected.v, uv[:, 1], rtol=0, atol=1e-3)
    np.testing.assert_allclose(projected.depth, depth, rtol=1e-5)


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('moving', [False, True])
def test_agrees_with_the_camera_model_point_by_point(model, moving):
    cloud, camera = make_cloud(), make_camera(model)
    motion = make_motion() if moving else None
    projected = project_sweep(cloud, camera, T_CAMERA_LIDAR, motion)
    assert 500 < len(projected) < len(cloud) / 3
    assert_same(projected, reference(cloud, camera, motion))


def test_a_rectified_camera_turns_the_points():
    turn = transform_matrix([0, 0, 0], [0.0, 0.05, 0.02, 1.0])[:3, :3]
    camera = make_camera(rectified=True, R=turn)
    cloud, motion = make_cloud(), make_motion()
    projected = project_sweep(cloud, camera, T_CAMERA_LIDAR, motion)
    assert_same(projected, reference(cloud, camera, motion))


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_strided_unaligned_read_only_views_are_read_as_they_are(dtype):
    cloud = make_cloud(dtype=dtype)
    kind = np.dtype(dtype).str
    fields = np.dtype(
        {
            'names': ['x', 'y', 'z', 't'],
            'formats': [kind] * 4,
            'offsets': [1, 9, 17, 26],
            'itemsize': 35,
        }
    )
    points = np.zeros(len(cloud), fields)
    points['x'], points['y'], points['z'], points['t'] = cloud.x, cloud.y, cloud.z, cloud.time
    view = np.frombuffer(points.tobytes(), fields)
    odd = dataclasses.replace(cloud, x=view['x'], y=view['y'], z=view['z'], time=view['t'])
    assert not odd.x.flags.aligned
    camera, motion = make_camera(), make_motion()
    got = project_sweep(odd, camera, T_CAMERA_LIDAR, motion)
    expected = project_sweep(cloud, camera, T_CAMERA_LIDAR, motion)
    for field in dataclasses.fields(expected):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(expected, field.name))


def test_points_without_time_are_taken_at_the_stamp():
    cloud, camera, motion = make_cloud(with_time=False), make_camera(), make_motion()
    projected = project_sweep(cloud, camera, T_CAMERA_LIDAR, motion)
    assert_same(projected, reference(cloud, camera, motion))


def test_beyond_the_knots_the_nearest_holds():
    cloud, camera, motion = make_cloud(), make_camera(), make_motion()
    part = SweepMotion(motion.times[8:13], motion.T[8:13], np.eye(4))
    projected = project_sweep(cloud, camera, T_CAMERA_LIDAR, part)
    assert_same(projected, reference(cloud, camera, part))


def test_one_knot_moves_all_points_alike():
    cloud, camera, motion = make_cloud(), make_camera(), make_motion()
    one = SweepMotion(motion.times[:1], motion.T[:1], np.eye(4))
    projected = project_sweep(cloud, camera, T_CAMERA_LIDAR, one)
    assert_same(projected, reference(cloud, camera, one))


def test_rounded_pixels_lie_in_the_image():
    rng = np.random.default_rng(5)
    # Rays at the image border, where rounding to float32 could give a pixel outside.
    edges = np.concatenate([np.full(5000, -0.5), np.full(5000, 639.5)])
    u = edges + rng.normal(0, 1e-4, 10000)
    v = rng.uniform(-0.5, 479.5, 10000)
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    ones = np.ones(10000)
    cloud = PointCloud(stamp_ns=0, frame_id='lidar', x=x, y=y, z=ones)
    projected = project_sweep(cloud, make_camera(), np.eye(4), None)
    assert 3000 < len(projected) < 7000
    assert np.rint(projected.u).min() >= 0
    assert np.rint(projected.u).max() <= 639


@pytest.mark.parametrize('moving', [False, True])
def test_a_cloud_without_points_gives_none(moving):
    none = np.zeros(0, np.float32)
    cloud = PointCloud(stamp_ns=0, frame_id='lidar', x=none, y=none, z=none, time=none)
    motion = make_motion() if moving else None
    assert len(project_sweep(cloud, make_camera(), T_CAMERA_LIDAR, motion)) == 0
    assert view_times(cloud, make_camera(), T_CAMERA_LIDAR) is None


def test_shift_is_what_the_cameras_place_makes_of_the_pixel():
    cloud, camera = make_cloud(), make_camera('plumb_bob')
    turned_only = T_CAMERA_LIDAR.copy()
    turned_only[:3, 3] = 0.0
    projected = project_sweep(cloud, camera, T_CAMERA_LIDAR, None)
    at_lidar = project_sweep(cloud, camera, turned_only, None)
    assert not at_lidar.shift_u.any()
    both, here, there = np.intersect1d(projected.index, at_lidar.index, return_indices=True)
    assert len(both) > 400
    expected = projected.u[here] - at_lidar.u[there]
    np.testing.assert_allclose(projected.shift_u[here], expected, rtol=0, atol=1e-3)


def test_view_times_are_when_the_beam_crosses_the_image():
    # Field of view 2 atan(0.5 * 704 / 480) = 72.6 degrees of a turn of 0.1 s, around the middle.
    T_camera_lidar = T_CAMERA_LIDAR.copy()
    T_camera_lidar[:3, 3] = 0.0
    start, median, end = view_times(make_cloud(), make_camera(), T_camera_lidar)
    assert start == pytest.approx(-0.05 - 0.1 * 36.3 / 360, abs=1e-3)
    assert median == pytest.approx(-0.05, abs=1e-3)
    assert end == pytest.approx(-0.05 + 0.1 * 36.3 / 360, abs=1e-3)


def test_view_times_of_nothing_in_view_or_no_times():
    assert view_times(make_cloud(with_time=False), make_camera(), T_CAMERA_LIDAR) is None
    cloud = make_cloud(100)
    behind = dataclasses.replace(cloud, x=-np.abs(cloud.x) - np.float32(1.0))
    assert view_times(behind, make_camera(), T_CAMERA_LIDAR) is None


def test_view_times_leave_out_times_that_are_none():
    cloud = make_cloud()
    time = cloud.time.copy()
    time[::2] = np.nan
    times = view_times(dataclasses.replace(cloud, time=time), make_camera(), T_CAMERA_LIDAR)
    assert np.isfinite(times).all()
