"""Camera models: agreement with OpenCV, lens limits, CameraInfo fields and invalid values."""

from __future__ import annotations

import contextlib
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.perception.camera_plausibility import plausibility_warnings
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
    """Return 500 random points in front of the camera, about half of them in view."""
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
    # All-zero coefficients mean no distortion in ROS, but an ideal fisheye lens in OpenCV.
    d = data.draw(numbers(*bounds).filter(any))
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
    # r (1 - 0.3 r^2) grows up to r = 1.054 and is 0 again at r = 1.826, within the image.
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
    # The rectified camera looks towards this point, to the left of the raw camera.
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
        ({'k': np.ones(4), 'p': np.ones(12)}, 'k is not a'),
        ({'width': 0}, 'image size is 0 x 720'),
        ({'height': 0}, 'image size is 1280 x 0'),
        ({'d': (0.1, 0.2, 0.3)}, 'plumb_bob takes 4 or 5 or 8 or 12 or 14 coefficients, d has 3'),
        ({'model': 'fisheye', 'd': (0.1, 0.2)}, 'fisheye takes 4 coefficients, d has 2'),
        ({'model': 'equidistant', 'd': (0.1, 0, 0, 0, 0.1)}, 'takes 4 coefficients, d has 5'),
        ({'d': (0.1,) * 15}, 'd has 15'),
        ({'d': (1e300, 0, 0, 0)}, 'coefficient is 1e+300'),
        ({'d': (np.inf, 0, 0, 0, 0)}, 'D holds NaN or infinity'),
        ({'model': 'fov', 'd': (0.9,)}, "'fov'; supported are: plumb_bob, rational_polynomial"),
        ({'model': '', 'd': (0.1, 0, 0, 0)}, 'name the model they belong to, such as plumb_bob'),
        ({'model': 'None', 'd': (0.1, 0, 0, 0, 0)}, 'name the model they belong to'),
        ({'k': np.diag([1e-300, 1e-300, 1])}, 'focal lengths in K are 1e-300'),
        ({'k': np.diag([5e-324, 5e-324, 1])}, 'focal lengths in K are 4.94066e-324'),
        ({'k': np.diag([1e300, 1e300, 1])}, 'focal lengths in K are 1e+300'),
        ({'k': np.diag([np.inf, 700, 1])}, 'K holds NaN or infinity'),
        ({'k': np.diag([700, 0, 1])}, 'focal lengths in K are 700 and 0 px'),
        ({'k': [[700, 0, 1e300], [0, 700, 360], [0, 0, 1]]}, 'point in K is at 1e+300, 360 px'),
        ({'rectified': True, 'p': np.diag([1e-300, 1e-300, 1, 0])[:3]}, 'lengths in P are 1e-300'),
        ({'rectified': True, 'p': np.diag([np.nan, 700, 1, 0])[:3]}, 'P holds NaN'),
        ({'width': 2**32 - 1}, 'image size is 4294967295 x 720'),
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
        ({'K': [1, 2]}, 'K is not a'),
    ],
)
def test_a_dictionary_that_is_no_camera(change, says):
    with pytest.raises(CalibrationError, match=says):
        CameraModel.from_dict(camera().to_dict() | change)


# Names used by drivers and calibration tools.
@pytest.mark.parametrize(
    ('names', 'd', 'same'),
    [
        (
            ('fisheye', 'kannala_brandt4', 'Kannala-Brandt', 'EQUIDISTANT', 'opencv fisheye'),
            (0.1, 0.05, 0.02, 0.01),
            'equidistant',
        ),
        (('radtan', 'PLUMB_BOB', 'Brown Conrady', 'Radial-Tangential'), RADIAL, 'plumb_bob'),
        (('', 'pinhole', 'plumb_bob'), RATIONAL, 'rational_polynomial'),
        (('rational_polynomial', 'plumb_bob'), RADIAL[:4], 'plumb_bob'),
        (('thin_prism',), (*RATIONAL, 0.01, 0.01, 0.01, 0.01), 'rational_polynomial'),
    ],
)
def test_other_names_of_a_model_are_that_model(names, d, same):
    expected, _ = camera(same, d).project(rays(3))
    for name in names:
        np.testing.assert_array_equal(camera(name, d).project(rays(3))[0], expected)


@pytest.mark.parametrize(
    'model', ['', 'None', 'pinhole', 'Inverse Brown Conrady', 'double_sphere', 'fisheye', 'kb4']
)
@pytest.mark.parametrize('count', [0, 1, 3, 4, 5, 8, 20])
def test_coefficients_that_are_all_zero_are_no_distortion(model, count):
    expected, _ = camera().project(rays(3))
    np.testing.assert_array_equal(camera(model, [0.0] * count).project(rays(3))[0], expected)


@pytest.mark.parametrize(
    ('model', 'd'), [('equidistant', (0.1, 0.05, 0.02, 0.01, 0)), ('plumb_bob', (*RADIAL, 0))]
)
def test_zeros_that_fill_up_to_a_fixed_number_mean_nothing(model, d):
    expected, _ = camera(model, d[:-1]).project(rays(3))
    np.testing.assert_array_equal(camera(model, d).project(rays(3))[0], expected)


EXTREME = st.floats() | st.sampled_from([0.0, 1.0, 640.0, 1e-300, 5e-324, 1e300, -1.0])


@pytest.mark.filterwarnings('error')
@settings(max_examples=300, deadline=None)
@given(
    st.lists(EXTREME, min_size=9, max_size=9),
    st.lists(EXTREME, max_size=15),
    st.sampled_from(['', 'plumb_bob', 'fisheye', 'fov', 'none']),
    st.booleans(),
    st.integers(0, 2**32 - 1) | st.integers(1, 4000),
)
def test_whatever_the_numbers_are_it_is_a_camera_or_one_clear_error(k, d, model, rectified, width):
    p = np.column_stack([np.reshape(k, (3, 3)), np.zeros(3)])
    with contextlib.suppress(CalibrationError):
        found = camera(model, d, k, p=p, width=width, rectified=rectified)
        assert found.project(rays(1))[0].shape == (500, 2)
        plausibility_warnings(found)


def about(**changes):
    return ' '.join(plausibility_warnings(camera(**changes)))


@pytest.mark.parametrize('scale', [0.5, 2 / 3, 1.5, 2.0, 4.0])
def test_a_calibration_of_another_resolution_is_told(scale):
    k = np.diag([scale, scale, 1.0]) @ np.array(K)
    p = np.column_stack([k, np.zeros(3)])
    for used, changes in (('K', {'k': k}), ('P', {'p': p, 'rectified': True})):
        told = re.search(f'as if {used} were for about ([0-9.]+) times', about(**changes))
        assert told is not None
        assert float(told[1]) == pytest.approx(scale, rel=0.05)
    assert about(p=p, rectified=False) == ''


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        # A K that already includes binning or the region of interest draws a warning.
        ({'binning_x': 2, 'binning_y': 2, 'k': np.diag([0.5, 0.5, 1]) @ K}, 'as if'),
        ({'roi': SimpleNamespace(x_offset=400, y_offset=0, width=480, height=720)}, ''),
        (
            {
                'roi': SimpleNamespace(x_offset=400, y_offset=0, width=480, height=720),
                'k': [[700, 0, 252], [0, 690, 345], [0, 0, 1]],
            },
            'far from the middle',
        ),
        ({'width': 720, 'height': 1280}, 'far from the middle'),
        ({'k': np.transpose(K)}, 'row-major order'),
        ({'k': np.diag([2.0, 1.0, 1]) @ K}, 'not square'),
        ({'k': [[20, 0, 640], [0, 20, 360], [0, 0, 1]]}, 'a view of 176 x 174 degrees'),
        ({'k': [[16000, 0, 640], [0, 16000, 360], [0, 0, 1]]}, 'a view of 4.58 x 2.58'),
        ({'model': 'equidistant', 'd': ()}, 'for an ideal fisheye lens'),
        ({'model': '', 'd': (0.1, 0, 0, 0, 0.1)}, 'set the model in the driver'),
    ],
)
def test_what_is_odd_about_a_camera_is_said(changes, says):
    assert says in about(**changes)
    assert bool(says) == bool(about(**changes))


@pytest.mark.parametrize(
    ('size', 'k'),
    [
        ((1242, 375), (721.5, 721.5, 609.6, 172.9)),  # KITTI
        ((1600, 900), (1266.4, 1266.4, 816.3, 491.5)),  # nuScenes, front
        ((1920, 1080), (1970.0, 1970.0, 970.0, 483.3)),  # PandaSet, front
        ((1920, 886), (2055.6, 2055.6, 939.7, 238.4)),  # Waymo, side: cropped at the top
        ((640, 480), (381.0, 381.0, 318.0, 236.0)),
        ((2880, 1860), (1000.0, 1000.0, 1440.0, 930.0)),
        ((1920, 1208), (5500.0, 5500.0, 960.0, 604.0)),  # telephoto lens, 20 degrees
    ],
)
def test_common_cameras_are_plausible(size, k):
    fx, fy, cx, cy = k
    changes = {'width': size[0], 'height': size[1], 'k': [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]}
    assert about(**changes) == ''
    halved = {'binning_x': 2, 'binning_y': 2}
    assert about(**changes, **halved) == ''
    f = size[0] / np.radians(190)
    fisheye = [[f, 0, cx], [0, f, cy], [0, 0, 1]]
    assert about(**changes | {'k': fisheye}, model='fisheye', d=(0.01, 0, 0, 0)) == ''
