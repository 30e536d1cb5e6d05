from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drive_segment_ros.perception.range_image import range_image
from drive_segment_ros.perception.sky import find_sky, gap_size

UP = np.array([0.0, 0.0, 1.0])
HOUSE = (8.0, 12.0, -6.0, 6.0, 0.0, 20.0)
ELEVATION_DEG = np.linspace(20.0, -25.0, 46)


def sky_of(cloud, up=UP):
    return find_sky(cloud, range_image(cloud, cloud.ring), up)


def angles(points):
    """Return azimuth and elevation of points, degrees."""
    x, y, z = points.T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def test_sky_lies_above_the_horizon_where_nothing_returned(make_sweep):
    cloud = make_sweep(boxes=[HOUSE], elevation_deg=ELEVATION_DEG)
    points, time = sky_of(cloud)
    azimuth, elevation = angles(points)
    assert len(points) == len(time) > 100
    assert elevation.min() > 0.9
    # The house spans 36.9 degrees to both sides and is higher than the highest beam.
    assert np.abs(azimuth).min() > 36.8
    # In all other directions, sky reaches down to just above the horizon.
    others = np.abs(np.arange(-180.0, 180.0, 2.0))
    for wanted in others[others > 40.0]:
        assert elevation[np.abs(np.abs(azimuth) - wanted) < 2.0].min() < 2.5
    assert np.linalg.norm(points, axis=1).min() > 100.0


def test_no_sky_below_a_return(make_sweep):
    # A sign gantry above the road, with nothing below it.
    gantry = (20.0, 20.5, -8.0, 8.0, 5.0, 6.5)
    azimuth, elevation = angles(sky_of(make_sweep(boxes=[gantry], elevation_deg=ELEVATION_DEG))[0])
    ahead = np.abs(azimuth) < 20.0
    assert ahead.any()
    assert elevation[ahead].min() > 13.0


def test_a_blind_sector_has_no_sky(make_sweep):
    cloud = make_sweep(elevation_deg=ELEVATION_DEG)
    blind = np.abs(np.arctan2(cloud.y, cloud.x)) > np.radians(120.0)
    cloud.x[blind] = np.nan
    azimuth, _ = angles(sky_of(cloud)[0])
    assert np.abs(azimuth).max() < 122.0
    assert np.abs(azimuth).max() > 115.0


def test_a_single_lost_return_is_no_sky(make_sweep):
    room = [
        (10.0, 11.0, -10.0, 10.0, 0.0, 30.0),
        (-11.0, -10.0, -10.0, 10.0, 0.0, 30.0),
        (-11.0, 11.0, 10.0, 11.0, 0.0, 30.0),
        (-11.0, 11.0, -11.0, -10.0, 0.0, 30.0),
    ]
    cloud = make_sweep(boxes=room, elevation_deg=ELEVATION_DEG)
    lost = np.random.default_rng(0).random(len(cloud)) < 0.1
    cloud.x[lost] = np.nan
    assert len(sky_of(cloud)[0]) == 0


@pytest.mark.parametrize('axis', [0, 1])
def test_sky_follows_the_spin_axis(make_sweep, axis):
    usual = sky_of(make_sweep(boxes=[HOUSE], elevation_deg=ELEVATION_DEG))[0]
    turned = make_sweep(boxes=[HOUSE], elevation_deg=ELEVATION_DEG, axis=axis)
    points = sky_of(turned, np.eye(3)[axis])[0]
    np.testing.assert_allclose(np.roll(points, 2 - axis, axis=1), usual, atol=1e-3)


def test_a_sensor_that_hangs_upside_down_sees_the_same_sky(make_sweep):
    cloud = make_sweep(boxes=[HOUSE], elevation_deg=ELEVATION_DEG)
    usual = sky_of(cloud)[0]
    hanging = dataclasses.replace(cloud, y=-cloud.y, z=-cloud.z)
    image = range_image(hanging, hanging.ring).upside_down()
    points = find_sky(hanging, image, -UP)[0] * [1.0, -1.0, -1.0]
    # Columns are reversed, so that sky points are made in other columns.
    assert len(points) == pytest.approx(len(usual), rel=0.02)
    azimuth, elevation = angles(points)
    assert elevation.min() > 0.9
    assert np.abs(azimuth).min() > 36.8


def test_sky_has_the_time_at_which_the_sensor_looked_there(make_sweep):
    cloud = make_sweep(boxes=[HOUSE], elevation_deg=ELEVATION_DEG)
    points, time = sky_of(cloud)
    azimuth, _ = angles(points)
    np.testing.assert_allclose(time, azimuth % 360.0 / 3600.0, atol=0.001)
    untimed = dataclasses.replace(cloud, time=None)
    assert not sky_of(untimed)[1].any()


@pytest.mark.parametrize('step_deg', [1.0, 2.5])
def test_gaps_reach_from_the_points_to_what_returned(make_sweep, step_deg):
    """A gap is two beam steps high and six columns wide, whatever the beam spacing."""
    low = (8.0, 12.0, -60.0, 60.0, 0.0, 3.5)
    elevation_deg = np.arange(25.0, -25.0, -step_deg)
    cloud = make_sweep(boxes=[low], elevation_deg=elevation_deg)
    image = range_image(cloud, cloud.ring)
    width, height = gap_size(image, UP)
    assert np.degrees(height) == pytest.approx(2.0 * step_deg, abs=0.01)
    assert width == pytest.approx(6.0 * 2.0 * np.pi / image.range.shape[1])


def test_where_nothing_tells_the_height_of_gaps_it_is_their_width(make_sweep):
    room = [(-9.0, 9.0, -9.0, 9.0, 0.0, 90.0)]
    cloud = make_sweep(boxes=room, elevation_deg=ELEVATION_DEG)
    width, height = gap_size(range_image(cloud, cloud.ring), UP)
    assert width == height > 0.0
