from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from drive_segment_ros.errors import CalibrationError, CloudError, ImageError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.proposals import GROUND, KINDS, OBJECT, SKY, SKY_LABEL
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros import built_frame
from drive_segment_ros.ros.bags import BagReader, header_stamp_ns
from drive_segment_ros.ros.frame_builder import FrameBuilder
from drive_segment_ros.ros.warm_up import example_messages

CAMERA, LIDAR = 'warm_up_camera', 'warm_up_lidar'
STAMP_NS = 1_000_000_000
# A camera that looks along the LiDAR's x axis.
T_LIDAR_CAMERA = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def transforms(*, base: bool = True, turn_deg: float = 0.0) -> TransformTree:
    tree = TransformTree()
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    turn = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    tree.set(LIDAR, CAMERA, turn @ T_LIDAR_CAMERA)
    if base:
        T = np.eye(4)
        T[2, 3] = 2.0
        tree.set('base_link', LIDAR, T)
    return tree


def drive(speed: float, start_s: float = 0.0, end_s: float = 2.0) -> Trajectory:
    """Return a straight drive along x, a pose every 10 ms."""
    trajectory = Trajectory()
    for stamp_ns in range(round(start_s * 1e9), round(end_s * 1e9) + 1, 10_000_000):
        trajectory.add(stamp_ns, (speed * stamp_ns * 1e-9, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return trajectory


def built(trajectory=None, tree=None, change=None, **flat):
    """Build a frame of the example messages, changed by `change(image, info, cloud)`, in 3D."""
    messages = copy.deepcopy(example_messages())
    if change is not None:
        change(*messages)
    params = from_flat(FrameParameters, flat)
    made = FrameBuilder(params, tree or transforms(), trajectory).build(*messages)
    assert len(made.label) == len(made.projected)
    return made


def stamped_later(seconds: float):
    def change(image, info, cloud):
        stamp = SimpleNamespace(sec=1, nanosec=round(seconds * 1e9))
        image.header = info.header = SimpleNamespace(stamp=stamp, frame_id=CAMERA)

    return change


def encoded(frame) -> dict[str, bytes]:
    return frame.encoded().files


def test_a_frame_is_consistent_in_itself():
    made = built(drive(10.0))
    frame = made.frame
    proposals = frame.sweep.proposals
    # All of the sweep, by its own labels: those that this image does not show as well.
    there = np.setdiff1d(np.append(made.sweep.label, SKY_LABEL), [0])
    np.testing.assert_array_equal(proposals['id'], there)
    shown = np.setdiff1d(frame.segment, [0])
    assert np.isin(shown, proposals['id']).all()
    assert (frame.segment == made.label_image).all()
    assert frame.segment.dtype == proposals['id'].dtype == np.uint16
    assert frame.segment.shape == (180, 320)
    assert {len(values) for values in proposals.values()} == {len(there)}
    np.testing.assert_array_equal(proposals['points'], np.bincount(made.sweep.label)[there])
    kinds = proposals['kind']
    assert np.isin(kinds, [OBJECT, GROUND, SKY]).all()
    assert (kinds == GROUND).sum() >= 1
    assert (kinds == SKY).sum() == 1
    assert (kinds == OBJECT).sum() >= 1
    assert len(KINDS) == 3
    raised = proposals['raised']
    assert raised.dtype == bool
    assert (kinds[raised] == GROUND).all()
    objects = kinds == OBJECT
    assert (proposals['points'][objects] > 0).all()
    assert (proposals['extent_vertical'][objects] > 0.0).all()
    assert frame.stamp_ns == STAMP_NS
    assert frame.image_suffix == '.png'
    picture = cv2.imdecode(np.frombuffer(frame.image, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(picture, made.image)


def kinds_shown(frame) -> np.ndarray:
    """The kind of each pixel, 255 where there is none."""
    kind = np.full(65_536, 255)
    kind[frame.sweep.proposals['id']] = frame.sweep.proposals['kind']
    return kind[frame.segment]


def test_pixels_show_what_the_lidar_saw_there():
    frame = built().frame
    kind = kinds_shown(frame)
    # The wall stands 20 m away on a plane 2 m below: its foot is 20 px below the middle.
    assert (kind[120:] == GROUND).mean() > 0.97
    assert (kind[70:100] == OBJECT).mean() > 0.9
    # To the right, where the upper beams saw nothing, is sky; to the left they saw the wall.
    assert (kind[:40, 170:] == SKY).mean() > 0.9
    assert not (kind[:, :150] == SKY).any()


def test_gaps_are_no_sky_where_the_picture_shows_what_returns_elsewhere():
    def walled(image, info, cloud):
        noise = np.random.default_rng(1).integers(0, 128, (180, 320, 3), np.uint8)
        image.data = noise.tobytes()

    frame = built(change=walled).frame
    assert not (kinds_shown(frame) == SKY).any()


def test_without_sky_the_gaps_stay_unknown():
    frame = built(None, **{'proposals.sky': False}).frame
    assert not (kinds_shown(frame) == SKY).any()
    assert not (frame.sweep.proposals['kind'] == SKY).any()


def test_the_record_is_json_and_tells_what_was_done():
    made = built(drive(10.0), change=stamped_later(0.04))
    record = json.loads(json.dumps(made.frame.encoded().record))
    assert record['sweep_stamp_ns'] == STAMP_NS
    assert record['offset_s'] == pytest.approx(-0.04)
    assert record['motion'] == made.motion == 'per_point'
    assert record['points'] == len(made.projected)
    assert record['points_dropped'] == 8 * 360
    assert np.array(record['T_odom_base'])[0, 3] == pytest.approx(10.4)
    assert 'T_odom_base' not in built().frame.record


def test_the_same_messages_give_the_same_bytes():
    first, again = (encoded(built(drive(10.0)).frame) for _ in range(2))
    assert first == again
    # Frames before it leave no trace.
    params, tree = FrameParameters(), transforms()
    builder = FrameBuilder(params, tree, drive(10.0))
    other = copy.deepcopy(example_messages())
    stamped_later(0.3)(*other)
    _ = builder.build(*other).frame
    assert encoded(builder.build(*example_messages()).frame) == first


@pytest.mark.parametrize(
    ('trajectory', 'tree', 'flat', 'expected'),
    [
        (None, None, {}, 'none'),
        (drive(10.0), transforms(base=False), {}, 'none'),
        (drive(10.0, 3.0, 4.0), None, {}, 'none'),
        (drive(10.0), None, {}, 'per_point'),
        (drive(10.0), None, {'time_field': ''}, 'per_sweep'),
        (drive(10.0), None, {'point_motion': 'compensated'}, 'per_sweep'),
        # The drive begins at the sweep's stamp, amid the points' times.
        (drive(10.0, 1.0, 2.0), None, {'point_motion': 'raw'}, 'per_sweep'),
    ],
    ids=['no odometry', 'no base', 'elsewhen', 'all known', 'no times', 'moved', 'half known'],
)
def test_motion_is_compensated_as_far_as_it_is_known(trajectory, tree, flat, expected):
    made = built(trajectory, tree, stamped_later(0.01), **flat)
    assert made.motion == expected
    assert ('T_odom_base' in made.frame.record) is (expected != 'none')


def test_odometry_that_begins_again_meanwhile_costs_no_frame(monkeypatch):
    trajectory = drive(10.0)
    find = built_frame.spinning_beams
    undisturbed = built(drive(10.0)).frame.record

    def find_late(*arguments):
        # A bag that is played over and over; finding beams takes long enough for it.
        trajectory.clear()
        return find(*arguments)

    monkeypatch.setattr(built_frame, 'spinning_beams', find_late)
    made = FrameBuilder(FrameParameters(), transforms(), trajectory).build(*example_messages())
    assert made.motion == 'per_point'
    assert len(trajectory) == 0
    assert made.frame.record == undisturbed


def test_points_are_moved_to_the_images_instant():
    # 0.5 s at 10 m/s after the sweep, the wall 20 m ahead is 15 m ahead.
    still = built(change=stamped_later(0.5), point_motion='raw')
    driven = built(drive(10.0), change=stamped_later(0.5), point_motion='raw')
    for made, expected in ((still, 20.0), (driven, 15.0)):
        at = made.projected
        wall = at.depth[(at.v < 89.5) & (np.abs(at.u - 159.5) < 20.0)]
        assert np.median(wall) == pytest.approx(expected, abs=0.2)


def test_odometry_is_needed_from_the_first_point_in_view_to_the_image():
    image, info, cloud = copy.deepcopy(example_messages())
    stamped_later(0.3)(image, info, cloud)
    builder = FrameBuilder(FrameParameters(), transforms(), drive(10.0))
    start, end = builder.times_needed(image, info, cloud)
    # Azimuth 0 is in the middle of the sweep's time and of the view, 38.6 degrees to each side.
    assert start == pytest.approx(STAMP_NS - 11e6, abs=2e6)
    assert end == STAMP_NS + 300_000_000
    assert FrameBuilder(FrameParameters(), transforms()).times_needed(image, info, cloud) is None
    unbased = FrameBuilder(FrameParameters(), transforms(base=False), drive(10.0))
    assert unbased.times_needed(image, info, cloud) is None


def test_the_working_resolution_is_a_parameter_and_never_above_the_cameras():
    assert built(**{'densify.width': 160}).frame.segment.shape == (90, 160)
    assert built(**{'densify.width': 1920}).frame.segment.shape == (180, 320)


def test_an_image_is_decoded_only_when_it_is_needed():
    def broken(image, info, cloud):
        del image.encoding, image.data, image.step
        image.format, image.data = 'jpeg', b'\xff\xd8\xff broken'

    made = built(change=broken)
    assert len(made.projected) > 1000
    assert made.sweep.count > 3
    for name in ('image', 'label_image', 'frame'):
        with pytest.raises(ImageError):
            getattr(made, name)


def test_a_sweep_is_looked_at_only_when_it_is_needed():
    image, info, cloud = copy.deepcopy(example_messages())
    cloud.fields = []
    made = FrameBuilder(FrameParameters(), transforms(), drive(10.0)).build(image, info, cloud)
    assert (made.stamp_ns, made.offset_s) == (STAMP_NS, 0.0)
    assert made.image.shape == (180, 320, 3)
    for name in ('cloud', 'sweep', 'motion', 'T_odom_base', 'projected', 'label', 'frame'):
        with pytest.raises(CloudError):
            getattr(made, name)


def test_a_compressed_image_is_kept_as_it_came():
    jpeg = cv2.imencode('.jpg', np.full((180, 320, 3), 90, np.uint8))[1].tobytes()

    def compressed(image, info, cloud):
        del image.encoding, image.step
        image.format, image.data = 'jpeg', jpeg

    frame = built(change=compressed).frame
    assert frame.image == jpeg
    assert frame.image_suffix == '.jpg'


def test_an_image_of_another_shape_than_its_camera_info_is_refused():
    def square(image, info, cloud):
        info.height = 320

    with pytest.raises(CalibrationError, match='camera_info 320 x 320'):
        _ = built(change=square).frame


def test_a_picture_smaller_than_its_camera_info_is_decoded_whole():
    small = cv2.blur(np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8), (5, 5))
    data = cv2.imencode('.jpg', small)[1]

    def half(image, info, cloud):
        image.format, image.data = 'jpeg', data.tobytes()
        for name in ('encoding', 'height', 'width', 'step', 'is_bigendian'):
            delattr(image, name)

    made = built(change=half, **{'densify.width': 160})
    np.testing.assert_array_equal(made.image, cv2.imdecode(data, cv2.IMREAD_COLOR))


def test_intrinsics_of_zero_are_refused():
    def zero(image, info, cloud):
        info.k = np.zeros(9)

    with pytest.raises(CalibrationError, match=CAMERA):
        built(change=zero)


def test_a_changed_calibration_is_used_at_once():
    builder = FrameBuilder(FrameParameters(), transforms())
    image, info, cloud = example_messages()
    before = builder.build(image, info, cloud)
    info.k = np.array(info.k) * [2.0, 1, 1, 1, 2.0, 1, 1, 1, 1]
    after = builder.build(image, info, cloud)
    assert after.camera.K[0, 0] == 2.0 * before.camera.K[0, 0]
    assert len(after.projected) < len(before.projected)


def test_a_missing_transform_is_told():
    tree = TransformTree()
    tree.set('base_link', 'other', np.eye(4))
    with pytest.raises(CalibrationError, match=CAMERA):
        built(tree=tree)


def test_a_sweep_that_misses_the_image_is_refused():
    def ahead_only(image, info, cloud):
        data = np.frombuffer(cloud.data, np.uint8).copy()
        x = data.reshape(-1, cloud.point_step)[:, :4].view('<f4')
        x[x < 0.0] = np.nan
        cloud.data = data.tobytes()

    with pytest.raises(CloudError, match=f'{LIDAR}.*{CAMERA}.*check the extrinsics'):
        built(tree=transforms(turn_deg=180.0), change=ahead_only)


@pytest.mark.parametrize('value', [np.nan, 0.0])
def test_a_cloud_without_a_usable_point_is_refused(value):
    def useless(image, info, cloud):
        data = np.frombuffer(cloud.data, np.uint8).copy()
        data.reshape(-1, cloud.point_step)[:, :12].view('<f4')[:] = value
        cloud.data = data.tobytes()

    with pytest.raises(CloudError, match='check the driver'):
        built(change=useless)


def test_an_empty_cloud_is_refused():
    def empty(image, info, cloud):
        cloud.width, cloud.data = 0, b''

    with pytest.raises(CloudError, match='no points'):
        built(change=empty)


def test_warming_up_works_with_any_parameters():
    flat = {'densify.width': 64, 'base_frame': 'vehicle', 'proposals.sky': False}
    FrameBuilder(from_flat(FrameParameters, flat), TransformTree()).warm_up()


def test_the_real_drives_points_were_moved_by_its_driver(real_bag):
    """PandaSet's sweeps are compensated; at 5 m/s their own geometry says so."""
    tree, trajectory, images, clouds, info = TransformTree(), Trajectory(), {}, {}, None
    with BagReader(real_bag) as bag:
        for message in bag.messages():
            msgtype = message.msgtype
            content = bag.deserialize(message.raw, msgtype)
            if msgtype == 'tf2_msgs/msg/TFMessage':
                for transform in content.transforms:
                    if message.topic == '/tf_static':
                        tree.set_message(transform)
                    else:
                        trajectory.add_transform(transform)
            elif msgtype == 'sensor_msgs/msg/CameraInfo':
                info = content
            elif msgtype == 'sensor_msgs/msg/CompressedImage':
                images[header_stamp_ns(content)] = content
            elif msgtype == 'sensor_msgs/msg/PointCloud2':
                clouds[header_stamp_ns(content)] = content
    last = sorted(clouds)[-3]
    nearest = min(images, key=lambda stamp: abs(stamp - last))
    motions = {
        point_motion: FrameBuilder(
            FrameParameters(point_motion=point_motion), tree, trajectory
        ).build(images[nearest], info, clouds[last])
        for point_motion in ('auto', 'compensated', 'raw')
    }
    assert [made.motion for made in motions.values()] == ['per_sweep', 'per_sweep', 'per_point']
    np.testing.assert_array_equal(motions['auto'].projected.u, motions['compensated'].projected.u)
    moved = np.hypot(*(trajectory.pose(last) @ np.linalg.inv(trajectory.pose(nearest)))[:2, 3])
    assert moved > 0.1
