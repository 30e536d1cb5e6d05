from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.geometry import describe_proposals
from drive_segment_ros.perception.proposals import (
    FIRST_OBJECT_LABEL,
    SKY_LABEL,
    ProposalParameters,
    SweepProposals,
    find_proposals,
)

LEVEL = np.eye(3)
OBJECT = FIRST_OBJECT_LABEL


def measured(*parts, intensity=None, R=LEVEL, labels=None):
    """Describe objects given by their points, labelled from FIRST_OBJECT_LABEL on."""
    xyz = np.concatenate([np.asarray(p, np.float32).reshape(-1, 3) for p in parts])
    label = np.repeat(np.arange(len(parts)) + OBJECT, [len(p) for p in parts]).astype(np.int32)
    x, y, z = xyz.T.copy()
    cloud = PointCloud(0, 'lidar', x, y, z, intensity=intensity)
    sweep = SweepProposals(
        label=label,
        count=OBJECT + len(parts),
        above_ground=np.where(np.isfinite(x + y + z), z + np.float32(1.8), np.float32(np.inf)),
        up=R[2].astype(np.float64),
        image=None,
        cell_label=None,
        cell_above=None,
        dropped=0,
    )
    if labels is None:
        labels = np.arange(len(parts), dtype=np.int32) + OBJECT
    return describe_proposals(cloud, sweep, np.asarray(labels, np.int32), R)


def block(size, centre, turn_deg=0.0, steps=12):
    """Return the points of a solid grid, rotated about the vertical axis, (N, 3)."""
    axes = [np.linspace(-s / 2.0, s / 2.0, steps) for s in size]
    points = np.stack(np.meshgrid(*axes), -1).reshape(-1, 3)
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    return points @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) + centre


@settings(max_examples=30, deadline=None)
@given(
    turn=st.floats(-180.0, 180.0),
    x=st.floats(-40.0, 40.0),
    y=st.floats(-40.0, 40.0),
    length=st.floats(2.0, 12.0),
)
def test_a_box_has_its_extents_whichever_way_it_stands(turn, x, y, length):
    got = measured(block((length, 1.2, 1.5), (x, y, -0.8), turn))
    assert got['extent_long'][0] == pytest.approx(length, abs=0.02)
    assert got['extent_short'][0] == pytest.approx(1.2, abs=0.02)
    assert got['extent_vertical'][0] == pytest.approx(1.5, abs=0.01)
    assert got['height_min'][0] == pytest.approx(1.8 - 0.8 - 0.75, abs=0.01)
    assert got['height_max'][0] == pytest.approx(1.8 - 0.8 + 0.75, abs=0.01)
    assert got['centroid_x'][0] == pytest.approx(x, abs=0.01)
    assert got['centroid_y'][0] == pytest.approx(y, abs=0.01)
    assert got['range'][0] == pytest.approx(np.linalg.norm([x, y, -0.8]), abs=0.01)


def test_walls_floors_poles_and_bushes_are_told_apart():
    wall = block((8.0, 0.0, 3.0), (10.0, 5.0, 0.0), 35.0)
    floor = block((8.0, 6.0, 0.0), (10.0, 0.0, -1.8))
    pole = block((0.05, 0.05, 4.0), (7.0, -3.0, 0.0))
    bush = block((2.0, 2.0, 2.0), (-9.0, 2.0, 0.0))
    got = measured(wall, floor, pole, bush)
    assert got['planarity'].argmax() in (0, 1)
    assert got['normal_vertical'][:2] == pytest.approx([0.0, 1.0], abs=1e-3)
    assert got['linearity'].argmax() == 2
    assert got['linearity'][2] > 0.99
    assert got['scattering'].argmax() == 3
    assert got['scattering'][3] > 0.95
    shape = got['linearity'] + got['planarity'] + got['scattering']
    np.testing.assert_allclose(shape, 1.0, atol=1e-5)
    np.testing.assert_allclose(got['roughness'][:2], 0.0, atol=1e-3)


def test_roughness_is_the_deviation_from_the_plane():
    rng = np.random.default_rng(0)
    wall = block((6.0, 0.0, 3.0), (0.0, 8.0, 0.0), steps=40)
    wall[:, 1] += rng.normal(0.0, 0.07, len(wall))
    assert measured(wall)['roughness'][0] == pytest.approx(0.07, rel=0.1)


def test_a_tilted_sensor_measures_in_level_axes():
    box = block((4.0, 2.0, 1.5), (10.0, 3.0, -0.5), 20.0)
    tilt = np.radians(30.0)
    R_level_lidar = np.array(
        [[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]]
    )
    level = measured(box)
    tilted = measured(box @ R_level_lidar, R=R_level_lidar)
    for name in ('extent_long', 'extent_short', 'extent_vertical', 'centroid_z', 'linearity'):
        np.testing.assert_allclose(tilted[name], level[name], atol=1e-3)


def test_intensity_is_averaged_on_the_sensors_scale():
    box = block((1.0, 1.0, 1.0), (5.0, 0.0, 0.0), steps=4)
    values = np.arange(64, dtype=np.uint16) * 1000
    got = measured(box, intensity=values)
    assert got['intensity_mean'][0] == pytest.approx(values.mean(), rel=1e-4)
    assert got['intensity_std'][0] == pytest.approx(values.std(), rel=1e-3)
    assert measured(box)['intensity_mean'][0] == 0.0


def test_broken_points_and_intensities_leave_the_rest():
    box = block((1.0, 1.0, 1.0), (5.0, 0.0, 0.0), steps=4)
    broken = np.concatenate([box, [[np.nan, 0.0, 0.0], [5.0, np.nan, np.nan]]])
    intensity = np.full(66, 20.0, np.float32)
    intensity[:4] = np.nan, np.inf, -np.inf, 20.0
    got = measured(broken, intensity=intensity)
    assert all(np.isfinite(values).all() for values in got.values())
    assert got['extent_long'][0] == pytest.approx(1.0, abs=1e-3)


def test_proposals_without_points_are_all_zero():
    got = measured(block((1.0, 1.0, 1.0), (5.0, 0, 0)), labels=[SKY_LABEL, OBJECT])
    for name, values in got.items():
        assert values.shape == (2,), name
        assert values.dtype == np.float32
        assert values[0] == 0.0, name
    assert got['extent_long'][1] > 0.0


def test_no_proposals_give_empty_arrays_of_the_same_names():
    box = block((1.0, 1.0, 1.0), (5.0, 0, 0))
    got = measured(box, labels=[])
    assert got.keys() == measured(box).keys()
    assert all(values.shape == (0,) for values in got.values())


def test_a_single_point_has_no_extent():
    got = measured(np.array([[12.0, 3.0, -1.0]]))
    for name in ('extent_long', 'extent_short', 'extent_vertical', 'roughness'):
        assert got[name][0] == pytest.approx(0.0, abs=1e-4)
    assert all(np.isfinite(values).all() for values in got.values())


def test_proposals_do_not_mix():
    near, far = block((1, 1, 1), (5, 0, 0)), block((3, 2, 1), (30, 9, 0))
    alone, both = measured(far), measured(near, far)
    for name, values in alone.items():
        np.testing.assert_allclose(both[name][1], values[0], rtol=1e-6, atol=1e-6)
    swapped = measured(near, far, labels=[OBJECT + 1, OBJECT])
    for name, values in both.items():
        np.testing.assert_array_equal(swapped[name], values[::-1])


def test_any_label_of_a_real_sweep_can_be_measured(make_sweep):
    cloud = make_sweep(boxes=[(8.0, 12.0, -1.0, 1.0, 0.0, 1.5)], noise=0.01, columns=1800)
    cloud = dataclasses.replace(cloud, intensity=np.ones(len(cloud), np.float32))
    sweep = find_proposals(cloud, ProposalParameters())
    got = describe_proposals(cloud, sweep, np.arange(1, sweep.count, dtype=np.int32), LEVEL)
    assert all(np.isfinite(values).all() for values in got.values())
    assert got['normal_vertical'][0] > 0.99
    assert got['height_max'][0] < 0.25
