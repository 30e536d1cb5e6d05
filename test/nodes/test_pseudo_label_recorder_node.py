"""The recorder on a small made-up street, fed over DDS: what it keeps, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from drive_segment_ros.dataset.reader import Dataset  # noqa: E402
from drive_segment_ros.dataset.repair import repair  # noqa: E402
from drive_segment_ros.nodes.pseudo_label_recorder_node import (  # noqa: E402
    PseudoLabelRecorderNode,
)

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
# The street is a picture of two colours that moves 0.5 m a frame.
OPEN = {
    'gates__min_interval': 0.0,
    'gates__min_distance': 0.0,
    'gates__min_sharpness': 0.0,
    'disk__min_free_gb': 0.0,
}


@pytest.fixture
def record(make_rig, tmp_path):
    """Make an active recorder, its gates open."""

    def make(**parameters):
        given = {'dataset': str(tmp_path / 'set'), **OPEN, **parameters}
        return make_rig(node_class=PseudoLabelRecorderNode, **given)

    return make


def ask(rig, service: str):
    client = rig.sensors.create_client(Trigger, f'pseudo_label_recorder_node/{service}')
    assert client.wait_for_service(10.0)
    answer = client.call_async(Trigger.Request())
    assert rig.wait(answer.done)
    return answer.result()


def settled(rig, images: int) -> bool:
    """Wait until every image is recorded, kept out or dropped; to the last one."""

    def accounted() -> bool:
        summary = rig.node.summary()
        counts = [summary['recorded'], *summary['gated'].values(), *summary['dropped'].values()]
        return sum(counts) == images

    return rig.wait(accounted)


def whole_frames(tmp_path: Path) -> list[int]:
    """Read every indexed frame; return their stamps."""
    frames = [f for drive in Dataset(tmp_path / 'set').drives for f in drive.frames]
    for frame in frames:
        assert frame.image().shape[:2] == (240, 320)
        assert frame.segment().any()
        assert len(frame.proposals()['id'])
    return [frame.stamp_ns for frame in frames]


def test_every_pair_is_recorded_with_what_extract_writes_into_drive_json(record, tmp_path):
    rig = record()
    rig.drive(0, 6)
    assert settled(rig, 6), rig.diagnosis
    assert rig.node.summary()['recorded'] == 6, rig.node.summary()
    assert whole_frames(tmp_path) == [START_NS + i * PERIOD_NS + 10_000_000 for i in range(6)]
    info = Dataset(tmp_path / 'set').drives[0].info
    assert info['sensors']['camera'] == '/image_raw/compressed'
    assert info['calibration'].keys() == {'camera', 'T_camera_lidar'}
    assert info['parameters']['sync.max_offset_s'] == 0.06
    assert '6 frames in' in rig.diagnosis


def test_gates_stop_start_and_snapshot_account_for_every_image(record, tmp_path):
    # The vehicle makes 0.5 m a frame.
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
    from drive_segment_ros.ros import built_frame

    segmented = []
    find_proposals = built_frame.find_proposals

    def counting(*arguments):
        segmented.append(1)
        return find_proposals(*arguments)

    rig = record(gates__min_distance=0.9)
    monkeypatch.setattr(built_frame, 'find_proposals', counting)
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
    assert rig.node.summary()['recorded'] == 15
    assert [len(d.frames) for d in Dataset(tmp_path / 'set').drives] == [13, 2]


def test_clock_that_jumps_forward_loses_nothing(record, tmp_path):
    rig = record()
    rig.drive(0, 3)
    assert settled(rig, 3)
    rig.drive(5000, 5003)
    assert settled(rig, 6), rig.node.summary()
    assert rig.node.summary()['recorded'] == 6
    assert len(whole_frames(tmp_path)) == 6


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
    assert 'no points for' not in rig.diagnosis


def test_malformed_messages_cost_their_own_frame(record, tmp_path):
    rig = record()
    rig.drive(0, 2)
    stamp = START_NS + 2 * PERIOD_NS
    image = rig.messages.image(stamp)
    image.data = image.data[: len(image.data) // 3]
    rig.send('image_raw/compressed', image)
    rig.send('points', rig.messages.cloud(stamp))
    rig.drive(3, 5)
    assert settled(rig, 5), rig.node.summary()
    summary = rig.node.summary()
    assert (summary['recorded'], summary['dropped']) == (4, {'bad_image': 1})
    assert 'truncated' in rig.diagnosis
    assert len(whole_frames(tmp_path)) == 4


def test_qos_that_cannot_be_heard_is_named(record):
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import PointCloud2

    rig = record(inputs__reliability='reliable')
    quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    other = rig.sensors.create_publisher(PointCloud2, 'points', quality)
    assert rig.wait(lambda: 'QoS keeps out' in rig.diagnosis), rig.diagnosis
    rig.sensors.destroy_publisher(other)
    rig.drive(0, 2)
    assert settled(rig, 2)
    assert rig.wait(lambda: 'QoS' not in rig.diagnosis), rig.diagnosis


def test_disk_that_fails_is_on_diagnostics_and_recording_goes_on(record, tmp_path):
    # Sent as 17 kB: the first frame fits, more does not.
    rig = record(disk__quota_gb=0.0001)
    statuses = rig.watch(DiagnosticArray, '/diagnostics')
    rig.drive(0, 8)
    assert settled(rig, 8)
    summary = rig.node.summary()
    assert summary['dropped'] == {'disk_full': 8 - summary['recorded']}

    def said() -> bool:
        return any('disk.quota_gb' in s.message for array in statuses for s in array.status)

    assert rig.wait(said)
    assert rig.is_active


def test_model_answers_lie_beside_the_frames(record, model_folder, tmp_path):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    rig = record(model=str(model_folder), gates__max_confidence=1.0)
    rig.drive(0, 2)
    assert settled(rig, 2), rig.diagnosis
    drive = Dataset(tmp_path / 'set').drives[0]
    assert drive.info['model']['classes'] == ['blue', 'green', 'red']
    for frame in drive.frames:
        # The strongest channel of what is mostly grey with a red box in it.
        assert set(frame.model_label().flat) >= {2}
        assert frame.model_confidence().shape == (8, 12)
    assert repair(tmp_path / 'set').repaired == []


def test_deactivated_recorder_lets_go_of_its_drive(record, tmp_path):
    rig = record()
    rig.drive(0, 2)
    assert settled(rig, 2)
    assert rig.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
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
