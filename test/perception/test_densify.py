from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.densify import (
    DensifyParameters,
    densify,
    find_ground_contacts,
    support,
    vote,
)
from drive_segment_ros.perception.projected_points import ProjectedPoints
from drive_segment_ros.perception.projection import project_sweep
from drive_segment_ros.perception.proposals import (
    FIRST_OBJECT_LABEL,
    GROUND_LABEL,
    SKY_LABEL,
    ProposalParameters,
    find_proposals,
)

WIDTH, HEIGHT, FOCAL = 480, 270, 400.0
K = np.array([[FOCAL, 0.0, 239.5], [0.0, FOCAL, 134.5], [0.0, 0.0, 1.0]])
CAMERA = CameraModel(
    width=WIDTH,
    height=HEIGHT,
    K=K,
    D=np.zeros(5),
    R=np.eye(3),
    P=np.column_stack([K, np.zeros(3)]),
    distortion_model='plumb_bob',
    frame_id='camera',
    rectified=False,
)
# T_camera_lidar of a camera that looks along the LiDAR's x axis.
FORWARD = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
PARAMS = DensifyParameters()
HOUSE = FIRST_OBJECT_LABEL
CAR = (8.0, 12.0, -1.0, 1.0, 0.25, 1.5)


def float32(*values):
    return tuple(np.asarray(v, np.float32) for v in values)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), purity=st.sampled_from([0.51, 0.6, 0.8, 0.9, 1.0]))
def test_a_superpixel_goes_to_who_has_the_share_of_its_points(seed, purity):
    rng = np.random.default_rng(seed)
    superpixels = rng.integers(0, 5, (12, 16)).astype(np.int32)
    n = int(rng.integers(0, 60))
    u, v = float32(rng.uniform(-0.5, 15.49, n), rng.uniform(-0.5, 11.49, n))
    label = rng.choice(np.array([1, 2, 9], np.int32), n, p=[0.8, 0.15, 0.05])
    winner = vote(superpixels, 6, u, v, label, purity)
    column, row = (np.floor(values + np.float32(0.5)).astype(int) for values in (u, v))
    for s in range(6):
        votes = Counter(label[superpixels[row, column] == s].tolist())
        name, won = votes.most_common(1)[0] if votes else (0, 0)
        if votes and won >= purity * votes.total():
            assert winner[s] == name
        else:
            assert winner[s] == 0


def stripes() -> np.ndarray:
    """Return an image of three vertical stripes of one colour each, (60, 90, 3)."""
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[:, :30], picture[:, 30:60], picture[:, 60:] = (200, 30, 30), (30, 200, 30), (9, 9, 99)
    return picture


def test_superpixels_carry_labels_as_far_as_they_go():
    u, v = float32([10, 15, 20, 40, 45, 50], [10, 30, 50, 10, 30, 50])
    label = np.array([4, 4, 4, 5, 5, 6], np.int32)
    filled = densify(stripes(), u, v, label, DensifyParameters(radius=0.0))
    assert (filled[:, 1:29] == 4).all()
    # Two of three points are below the purity threshold; the third stripe has no points.
    assert not filled[:, 31:].any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), radius=st.sampled_from([0.0, 2.0, 6.5]))
def test_labels_spread_no_further_than_the_radius_and_none_is_invented(seed, radius):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :50]
    # Superpixels of one pixel each, at all scales: labels spread by the radius only.
    picture = np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    n = int(rng.integers(1, 12))
    u, v = float32(rng.uniform(-0.5, 49.49, n), rng.uniform(-0.5, 39.49, n))
    label = rng.choice(np.array([3, 7, 70000], np.int32), n)
    params = DensifyParameters(radius=radius, scale=1.0, min_size=1, sigma=0.0)
    filled = densify(picture, u, v, label, params)
    assert set(np.unique(filled)) <= {0, *label.tolist()}
    distance = np.hypot(rows[..., None] - np.rint(v), columns[..., None] - np.rint(u))
    nearest = distance.min(axis=2)
    # OpenCV's distance transform with a 5 x 5 mask is 2 % off.
    assert (filled[nearest < 0.97 * radius] > 0).all()
    assert not filled[nearest > 1.03 * radius].any()


def facade() -> np.ndarray:
    """Return an image of a dark house between bright sky, on a grey road, (120, 180, 3)."""
    image = np.full((120, 180, 3), 220, np.uint8)
    image[:, 60:120] = 60
    image[100:] = 130
    return image


def test_what_stands_above_the_highest_beam_grows_up_to_the_edges_of_the_picture(monkeypatch):
    image = facade()
    # Superpixels of one pixel spread no label, so that only the watershed is tested.
    single = np.arange(image[..., 0].size, dtype=np.int32).reshape(image.shape[:2])
    monkeypatch.setattr(
        'drive_segment_ros.perception.densify.felzenszwalb',
        lambda image, scales, sigma, size: [(single, single.size)] * len(scales),
    )
    columns = np.arange(2, 180, 4)
    u, v = float32(columns, np.full(len(columns), 72.0))
    house = (columns >= 60) & (columns < 120)
    label = np.where(house, HOUSE, SKY_LABEL).astype(np.int32)
    params = dataclasses.replace(PARAMS, radius=10.0)
    highest = np.full(180, 70.0, np.float32)
    segment = densify(image, u, v, label, params, highest)
    assert (segment[5:65, 64:116] == HOUSE).mean() > 0.95
    assert (segment[5:65, 4:56] == SKY_LABEL).mean() > 0.95
    assert (segment[5:65, 124:176] == SKY_LABEL).mean() > 0.95


def test_ground_fills_no_pixel_above_the_farthest_return_from_it(monkeypatch):
    shape = (120, 180)
    fine = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape)
    coarse = np.zeros(shape, np.int32)
    monkeypatch.setattr(
        'drive_segment_ros.perception.densify.felzenszwalb',
        lambda image, scales, sigma, size: [(fine, fine.size), *[(coarse, 1)] * (len(scales) - 1)],
    )
    image = np.full((*shape, 3), 130, np.uint8)
    columns = np.arange(2.0, 180.0, 4.0)
    u, v = float32(columns, np.full(len(columns), 60.0))
    params = dataclasses.replace(PARAMS, radius=0.0)
    segment = densify(image, u, v, np.full(len(u), GROUND_LABEL, np.int32), params)
    assert (segment[60:] == GROUND_LABEL).all()
    assert not segment[:60].any()
    house = densify(image, u, v, np.full(len(u), HOUSE, np.int32), params)
    assert (house == HOUSE).all()


def test_nothing_comes_from_nothing():
    nothing = np.empty(0, np.float32)
    filled = densify(stripes(), nothing, nothing, np.empty(0, np.int32), PARAMS)
    assert filled.shape == (60, 90)
    assert not filled.any()


@pytest.fixture(scope='module')
def scene(make_sweep):
    """Return the cloud of a car ahead with clearance, its proposals and projected points."""
    cloud = make_sweep(boxes=[CAR], elevation_deg=np.linspace(3.0, -15.0, 13), columns=1800)
    sweep = find_proposals(cloud, ProposalParameters())
    return cloud, sweep, project_sweep(cloud, CAMERA, FORWARD, None)


def feet_in_image(sweep, cloud):
    contacts = find_ground_contacts(sweep, PARAMS)
    x, y, z = np.ascontiguousarray(contacts.xyz.T)
    points = dataclasses.replace(cloud, x=x, y=y, z=z, time=None, ring=None)
    return contacts, project_sweep(points, CAMERA, FORWARD, None)


def chosen(projected, which):
    fields = dataclasses.fields(ProjectedPoints)
    return ProjectedPoints(*(getattr(projected, field.name)[which] for field in fields))


def test_cars_are_continued_down_to_the_road(scene):
    _, sweep, _ = scene
    contacts = find_ground_contacts(sweep, PARAMS)
    front = (contacts.xyz[:, 0] < 8.1) & (np.abs(contacts.xyz[:, 1]) < 0.98)
    assert front.sum() > 40
    np.testing.assert_allclose(contacts.xyz[front, 2], -1.8 + PARAMS.clearance, atol=0.03)
    # Each contact point is straight below its return.
    returns = sweep.image.xyz.reshape(3, -1)[:, contacts.cell].T
    np.testing.assert_allclose(contacts.xyz[:, :2], returns[:, :2], atol=1e-4)
    assert (sweep.cell_label.reshape(-1)[contacts.cell] >= FIRST_OBJECT_LABEL).all()
    assert (returns[:, 2] > contacts.xyz[:, 2]).all()


@pytest.mark.parametrize('axis', [0, 1])
def test_feet_are_in_the_clouds_coordinates(scene, make_sweep, axis):
    usual = find_ground_contacts(scene[1], PARAMS)
    turned = make_sweep(
        boxes=[CAR], elevation_deg=np.linspace(3.0, -15.0, 13), columns=1800, axis=axis
    )
    contacts = find_ground_contacts(find_proposals(turned, ProposalParameters()), PARAMS)
    np.testing.assert_allclose(np.roll(contacts.xyz, 2 - axis, axis=1), usual.xyz, atol=1e-4)


def test_a_hanging_sensor_finds_the_same_feet(scene):
    cloud, sweep, _ = scene
    hanging = dataclasses.replace(cloud, y=-cloud.y, z=-cloud.z)
    contacts = find_ground_contacts(find_proposals(hanging, ProposalParameters()), PARAMS)
    usual = find_ground_contacts(sweep, PARAMS).xyz * [1.0, -1.0, -1.0]
    # Azimuth is reversed, and with it the order of the contact points.
    same = {tuple(foot) for foot in np.round(usual, 2)} & {
        tuple(foot) for foot in np.round(contacts.xyz.astype(float), 2)
    }
    assert len(same) > 0.95 * len(usual)
    assert len(contacts.xyz) == pytest.approx(len(usual), rel=0.05)


def test_what_floats_high_or_stands_in_the_dark_has_no_feet(make_sweep):
    sign = (8.0, 8.2, -1.0, 1.0, 2.2, 3.5)
    cloud = make_sweep(boxes=[sign], elevation_deg=np.linspace(15.0, -15.0, 60), columns=1800)
    assert len(find_ground_contacts(find_proposals(cloud, ProposalParameters()), PARAMS).cell) == 0


def test_lines_join_neighbours_of_one_proposal_only(scene):
    cloud, sweep, projected = scene
    contacts, contacts_projected = feet_in_image(sweep, cloud)
    u, v, label = support(sweep, projected, contacts, contacts_projected)
    known = sweep.label[projected.index] > 0
    assert (label > 0).all()
    assert set(label.tolist()) == set(sweep.label[projected.index][known].tolist())
    # The points come first, then the points interpolated between them.
    np.testing.assert_array_equal(u[: known.sum()], projected.u[known])
    assert len(u) > 1.5 * known.sum()
    assert u.min() >= -0.5
    assert u.max() < WIDTH - 0.5
    assert v.min() >= -0.5
    assert v.max() < HEIGHT - 0.5
    # The car's front covers all rows from its roof edge to the clearance.
    on_car = (label >= FIRST_OBJECT_LABEL) & (np.abs(u - 239.5) < 0.9 * FOCAL / 8.0)
    top, bottom = (134.5 + FOCAL * (1.8 - z) / 8.0 for z in (1.4, PARAMS.clearance))
    rows = np.sort(v[on_car & (v > top) & (v < bottom + 1.0)])
    assert rows[-1] > bottom - 5.0
    assert np.diff(rows).max() < 5.0
    # No car label below the clearance, where beams pass and hit the road.
    assert not (on_car & (v > bottom + 2.0)).any()


def test_a_hidden_return_draws_no_line(scene):
    cloud, sweep, projected = scene
    none = chosen(projected, slice(0))
    # The camera sees every fourth beam only.
    seen = (cloud.ring[projected.index] % 4) == 0
    few = chosen(projected, seen)
    contacts, _ = feet_in_image(sweep, cloud)
    u, _, label = support(sweep, few, contacts, none)
    assert len(u) == np.count_nonzero(sweep.label[few.index])
    assert len(label) == len(u)
    assert len(support(sweep, none, contacts, none)[0]) == 0


def test_a_second_return_in_a_cell_bends_no_line(scene):
    cloud, _, _ = scene
    front = np.flatnonzero((cloud.x < 8.05) & (np.abs(cloud.y) < 0.9) & (cloud.z > -1.4))
    # Second returns behind the car's front, displaced in the image by parallax.
    far = dataclasses.replace(
        cloud,
        x=np.append(cloud.x, cloud.x[front] * np.float32(2.0)),
        y=np.append(cloud.y, cloud.y[front] * np.float32(2.0)),
        z=np.append(cloud.z, cloud.z[front] * np.float32(2.0)),
        time=np.append(cloud.time, cloud.time[front]),
        ring=np.append(cloud.ring, cloud.ring[front]),
    )
    sweep = find_proposals(far, ProposalParameters())
    beside = FORWARD.copy()
    beside[0, 3] = 0.5
    projected = project_sweep(far, CAMERA, beside, None)
    contacts = find_ground_contacts(sweep, PARAMS)
    nowhere = chosen(projected, slice(0))
    u, _, label = support(sweep, projected, contacts, nowhere)
    usual = find_proposals(cloud, ProposalParameters())
    plain = project_sweep(cloud, CAMERA, beside, None)
    expected = support(usual, plain, find_ground_contacts(usual, PARAMS), nowhere)
    assert len(u) == len(expected[0])
    np.testing.assert_allclose(np.sort(u), np.sort(expected[0]), atol=1e-3)
    np.testing.assert_array_equal(np.sort(label), np.sort(expected[2]))


def test_a_cloud_without_beams_gives_its_points_alone(scene):
    _, sweep, projected = scene
    bare = dataclasses.replace(sweep, image=None, cell_label=None, cell_above=None)
    contacts = find_ground_contacts(bare, PARAMS)
    assert len(contacts.cell) == len(contacts.xyz) == 0
    u, _, label = support(bare, projected, contacts, projected)
    known = sweep.label[projected.index] > 0
    np.testing.assert_array_equal(u, projected.u[known])
    np.testing.assert_array_equal(label, sweep.label[projected.index][known])


def test_objects_grow_into_gaps_and_not_elsewhere():
    # Random tiles keep the superpixels small.
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 99, (18, 24, 3), np.uint8).repeat(5, 0).repeat(5, 1)
    holes = np.zeros((90, 120), bool)
    holes[20:50, 20:50] = holes[20:50, 70:100] = True
    v, u = float32(*np.nonzero(~holes))
    label = np.full(len(u), FIRST_OBJECT_LABEL, np.int32)
    gaps = holes.copy()
    gaps[:, 60:] = False
    nowhere = np.zeros(120, np.float32)
    params = dataclasses.replace(PARAMS, scale=1.0, min_size=1)
    before = densify(picture, u, v, label, params, nowhere)
    after = densify(picture, u, v, label, params, nowhere, gaps)
    assert (before[gaps] == 0).mean() > 0.5
    assert (after[gaps] == FIRST_OBJECT_LABEL).all()
    np.testing.assert_array_equal(after[~gaps], before[~gaps])
