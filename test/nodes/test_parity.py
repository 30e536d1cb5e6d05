"""A drive heard over DDS and the same drive extracted from its bag give the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')

from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.nodes.live import LiveOptions, live
from offline_training.bags.extract import (
    ExtractOptions,
    ExtractParameters,
    extract,
)
from offline_training.bags.inspect import inspect

CAMERA = '/camera/front'


def hear(bag: Path, calibration: Path, drive: Path, expected: int) -> dict:
    """Play a bag in another process, run the node here, write what it makes; return its summary.

    Ends as soon as all expected frames are there.
    """
    with DriveWriter(drive, {'cameras': {'front': {}}}) as writer:
        player = subprocess.Popen(
            [sys.executable, '-m', 'drive_segment_ros.cli', 'play', str(bag), '--wait', '120',
             '--rate', '0.5', '--json'],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        stop = threading.Event()

        def take(frame) -> None:
            writer.add(frame)
            if len(writer.stamps['front']) == expected:
                stop.set()

        # This compares bytes, on a machine that may be too busy to keep up with the drive.
        params = drive.with_suffix('.yaml')
        params.write_text(
            '/**: {ros__parameters: {pipeline: {queue: 100, motion_wait: 5.0},'
            ' inputs: {depth: 100}, sync: {max_wait_s: 5.0}}}'
        )
        remappings = ('points:=/lidar/points', 'odom:=/odom')
        options = LiveOptions('proposals', params, calibration, CAMERA, remappings, 180.0)
        try:
            summary = live(options, lambda node: node.frame_sinks.append(take), stop)
        finally:
            output, _ = player.communicate(timeout=30)
    assert json.loads(output)['unacknowledged'] == []
    return summary


def files(drive: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(drive)): path.read_bytes()
        for path in sorted(drive.rglob('*'))
        if path.is_file() and path.name != 'drive.json'
    }


def assert_alike(bag: Path, tmp_path: Path, at_least: int) -> None:
    calibration = tmp_path / 'calibration.yaml'
    inspect(bag, calibration)
    options = ExtractOptions(workers=1)
    report = extract([bag], tmp_path / 'extracted', ExtractParameters(), options)
    assert report.frames >= at_least
    summary = hear(bag, calibration, tmp_path / 'heard', report.frames)
    assert summary['frames'] == report.frames, summary
    extracted, heard = files(tmp_path / 'extracted' / bag.name), files(tmp_path / 'heard')
    assert sorted(heard) == sorted(extracted)
    different = [name for name, data in extracted.items() if heard[name] != data]
    assert different == []


def test_made_up_street_is_the_same_live_and_extracted(street_bag, tmp_path, ros_domain):
    assert_alike(street_bag, tmp_path, at_least=7)


def test_real_drive_is_the_same_live_and_extracted(real_bag_part, tmp_path, ros_domain):
    assert_alike(real_bag_part, tmp_path, at_least=18)
