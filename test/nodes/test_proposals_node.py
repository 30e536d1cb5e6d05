"""The proposals node on a small synthetic street, fed over DDS, with good and bad messages."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

import cv2  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, PointCloud2  # noqa: E402

from drive_segment_ros.frame import sweep as frame_sweep  # noqa: E402
from drive_segment_ros.nodes import lifecycle  # noqa: E402
from drive_segment_ros.nodes.proposals_node import ProposalsNode  # noqa: E402
from drive_segment_ros.nodes.view_parameters import ViewPipelineParameters  # noqa: E402
from drive_segment_ros.ros.diagnostics import ERROR, OK, WARN  # noqa: E402
from drive_segment_ros.ros.events import stamp_ns  # noqa: E402

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000


def test_publishes_a_coloured_cloud_and_an_overlay_with_the_stamps_of_their_sources(rig):
    clouds = rig.watch(PointCloud2, 'proposals/points')
    overlays = rig.watch(Image, 'proposals/image_raw')
    pictures = rig.watch(CompressedImage, 'proposals/image_raw/compressed')
    rig.drive(0, 3)
    assert rig.wait(lambda: clouds and overlays and pictures)
    stamps = [START_NS + i * PERIOD_NS for i in range(3)]

    def stamp(message) -> int:
        return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec

    assert stamp(clouds[0]) in stamps
    assert clouds[0].header.frame_id == 'lidar'
    assert [field.name for field in clouds[0].fields] == ['x', 'y', 'z', 'rgb', 'label']
    assert stamp(overlays[0]) - 10_000_000 in stamps
    assert overlays[0].header.frame_id == 'camera'
    assert overlays[0].encoding == 'bgr8'
    decoded = cv2.imdecode(np.frombuffer(pictures[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape[:2] == (overlays[0].height, overlays[0].width)


RIG = ['front', 'front_left', 'front_right']


def test_a_rig_shows_each_sweep_once_and_each_cameras_images_apart(make_rig):
    rig = make_rig(cameras=RIG)
    clouds = rig.watch(PointCloud2, 'proposals/points')
    overlays = {name: rig.watch(Image, f'{name}/proposals/image_raw') for name in RIG}
    rig.drive(0, 4)
    assert rig.wait(lambda: rig.node.summary()['frames'] == 12), rig.diagnosis
    assert rig.wait(lambda: len(clouds) >= 2 and all(overlays.values()))
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in clouds]
    assert len(set(stamps)) == len(stamps)
    frames = {name: {m.header.frame_id for m in got} for name, got in overlays.items()}
    assert frames == {
        'front': {'camera'}, 'front_left': {'camera_left'}, 'front_right': {'camera_right'},
    }  # fmt: skip


def test_a_camera_that_dies_costs_its_own_frames_and_is_named_on_diagnostics(make_rig):
    rig = make_rig(cameras=RIG)
    rig.drive(0, 3)
    assert rig.wait(lambda: len(rig.frames) == 9), rig.diagnosis
    statuses = rig.watch(DiagnosticArray, '/diagnostics')
    index = iter(range(3, 10_000))

    def told() -> bool:
        k = next(index)
        rig.drive(k, k + 1, dead='front_left')
        # Send no faster than images are received.
        assert rig.wait(lambda: rig.node.summary()['received']['image'] == 9 + 2 * (k - 2))
        time.sleep(0.1)
        newest = {s.name: s for s in (statuses[-1].status if statuses else [])}
        left, front, right = (newest.get(f'/proposals_node: camera {name}') for name in (
            'front_left', 'front', 'front_right'))  # fmt: skip
        return (
            left is not None
            and 'no front_left/image for' in left.message
            and left.level == bytes([ERROR])
            # On a busy machine the other cameras may be late, too, for a while.
            and 'images paired' in front.message
            and 'images paired' in right.message
        )

    assert rig.wait(told), rig.diagnosis

    def frames_of(name: str) -> int:
        return sum(frame.camera == name for frame in rig.frames)

    # The newest image is paired only when the next one has arrived.
    driven = next(index) - 1
    for name in ('front', 'front_right'):
        assert rig.wait(lambda name=name: frames_of(name) >= driven), rig.diagnosis
    assert frames_of('front_left') == 3
    assert rig.dropped == {}


@pytest.mark.parametrize(
    ('cameras', 'words'),
    [
        (['front', '/front'], 'contains /front/image_raw twice'),
        (['front-left'], "parameter cameras: 'front-left': "),
    ],
)
def test_cameras_that_cannot_be_a_rig_refuse_configuring(ros_domain, cameras, words):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = ProposalsNode(
        context=context, parameter_overrides=[Parameter('cameras', value=cameras)]
    )
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert words in node.failure
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_a_view_takes_the_newest_and_counts_on_diagnostics_what_it_leaves_out(
    make_rig, monkeypatch
):
    rig = make_rig(pipeline__queue=ViewPipelineParameters().queue)
    statuses = rig.watch(DiagnosticArray, '/diagnostics')
    overlays = rig.watch(Image, 'proposals/image_raw')
    busy, free = threading.Event(), threading.Event()
    consume = rig.node.consume

    def slow(pair):
        busy.set()
        assert free.wait(600.0)
        return consume(pair)

    monkeypatch.setattr(rig.node, 'consume', slow)
    rig.drive(0, 1)
    assert rig.wait(busy.is_set), rig.diagnosis
    rig.drive(1, 6)
    assert rig.wait(lambda: rig.node.summary()['pairs'] == 6), rig.diagnosis
    free.set()
    assert rig.wait(lambda: len(overlays) == 2), rig.diagnosis
    stamps = [stamp_ns(message) - START_NS - 10_000_000 for message in overlays]
    assert stamps == [0, 5 * PERIOD_NS]
    assert rig.dropped == {'worker_busy': 4}

    def told() -> bool:
        values = [v for array in statuses for s in array.status for v in s.values]
        return ('lost: worker_busy', '4') in [(v.key, v.value) for v in values]

    assert rig.wait(told)


def test_while_nobody_looks_nothing_is_segmented(make_rig, monkeypatch):
    rig = make_rig()
    segmented = []
    monkeypatch.setattr(frame_sweep, 'find_proposals', lambda *_: segmented.append(True))
    rig.node.frame_sinks.clear()
    rig.drive(0, 4)
    assert rig.wait(lambda: rig.node.summary()['frames'] == 4), rig.diagnosis
    assert rig.node.summary()['frames_with_motion'] == 4
    assert not segmented


def test_every_image_becomes_a_frame_with_motion(rig):
    rig.drive(0, 6)
    assert rig.wait(lambda: len(rig.frames) == 6), rig.diagnosis
    assert [frame.stamp_ns for frame in rig.frames] == [
        START_NS + i * PERIOD_NS + 10_000_000 for i in range(6)
    ]
    summary = rig.node.summary()
    assert summary['dropped'] == {}
    assert summary['pairs'] == 6
    assert rig.frames[3].segment.any()


def test_deactivated_node_hears_nothing_and_an_active_one_again(rig):
    rig.drive(0, 2)
    assert rig.wait(lambda: len(rig.frames) == 2)
    rig.change('deactivate')
    rig.drive(2, 4)
    time.sleep(0.3)
    assert len(rig.frames) == 2
    rig.change('activate')
    publishers = rig._publishers.values()
    assert rig.wait(lambda: all(p.get_subscription_count() for p in publishers))
    rig.drive(4, 6)
    assert rig.wait(lambda: len(rig.frames) == 4)


def test_bag_that_starts_again_goes_on_giving_frames(rig):
    rig.drive(0, 15)
    assert rig.wait(lambda: len(rig.frames) == 15)
    rig.drive(0, 3)
    assert rig.wait(lambda: len(rig.frames) == 18), rig.diagnosis


def truncated_image(make, stamp: int):
    message = make.image(stamp)
    message.data = message.data[: len(message.data) // 3]
    return 'image_raw/compressed', message


def cloud_without_x(make, stamp: int):
    message = make.cloud(stamp)
    message.fields = message.fields[1:]
    return 'points', message


def truncated_cloud(make, stamp: int):
    message = make.cloud(stamp)
    message.data = message.data[:100]
    return 'points', message


def unknown_lidar(make, stamp: int):
    return 'points', make.cloud(stamp, frame='lidar_rear')


@pytest.mark.parametrize(
    ('break_message', 'reason', 'words'),
    [
        (truncated_image, 'bad_image', 'truncated'),
        (cloud_without_x, 'bad_cloud', 'no field x'),
        (truncated_cloud, 'bad_cloud', 'truncated'),
        (unknown_lidar, 'bad_calibration', "no transform from 'lidar_rear'"),
    ],
)
def test_bad_message_costs_one_frame_and_is_named(rig, break_message, reason, words):
    rig.drive(0, 2)
    stamp = START_NS + 2 * PERIOD_NS
    bad_topic, bad = break_message(rig.messages, stamp)
    good = {'image_raw/compressed': rig.messages.image(stamp), 'points': rig.messages.cloud(stamp)}
    for topic, message in {**good, bad_topic: bad}.items():
        rig.send(topic, message)
    rig.drive(3, 5)
    assert rig.wait(lambda: len(rig.frames) == 4), rig.diagnosis
    assert rig.wait(lambda: words in rig.diagnosis), rig.diagnosis
    assert rig.dropped == {reason: 1}
    assert rig.is_active


def test_cloud_of_nothing_but_nan_does_not_stop_the_node(rig):
    rig.drive(0, 2)
    stamp = START_NS + 2 * PERIOD_NS
    cloud = rig.messages.cloud(stamp)
    points = np.frombuffer(bytes(cloud.data), rig.messages.points.dtype).copy()
    for name in 'xyz':
        points[name] = np.nan
    cloud.data = points.tobytes()
    rig.send('image_raw/compressed', rig.messages.image(stamp))
    rig.send('points', cloud)
    rig.drive(3, 5)
    assert rig.wait(lambda: rig.frames and rig.frames[-1].stamp_ns > stamp + PERIOD_NS)
    assert rig.wait(lambda: len(rig.frames) + sum(rig.dropped.values()) == 5)
    assert set(rig.dropped) <= {'bad_cloud'}
    assert rig.is_active


def test_uncalibrated_camera_info_is_named_and_a_good_one_ends_it(rig):
    stamp = START_NS
    rig.send('camera_info', rig.messages.info(stamp, focal=0.0))
    rig.send('image_raw/compressed', rig.messages.image(stamp))
    rig.send('points', rig.messages.cloud(stamp))
    assert rig.wait(lambda: rig.node.errors['camera_info'] == 1)
    assert rig.wait(lambda: 'camera_info' in rig.diagnosis)
    assert not rig.frames
    rig.drive(1, 3)
    assert rig.wait(lambda: len(rig.frames) >= 2), rig.diagnosis
    assert rig.is_active


def test_an_error_that_is_long_over_is_no_error_any_more(rig, monkeypatch):
    rig.node.note_error('bad_cloud', 'no field x')
    assert rig.node._frame_status().level == ERROR
    monkeypatch.setattr(lifecycle, '_RECENT_S', -1.0)
    assert rig.node._frame_status().level == OK
    assert rig.node.summary()['errors'] == {'bad_cloud': 'no field x'}


def test_missing_stamps_are_counted_and_named(rig):
    rig.drive(0, 2)
    rig.send('image_raw/compressed', rig.messages.image(0))
    assert rig.wait(lambda: rig.dropped.get('zero_stamp') == 1)
    assert rig.wait(lambda: 'header.stamp' in rig.diagnosis), rig.diagnosis
    assert rig.is_active


def test_without_transforms_the_diagnosis_says_what_to_do(make_rig):
    rig = make_rig(calibration_file='')
    rig.drive(0, 3)
    assert rig.wait(lambda: 'no transform' in rig.diagnosis), rig.diagnosis
    assert rig.is_active


def test_says_which_sensor_it_waits_for_on_diagnostics(rig):
    statuses: list = rig.watch(DiagnosticArray, '/diagnostics')
    rig.send('image_raw/compressed', rig.messages.image(START_NS))

    def said() -> bool:
        return any('waiting for points' in s.message for array in statuses for s in array.status)

    assert rig.wait(said)


def test_says_how_segments_are_made_and_warns_where_no_beams_are_found(rig, monkeypatch, capfd):
    def said():
        status = rig.node.diagnostic_parts()['frames']()
        return status.values['segments from'], status.level, status.summary

    assert said()[:2] == ('unknown yet', OK)
    rig.drive(0, 2)
    assert rig.wait(lambda: len(rig.frames) == 2)
    assert rig.wait(lambda: said()[:2] == ('beams of the ring field', OK)), said()
    monkeypatch.setattr(frame_sweep, 'spinning_beams', lambda cloud: None)
    rig.drive(2, 4)
    assert rig.wait(lambda: 'segments from density clustering' in said()[2]), said()
    assert said()[1] == WARN
    assert rig.wait(lambda: len(rig.frames) == 4)
    assert capfd.readouterr().err.count('segments from density') == 1


def test_takes_raw_images_where_only_those_are_published(make_rig):
    rig = make_rig(raw=True)
    rig.send('camera_info', rig.messages.info(START_NS))
    for i in range(3):
        stamp = START_NS + i * PERIOD_NS
        rig.send('points', rig.messages.cloud(stamp))
        rig.send('image_raw', rig.messages.raw_image(stamp))
    assert rig.wait(lambda: len(rig.frames) == 3), rig.diagnosis
    assert rig.frames[0].image_suffix == '.png'


def test_missing_calibration_file_refuses_activation_with_its_name(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = ProposalsNode(
        context=context, parameter_overrides=[Parameter('calibration_file', value='/no/file.yaml')]
    )
    try:
        node.trigger_configure()
        assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
        assert '/no/file.yaml' in node.failure
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
