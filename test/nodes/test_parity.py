"""Live frames of a drive over DDS equal those extracted from its bag, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.frame.parameters import FrameParameters, SyncParameters
from drive_segment_ros.nodes.live import LiveOptions, live
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect

CAMERA = '/camera/front'
RIG = (CAMERA, '/camera/front_left', '/camera/front_right')


def hear(bag: Path, calibration: Path, drive: Path, expected: int, cameras: tuple) -> dict:
    """Play a bag in another process to a node here, write its frames; return its summary.

    Ends as soon as all expected frames are written.
    """
    names = [camera.rpartition('/')[2] for camera in cameras]
    with DriveWriter(drive, {'cameras': {name: {} for name in names}}) as writer:
        player = subprocess.Popen(
            [sys.executable, '-m', 'drive_segment_ros.cli', 'play', str(bag), '--wait', '300',
             '--rate', '0.5', '--json'],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        stop = threading.Event()

        def take(frame) -> None:
            writer.add(frame)
            if sum(map(len, writer.stamps.values())) == expected:
                stop.set()

        # Deep queues: the machine may be too busy to keep up, and no frame may be dropped.
        params = drive.with_suffix('.yaml')
        params.write_text(
            '/**: {ros__parameters: {pipeline: {queue: 100},'
            f' inputs: {{depth: 100}}, sync: {{wait_s: {SyncParameters().wait_s}}}}}}}'
        )
        remappings = ('points:=/lidar/points', 'odom:=/odom')
        options = LiveOptions('proposals', params, calibration, cameras, remappings, 400.0)
        try:
            summary = live(options, lambda node: node.frame_sinks.append(take), stop)
        finally:
            output, _ = player.communicate(timeout=120)
    assert json.loads(output)['unacknowledged'] == []
    return summary


def files(drive: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(drive)): path.read_bytes()
        for path in sorted(drive.rglob('*'))
        if path.is_file() and path.name != 'drive.json'
    }


def assert_alike(bag: Path, tmp_path: Path, at_least: int, cameras=(CAMERA,)) -> None:
    calibration = tmp_path / 'calibration.yaml'
    inspect(bag, calibration)
    options = ExtractOptions(workers=1)
    report = extract([bag], tmp_path / 'extracted', FrameParameters(), options)
    assert report.frames >= at_least
    summary = hear(bag, calibration, tmp_path / 'heard', report.frames, cameras)
    assert summary['frames'] == report.frames, summary
    extracted, heard = files(tmp_path / 'extracted' / bag.name), files(tmp_path / 'heard')
    assert sorted(heard) == sorted(extracted)
    different = [name for name, data in extracted.items() if heard[name] != data]
    assert different == []


def test_made_up_street_is_the_same_live_and_extracted(street_bag, tmp_path, ros_domain):
    assert_alike(street_bag, tmp_path, at_least=7)


def test_three_cameras_with_late_lost_and_repeated_messages_are_the_same_live_and_extracted(
    rig_bag, tmp_path, ros_domain
):
    assert_alike(rig_bag, tmp_path, 27, RIG)
    for camera in RIG:
        assert (tmp_path / 'heard' / camera.rpartition('/')[2] / 'segment').is_dir()


def test_real_drive_is_the_same_live_and_extracted(real_bag_part, tmp_path, ros_domain):
    assert_alike(real_bag_part, tmp_path, at_least=18)
