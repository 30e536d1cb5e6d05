"""Building a frame from an image and its sweep: consistent, correct and reproducible."""

from __future__ import annotations

import dataclasses
import json
import pickle
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from drive_segment_ros.errors import CalibrationError, CloudError, ImageError
from drive_segment_ros.frame import sweep as sweep_module
from drive_segment_ros.frame.build import BuiltFrame, build, to_frame
from drive_segment_ros.frame.events import Image
from drive_segment_ros.frame.example_scene import example_camera, example_cloud, example_picture
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.frame.warm_up import warm_up
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.proposals import GROUND, KINDS, OBJECT, SKY, SKY_LABEL
from drive_segment_ros.ros.events import MessagePicture

CAMERA, LIDAR = 'camera', 'lidar'
STAMP_NS = 1_000_000_000
HEADER = SimpleNamespace(frame_id=CAMERA, stamp=SimpleNamespace(sec=1, nanosec=0))
# A camera that looks along the LiDAR's x axis.
T_CAMERA_LIDAR = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
T_BASE_LIDAR = np.eye(4)
T_BASE_LIDAR[2, 3] = 2.0


def drive(speed: float, start_s: float = 0.0, end_s: float = 2.0) -> Trajectory:
    """Return the trajectory of a straight drive along x, with a pose every 10 ms."""
    trajectory = Trajectory()
    for stamp_ns in range(round(start_s * 1e9), round(end_s * 1e9) + 1, 10_000_000):
        trajectory.add(stamp_ns, (speed * stamp_ns * 1e-9, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return trajectory


def raw_image(picture: np.ndarray) -> SimpleNamespace:
    height, width = picture.shape[:2]
    return SimpleNamespace(
        header=HEADER,
        encoding='bgr8',
        height=height,
        width=width,
        step=3 * width,
        is_bigendian=0,
        data=picture.tobytes(),
    )


def compressed_image(data: bytes) -> SimpleNamespace:
    return SimpleNamespace(header=HEADER, format='jpeg', data=data)


def pair_of(
    params: FrameParameters,
    trajectory: Trajectory | None = None,
    *,
    later: float = 0.0,
    message: SimpleNamespace | None = None,
    change=lambda cloud: cloud,
    **changes,
) -> Pair:
    """Return a pair of the example scene.

    Args:
        params: parameters of frames.
        trajectory: motion of the vehicle, empty if not given.
        later: time from the stamp of the sweep to that of the image, seconds.
        message: image message to use instead of the scene's image.
        change: function applied to the scene's cloud.
        changes: fields of the pair to replace.
    """

    def read():
        return change(example_cloud(STAMP_NS, LIDAR, params))

    picture = MessagePicture(message or raw_image(example_picture()), params)
    made = Pair(
        Image(CAMERA, STAMP_NS + round(later * 1e9), CAMERA, picture),
        Sweep(STAMP_NS, LIDAR, read),
        example_camera(CAMERA),
        STAMP_NS + round(later * 1e9),
        0.0,
        T_CAMERA_LIDAR,
        T_BASE_LIDAR,
        trajectory or Trajectory(),
    )
    return dataclasses.replace(made, **changes)


def built(trajectory: Trajectory | None = None, flat=None, **changes) -> BuiltFrame:
    params = from_flat(FrameParameters, flat or {})
    return build(pair_of(params, trajectory, **changes), params)


def frame_of(trajectory: Trajectory | None = None, flat=None, **changes):
    params = from_flat(FrameParameters, flat or {})
    return to_frame(build(pair_of(params, trajectory, **changes), params), params)


def kinds_shown(frame) -> np.ndarray:
    """Return the kind of the proposal at each pixel, 255 without a proposal."""
    kind = np.full(65_536, 255)
    kind[frame.sweep.proposals['id']] = frame.sweep.proposals['kind']
    return kind[frame.segment]


def test_a_frame_is_consistent_in_itself():
    params = FrameParameters()
    made = build(pair_of(params, drive(10.0)), params)
    frame = to_frame(made, params)
    proposals = frame.sweep.proposals
    # All proposals of the sweep are listed, including those that this image does not show.
    there = np.setdiff1d(np.append(made.segments.label, SKY_LABEL), [0])
    np.testing.assert_array_equal(proposals['id'], there)
    shown = np.setdiff1d(frame.segment, [0])
    assert np.isin(shown, proposals['id']).all()
    assert (frame.segment == made.label_image).all()
    assert frame.segment.dtype == proposals['id'].dtype == np.uint16
    assert frame.segment.shape == (180, 320)
    assert {len(values) for values in proposals.values()} == {len(there)}
    np.testing.assert_array_equal(proposals['points'], np.bincount(made.segments.label)[there])
    kinds, raised = proposals['kind'], proposals['raised']
    assert np.isin(kinds, [OBJECT, GROUND, SKY]).all()
    assert (kinds == GROUND).sum() >= 1
    assert (kinds == SKY).sum() == 1
    assert (kinds == OBJECT).sum() >= 1
    assert len(KINDS) == 3
    assert (kinds[raised] == GROUND).all()
    objects = kinds == OBJECT
    assert (proposals['points'][objects] > 0).all()
    assert (proposals['extent_vertical'][objects] > 0.0).all()
    assert (frame.camera, frame.stamp_ns, frame.image_suffix) == (CAMERA, STAMP_NS, '.png')
    picture = cv2.imdecode(np.frombuffer(frame.image, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(picture, made.image)


def test_pixels_show_what_the_lidar_saw_there():
    kind = kinds_shown(frame_of())
    # The wall is 20 m away on ground 2 m below: its base is 20 px below the image centre.
    assert (kind[120:] == GROUND).mean() > 0.97
    assert (kind[70:100] == OBJECT).mean() > 0.9
    # Sky is to the right, where the upper beams had no return; to the left they hit the wall.
    assert (kind[:40, 170:] == SKY).mean() > 0.9
    assert not (kind[:, :150] == SKY).any()


def test_gaps_are_no_sky_where_the_picture_shows_what_returns_elsewhere():
    noise = np.random.default_rng(1).integers(0, 128, (180, 320, 3), np.uint8)
    assert not (kinds_shown(frame_of(message=raw_image(noise))) == SKY).any()


def test_without_sky_the_gaps_stay_unknown():
    frame = frame_of(flat={'proposals.sky': False})
    assert not (kinds_shown(frame) == SKY).any()
    assert not (frame.sweep.proposals['kind'] == SKY).any()


def test_the_record_is_json_and_tells_what_was_done():
    params = FrameParameters()
    made = build(pair_of(params, drive(10.0), later=0.04), params)
    record = json.loads(json.dumps(to_frame(made, params).encoded().record))
    assert record['sweep_stamp_ns'] == STAMP_NS
    assert record['offset_s'] == pytest.approx(-0.04)
    assert record['motion'] == made.view.moved == 'per_point'
    assert record['points'] == len(made.points)
    assert record['points_dropped'] == 8 * 360
    assert np.array(record['T_odom_base'])[0, 3] == pytest.approx(10.4)
    assert 'T_odom_base' not in frame_of().record


def test_points_are_moved_to_the_instant_of_an_image_that_is_stamped_late():
    params = FrameParameters()
    right = build(pair_of(params, drive(10.0), later=0.04), params)
    late = build(
        pair_of(params, drive(10.0), later=0.24, instant_ns=STAMP_NS + 40_000_000), params
    )
    assert late.pair.image.stamp_ns - right.pair.image.stamp_ns == 200_000_000
    assert late.view.moved == 'per_point'
    np.testing.assert_array_equal(late.points.u, right.points.u)
    np.testing.assert_array_equal(late.label_image, right.label_image)


def test_the_same_pair_gives_the_same_bytes():
    first, again = (frame_of(drive(10.0)).encoded().files for _ in range(2))
    assert first == again


def test_a_pair_travels_without_what_can_be_read_again():
    pair = pair_of(FrameParameters())
    sweep = Sweep(STAMP_NS, LIDAR, _read_example)
    pair = dataclasses.replace(pair, sweep=sweep)
    small = len(pickle.dumps(pair))
    first = build(pair, FrameParameters())
    again = pickle.dumps(pair)
    assert len(again) < small + 1000
    other = build(pickle.loads(again), FrameParameters())
    np.testing.assert_array_equal(other.label_image, first.label_image)


def _read_example():
    return example_cloud(STAMP_NS, LIDAR, FrameParameters())


def test_what_is_found_in_a_sweep_is_found_once_for_all_cameras(monkeypatch):
    """For three cameras, the cloud is read once, and beams and proposals are found once."""
    counts = dict.fromkeys(('read', 'beams', 'segments'), 0)

    def counted(name, function):
        def call(*arguments):
            counts[name] += 1
            return function(*arguments)

        return call

    for name, function in (('beams', 'spinning_beams'), ('segments', 'find_proposals')):
        monkeypatch.setattr(sweep_module, function, counted(name, getattr(sweep_module, function)))
    params = FrameParameters()
    pair = pair_of(params, drive(10.0))
    sweep = Sweep(STAMP_NS, LIDAR, counted('read', pair.sweep._read))
    made = []
    for name, turn in (('front', 0.0), ('left', 0.3), ('right', -0.3)):
        c, s = np.cos(turn), np.sin(turn)
        turned = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        seen = dataclasses.replace(
            pair,
            image=dataclasses.replace(pair.image, camera=name),
            sweep=sweep,
            T_camera_lidar=T_CAMERA_LIDAR @ turned,
        )
        made.append(to_frame(build(seen, params), params))
    assert counts == {'read': 1, 'beams': 1, 'segments': 1}
    assert made[0].sweep is made[1].sweep is made[2].sweep
    assert not np.array_equal(made[0].segment, made[1].segment)


@pytest.mark.parametrize(
    ('trajectory', 'changes', 'flat', 'expected'),
    [
        (None, {}, {}, 'none'),
        (drive(10.0), {'T_base_lidar': None}, {}, 'none'),
        (drive(10.0, 3.0, 4.0), {}, {}, 'none'),
        (drive(10.0), {}, {}, 'per_point'),
        (drive(10.0), {}, {'time_field': ''}, 'per_sweep'),
        (drive(10.0), {}, {'point_motion': 'compensated'}, 'per_sweep'),
        # Odometry begins at the sweep's stamp, within the times of the points.
        (drive(10.0, 1.0, 2.0), {}, {'point_motion': 'raw'}, 'per_sweep'),
    ],
    ids=['no odometry', 'no base', 'elsewhen', 'all known', 'no times', 'moved', 'half known'],
)
def test_motion_is_compensated_as_far_as_it_is_known(trajectory, changes, flat, expected):
    params = from_flat(FrameParameters, flat)
    made = build(pair_of(params, trajectory, later=0.01, **changes), params)
    assert made.view.moved == expected
    assert ('T_odom_base' in to_frame(made, params).record) is (expected != 'none')


def test_points_are_moved_to_the_images_instant():
    # At 10 m/s, the wall 20 m ahead at the sweep is 15 m ahead 0.5 s later.
    flat = {'point_motion': 'raw'}
    still, driven = built(None, flat, later=0.5), built(drive(10.0), flat, later=0.5)
    for made, expected in ((still, 20.0), (driven, 15.0)):
        at = made.points
        wall = at.depth[(at.v < 89.5) & (np.abs(at.u - 159.5) < 20.0)]
        assert np.median(wall) == pytest.approx(expected, abs=0.2)


def test_the_working_resolution_is_a_parameter_and_never_above_the_cameras():
    assert built(None, {'densify.width': 160}).label_image.shape == (90, 160)
    assert built(None, {'densify.width': 1920}).label_image.shape == (180, 320)


def test_a_broken_image_is_told():
    with pytest.raises(ImageError):
        built(message=compressed_image(b'\xff\xd8\xff broken'))


def test_a_compressed_image_is_kept_as_it_came():
    jpeg = cv2.imencode('.jpg', np.full((180, 320, 3), 90, np.uint8))[1].tobytes()
    frame = frame_of(message=compressed_image(jpeg))
    assert (frame.image, frame.image_suffix) == (jpeg, '.jpg')


def test_an_image_of_another_shape_than_its_camera_info_is_refused():
    with pytest.raises(CalibrationError, match='camera_info 320 x 320'):
        built(camera=dataclasses.replace(example_camera(CAMERA), height=320))


def test_a_picture_smaller_than_its_camera_info_is_decoded_whole():
    small = cv2.blur(np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8), (5, 5))
    data = cv2.imencode('.jpg', small)[1]
    made = built(None, {'densify.width': 160}, message=compressed_image(data.tobytes()))
    np.testing.assert_array_equal(made.image, cv2.imdecode(data, cv2.IMREAD_COLOR))


def test_a_sweep_that_misses_the_image_is_refused():
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    with pytest.raises(CloudError, match=f'{LIDAR}.*{CAMERA}.*check the extrinsics'):
        built(T_camera_lidar=T_CAMERA_LIDAR @ turned, change=_ahead)


def _ahead(cloud):
    x = np.where(cloud.x > 0.0, cloud.x, np.nan).astype(np.float32)
    return dataclasses.replace(cloud, x=x)


@pytest.mark.parametrize('value', [np.nan, 0.0])
def test_a_cloud_without_a_usable_point_is_refused_for_each_camera(value):
    def useless(cloud):
        empty = np.full_like(cloud.x, value)
        return dataclasses.replace(cloud, x=empty, y=empty, z=empty)

    params = FrameParameters()
    pair = pair_of(params, change=useless)
    for _ in range(2):
        with pytest.raises(CloudError, match='check the driver'):
            build(pair, params)


def test_warming_up_works_with_any_parameters():
    flat = {'densify.width': 64, 'base_frame': 'vehicle', 'proposals.sky': False}
    warm_up(from_flat(FrameParameters, flat))
