from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drive_segment_ros.errors import CloudError
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.proposals import (
    FIRST_OBJECT_LABEL,
    GROUND,
    GROUND_LABEL,
    KINDS,
    OBJECT,
    RAISED_LABEL,
    SKY,
    SKY_LABEL,
    ProposalParameters,
    find_proposals,
)

CAR = (8.0, 12.0, -1.0, 1.0, 0.0, 1.5)
POST = (5.0, 5.3, 4.0, 4.3, 0.0, 3.0)
BEHIND = (-14.0, -9.0, -1.0, 1.0, 0.0, 2.5)
BOXES = (CAR, POST, BEHIND)
PARAMS = ProposalParameters()


@pytest.fixture(scope='module')
def cloud(make_sweep):
    return make_sweep(
        boxes=BOXES, elevation_deg=np.linspace(8.0, -25.0, 64), columns=900, noise=0.01
    )


@pytest.fixture(scope='module')
def beamless(make_sweep):
    """Return a forward-looking cloud without rings or point order, as of a solid-state LiDAR."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.uniform(-25.0, 8.0, 400))[::-1]
    dense = make_sweep(boxes=BOXES, elevation_deg=rows, columns=900, noise=0.01)
    ahead = np.flatnonzero(np.abs(np.arctan2(dense.y, dense.x)) < np.radians(60.0))
    kept = rng.permutation(ahead)[:30_000]
    return taken(dense, kept, ring=False)


def taken(cloud: PointCloud, index, ring=True) -> PointCloud:
    return PointCloud(
        cloud.stamp_ns,
        cloud.frame_id,
        cloud.x[index],
        cloud.y[index],
        cloud.z[index],
        time=cloud.time[index],
        ring=cloud.ring[index] if ring else None,
        width=len(index),
    )


def assert_consistent(sweep, cloud) -> None:
    """Check that point labels, kinds and range image cells agree."""
    assert sweep.label.shape == sweep.above_ground.shape == (len(cloud),)
    assert sweep.label.min() >= 0
    assert sweep.label.max() < sweep.count
    kind = sweep.kind()
    assert kind.shape == (sweep.count,)
    assert KINDS == ('object', 'ground', 'sky')
    assert kind[[GROUND_LABEL, RAISED_LABEL]].tolist() == [GROUND, GROUND]
    assert kind[SKY_LABEL] == SKY
    assert (kind[FIRST_OBJECT_LABEL:] == OBJECT).all()
    assert not (sweep.label == SKY_LABEL).any()
    unusable = ~np.isfinite(cloud.x + cloud.y + cloud.z)
    assert not sweep.label[unusable].any()
    assert np.isinf(sweep.above_ground[unusable]).all()
    if sweep.image is not None:
        placed = np.flatnonzero((sweep.image.cell >= 0) & (sweep.label > 0))
        cell = sweep.image.cell[placed]
        np.testing.assert_array_equal(sweep.label[placed], sweep.cell_label.reshape(-1)[cell])


def test_objects_on_a_road_are_found(cloud, on_box):
    sweep = find_proposals(cloud, PARAMS)
    assert_consistent(sweep, cloud)
    labels = []
    for box in BOXES:
        on = sweep.label[on_box(cloud, box, margin=0.06) & (cloud.z > -1.5)]
        values, counts = np.unique(on, return_counts=True)
        assert values[counts.argmax()] >= FIRST_OBJECT_LABEL
        assert counts.max() > 0.9 * len(on)
        labels.append(values[counts.argmax()])
    assert len(set(labels)) == 3
    height = sweep.above_ground[on_box(cloud, POST, margin=0.06)]
    assert height.max() == pytest.approx(2.6, abs=0.4)
    np.testing.assert_array_equal(sweep.up, [0.0, 0.0, 1.0])


def test_a_sweep_is_judged_alone(cloud, make_sweep):
    first = find_proposals(cloud, PARAMS)
    find_proposals(make_sweep(slope=0.05), PARAMS)
    again = find_proposals(cloud, PARAMS)
    np.testing.assert_array_equal(again.label, first.label)
    np.testing.assert_array_equal(again.above_ground, first.above_ground)


def test_the_order_of_points_does_not_matter(cloud):
    sweep = find_proposals(cloud, PARAMS)
    order = np.random.default_rng(0).permutation(len(cloud))
    other = find_proposals(taken(cloud, order), PARAMS)
    np.testing.assert_array_equal(other.label, sweep.label[order])


def test_rings_counted_from_below_give_the_same(cloud):
    sweep = find_proposals(cloud, PARAMS)
    upward = dataclasses.replace(cloud, ring=63 - cloud.ring)
    np.testing.assert_array_equal(find_proposals(upward, PARAMS).label, sweep.label)


@pytest.mark.parametrize('axis', [0, 1])
def test_any_axis_may_point_up(cloud, make_sweep, axis):
    turned = make_sweep(
        boxes=BOXES,
        elevation_deg=np.linspace(8.0, -25.0, 64),
        columns=900,
        noise=0.01,
        axis=axis,
    )
    sweep = find_proposals(turned, PARAMS)
    np.testing.assert_array_equal(sweep.up, np.eye(3)[axis])
    np.testing.assert_array_equal(sweep.label, find_proposals(cloud, PARAMS).label)


def test_a_sensor_that_hangs_upside_down_finds_the_same(cloud):
    hanging = dataclasses.replace(cloud, y=-cloud.y, z=-cloud.z)
    sweep = find_proposals(hanging, PARAMS)
    np.testing.assert_array_equal(sweep.up, [0.0, 0.0, -1.0])
    usual = find_proposals(cloud, PARAMS)
    ground = (usual.label > 0) & (usual.label < FIRST_OBJECT_LABEL)
    found = (sweep.label > 0) & (sweep.label < FIRST_OBJECT_LABEL)
    assert np.mean(ground == found) > 0.995
    assert sweep.count == usual.count


def test_small_objects_are_left_out(cloud):
    def sizes(min_points):
        sweep = find_proposals(cloud, ProposalParameters(min_points=min_points))
        return np.bincount(sweep.cell_label.ravel(), minlength=sweep.count)[FIRST_OBJECT_LABEL:]

    every = sizes(1)
    assert len(every) >= 3
    limit = int(np.sort(every)[-2])
    # Larger objects are unchanged.
    np.testing.assert_array_equal(sizes(limit), every[every >= limit])
    np.testing.assert_array_equal(sizes(limit + 1), every[every > limit])


def test_a_return_far_behind_another_in_its_cell_has_no_proposal(cloud, on_box):
    on_car = np.flatnonzero(on_box(cloud, CAR) & (cloud.z > -1.5))
    second = dataclasses.replace(
        cloud,
        **{
            name: np.append(values, (values[on_car] * np.float32(1.5)).astype(values.dtype))
            for name, values in (('x', cloud.x), ('y', cloud.y), ('z', cloud.z))
        },
        time=np.append(cloud.time, cloud.time[on_car]),
        ring=np.append(cloud.ring, cloud.ring[on_car]),
    )
    sweep = find_proposals(second, PARAMS)
    usual = find_proposals(cloud, PARAMS)
    np.testing.assert_array_equal(sweep.label[: len(cloud)], usual.label)
    assert not sweep.label[len(cloud) :].any()


def test_points_without_return_are_counted(cloud):
    sweep = find_proposals(cloud, PARAMS)
    assert sweep.dropped == np.count_nonzero(~np.isfinite(cloud.x))


@pytest.mark.parametrize('method', ['auto', 'range_image', 'dbscan'])
@pytest.mark.parametrize('ring', [True, False])
def test_a_cloud_without_a_usable_point_is_refused(cloud, method, ring):
    if method == 'dbscan':
        pytest.importorskip('open3d', reason='open3d is not installed; `pip install open3d`')
    nothing = dataclasses.replace(
        taken(cloud, np.arange(2000), ring), x=np.full(2000, np.nan, np.float32)
    )
    with pytest.raises(CloudError, match=r'all 2000 points|no beams found'):
        find_proposals(nothing, ProposalParameters(method=method))


def test_an_empty_cloud_is_refused(cloud):
    with pytest.raises(CloudError, match="'lidar' has no points"):
        find_proposals(taken(cloud, np.arange(0)), PARAMS)


def test_beams_are_found_where_the_cloud_does_not_name_them(cloud):
    sweep = find_proposals(dataclasses.replace(cloud, ring=None, time=None), PARAMS)
    assert sweep.image is not None
    usual = find_proposals(cloud, PARAMS)
    assert np.mean((sweep.label > 3) == (usual.label > 3)) > 0.99


def test_a_cloud_without_beams_is_clustered_by_density(beamless, on_box):
    pytest.importorskip('open3d', reason='open3d is not installed; `pip install open3d`')
    sweep = find_proposals(beamless, PARAMS)
    assert_consistent(sweep, beamless)
    assert sweep.image is None
    label = sweep.label
    for box in (CAR, POST):
        on = label[on_box(beamless, box, margin=0.06) & (beamless.z > -1.5)]
        counts = np.bincount(on)
        assert counts.argmax() >= FIRST_OBJECT_LABEL
        assert counts.max() > 0.9 * len(on)
    road = np.abs(beamless.z + 1.8) < 0.05
    assert np.mean(label[road] == GROUND_LABEL) > 0.95
    with pytest.raises(CloudError, match=r'no beams found.*auto or dbscan'):
        find_proposals(beamless, ProposalParameters(method='range_image'))


def test_lines_of_a_solid_state_sensor_are_not_taken_for_beams(beamless):
    pytest.importorskip('open3d', reason='open3d is not installed; `pip install open3d`')
    lines = dataclasses.replace(beamless, ring=(np.arange(len(beamless)) % 4).astype(np.int32))
    sweep = find_proposals(lines, PARAMS)
    assert sweep.image is None
    np.testing.assert_array_equal(sweep.label, find_proposals(beamless, PARAMS).label)


@pytest.mark.parametrize('up', [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
def test_density_needs_no_particular_axes(beamless, up):
    pytest.importorskip('open3d', reason='open3d is not installed; `pip install open3d`')
    up = np.array(up)
    first = np.cross(up, np.eye(3)[int(np.argmin(np.abs(up)))])
    R = np.stack([first, np.cross(up, first), up], 1)
    x, y, z = R.astype(np.float32) @ np.stack([beamless.x, beamless.y, beamless.z])
    turned = dataclasses.replace(beamless, x=x, y=y, z=z)
    sweep = find_proposals(turned, ProposalParameters(method='dbscan'), up)
    usual = find_proposals(beamless, ProposalParameters(method='dbscan'))
    assert (
        np.mean((sweep.label >= FIRST_OBJECT_LABEL) == (usual.label >= FIRST_OBJECT_LABEL)) > 0.99
    )
    assert abs(sweep.count - usual.count) <= 3


def test_a_bare_road_has_no_objects(make_sweep):
    pytest.importorskip('open3d', reason='open3d is not installed; `pip install open3d`')
    for method in ('range_image', 'dbscan'):
        road = make_sweep(elevation_deg=np.linspace(-2.0, -25.0, 32))
        sweep = find_proposals(road, ProposalParameters(method=method))
        assert sweep.count == FIRST_OBJECT_LABEL
        assert np.mean(sweep.label[np.isfinite(road.x)] == GROUND_LABEL) > 0.98
