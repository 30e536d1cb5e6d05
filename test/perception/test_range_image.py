from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.range_image import columns_per_turn, range_image, spin_axis


def cloud_of(xyz, ring) -> tuple[PointCloud, np.ndarray]:
    x, y, z = np.asarray(xyz, np.float32).T.copy()
    return PointCloud(0, 'lidar', x, y, z), np.asarray(ring, np.int32)


def chosen(cloud: PointCloud, mask: np.ndarray) -> PointCloud:
    """Return the cloud's points selected by a mask or by indices."""
    return dataclasses.replace(
        cloud,
        x=cloud.x[mask],
        y=cloud.y[mask],
        z=cloud.z[mask],
        time=cloud.time[mask],
        ring=cloud.ring[mask],
    )


def assert_consistent(image, cloud, ring) -> None:
    """Check that each point is in a cell of its beam and azimuth, which holds the nearest."""
    beams, columns = image.range.shape
    xyz = np.stack([(cloud.x, cloud.y, cloud.z)[(image.axis + 1 + k) % 3] for k in range(3)], 1)
    distance = np.linalg.norm(xyz, axis=1)
    placed = image.cell >= 0
    np.testing.assert_array_equal(
        placed, np.isfinite(distance) & (distance > 0.05) & (np.asarray(ring) >= 0)
    )
    assert image.dropped == np.count_nonzero(~placed)
    azimuth = np.arctan2(xyz[placed, 1], xyz[placed, 0]) / (2.0 * np.pi) * columns
    row, column = np.divmod(image.cell[placed], columns)
    # Each beam has a row, and each row a beam.
    beam, row_of_beam = np.unique(np.stack([np.asarray(ring)[placed], row]), axis=1)
    assert len(np.unique(beam)) == len(np.unique(row_of_beam)) == len(beam)
    off = (column + 0.5 - azimuth + columns / 2) % columns - columns / 2
    assert np.abs(off).max(initial=0.0) < 0.5 + 1e-5 * columns
    nearest = np.full(beams * columns, np.inf)
    np.minimum.at(nearest, image.cell[placed], distance[placed])
    nearest[np.isinf(nearest)] = 0.0
    np.testing.assert_allclose(image.range.reshape(-1), nearest, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(image.xyz, axis=0), image.range, rtol=1e-5)


@pytest.mark.parametrize('beams', [16, 32, 64, 128])
def test_columns_are_those_of_the_sensor(make_sweep, beams):
    cloud = make_sweep(elevation_deg=np.linspace(10.0, -25.0, beams), columns=1024)
    image = range_image(cloud, cloud.ring)
    assert image.range.shape == (beams, 1024)
    assert_consistent(image, cloud, cloud.ring)


@pytest.mark.parametrize('columns', [512, 1000, 2048])
def test_columns_do_not_depend_on_gaps_second_returns_or_padding(make_sweep, columns):
    cloud = make_sweep(columns=columns, elevation_deg=np.linspace(2.0, -20.0, 16))
    kept = np.random.default_rng(0).random(len(cloud)) < 0.8
    assert columns_per_turn(chosen(cloud, kept), cloud.ring[kept]) == pytest.approx(columns, 0.01)
    # Every return twice, as in dual return mode.
    twice = np.repeat(np.arange(len(cloud)), 2)
    both = chosen(cloud, twice)
    assert columns_per_turn(both, both.ring) == pytest.approx(columns, 0.01)
    # Some drivers write zeros for missing returns.
    zeros = dataclasses.replace(
        cloud, x=np.nan_to_num(cloud.x), y=np.nan_to_num(cloud.y), z=np.nan_to_num(cloud.z)
    )
    assert columns_per_turn(zeros, zeros.ring) == pytest.approx(columns, 0.01)


def test_one_beam_full_of_second_returns_does_not_double_the_columns(make_sweep):
    cloud = make_sweep(columns=900, elevation_deg=np.linspace(-2.0, -20.0, 16))
    at = np.flatnonzero(cloud.ring == 5)
    half = np.pi / 900
    x, y = cloud.x[at], cloud.y[at]
    cloud = dataclasses.replace(
        cloud,
        x=np.append(cloud.x, np.cos(half) * x - np.sin(half) * y),
        y=np.append(cloud.y, np.sin(half) * x + np.cos(half) * y),
        z=np.append(cloud.z, cloud.z[at]),
        ring=np.append(cloud.ring, cloud.ring[at]),
    )
    assert columns_per_turn(cloud, cloud.ring) == pytest.approx(900, 0.01)


@pytest.mark.parametrize('count', ['down', 'up', 'as lasers fire'])
def test_rows_go_from_the_highest_beam_down(make_sweep, count):
    elevation = np.degrees(np.arctan(np.linspace(0.2, -0.45, 24)))
    cloud = make_sweep(elevation_deg=elevation)
    number = {
        'down': np.arange(24),
        'up': np.arange(24)[::-1],
        'as lasers fire': np.random.default_rng(0).permutation(24),
    }[count]
    ring = number[cloud.ring].astype(np.int32)
    image = range_image(cloud, ring)
    # The highest beams have no return over flat ground.
    seen = (image.range > 0).any(axis=1)
    assert 4 < seen.sum() < 20
    assert (np.diff(image.elevation[seen]) < 0).all()
    np.testing.assert_allclose(
        np.degrees(image.elevation)[seen], elevation[-seen.sum() :], atol=0.05
    )
    assert_consistent(image, cloud, ring)
    same = range_image(cloud, cloud.ring)
    np.testing.assert_array_equal(image.range[seen], same.range[(same.range > 0).any(axis=1)])
    if count != 'as lasers fire':
        # With ordered ring numbers, beams without returns stay above.
        assert not seen[: -seen.sum()].any()
        assert (np.diff(image.elevation) < 0).all()


def test_a_sensor_turned_over_has_its_rows_turned_over(make_sweep):
    cloud = make_sweep()
    image = range_image(cloud, cloud.ring)
    turned = image.upside_down()
    np.testing.assert_array_equal(turned.range, image.range[::-1])
    np.testing.assert_array_equal(turned.elevation, image.elevation[::-1])
    assert_consistent(turned, cloud, cloud.ring)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_any_axis_may_be_the_spin_axis(make_sweep, axis):
    box = (5.0, 7.0, -2.0, 2.0, 0.0, 3.0)
    cloud = make_sweep(axis=axis, boxes=[box])
    assert spin_axis(cloud, cloud.ring) == axis
    image = range_image(cloud, cloud.ring)
    assert image.axis == axis
    usual = make_sweep(boxes=[box])
    expected = range_image(usual, usual.ring)
    np.testing.assert_array_equal(image.range, expected.range)
    np.testing.assert_array_equal(image.xyz, expected.xyz)
    np.testing.assert_array_equal(image.cell, expected.cell)


def test_a_sweep_stored_column_by_column_shows_its_axis(make_sweep):
    cloud = make_sweep(axis=0, elevation_deg=np.linspace(5, -25, 64), columns=2048)
    order = np.arange(len(cloud)).reshape(64, 2048).T.reshape(-1)
    assert spin_axis(chosen(cloud, order), cloud.ring[order]) == 0


def test_lines_that_wander_are_no_beams():
    # A solid-state sensor, each line of which spans the whole field of view.
    rng = np.random.default_rng(0)
    direction = rng.normal([1.0, 0.0, 0.0], [0.1, 0.3, 0.3], (4000, 3))
    cloud, ring = cloud_of(10.0 * direction, np.arange(4000) % 4)
    assert spin_axis(cloud, ring) is None


def test_points_without_place_are_dropped_and_counted(make_sweep):
    cloud = make_sweep(elevation_deg=np.linspace(-2.0, -25.0, 16))
    xyz = np.stack([cloud.x, cloud.y, cloud.z], 1)
    ring = cloud.ring.copy()
    xyz[10, 0], xyz[20, 1], xyz[30] = np.nan, np.inf, 0.0
    xyz[40] = 1e7
    ring[50], ring[60] = -1, -7
    broken, ring = cloud_of(xyz, ring)
    image = range_image(broken, ring)
    assert image.dropped == 6
    assert (image.cell[[10, 20, 30, 40, 50, 60]] == -1).all()
    assert image.range.shape == (16, 720)
    assert np.isfinite(image.xyz).all()


def test_columns_wrap_at_the_azimuth_where_they_begin():
    cloud, ring = cloud_of([[5.0, 1e-3, 0.0], [5.0, -1e-3, 0.0], [5.0, -1e-7, 0.0]], [0, 0, 0])
    image = range_image(cloud, ring, columns=400)
    assert image.cell.tolist()[:2] == [0, 399]
    assert image.cell[2] in (0, 399)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(360, 700), beams=st.integers(1, 6))
def test_the_nearest_return_has_the_cell_and_order_does_not_matter(seed, columns, beams):
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0.0, 3.0, (60, 3)).astype(np.float32)
    xyz = np.concatenate([xyz, xyz[:20] * 1.7, xyz[20:30] * 0.6])
    xyz[rng.integers(0, 90, 5)] = np.nan
    cloud, ring = cloud_of(xyz, rng.integers(0, beams, 90))
    image = range_image(cloud, ring, columns=columns, axis=2)
    assert_consistent(image, cloud, ring)
    order = rng.permutation(90)
    other = range_image(*cloud_of(xyz[order], ring[order]), columns=columns, axis=2)
    np.testing.assert_array_equal(other.range, image.range)
    np.testing.assert_array_equal(other.xyz, image.xyz)
    np.testing.assert_array_equal(other.cell, image.cell[order])


def test_a_cloud_without_any_return_gives_an_empty_image():
    cloud, ring = cloud_of(np.full((50, 3), np.nan), np.arange(50) % 8)
    image = range_image(cloud, ring)
    assert image.dropped == 50
    assert not image.range.any()
    assert np.isfinite(image.elevation).all()
    empty, ring = cloud_of(np.empty((0, 3)), [])
    assert range_image(empty, ring).range.shape[0] == 0
