from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from clusters import Cluster

from drive_segment_ros.errors import BagError, CalibrationError, DatasetError, ParameterError
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.clouds import cloud_from_message
from drive_segment_ros.ros.bags import BagReader
from offline_training.simulator import (
    SimulationSummary,
    SimulatorParameters,
    simulate,
    truth_folder,
)
from offline_training.simulator.frames import leave, stage_for
from offline_training.simulator.parameters import CAMERA_YAW_DEG

SMALL = {'duration_s': 0.6, 'camera.width': 64, 'camera.height': 48, 'lidar.model': 'vlp16'}
FAULTS = {
    'fault.time_offset_s': 0.04,
    'fault.time_jitter_s': 0.002,
    'fault.extrinsic_error_deg': 3.0,
    'fault.lost': 0.2,
    'fault.late': 0.3,
    'fault.clock_jump_s': -5.0,
    'fault.rain': 0.5,
    'fault.exposure': 0.1,
    'fault.nan_points': 0.05,
}


def make(bag: Path, **values: Any) -> SimulationSummary:
    return simulate(bag, from_flat(SimulatorParameters, {**SMALL, **values}))


def read(bag: Path) -> dict[str, list[tuple[int, Any]]]:
    """Return the (arrival, message) pairs of each topic."""
    messages: dict[str, list[tuple[int, Any]]] = {}
    with BagReader(bag) as reader:
        for topic, stamp, raw, kind in reader.messages():
            message = reader.deserialize(raw, kind)
            messages.setdefault(topic, []).append((stamp, message))
    return messages


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def fates(bag: Path) -> list[dict[str, Any]]:
    lines = (truth_folder(bag) / 'messages.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob('*')):
        if path.is_file():
            total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope='module')
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bag = tmp_path_factory.mktemp('sound') / 'drive'
    make(bag, **{'rig': 'three', 'camera.encoding': 'raw'})
    return bag


@pytest.fixture(scope='module')
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bag = tmp_path_factory.mktemp('faulty') / 'drive'
    make(bag, **FAULTS, duration_s=2.0)
    return bag


def test_same_seed_same_bytes(sound: Path, tmp_path: Path) -> None:
    bag = tmp_path / 'drive'
    make(bag, **{'rig': 'three', 'camera.encoding': 'raw'})
    assert digest(bag) == digest(sound)
    assert digest(truth_folder(bag)) == digest(truth_folder(sound))


def test_bag_does_not_depend_on_the_workers(faulty: Path, tmp_path: Path) -> None:
    bag = tmp_path / faulty.name
    values = {**SMALL, **FAULTS, 'duration_s': 2.0}
    simulate(bag, from_flat(SimulatorParameters, values), workers=2)
    assert digest(bag) == digest(faulty)
    assert digest(truth_folder(bag)) == digest(truth_folder(faulty))


def test_a_cluster_makes_the_same_bag(faulty: Path, tmp_path: Path) -> None:
    bag = tmp_path / faulty.name
    values = {**SMALL, **FAULTS, 'duration_s': 2.0}
    cluster = Cluster(tmp_path)
    try:
        simulate(bag, from_flat(SimulatorParameters, values), scheduler=cluster.address)
    finally:
        cluster.close()
    assert digest(bag) == digest(faulty)
    assert digest(truth_folder(bag)) == digest(truth_folder(faulty))


def test_parts_follow_each_other_and_metadata_says_what_they_hold(faulty: Path) -> None:
    """The files of a bag follow in time; metadata.yaml gives their times and message counts."""
    content = yaml.safe_load((faulty / 'metadata.yaml').read_text())
    information = content['rosbag2_bagfile_information']
    names = [f'{faulty.name}_{number}.mcap' for number in range(2)]
    assert information['relative_file_paths'] == names
    assert sorted(path.name for path in faulty.iterdir()) == [*names, 'metadata.yaml']
    arrivals, counts = [], Counter()
    for file in information['files']:
        with BagReader(faulty / file['path']) as part:
            stamps = [message.bag_stamp_ns for message in part.messages()]
            counts.update({topic.name: topic.count for topic in part.topics.values()})
        assert file['message_count'] == len(stamps)
        assert file['starting_time']['nanoseconds_since_epoch'] == stamps[0]
        assert file['duration']['nanoseconds'] == stamps[-1] - stamps[0]
        arrivals += stamps
    assert arrivals == sorted(arrivals)
    told = {
        topic['topic_metadata']['name']: topic['message_count']
        for topic in information['topics_with_message_count']
    }
    assert told == counts
    assert information['message_count'] == len(arrivals)


def test_speed_goes_on_from_part_to_part(faulty: Path) -> None:
    odometry = [message for _, message in read(faulty)['/odom']]
    places = np.array([[p.x, p.y, p.z] for p in (o.pose.pose.position for o in odometry)])
    speeds = np.array([o.twist.twist.linear.x for o in odometry])
    assert len(speeds) > 90
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(places, axis=0), axis=1) / 0.02, speeds[1:], atol=1e-6
    )


def test_a_process_may_go_back_in_a_drive() -> None:
    """A process may simulate an earlier part, as when it takes over from a dead process."""
    parameters = from_flat(SimulatorParameters, SMALL)
    stage = stage_for(parameters, 0)
    first_step, poses = stage.motion(2)
    stage.motion(60)
    assert stage_for(parameters, 60) is stage
    try:
        again_step, again = stage_for(parameters, 2).motion(2)
    finally:
        leave()
    assert again_step == first_step
    np.testing.assert_array_equal(again, poses)


def test_a_worker_that_dies_costs_nothing(faulty: Path, tmp_path: Path) -> None:
    bag = tmp_path / faulty.name
    killed = []

    def kill_a_worker(done: int, total: int) -> None:
        if not killed:
            killed.append(multiprocessing.active_children()[0])
            os.kill(killed[0].pid, signal.SIGKILL)

    values = {**SMALL, **FAULTS, 'duration_s': 2.0}
    simulate(bag, from_flat(SimulatorParameters, values), kill_a_worker, workers=2)
    assert killed
    assert digest(bag) == digest(faulty)
    assert digest(truth_folder(bag)) == digest(truth_folder(faulty))


def test_what_was_recorded_before_an_interruption_can_be_read(tmp_path: Path) -> None:
    bag = tmp_path / 'drive'

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    parameters = from_flat(SimulatorParameters, {**SMALL, 'duration_s': 3.0})
    with pytest.raises(KeyboardInterrupt):
        simulate(bag, parameters, interrupt, workers=1)
    assert [path.name for path in bag.iterdir()] == ['drive_0.mcap']
    assert len(read(bag)['/lidar/points']) in (9, 10)
    assert not (truth_folder(bag) / 'truth.json').exists()


def test_a_full_disk_is_one_line_and_leaves_no_half_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = tmp_path / 'drive'

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('offline_training.simulator.truth.TruthFiles.add_sweep', refuse)
    with pytest.raises(DatasetError, match=r'cannot write .*drive_truth: No space left'):
        make(bag)
    assert list(bag.iterdir()) == []


def test_bag_holds_every_sensor_and_truth_every_message(sound: Path) -> None:
    messages = read(sound)
    for camera in ('front', 'front_left', 'front_right'):
        images = [message for _, message in messages[f'/camera/{camera}/image_raw']]
        assert len(images) == len(messages[f'/camera/{camera}/camera_info']) == 6
        for image in images:
            path = truth_folder(sound) / camera / 'semantic' / f'{stamp_ns(image)}.png'
            truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert truth is not None
            assert truth.shape == (image.height, image.width) == (48, 64)
            classes = json.loads((path.parent / 'classes.json').read_text())
            assert truth.max() < len(classes['classes'])
    clouds = [message for _, message in messages['/lidar/points']]
    assert len(clouds) == 6
    for cloud in clouds:
        labels = np.load(truth_folder(sound) / 'point_labels' / f'{stamp_ns(cloud)}.npz')
        assert len(labels['semantic']) == len(labels['instance']) == cloud.width
    arrivals = [arrival for topic in messages.values() for arrival, _ in topic]
    assert min(arrivals) == messages['/tf_static'][0][0]


def test_odometry_has_every_step_once_and_covers_the_sensors(sound: Path) -> None:
    messages = read(sound)
    stamps = [stamp_ns(message) for _, message in messages['/odom']]
    assert set(np.diff(stamps)) == {20_000_000}
    sweeps = [stamp_ns(message) for _, message in messages['/lidar/points']]  # stamped at the end
    assert stamps[0] == sweeps[0] - 100_000_000
    assert stamps[-1] >= sweeps[-1]


def test_sweep_is_measured_point_by_point_as_the_sensor_turns(sound: Path) -> None:
    cloud = cloud_from_message(read(sound)['/lidar/points'][0][1])
    assert cloud.time is not None
    assert cloud.ring is not None
    assert -0.1 <= cloud.time.min() < -0.099
    assert -0.001 < cloud.time.max() <= 0.0
    assert (np.diff(cloud.time) >= 0).all()
    # Clockwise from the back, past the front at half time, to the back.
    azimuth = np.unwrap(np.arctan2(cloud.y, cloud.x).astype(float))
    assert np.corrcoef(cloud.time, azimuth)[0, 1] < -0.99
    elevation = np.arctan2(cloud.z, np.hypot(cloud.x, cloud.y))
    level = [np.median(elevation[cloud.ring == k]) for k in range(16)]
    assert (np.diff(level) < 0).all()


def test_image_is_taken_in_the_middle_of_the_sweep(sound: Path) -> None:
    messages = read(sound)
    images = [stamp_ns(message) for _, message in messages['/camera/front/image_raw']]
    clouds = [stamp_ns(message) for _, message in messages['/lidar/points']]
    np.testing.assert_array_equal(np.subtract(clouds, images), 50_000_000)


def test_odometry_covers_every_measurement(sound: Path) -> None:
    messages = read(sound)
    stamps = [stamp_ns(message) for _, message in messages['/odom']]
    clouds = [stamp_ns(message) for _, message in messages['/lidar/points']]
    assert stamps[0] <= clouds[0] - 100_000_000
    assert stamps[-1] >= clouds[-1]
    transforms = [message.transforms[0] for _, message in messages['/tf']]
    assert [stamp_ns(transform) for transform in transforms] == stamps


def test_stamps_go_wrong_as_asked(faulty: Path) -> None:
    notes = fates(faulty)
    images = [note for note in notes if note['sensor'] == 'front']
    before = [n['stamp_ns'] - n['true_stamp_ns'] for n in images if n['number'] < 9]
    after = [n['stamp_ns'] - n['true_stamp_ns'] for n in images if n['number'] > 10]
    assert np.mean(before) == pytest.approx(0.04e9, abs=0.002e9)
    assert 0.0005e9 < np.std(before) < 0.004e9
    assert np.mean(after) == pytest.approx(0.04e9 - 5e9, abs=0.002e9)
    sweeps = [note for note in notes if note['sensor'] == 'lidar' and note['number'] < 9]
    assert all(note['stamp_ns'] == note['true_stamp_ns'] for note in sweeps)


def test_lost_and_late_messages_are_those_noted(faulty: Path) -> None:
    notes, messages = fates(faulty), read(faulty)
    for sensor, topic in (('lidar', '/lidar/points'), ('front', '/camera/front/camera_info')):
        kept = [note for note in notes if note['sensor'] == sensor and not note['lost']]
        assert 0 < len(kept) < 20
        arrived = {stamp_ns(message): arrival for arrival, message in messages[topic]}
        assert arrived == {note['stamp_ns']: note['arrival_ns'] for note in kept}
        delays = [note['arrival_ns'] - note['true_stamp_ns'] for note in kept]
        assert any(delay > 0.2e9 for delay in delays)


def test_extrinsics_are_wrong_by_the_angle_asked_for(faulty: Path) -> None:
    camera = json.loads((truth_folder(faulty) / 'truth.json').read_text())['cameras']['front']
    true, published = (
        np.array(camera[name])[:3, :3] for name in ('T_base_camera', 'T_base_camera_published')
    )
    angle = np.degrees(np.arccos((np.trace(true.T @ published) - 1) / 2))
    assert angle == pytest.approx(3.0, abs=1e-6)


def test_points_and_light_go_wrong_as_asked(faulty: Path, sound: Path) -> None:
    wet, dry = (read(bag)['/lidar/points'][0][1] for bag in (faulty, sound))
    assert wet.width < 0.95 * dry.width
    cloud = cloud_from_message(wet)
    labels = np.load(truth_folder(faulty) / 'point_labels' / f'{cloud.stamp_ns}.npz')
    broken = np.isnan(cloud.x)
    assert broken.mean() == pytest.approx(0.05, abs=0.01)
    assert (labels['semantic'][broken] == 255).all()
    dark = read(faulty)['/camera/front/image_raw/compressed'][0][1]
    light = read(sound)['/camera/front/image_raw'][0][1]
    decoded = cv2.imdecode(dark.data, cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.mean() < 0.5 * light.data.mean()


def test_a_clock_that_would_give_a_stamp_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match='stamps are repeated'):
        make(tmp_path / 'bag', **{'fault.clock_jump_s': -0.2})
    made = make(tmp_path / 'bag', **{'fault.clock_jump_s': -0.23})
    images = list((made.truth / 'front/semantic').glob('*.png'))
    assert (len(images), made.images) == (6, 6)


def test_a_refused_drive_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match='smaller field of view'):
        make(tmp_path / 'bag', **{'camera.model': 'plumb_bob', 'camera.field_of_view_deg': 100.0})
    with pytest.raises(ParameterError, match='has no sweep'):
        make(tmp_path / 'bag', duration_s=0.3, rate_hz=2.0)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_one_is_in_is_taken_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BagError, match='exists already'):
        make(Path('.'))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for taken in (tmp_path / 'a', truth_folder(tmp_path / 'b')):
        taken.mkdir()
    for name in 'ab':
        with pytest.raises(BagError, match='exists already'):
            make(tmp_path / name)


def test_rigs_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match='front, three, six'):
        make(tmp_path / 'drive', rig='two')


def test_more_cameras_leave_the_front_ones_images_as_they_are(sound: Path, tmp_path: Path) -> None:
    bag = tmp_path / 'drive'
    make(bag, **{'camera.encoding': 'raw'})
    alone, one_of_three = read(bag), read(sound)
    assert '/camera/front_left/image_raw' not in alone
    for topic in ('/camera/front/image_raw', '/lidar/points'):
        pairs = zip(alone[topic], one_of_three[topic], strict=True)
        for (arrival, message), (other_arrival, other) in pairs:
            assert arrival == other_arrival
            assert stamp_ns(message) == stamp_ns(other)
            assert bytes(message.data) == bytes(other.data)
    for kind in ('semantic', 'instance', 'distance'):
        one, other = (truth_folder(path) / 'front' / kind for path in (bag, sound))
        assert digest(one) == digest(other)


def test_cameras_expose_as_the_lidar_passes_them(tmp_path: Path) -> None:
    bag = tmp_path / 'drive'
    make(bag, rig='six')
    messages = read(bag)
    first = {
        topic.split('/')[2]: stamp_ns(values[0][1])
        for topic, values in messages.items()
        if topic.endswith('camera_info')
    }
    assert sorted(first, key=first.__getitem__) == [
        'back',
        'back_left',
        'front_left',
        'front',
        'front_right',
        'back_right',
    ]
    cloud = cloud_from_message(messages['/lidar/points'][0][1])
    assert cloud.time is not None
    for name, stamp in first.items():
        yaw = np.radians(CAMERA_YAW_DEG[name])
        at = cloud.time[np.cos(np.arctan2(cloud.y, cloud.x) - yaw) > 0.9998]
        taken = (stamp - cloud.stamp_ns) * 1e-9
        # Sweeps begin and end at the back, so times are compared modulo 0.1 s.
        apart = np.abs((at - taken + 0.05) % 0.1 - 0.05)
        assert apart.max() < 0.007, name
    assert {path.name for path in truth_folder(bag).iterdir() if path.is_dir()} == {
        *first,
        'point_labels',
    }
