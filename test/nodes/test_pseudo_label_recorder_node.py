"""The recorder on a small synthetic street, fed over DDS: recorded frames and diagnostics."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from drive_segment_ros.dataset.reader import Dataset  # noqa: E402
from drive_segment_ros.dataset.repair import repair  # noqa: E402
from drive_segment_ros.dataset.writer import DriveWriter  # noqa: E402
from drive_segment_ros.nodes.pseudo_label_recorder_node import (  # noqa: E402
    PseudoLabelRecorderNode,
)

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
# Gates are off: they would refuse the street's flat images and frames 0.5 m apart.
OPEN = {
    'gates__min_interval': 0.0,
    'gates__min_distance': 0.0,
    'gates__min_sharpness': 0.0,
    'disk__min_free_gb': 0.0,
}


@pytest.fixture
def record(make_rig, tmp_path):
    """Return a function that makes an active recorder node with its gates off."""

    def make(**parameters):
        given = {'dataset': str(tmp_path / 'set'), **OPEN, **parameters}
        return make_rig(node_class=PseudoLabelRecorderNode, **given)

    return make


def ask(rig, service: str):
    client = rig.sensors.create_client(Trigger, f'pseudo_label_recorder_node/{service}')
    assert client.wait_for_service(60.0)
    answer = client.call_async(Trigger.Request())
    assert rig.wait(answer.done)
    return answer.result()


def settled(rig, images: int) -> bool:
    """Wait until all images are recorded, gated or dropped; return whether they are."""

    def accounted() -> bool:
        summary = rig.node.summary()
        counts = [summary['recorded'], *summary['gated'].values(), *summary['dropped'].values()]
        return sum(counts) == images

    return rig.wait(accounted)


def frames(tmp_path: Path) -> list:
    return [frame for drive in Dataset(tmp_path / 'set').drives for frame in drive.frames]


def whole_frames(tmp_path: Path) -> list[int]:
    """Check that every indexed frame can be read; return their stamps."""
    for frame in frames(tmp_path):
        assert frame.image().shape[:2] == (240, 320)
        assert frame.segment().any()
        assert len(frame.proposals()['id'])
    return [frame.stamp_ns for frame in frames(tmp_path)]


def test_every_pair_is_recorded_with_what_extract_writes_into_drive_json(record, tmp_path):
    rig = record()
    rig.drive(0, 6)
    assert settled(rig, 6), rig.diagnosis
    assert rig.node.summary()['recorded'] == 6, rig.node.summary()
    assert whole_frames(tmp_path) == [START_NS + i * PERIOD_NS + 10_000_000 for i in range(6)]
    info = Dataset(tmp_path / 'set').drives[0].info
    assert info['cameras']['camera']['topic'] == '/image_raw/compressed'
    keys = {'topic', 'frame', 'model', 'T_camera_lidar', 'offset_s'}
    assert info['cameras']['camera'].keys() == keys
    assert info['lidar'].keys() == {'topic', 'frame', 'T_base_lidar'}
    assert info['parameters']['sync.max_offset_s'] == 0.06
    assert '6 frames in' in rig.diagnosis
    told = rig.node.diagnostic_parts()['recorder']().values
    assert told['recorded'] == 6
    assert told['time left (min)'] == 'unknown' or told['time left (min)'] > 0
    assert told['free (GB)'] >= told['room (GB)'] > 0


def test_a_rig_is_one_drive_with_all_cameras_and_objects_of_one_number(record, tmp_path):
    rig = record(cameras=['front', 'front_left', 'front_right'])
    rig.drive(0, 4)
    assert settled(rig, 12), rig.diagnosis
    (drive,) = Dataset(tmp_path / 'set').drives
    counts = {name: len(frames) for name, frames in drive.cameras.items()}
    assert counts == {'front': 4, 'front_left': 4, 'front_right': 4}
    assert drive.info['cameras']['front_left']['topic'] == '/front_left/image_raw/compressed'
    # All cameras of a sweep share its file of proposals and their ids.
    assert len(list((drive.path / 'proposal').iterdir())) == 4
    for frame in drive.frames:
        shown = np.setdiff1d(frame.segment(), [0])
        assert np.isin(shown, frame.proposals()['id']).all()
    assert rig.node.summary()['dropped'] == {}


def test_a_snapshot_of_a_rig_is_one_of_each_camera(record, tmp_path):
    rig = record(cameras=['front', 'front_left'], start=False)
    rig.drive(0, 2)
    assert settled(rig, 4), rig.diagnosis
    assert ask(rig, 'snapshot').success
    rig.drive(2, 5)
    assert settled(rig, 10), rig.diagnosis
    (drive,) = Dataset(tmp_path / 'set').drives
    assert {name: len(found) for name, found in drive.cameras.items()} == {
        'front': 1, 'front_left': 1,
    }  # fmt: skip


def test_gates_stop_start_and_snapshot_account_for_every_image(record, tmp_path):
    # The vehicle moves 0.5 m per frame.
    rig = record(gates__min_distance=0.9)
    rig.drive(0, 4)
    assert settled(rig, 4)
    assert rig.node.summary()['gated'] == {'too_near': 2}
    assert ask(rig, 'stop').message == 'paused'
    rig.drive(4, 6)
    assert settled(rig, 6)
    assert ask(rig, 'snapshot').success
    rig.drive(6, 8)
    assert settled(rig, 8)
    assert rig.node.summary()['recorded'] == 3
    assert ask(rig, 'start').message == 'recording'
    rig.drive(8, 9)
    assert settled(rig, 9)
    status = json.loads(ask(rig, 'status').message)
    assert (status['recorded'], status['gated']) == (4, {'too_near': 2, 'paused': 3})
    assert len(whole_frames(tmp_path)) == 4


def test_pair_that_a_gate_refuses_is_never_segmented(record, monkeypatch):
    from drive_segment_ros.frame import sweep

    segmented = []
    find_proposals = sweep.find_proposals

    def counting(*arguments):
        segmented.append(1)
        return find_proposals(*arguments)

    rig = record(gates__min_distance=0.9)
    monkeypatch.setattr(sweep, 'find_proposals', counting)
    rig.drive(0, 4)
    assert settled(rig, 4)
    assert rig.node.summary()['gated'] == {'too_near': 2}
    assert len(segmented) == rig.node.summary()['recorded'] == rig.node.summary()['frames'] == 2


def test_drive_that_starts_again_becomes_another(record, tmp_path):
    rig = record()
    rig.drive(0, 13)
    assert settled(rig, 13)
    rig.drive(0, 2)
    assert settled(rig, 15), rig.node.summary()
    assert 'stamps of camera images jumped back by 1.2 s' in rig.diagnosis
    assert rig.node.summary()['recorded'] == 15
    assert [len(d.frames) for d in Dataset(tmp_path / 'set').drives] == [13, 2]


def test_clock_that_jumps_forward_loses_nothing(record, tmp_path):
    rig = record()
    rig.drive(0, 3)
    assert settled(rig, 3)
    rig.drive(5000, 5003)
    assert settled(rig, 6), rig.node.summary()
    assert 'stamps of points jumped forward by 499.8 s' in rig.diagnosis
    rig.drive(4, 6)
    assert settled(rig, 8), rig.node.summary()
    assert rig.node.summary()['recorded'] == 8
    assert len(whole_frames(tmp_path)) == 8


@pytest.mark.parametrize(('seconds', 'words'), [(-100, 'behind'), (100, 'ahead of')])
def test_clock_of_one_sensor_alone_is_named_and_may_be_set_right(record, tmp_path, seconds, words):
    rig = record(inputs__depth=100)
    rig.drive(0, 3)
    assert settled(rig, 3)

    told: list[str] = []

    def wrong(images=iter(range(3, 10_000))) -> bool:
        stamp = START_NS + next(images) * PERIOD_NS
        rig.send('image_raw/compressed', rig.messages.image(stamp + seconds * 10**9))
        rig.send('points', rig.messages.cloud(stamp))
        told.append(rig.diagnosis)
        return 'no image has paired for' in told[-1]

    assert rig.wait(wrong), told[-1]
    assert f's {words} the newest sweep stamp' in told[-1]
    assert 'synchronise them (PTP)' in told[-1]
    assert 'stamps of camera images jumped' in told[-1]
    rig.drive(20_000, 20_006)
    assert rig.wait(lambda: rig.node.summary()['recorded'] >= 8), rig.diagnosis

    def told_no_more(images=iter(range(20_006, 30_000))) -> bool:
        index = next(images)
        rig.drive(index, index + 1)
        return 'no image has paired' not in rig.diagnosis

    assert rig.wait(told_no_more), rig.diagnosis

    def accounted() -> bool:
        summary = rig.node.summary()
        summary['dropped'].pop('lost_on_the_way', 0)
        kept = summary['recorded'] + sum(summary['gated'].values())
        return kept + sum(summary['dropped'].values()) == summary['received']['image']

    assert rig.wait(accounted), rig.node.summary()
    assert len(whole_frames(tmp_path)) == rig.node.summary()['recorded']


@pytest.mark.parametrize(
    ('sent', 'words'),
    [
        ('points', 'waiting for image'),
        ('image_raw/compressed', 'waiting for points'),
    ],
)
def test_one_sensor_alone_is_named_and_the_other_may_come_later(record, sent, words):
    rig = record()
    make = {'points': rig.messages.cloud, 'image_raw/compressed': rig.messages.image}[sent]
    for i in range(3):
        rig.send(sent, make(START_NS + i * PERIOD_NS))
    assert rig.wait(lambda: words in rig.diagnosis), rig.diagnosis
    rig.drive(20, 24)
    assert rig.wait(lambda: rig.node.summary()['recorded'] == 4), rig.diagnosis


def test_sensor_that_stops_is_named_and_may_return(record):
    rig = record()
    rig.drive(0, 2)
    assert settled(rig, 2)
    for i in range(2, 5):
        rig.send('image_raw/compressed', rig.messages.image(START_NS + i * PERIOD_NS))
    assert rig.wait(lambda: 'no points for' in rig.diagnosis), rig.diagnosis
    rig.drive(40, 43)
    assert settled(rig, 8), rig.node.summary()
    assert rig.node.summary()['recorded'] == 5

    def heard_again(sweeps=iter(range(43, 10_000))) -> bool:
        rig.send('points', rig.messages.cloud(START_NS + next(sweeps) * PERIOD_NS))
        return 'no points for' not in rig.diagnosis

    assert rig.wait(heard_again), rig.diagnosis


def broken_messages(make, stamp: int) -> list:
    """Return pairs of an image and a cloud, one of which cannot be used."""
    short, empty = make.image(stamp), make.image(stamp + PERIOD_NS)
    short.data, empty.data = short.data[: len(short.data) // 3], b''
    clouds = [make.cloud(stamp + i * PERIOD_NS) for i in range(6)]
    clouds[2].fields = clouds[2].fields[1:]
    clouds[3].data = clouds[3].data[:100]
    clouds[4].point_step = 0
    clouds[5].header.frame_id = 'elsewhere'
    images = [short, empty] + [make.image(stamp + i * PERIOD_NS) for i in range(2, 6)]
    return list(zip(images, clouds, strict=True))


def test_malformed_messages_cost_their_own_frame(record, tmp_path):
    rig = record()
    rig.drive(0, 2)
    assert settled(rig, 2)
    pose, info = rig.messages.odometry(START_NS + 2 * PERIOD_NS), rig.messages.info(START_NS)
    pose.pose.pose.position.x, info.k = float('nan'), [float('nan')] * 9
    rig.send('odom', pose)
    rig.send('camera_info', info)
    assert rig.wait(lambda: 'camera_info' in rig.node.errors)
    for image, cloud in broken_messages(rig.messages, START_NS + 2 * PERIOD_NS):
        rig.send('image_raw/compressed', image)
        rig.send('points', cloud)
    rig.send('image_raw/compressed', rig.messages.image(0))
    assert settled(rig, 9), rig.node.summary()
    rig.drive(8, 11)
    assert settled(rig, 12), rig.node.summary()
    summary = rig.node.summary()
    lost = {'bad_image': 2, 'bad_cloud': 3, 'bad_calibration': 1, 'zero_stamp': 1}
    assert (summary['recorded'], summary['dropped']) == (5, lost)
    for words in ("'jpeg' is empty", 'point_step 0', "transform from 'elsewhere'", 'K holds NaN'):
        assert rig.wait(lambda words=words: words in rig.diagnosis), rig.diagnosis
    assert len(whole_frames(tmp_path)) == 5


def test_qos_that_cannot_be_heard_is_named(record):
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import PointCloud2

    rig = record(inputs__reliability='reliable')
    quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    other = rig.sensors.create_publisher(PointCloud2, 'points', quality)
    assert rig.wait(lambda: 'incompatible QoS' in rig.diagnosis), rig.diagnosis
    rig.silence(other)
    rig.drive(0, 2)
    assert settled(rig, 2)
    assert rig.wait(lambda: 'QoS' not in rig.diagnosis), rig.diagnosis


def test_a_quota_that_is_reached_is_on_diagnostics_and_the_node_stays_active(record, tmp_path):
    # 130 kB: the first frames fit, of 11 to 20 kB each, and 64 kB that are kept in reserve.
    rig = record(disk__quota_gb=0.00013)
    statuses = rig.watch(DiagnosticArray, '/diagnostics')
    rig.drive(0, 8)
    assert settled(rig, 8)
    summary = rig.node.summary()
    assert 0 < summary['recorded'] < 8
    assert len(whole_frames(tmp_path)) == summary['recorded']
    assert summary['dropped'] == {'disk_full': 8 - summary['recorded']}

    def said() -> bool:
        return any('disk.quota_gb' in s.message for array in statuses for s in array.status)

    assert rig.wait(said)
    assert rig.is_active


def test_slow_disk_drops_frames_by_name_and_holds_up_no_message(record, tmp_path, monkeypatch):
    release, add = threading.Event(), DriveWriter.add

    def slow(writer, frame):
        assert release.wait(600.0)
        add(writer, frame)

    monkeypatch.setattr(DriveWriter, 'add', slow)
    rig = record(disk__queue=2)
    rig.drive(0, 10)
    # One frame is being written and two wait; the others were built and then dropped.
    assert rig.wait(lambda: rig.dropped == {'disk_slow': 7}), rig.diagnosis
    assert 'lost: 7 disk_slow' in rig.diagnosis
    assert rig.wait(lambda: rig.node.summary()['frames'] == 10)
    assert rig.node.summary()['received']['image'] == 10
    release.set()
    assert settled(rig, 10)
    rig.drive(10, 12)
    assert settled(rig, 12)
    assert len(whole_frames(tmp_path)) == rig.node.summary()['recorded'] >= 4
    assert rig.node.summary()['problem'] == ''


def test_model_answers_lie_beside_the_frames(record, model_folder, tmp_path):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    rig = record(model=str(model_folder), gates__max_confidence=1.0)
    rig.drive(0, 2)
    assert settled(rig, 2), rig.diagnosis
    drive = Dataset(tmp_path / 'set').drives[0]
    assert drive.info['model']['classes'] == ['blue', 'green', 'red']
    for frame in drive.frames:
        # Label 2 is red, the strongest channel in the box; the rest of the image is grey.
        assert set(frame.model_label().flat) >= {2}
        assert frame.model_confidence().shape == (8, 12)
    assert repair(tmp_path / 'set').repaired == []


def striped(make):
    """Replace the image by stripes of colour, so that labels disagree with LiDAR segments."""
    import cv2

    picture = np.zeros((240, 320, 3), np.uint8)
    for column in range(0, 320, 40):
        picture[:, column : column + 40, (column // 40) % 3] = 200
    make._jpeg = cv2.imencode('.jpg', picture)[1].tobytes()


def test_model_that_is_sure_is_news_only_where_it_disagrees_with_the_lidar(
    record, model_folder, tmp_path
):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    # The confidence is the value of the strongest channel: 90 / 255 = 0.35 for the grey.
    rig = record(model=str(model_folder), gates__max_confidence=0.3)
    rig.drive(0, 2)
    assert settled(rig, 2), rig.diagnosis
    assert rig.node.summary()['gated'] == {'known': 2}
    striped(rig.messages)
    rig.drive(2, 4)
    assert settled(rig, 4), rig.diagnosis
    assert rig.node.summary()['recorded'] == 2
    assert all(len(set(f.model_label().flat)) == 3 for f in frames(tmp_path))


def test_model_that_is_not_sure_has_its_frame_recorded(record, model_folder, tmp_path):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    rig = record(model=str(model_folder), gates__max_confidence=0.5)
    rig.drive(0, 2)
    assert settled(rig, 2), rig.diagnosis
    assert rig.node.summary()['recorded'] == 2
    assert all(f.model_confidence().mean() < 127 for f in frames(tmp_path))


def test_deactivated_recorder_lets_go_of_its_drive(record, tmp_path):
    rig = record()
    rig.drive(0, 2)
    assert settled(rig, 2)
    assert rig.change('deactivate') == TransitionCallbackReturn.SUCCESS
    assert repair(tmp_path / 'set').problems == []
    assert not ask(rig, 'start').success
    assert rig.node.summary()['recorded'] == 2


def test_dataset_that_is_not_given_or_has_no_place_refuses(ros_domain, tmp_path):
    from rclpy.parameter import Parameter

    context = rclpy.Context()
    rclpy.init(context=context)
    place = Parameter('dataset', value=str(tmp_path / 'no' / 'disk'))
    for overrides, words in (([], 'parameter dataset is empty'), ([place], 'must exist')):
        node = PseudoLabelRecorderNode(context=context, parameter_overrides=overrides)
        node.trigger_configure()
        node.trigger_activate() if overrides else None
        assert words in node.failure
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_an_impossible_camera_is_named_and_leaves_nothing(ros_domain, tmp_path, monkeypatch):
    from rclpy.parameter import Parameter

    monkeypatch.setattr('drive_segment_ros.frame.warm_up.warm_up', lambda parameters: None)
    context = rclpy.Context()
    rclpy.init(context=context)
    values = {'dataset': str(tmp_path / 'set'), 'cameras': ['front-left']}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = PseudoLabelRecorderNode(context=context, parameter_overrides=overrides)
    services = len(list(node.services))
    node.trigger_configure()
    assert node.failure.startswith("parameter cameras: 'front-left': ")
    assert len(list(node.services)) == services
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_qos_overrides_of_other_topics_are_named(ros_domain, tmp_path, monkeypatch, capfd):
    from rclpy.parameter import Parameter

    monkeypatch.setattr('drive_segment_ros.frame.warm_up.warm_up', lambda parameters: None)
    context = rclpy.Context()
    rclpy.init(context=context)
    values = {'dataset': str(tmp_path), 'qos_overrides./pints.subscription.depth': 3}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = PseudoLabelRecorderNode(context=context, parameter_overrides=overrides)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert 'ignored, QoS overrides of topics not of this node' in capfd.readouterr().err
    node.destroy_node()
    rclpy.shutdown(context=context)
