from __future__ import annotations

import numpy as np
import pytest

from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.ground import ground_surface, height_above
from drive_segment_ros.perception.proposals import (
    GROUND_LABEL,
    RAISED_LABEL,
    ProposalParameters,
    find_proposals,
)
from drive_segment_ros.perception.road_plane import LevelPoints, road_plane

PARAMS = ProposalParameters()


def ground_of(cloud: PointCloud) -> np.ndarray:
    """Return a mask of the points labelled as ground, raised ground included."""
    label = find_proposals(cloud, PARAMS, np.array([0.0, 0.0, 1.0])).label
    return (label == GROUND_LABEL) | (label == RAISED_LABEL)


@pytest.mark.parametrize('beams', [16, 64])
@pytest.mark.parametrize('height', [0.6, 1.8])
def test_a_flat_road_is_ground_and_nothing_else_is(make_sweep, on_box, beams, height):
    car = (9.0, 13.0, -1.0, 1.0, 0.0, 1.6)
    cloud = make_sweep(
        elevation_deg=np.linspace(8.0, -22.0, beams), height=height, boxes=[car], noise=0.01
    )
    found = ground_of(cloud)
    on_car = on_box(cloud, car, height, margin=0.05) & (cloud.z + height > 0.25)
    road = np.isfinite(cloud.x) & (np.abs(cloud.z + height) < 0.05)
    assert on_car.sum() > 20
    assert not found[on_car].any()
    assert found[road].mean() > 0.98


@pytest.mark.parametrize('slope', [0.10, -0.07])
def test_a_hill_ahead_is_ground(make_sweep, slope):
    cloud = make_sweep(
        slope=slope, slope_start=8.0, elevation_deg=np.linspace(15.0, -25.0, 64), max_range=60.0
    )
    hill = np.isfinite(cloud.x) & (cloud.x > 8.0)
    assert np.abs(cloud.z[hill] + 1.8).max() > 0.7
    assert ground_of(cloud)[np.isfinite(cloud.x)].mean() > 0.97
    assert ground_of(cloud)[hill].mean() > 0.97
    above = find_proposals(cloud, PARAMS, np.array([0.0, 0.0, 1.0])).above_ground
    assert np.percentile(np.abs(above[hill]), 90) < 0.2


def test_pavement_behind_a_kerb_is_ground_of_its_own(make_sweep, on_box):
    pavement = (-40.0, 40.0, 3.0, 7.0, 0.0, 0.14)
    cloud = make_sweep(boxes=[pavement], elevation_deg=np.linspace(5.0, -25.0, 64), noise=0.01)
    label = find_proposals(cloud, PARAMS).label
    top = on_box(cloud, pavement) & (cloud.z > -1.68) & (np.abs(cloud.x) < 15) & (cloud.y > 3.5)
    road = (np.abs(cloud.y) < 2.5) & (np.abs(cloud.x) < 15)
    assert np.mean((label[top] == GROUND_LABEL) | (label[top] == RAISED_LABEL)) > 0.95
    assert np.mean(label[top] == RAISED_LABEL) > 0.8
    assert np.mean(label[road] == GROUND_LABEL) > 0.95


def test_a_flat_roof_beside_the_vehicle_is_no_ground(make_sweep, on_box):
    # The roofs are below the sensor; some columns see only the roof nearby.
    car = (-2.5, 2.5, 1.5, 3.3, 0.0, 1.45)
    truck = (-12.0, -4.0, -4.5, -2.0, 0.0, 1.2)
    cloud = make_sweep(boxes=[car, truck], elevation_deg=np.linspace(5.0, -40.0, 64))
    found = ground_of(cloud)
    for box in (car, truck):
        roof = on_box(cloud, box) & (cloud.z > box[5] - 1.8 - 0.05)
        assert roof.sum() > 50
        assert not found[roof].any()


def test_the_road_goes_on_behind_a_car(make_sweep, on_box):
    car = (8.0, 12.0, -1.0, 1.0, 0.0, 1.5)
    cloud = make_sweep(boxes=[car], elevation_deg=np.linspace(2.0, -25.0, 128), columns=1800)
    behind = (cloud.x > 20.0) & (np.abs(cloud.y / cloud.x) < 0.08) & (cloud.z < -1.75)
    assert behind.sum() > 30
    assert ground_of(cloud)[behind].mean() > 0.95


def test_mirror_images_below_the_road_are_neither_ground_nor_object(make_sweep):
    cloud = make_sweep(elevation_deg=np.linspace(2.0, -25.0, 64), columns=1800)
    # A puddle reflects the beams: a few columns return from 1.8 times the range.
    wet = (np.abs(np.arctan2(cloud.y, cloud.x) - 0.5) < 0.03) & (cloud.z < -1.7)
    wet &= np.hypot(cloud.x, cloud.y) < 12.0
    assert wet.sum() > 100
    for values in (cloud.x, cloud.y, cloud.z):
        values[wet] *= 1.8
    sweep = find_proposals(cloud, PARAMS)
    assert (sweep.label[wet] == 0).mean() > 0.95
    dry = np.isfinite(cloud.x) & ~wet & (np.hypot(cloud.x, cloud.y) < 25.0)
    assert np.isin(sweep.label[dry], (GROUND_LABEL, RAISED_LABEL)).mean() > 0.97


def test_a_sensor_high_on_a_truck_finds_the_road_far_away(make_sweep):
    cloud = make_sweep(height=4.5, elevation_deg=np.linspace(2.0, -15.0, 32), max_range=100.0)
    seen = np.isfinite(cloud.x)
    assert np.hypot(cloud.x, cloud.y)[seen].min() > 15.0
    assert ground_of(cloud)[seen].mean() > 0.9


def test_a_vehicle_that_pitches_does_not_lose_the_road(make_sweep):
    cloud = make_sweep(slope=0.05, elevation_deg=np.linspace(5.0, -25.0, 64))
    label = find_proposals(cloud, PARAMS).label
    assert np.isin(label[np.isfinite(cloud.x)], (GROUND_LABEL, RAISED_LABEL)).mean() > 0.97


def test_points_left_out_are_infinitely_high():
    points = LevelPoints(
        np.array([[0.0, 5.0, 6.0, 250.0]], np.float32),
        np.array([[0.0, -1.8, -0.8, -1.0]], np.float32),
        np.array([0, 10, 10, 10], np.int32),
    )
    candidates = points.where(np.array([[False, True, False, False]]))
    above = height_above(points, ground_surface(candidates, road_plane(candidates)))[0]
    assert np.isinf(above[0])
    assert np.isfinite(above[1:]).all()


def test_a_road_that_falls_to_one_side_is_road_and_its_pavement_is_not(make_sweep, on_box):
    # A crowned road leans by about 3 %, which is 0.2 m over one or two lanes.
    lean = np.array([0.0, -0.03, 1.0]) / np.linalg.norm([0.0, -0.03, 1.0])
    pavement = (-40.0, 40.0, 4.0, 8.0, 0.0, 0.14)
    cloud = make_sweep(boxes=[pavement], elevation_deg=np.linspace(5.0, -25.0, 64), noise=0.01)
    label = find_proposals(cloud, PARAMS, lean).label
    top = on_box(cloud, pavement) & (cloud.z > -1.68) & (np.abs(cloud.x) < 15) & (cloud.y > 4.5)
    road = np.isfinite(cloud.x) & (np.abs(cloud.x) < 15) & (cloud.y < 3.0) & (cloud.y > -10.0)
    assert np.mean(label[road] == GROUND_LABEL) > 0.95
    assert np.mean(label[top] == RAISED_LABEL) > 0.5
