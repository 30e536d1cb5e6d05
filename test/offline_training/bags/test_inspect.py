"""`inspect` reports what a bag contains, and how to fix what is missing."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from numpy.lib import recfunctions
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.perception.calibration import load_calibration
from offline_training.bags.inspect import inspect
from offline_training.bags.inspect_pairs import pair_stamps
from offline_training.bags.inspect_report import BagReport, LidarReport, TopicReport
from offline_training.bags.inspect_table import print_report

SECOND = 1_000_000_000


def problems(report) -> str:
    return '\n'.join(f'{p.what} -> {p.fix}' for p in report.problems)


def test_sound_bag_has_no_problems(make_bag):
    report = inspect(make_bag(count=20))
    assert problems(report) == ''
    (camera,) = report.cameras
    assert (camera.topic, camera.width, camera.height) == (
        '/camera/front/image_raw/compressed',
        160,
        120,
    )
    assert camera.calibration is not None
    assert camera.calibration['K'][0][0] == 100.0
    (lidar,) = report.lidars
    assert lidar.beams == 32
    assert lidar.points == 32 * 720
    assert lidar.first_time_s == pytest.approx(-0.1, abs=1e-3)
    (pair,) = report.pairs
    assert pair.transform
    assert pair.offset_s == pytest.approx(-0.05, abs=1e-6)
    assert pair.view_time_s == pytest.approx(-0.05, abs=2e-3)
    assert pair.camera_lidar_offset_ms == pytest.approx(0.0, abs=2.0)
    assert report.odometry == '/tf: odom -> base_link'
    rates = {topic.name: topic.rate_hz for topic in report.topics}
    assert rates['/points'] == pytest.approx(10.0)
    assert rates['/tf_static'] is None
    json.dumps(dataclasses.asdict(report), allow_nan=False)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'cameras': ()}, 'no camera images'),
        (
            {'info': False},
            'no camera_info in its namespace -> record it, or give a calibration file',
        ),
        ({'calibrated': False}, 'K is all zero'),
        ({'transforms': False}, "no transform from 'lidar' to 'optical0'"),
        ({'odometry': False}, 'no odometry -> sweeps cannot be moved'),
        ({'odometry_frame': 'map'}, 'moves in map, not in odom -> .*odometry_frame=map'),
        ({'stamp': lambda _: 0}, '4 of 4 messages have no stamp'),
        ({'sweep_stamp': lambda s: s + 90 * SECOND}, r'stamps are \d\d\.\d+ s apart'),
        ({'sweep_stamp': lambda s: s - 90 * SECOND}, r'/points: stored \+90.000 s after'),
        ({'cloud': lambda p: p[:0]}, 'first sweep has 0 points'),
        ({'cloud': lambda p: recfunctions.drop_fields(p, 'x')}, 'has no field x'),
        ({'cloud': lambda p: recfunctions.drop_fields(p, 't')}, 'points have no time'),
    ],
)
def test_what_is_missing_is_said(make_bag, options, message):
    assert re.search(message, problems(inspect(make_bag(**options))))


def test_a_camera_that_knows_its_calibration_later_is_calibrated(make_bag):
    report = inspect(make_bag(zeros_first=True))
    assert report.problems == []
    assert report.cameras[0].calibration['K'][0][0] == 100.0


def test_names_with_brackets_are_printed_as_they_are(make_bag, capsys):
    print_report(inspect(make_bag('a[/b]c')))
    assert 'a[/b]c' in capsys.readouterr().out.replace('\n', '')


def test_frames_with_brackets_are_printed_as_they_are(capsys):
    topic = TopicReport('/points', 'a type', 1, None, None, zero_stamps=0)
    lidar = LidarReport('/points', '[/lidar]', 1, ['[x]'], None, None, None)
    moves = 'odom -> [base]'
    print_report(BagReport('bag', 1.0, [topic], [], [lidar], [], [moves], moves, []))
    printed = capsys.readouterr().out
    assert '[/lidar]' in printed
    assert '[x]' in printed
    assert printed.count(moves) == 2


def test_offset_is_the_same_whichever_sensor_is_faster_and_whatever_got_lost():
    sweeps = 10**12 + np.arange(50) * 100_000_000
    triggered = sweeps - 50_000_000 + 10_000_000
    between = np.sort(np.concatenate([triggered, triggered + 33_000_000, triggered + 66_000_000]))
    for images in (triggered, between, np.delete(triggered, [3, 20, 21]), triggered[::3]):
        pairs = pair_stamps(images, np.delete(sweeps, [7, 30]), view_time_s=-0.05)
        assert pairs is not None
        assert pairs.steady
        assert pairs.median_s == pytest.approx(-0.04, abs=1e-9)


def test_offset_of_a_camera_that_runs_free_is_not_steady():
    sweeps = 10**12 + np.arange(50) * 100_000_000
    images = 10**12 + np.arange(120) * 41_700_000
    pairs = pair_stamps(images, sweeps, view_time_s=-0.05)
    assert pairs is not None
    assert not pairs.steady
    assert pair_stamps(images, 0 * sweeps, view_time_s=-0.05) is None


def test_nan_cloud_is_said(make_bag):
    def nan(points):
        points = points.copy()
        for name in 'xyz':
            points[name] = np.nan
        return points

    assert 'none of them finite' in problems(inspect(make_bag(cloud=nan)))


@pytest.mark.parametrize('number', [0, 2])
@pytest.mark.parametrize(
    'topic', ['/camera/front/image_raw/compressed', '/camera/front/camera_info', '/points', '/tf']
)
def test_a_message_cut_in_half_spoils_no_report(make_bag, topic, number):
    report = inspect(make_bag(cut=(topic, number)))
    assert len(report.topics) == 5
    told = re.search(f'{topic}: the first message: .* is damaged', problems(report))
    assert bool(told) == (number == 0)


def test_an_image_without_data_is_said(make_bag, monkeypatch):
    monkeypatch.setattr(cv2, 'imencode', lambda *_: (True, np.zeros(0, np.uint8)))
    assert 'the first 4 images cannot be decoded' in problems(inspect(make_bag()))


def test_truncated_bag_is_reported_as_far_as_it_goes(make_bag):
    bag = make_bag(count=20)
    (file,) = bag.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    report = inspect(bag)
    assert 'truncated after' in problems(report)
    assert 5 <= next(t.count for t in report.topics if t.name == '/points') <= 11


def test_calibration_file_round_trip(make_bag, tmp_path):
    inspect(make_bag(), tmp_path / 'calibration.yaml')
    tree, cameras = load_calibration(tmp_path / 'calibration.yaml')
    np.testing.assert_allclose(tree.lookup('lidar', 'optical0')[:3, 3], [0.2, 0.0, -0.2])
    assert cameras['/camera/front/image_raw/compressed'].K[0, 0] == 100.0


def test_table_names_every_topic_in_full(make_bag, capsys):
    print_report(inspect(make_bag(odometry=False)))
    out = capsys.readouterr().out
    assert '/camera/front/image_raw/compressed' in out
    assert 'no odometry' in out
    assert re.search(r'front +│ /points +│ -50\.0 ms ± 0\.0 +│.*│ [-+]0\.\d ms ', out)


def test_parts_of_a_drive_are_looked_at_as_one(make_bag, tmp_path):
    front = make_bag('front', cameras=('/camera/front',), count=12)
    back = make_bag('back', cameras=('/camera/back',), count=12)
    arguments = ['inspect', str(front), str(back)]
    refused = CliRunner().invoke(cli.app, arguments)
    assert refused.exit_code == 1
    assert '2 bags are given instead of one; --join' in refused.stderr
    result = CliRunner().invoke(cli.app, [*arguments, '--join', '--json'])
    report = json.loads(result.stdout)
    assert report['bag'] == f'{front} + {back}'
    assert [camera['topic'].split('/')[2] for camera in report['cameras']] == ['back', 'front']
    assert report['problems'] == []


def test_each_camera_has_its_row_and_its_place_in_the_calibration(make_bag, tmp_path, capsys):
    cameras = ('/camera/left', '/camera/right', '/rear')

    def change(topic, message):
        if topic == '/rear/camera_info':
            message.k[:] = 0

    report = inspect(make_bag(cameras=cameras, count=12, change=change), tmp_path / 'file.yaml')
    assert [camera.name for camera in report.cameras] == ['left', 'right', 'rear']
    assert [pair.transform for pair in report.pairs] == [True, True, True]
    (problem,) = report.problems
    assert problem.what.startswith('/rear/camera_info: ')
    tree, models = load_calibration(tmp_path / 'file.yaml')
    assert [name.split('/')[-3] for name in models] == ['left', 'right']
    assert set(tree.frames) == {'base_link', 'lidar', 'optical0', 'optical1', 'optical2'}
    print_report(report)
    out = capsys.readouterr().out
    for name in ('left', 'right', 'rear'):
        assert re.search(rf'│ {name} +│ /points +│ [-+]50\.0 ms', out)


def test_a_terminal_without_all_characters_shows_the_table(make_bag):
    bag = make_bag('gr\u00f6sse', count=5)
    command = [sys.executable, '-m', 'drive_segment_ros.cli', 'inspect', str(bag)]
    environment = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert '\\xb1' in done.stdout  # plus-minus


def test_a_camera_where_sweeps_begin_is_not_called_late(make_bag):
    """A camera at the azimuth where sweeps start and end gets no offset of a whole period."""

    def half_a_turn_later(points):
        points = points.copy()
        points['t'] = np.where(points['t'] < -0.05, points['t'] + 0.05, points['t'] - 0.05)
        return points

    for shift in (0, 10_000_000):
        report = inspect(
            make_bag(
                f'drive{shift}',
                count=20,
                cloud=half_a_turn_later,
                stamp=lambda stamp, shift=shift: stamp + SECOND // 20 + shift,
            )
        )
        (pair,) = report.pairs
        assert pair.camera_lidar_offset_ms == pytest.approx(shift * 1e-6, abs=2.0)
        assert problems(report) == ''


def test_an_offset_of_one_camera_is_set_for_it_alone(make_bag):
    def late(topic, message):
        if topic.startswith('/camera/left/image'):
            message.header.stamp.nanosec += 30_000_000

    (problem,) = inspect(make_bag(cameras=('/camera/left', '/rear'), change=late)).problems
    assert '/camera/left/image_raw/compressed: images are stamped 30 ms after' in problem.what
    assert '--camera left --set sync.camera_delay_s=0.03' in problem.fix


def test_parts_that_are_missing_may_be_in_another_bag(make_bag):
    assert 'add the bag that has them, with --join' in problems(inspect(make_bag(cameras=())))


def test_real_drive_joined(real_drive):
    parts = [real_drive / 'bag', real_drive.with_name('pandaset_002_sides') / 'bag']
    if not parts[1].is_dir():
        pytest.skip(f'no {parts[1]}')
    report = inspect(parts)
    assert problems(report) == ''
    assert [camera.name for camera in report.cameras] == ['back', 'front', 'front_left']
    for pair in report.pairs:
        assert pair.camera_lidar_offset_ms == pytest.approx(0.0, abs=6.0)
        assert pair.extrinsics is not None
        assert pair.extrinsics.ok


def test_real_drive(real_bag):
    report = inspect(real_bag)
    assert problems(report) == ''
    assert report.lidars[0].beams == 64
    (pair,) = report.pairs
    assert pair.offset_s == pytest.approx(-0.05, abs=1e-3)
    assert pair.camera_lidar_offset_ms == pytest.approx(0.0, abs=5.0)
    assert pair.extrinsics is not None
    assert pair.extrinsics.ok
