"""Camera models: agreement with OpenCV, the limits of a lens, CameraInfo's fields, bad numbers."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.perception.cameras import CameraModel

WIDTH, HEIGHT = 1280, 720
K = [[700.0, 0.0, 652.3], [0.0, 690.0, 344.8], [0.0, 0.0, 1.0]]


def camera_info(model='plumb_bob', d=(0.0,) * 5, k=K, **changes):
    fields = {
        'header': SimpleNamespace(frame_id='camera_optical'),
        'width': WIDTH,
        'height': HEIGHT,
        'distortion_model': model,
        'd': np.array(d),
        'k': np.array(k, float).ravel(),
        'r': np.eye(3).ravel(),
        'p': np.column_stack([np.reshape(K, (3, 3)), np.zeros(3)]).ravel(),
        'binning_x': 0,
        'binning_y': 0,
        'roi': SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }
    return SimpleNamespace(**(fields | changes))


def camera(*args, rectified=False, **kwargs):
    return CameraModel.from_camera_info(camera_info(*args, **kwargs), rectified)


def rays(seed):
    """Points all over the half space in front of the camera, most of them in view."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 100.0, (500, 1))
    x, y = rng.uniform(-1.2, 1.2, (500, 1)), rng.uniform(-0.8, 0.8, (500, 1))
    return np.hstack([x * depth, y * depth, depth])


def numbers(*bounds):
    return st.tuples(*(st.floats(-bound, bound) for bound in bounds))


RADIAL = (0.4, 0.2, 0.01, 0.01, 0.05)
RATIONAL = (*RADIAL, 0.2, 0.1, 0.05)
COEFFICIENTS = [
    ('plumb_bob', RADIAL[:4]),
    ('plumb_bob', RADIAL),
    ('rational_polynomial', RATIONAL),
    ('rational_polynomial', (*RATIONAL, 0.01, 0.01, 0.01, 0.01)),
    ('rational_polynomial', (*RATIONAL, 0.01, 0.01, 0.01, 0.01, 0.05, 0.05)),
    ('equidistant', (0.1, 0.05, 0.02, 0.01)),
]


@pytest.mark.parametrize(('model', 'bounds'), COEFFICIENTS, ids=lambda value: str(value)[:20])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_projection_agrees_with_opencv(model, bounds, data):
    d = data.draw(numbers(*bounds))
    points = rays(data.draw(st.integers(0, 1000)))
    uv, valid = camera(model, d).project(points)
    zero = np.zeros(3)
    if model == 'equidistant':
        expected, _ = cv2.fisheye.projectPoints(
            points[:, None], zero, zero, np.array(K), np.array(d)
        )
    else:
        expected, _ = cv2.projectPoints(points, zero, zero, np.array(K), np.array(d))
    expected = expected.reshape(-1, 2)
    projected = np.isfinite(uv[:, 0])
    assert projected.sum() > 100
    np.testing.assert_allclose(uv[projected], expected[projected], rtol=0, atol=1e-3)
    size = np.array([WIDTH, HEIGHT])
    inside = ((expected > -0.499) & (expected < size - 0.501)).all(axis=1)
    np.testing.assert_array_equal(valid & projected, valid)
    assert valid[inside & projected].all()
    assert inside[valid].mean() > 0.99


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_nothing_in_the_image_lies_beyond_the_view_limit(data):
    model, bounds = data.draw(st.sampled_from(COEFFICIENTS))
    model = camera(model, data.draw(numbers(*bounds)))
    points = rays(data.draw(st.integers(0, 1000))) * [4.0, 4.0, 1.0]
    _, valid = model.project(points)
    squared_tangent = np.sum((points[:, :2] / points[:, 2:]) ** 2, axis=1)
    assert (squared_tangent[valid] <= model.lens.view_limit).all()


def test_view_limit_of_a_pinhole_is_its_farthest_corner_and_a_margin():
    corner = np.hypot((652.3 + 0.5 + 0.05 * WIDTH) / 700, (1.05 * HEIGHT - 0.5 - 344.8) / 690)
    assert np.sqrt(camera().lens.view_limit) == pytest.approx(corner)


def test_points_behind_the_camera_and_not_finite_are_invalid():
    points = [[0, 0, -5], [0, 0, 0], [np.nan, 0, 5], [0, 0, np.inf], [np.inf, 0, 5], [0, 0, 5]]
    _, valid = camera().project(np.array(points, float))
    assert valid.tolist() == [False, False, False, False, False, True]


def test_points_that_would_fold_back_into_the_image_are_invalid():
    # r (1 - 0.3 r^2) grows up to r = 1.054 and is 0 again at r = 1.826, right in the image.
    model = camera('plumb_bob', (-0.3, 0, 0, 0))
    assert model.lens.fold == pytest.approx(1 / 0.9, rel=1e-4)
    uv, valid = model.project(np.array([[1.8, 0, 1], [-1.9, 0, 1], [0.8, 0, 1]]))
    assert valid.tolist() == [False, False, True]
    assert np.isnan(uv[:2]).all()


def test_equidistant_fold_back_is_found_as_an_angle():
    # angle (1 - angle^2) grows up to 1 / sqrt(3).
    lens = camera('equidistant', (-1.0, 0, 0, 0)).lens
    assert np.arctan(np.sqrt(lens.fold)) == pytest.approx(1 / np.sqrt(3), rel=1e-4)


def test_a_pole_of_the_rational_model_ends_it():
    assert camera('rational_polynomial', (0, 0, 0, 0, 0, -0.5, 0, 0)).lens.fold == (
        pytest.approx(2.0, rel=1e-4)
    )


def test_of_a_rectified_image_the_distortion_model_does_not_matter():
    changes = {'p': np.array([[100.0, 0, 80, 0], [0, 100, 60, 0], [0, 0, 1, 0]])}
    assert camera('double_sphere', (0.1, 0.2), rectified=True, **changes).rectified
    with pytest.raises(CalibrationError, match='double_sphere'):
        camera('double_sphere', (0.1, 0.2), **changes)


def test_binned_images_of_a_camera_that_is_not_calibrated_are_told_so():
    with pytest.raises(CalibrationError, match='K is all zero'):
        camera(k=np.zeros((3, 3)), binning_x=2, binning_y=2)


def test_a_rectified_image_uses_r_and_p_and_no_distortion():
    quarter = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]
    p = [[500.0, 0, 640, -60], [0, 500, 360, 0], [0, 0, 1, 0]]
    changes = {'d': (-0.3, 0.1, 0, 0, 0), 'r': np.ravel(quarter), 'p': np.ravel(p)}
    # The point on the left is what the rectified camera looks at.
    uv, valid = camera(rectified=True, **changes).project(np.array([[-10.0, 1.0, 0.0]]))
    np.testing.assert_allclose(uv, [[640, 410]])
    assert valid.all()
    _, valid = camera(rectified=False, **changes).project(np.array([[-10.0, 1.0, 0.0]]))
    assert not valid.any()


def test_scaling_keeps_what_a_pixels_area_shows():
    model = camera('plumb_bob', (-0.1, 0.02, 0.001, 0, 0))
    points = rays(1)
    uv, valid = model.project(points)
    half, half_valid = model.scaled(WIDTH // 2, HEIGHT // 2).project(points)
    np.testing.assert_allclose(half[valid], (uv[valid] + 0.5) / 2 - 0.5)
    np.testing.assert_array_equal(half_valid, valid)


def test_region_of_interest_then_binning():
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=800, height=600, do_rectify=False)
    model = camera(roi=roi, binning_x=2, binning_y=4)
    assert (model.width, model.height) == (400, 150)
    point = np.array([[0.2, 0.1, 2.0]])
    full, _ = camera().project(point)
    got, _ = model.project(point)
    expected = (full - [100, 40] + 0.5) / [2, 4] - 0.5
    np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize('model', ['', 'plumb_bob', 'rational_polynomial'])
def test_no_coefficients_is_no_distortion(model):
    uv, _ = camera(model, ()).project(np.array([[0.5, 0.25, 1.0]]))
    np.testing.assert_allclose(uv, [[652.3 + 350, 344.8 + 172.5]])


BAD_K = np.array(K)
BAD_K[0, 0] = np.nan


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'k': np.zeros((3, 3))}, 'not calibrated: K is all zero'),
        ({'k': -np.array(K)}, 'focal lengths in K are -700'),
        ({'k': BAD_K}, 'K holds NaN'),
        ({'k': np.ones(4), 'p': np.ones(12)}, 'k does not hold'),
        ({'width': 0}, 'image size is 0 x 720'),
        ({'height': 0}, 'image size is 1280 x 0'),
        ({'d': (0.1, 0.2, 0.3)}, 'plumb_bob takes 4 or 5 coefficients, d has 3'),
        ({'model': 'equidistant', 'd': ()}, 'equidistant takes 4 coefficients, d has 0'),
        ({'d': (np.inf, 0, 0, 0, 0)}, 'D holds NaN or infinity'),
        ({'model': 'fov'}, "'fov'; known are: plumb_bob, rational_polynomial, equidistant"),
        ({'model': '', 'd': (0.1, 0, 0, 0)}, 'known are: plumb_bob'),
        ({'rectified': True, 'p': np.zeros(12)}, 'P is all zero'),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, str) else '',
)
def test_numbers_that_are_no_camera(changes, says):
    with pytest.raises(CalibrationError) as caught:
        camera(**changes)
    assert says in str(caught.value)
    assert 'camera_optical' in str(caught.value)
    assert '\n' not in str(caught.value)


def test_an_unset_r_is_no_rotation():
    model = camera(rectified=True, r=np.zeros(9))
    uv, _ = model.project(np.array([[0.0, 0.0, 3.0]]))
    np.testing.assert_allclose(uv, [[652.3, 344.8]])


def test_a_dictionary_gives_the_same_camera_back():
    model = camera('equidistant', (0.1, 1 / 3, 1e-9, 0.0), rectified=False)
    again = CameraModel.from_dict(model.to_dict())
    assert again.to_dict() == model.to_dict()


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        ({'width': 'wide'}, 'width or height'),
        ({'focal': 3}, 'unknown entries: focal'),
        ({'K': [1, 2]}, 'K does not hold'),
    ],
)
def test_a_dictionary_that_is_no_camera(change, says):
    with pytest.raises(CalibrationError, match=says):
        CameraModel.from_dict(camera().to_dict() | change)
