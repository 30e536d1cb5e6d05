"""The recorder as a separate process, fed by the bag player, ended by SIGTERM or SIGKILL."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.dataset.repair import repair
from drive_segment_ros.frame.parameters import FrameParameters
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect

# Deep queues, so that a machine that stalls for some seconds loses no messages.
PATIENT = ('disk.min_free_gb=0.0', 'inputs.depth=100', 'pipeline.queue=100')
CAMERA = ('--camera', '/camera/front')
RIG = (*CAMERA, '--camera', '/camera/front_left', '--camera', '/camera/front_right')
OPEN = ('gates.min_interval=0.0', 'gates.min_distance=0.0', 'gates.min_sharpness=0.0', *PATIENT)


def command(*arguments: object) -> subprocess.Popen:
    words = [sys.executable, '-m', 'drive_segment_ros.cli', *map(str, arguments), '--json']
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def start(tmp_path, ros_domain):
    """Return functions that start a recorder and a player; both are killed after the test."""
    processes = []

    def recorder(bag: Path, settings=OPEN, cameras=CAMERA) -> subprocess.Popen:
        calibration = tmp_path / 'calibration.yaml'
        if not calibration.exists():
            inspect(bag, calibration)
        sets = [word for setting in (f'dataset={tmp_path / "set"}', *settings)
                for word in ('--set', setting)]  # fmt: skip
        processes.append(
            command('live', '--node', 'recorder', '--calibration', calibration,
                    *cameras, '--remap', 'points:=/lidar/points',
                    '--remap', 'odom:=/odom', '--duration', 1200, *sets)
        )  # fmt: skip
        return processes[-1]

    def player(bag: Path, rate: float) -> subprocess.Popen:
        processes.append(command('play', bag, '--wait', 300, '--rate', rate))
        return processes[-1]

    yield recorder, player
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def indexed(dataset: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in dataset.glob('*/*/frames.jsonl'))


def wait_until(condition, limit_s: float = 300.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def files(drive: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(drive)): path.read_bytes()
        for path in sorted(drive.rglob('*.*'))
        if path.name != 'drive.json'
    }


def record(
    start, bag: Path, rate: float, tmp_path: Path, settings=OPEN, cameras=CAMERA, at_least: int = 1
) -> tuple[dict, dict]:
    """Play a bag to a recorder, end it by SIGTERM; return the reports of player and recorder."""
    start_recorder, start_player = start
    recorder = start_recorder(bag, settings, cameras)
    output, _ = start_player(bag, rate).communicate(timeout=600)
    dataset, before, since_s = tmp_path / 'set', -1, time.monotonic()
    wait_until(lambda: indexed(dataset) >= at_least)
    # Done when no frame was written for 8 s, longer than the recorder waits for anything.
    while time.monotonic() - since_s < 8.0:
        if (count := indexed(dataset)) != before:
            before, since_s = count, time.monotonic()
        time.sleep(0.05)
    recorder.send_signal(signal.SIGTERM)
    answer, errors = recorder.communicate(timeout=120)
    assert recorder.returncode == 0, errors
    return json.loads(output), json.loads(answer)


def assert_like_extract(bag: Path, tmp_path: Path, start, at_least: int, cameras=CAMERA) -> None:
    options = ExtractOptions(workers=1)
    report = extract([bag], tmp_path / 'extracted', FrameParameters(), options)
    assert report.frames >= at_least
    # At half speed the queues of the player cover twice the time.
    _, summary = record(start, bag, 0.5, tmp_path, cameras=cameras, at_least=report.frames)
    assert (summary['recorded'], summary['dropped']) == (report.frames, report.dropped)
    (drive,) = Dataset(tmp_path / 'set').drives
    extracted = Dataset(tmp_path / 'extracted').drives[0]
    assert files(drive.path) == files(extracted.path)
    for key in ('cameras', 'lidar', 'parameters', 'software'):
        assert drive.info[key] == extracted.info[key], key


def test_street_is_recorded_as_extract_writes_it(street_bag, tmp_path, start):
    assert_like_extract(street_bag, tmp_path, start, at_least=7)


def test_rig_is_recorded_as_one_drive_as_extract_writes_it(rig_bag, tmp_path, start):
    assert_like_extract(rig_bag, tmp_path, start, 27, RIG)
    (drive,) = Dataset(tmp_path / 'set').drives
    assert drive.cameras.keys() == {'front', 'front_left', 'front_right'}


def test_real_drive_is_recorded_as_extract_writes_it(real_bag_part, tmp_path, start):
    assert_like_extract(real_bag_part, tmp_path, start, at_least=18)


def test_as_it_is_configured_every_pair_the_gates_let_through_is_recorded(
    real_bag, tmp_path, start
):
    played, summary = record(start, real_bag, 0.5, tmp_path, PATIENT)
    sent = played['sent']['/camera/front/image_raw/compressed']
    assert summary['dropped'] == {}
    assert summary['pairs'] == sent == summary['recorded'] + sum(summary['gated'].values())
    stamps = [frame.stamp_ns for frame in Dataset(tmp_path / 'set').drives[0].frames]
    # 5.5 s with one frame every 0.5 s: at most 12.
    assert 5 <= len(stamps) == summary['recorded'] <= 12
    assert min(b - a for a, b in itertools.pairwise(stamps)) >= 500_000_000
    assert summary['gated'].keys() <= {'too_soon', 'too_near'}


def test_at_the_highest_rate_every_image_is_accounted_for(real_bag, tmp_path, start):
    played, summary = record(start, real_bag, 100.0, tmp_path)
    sent = played['sent']['/camera/front/image_raw/compressed']
    lost = summary['dropped'].get('lost_on_the_way', 0)
    # Messages lost before the first one received are not reported as lost.
    known = summary['received']['image'] + lost
    assert known <= sent
    assert summary['recorded'] + sum(summary['dropped'].values()) == known, summary
    assert indexed(tmp_path / 'set') == summary['recorded'] > 0


def test_killed_recorder_leaves_whole_frames_and_the_next_records_on(street_bag, tmp_path, start):
    start_recorder, start_player = start
    dataset = tmp_path / 'set'
    total = 0
    for kill in range(3):
        recorder = start_recorder(street_bag)
        player = start_player(street_bag, 1.0)
        wait_until(lambda enough=total + 2: indexed(dataset) >= enough)
        time.sleep(0.013 * kill)
        os.kill(recorder.pid, signal.SIGKILL)
        recorder.wait()
        player.kill()
        for drive in Dataset(dataset).drives:
            for frame in drive.frames:
                assert frame.image().any()
                assert frame.segment().any()
                assert len(frame.proposals()['id'])
        total = indexed(dataset)
    assert len(Dataset(dataset).drives) == 3
    report = repair(dataset)
    assert (report.frames, report.problems) == (total, [])
