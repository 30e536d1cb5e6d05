"""Kerbs that height alone does not show: the road slopes to them, or cars occlude them."""

from __future__ import annotations

import numpy as np
import pytest

from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.proposals import (
    FIRST_OBJECT_LABEL,
    GROUND_LABEL,
    RAISED_LABEL,
    ProposalParameters,
    find_proposals,
)

UP, FORWARD = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
BEAMS = np.linspace(5.0, -25.0, 64)
KERB = 0.12


def labels_of(cloud: PointCloud, forward: np.ndarray | None = FORWARD) -> np.ndarray:
    """Return each point's label; the vehicle heads along y, as the street does, by default."""
    return find_proposals(cloud, ProposalParameters(), UP, None, forward).label


def street(make_sweep, on_box, fall: float, cars=(), **lidar):
    """Return a sweep of a road that slopes to a kerb at x = 6; masks of pavement and road."""
    top = -fall * 6.0 + KERB
    pavement = (6.0, 10.0, -40.0, 40.0, top - 1.0, top)
    lidar = {'elevation_deg': BEAMS, **lidar}
    cloud = make_sweep(boxes=[pavement, *cars], slope=-fall, noise=0.01, **lidar)
    near = np.isfinite(cloud.x) & (np.abs(cloud.y) < 35.0)
    on_top = near & on_box(cloud, pavement) & (cloud.z + 1.8 > top - 0.02) & (cloud.x > 6.3)
    road = near & (np.abs(cloud.z + 1.8 + fall * cloud.x) < 0.03) & (cloud.x < 5.7)
    return cloud, on_top, road & (cloud.x > -6.0)


@pytest.mark.parametrize('fall', [0.0, 0.03, 0.05])
def test_a_pavement_beside_a_road_that_falls_to_it_is_ground_of_its_own(make_sweep, on_box, fall):
    cloud, pavement, road = street(make_sweep, on_box, fall)
    label = labels_of(cloud)
    assert pavement.sum() > 500
    assert np.mean(label[pavement] == RAISED_LABEL) > 0.95
    assert np.mean(label[road] == GROUND_LABEL) > 0.95


@pytest.mark.parametrize('fall', [0.0, 0.05])
def test_a_pavement_far_ahead_is_ground_of_its_own(make_sweep, on_box, fall):
    # Half a kerb is 0.1 degrees there, less than the heights about the vehicle resolve.
    beams = np.concatenate([np.linspace(5.0, -8.0, 56), np.linspace(-9.0, -25.0, 8)])
    cloud, pavement, road = street(make_sweep, on_box, fall, elevation_deg=beams, columns=1800)
    far = pavement & (np.hypot(cloud.x, cloud.y) > 20.0)
    assert far.sum() > 500
    assert np.mean(labels_of(cloud)[far] == RAISED_LABEL) > 0.95
    assert np.mean(labels_of(cloud)[road] == GROUND_LABEL) > 0.95
    assert np.mean(labels_of(cloud, None)[far] == RAISED_LABEL) < 0.5


@pytest.mark.parametrize('fall', [0.0, 0.03])
def test_a_pavement_behind_parked_cars_is_ground_of_its_own(make_sweep, on_box, fall):
    # Cars of 4.4 m with gaps of 1.2 m between them: the kerb is seen through the gaps only.
    cars = [(3.9, 5.7, y, y + 4.4, -1.0, 1.45 - fall * 5.0) for y in np.arange(-28.0, 28.0, 5.6)]
    cloud, pavement, road = street(make_sweep, on_box, fall, cars)
    label = labels_of(cloud)
    assert pavement.sum() > 100
    assert np.mean(label[pavement] == RAISED_LABEL) > 0.9
    assert np.mean(label[road & (cloud.x < 3.5)] == GROUND_LABEL) > 0.95


def test_a_ramp_without_a_kerb_is_road(make_sweep):
    bank = make_sweep(slope=0.1, slope_start=4.0, elevation_deg=BEAMS, noise=0.01)
    seen = np.isfinite(bank.x) & (np.hypot(bank.x, bank.y) < 20.0)
    assert (bank.z[seen & (bank.x > 8.0)] > -1.45).all()
    assert np.mean(labels_of(bank)[seen] == GROUND_LABEL) > 0.97


@pytest.mark.parametrize(('beams', 'slope'), [(16, 0.1), (64, 0.14)])
def test_a_road_that_climbs_has_no_kerb_where_rings_lie_across_it(make_sweep, beams, slope):
    elevation_deg = np.linspace(5.0, -25.0, beams)
    hill = make_sweep(slope=slope, elevation_deg=elevation_deg, columns=1800, noise=0.01)
    assert (labels_of(hill, np.array([1.0, 0.0, 0.0])) == labels_of(hill, None)).all()


def test_a_crowned_road_is_road_to_both_sides(make_sweep):
    # Level to the left of the crown at x = 1, falling to the right of it.
    crowned = make_sweep(slope=-0.05, slope_start=1.0, elevation_deg=BEAMS, noise=0.01)
    seen = np.isfinite(crowned.x) & (np.hypot(crowned.x, crowned.y) < 20.0)
    assert crowned.z[seen].min() < -2.5
    assert np.mean(labels_of(crowned)[seen] == GROUND_LABEL) > 0.97
    # A road that rises from x = -3 on is road as well.
    levelled = make_sweep(slope=0.05, slope_start=-3.0, elevation_deg=BEAMS, noise=0.01)
    seen = np.isfinite(levelled.x) & (np.hypot(levelled.x, levelled.y) < 15.0)
    assert np.mean(labels_of(levelled)[seen] == GROUND_LABEL) > 0.97


def test_the_heading_is_that_of_the_vehicle_however_the_sensor_is_mounted(make_sweep, on_box):
    cloud, pavement, _ = street(make_sweep, on_box, 0.05)
    T_base_lidar = np.eye(4)
    # The LiDAR's y axis is the vehicle's x axis.
    T_base_lidar[:3, :3] = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    sweep = Sweep(cloud.stamp_ns, cloud.frame_id, lambda: cloud)
    label = sweep.segments(ProposalParameters(), T_base_lidar).label
    assert (label == labels_of(cloud)).all()
    assert np.mean(label[pavement] == RAISED_LABEL) > 0.95


def test_the_foot_of_a_wall_on_a_pavement_belongs_to_the_wall(make_sweep, on_box):
    wall = (9.0, 9.5, -40.0, 40.0, 0.0, 4.0)
    cloud, pavement, _ = street(make_sweep, on_box, 0.0, [wall])
    label = labels_of(cloud)
    face = on_box(cloud, wall) & (np.abs(cloud.y) < 15.0)
    foot = face & (cloud.z + 1.8 < KERB + 0.07) & (cloud.z + 1.8 > KERB + 0.02)
    assert foot.sum() > 20
    assert np.mean(label[foot] >= FIRST_OBJECT_LABEL) > 0.8
    assert np.mean(label[pavement & (cloud.x < 8.5)] == RAISED_LABEL) > 0.95
