"""`extract`: every image that can be paired becomes a frame, and every error is one line."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import recfunctions
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.dataset import part_writer
from drive_segment_ros.dataset.reader import Dataset, Drive
from drive_segment_ros.errors import (
    BagError,
    CalibrationError,
    DatasetError,
    DriveSegmentError,
)
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.perception.beam_sources import SEGMENTS_FROM
from offline_training.bags import bag_rig, drive_extraction
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect

SECOND = 1_000_000_000
START = 1_000 * SECOND
PERIOD = SECOND // 10


def run(bag: Path, dataset: Path, **options):
    return extract([bag], dataset, FrameParameters(), ExtractOptions(workers=1, **options))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def nan(points: np.ndarray) -> np.ndarray:
    points = points.copy()
    for name in 'xyz':
        points[name] = np.nan
    return points


def test_every_image_becomes_a_frame(make_bag, tmp_path):
    bag = make_bag(count=6)
    progress = []
    report = extract(
        [bag],
        tmp_path / 'dataset',
        FrameParameters(),
        ExtractOptions(workers=1),
        lambda *state: progress.append(state),
    )
    assert (report.images, report.sweeps, report.frames) == (6, 6, 6)
    assert report.dropped == {}
    assert progress[-1] == ('drive', 6, 6)
    (drive,) = Dataset(tmp_path / 'dataset').drives
    assert [frame.stamp_ns for frame in drive.frames] == [START + k * PERIOD for k in range(6)]
    camera = drive.info['cameras']['front']
    assert camera['topic'] == '/camera/front/image_raw/compressed'
    assert camera['model']['K'][0][0] == 100.0
    assert drive.info['lidar']['T_base_lidar'][2] == [0.0, 0.0, 1.0, 1.8]
    assert drive.info['parameters']['sync.max_offset_s'] == 0.06
    for frame in drive.frames:
        assert frame.image().shape == (120, 160, 3)
        segment, proposals = frame.segment(), frame.proposals()
        assert set(np.unique(segment)) - {0} <= set(proposals['id'])
        assert (segment > 0).mean() > 0.3
        assert frame.record['sweep_stamp_ns'] - frame.stamp_ns == PERIOD // 2


def test_some_frames_are_those_of_the_whole(make_bag, tmp_path):
    bag = make_bag(count=8, cameras=('/camera/front', '/camera/left'))
    run(bag, tmp_path / 'all')
    report = run(bag, tmp_path / 'some', frames='2:5')
    assert report.frames == 6
    whole, some = files(tmp_path / 'all/drive'), files(tmp_path / 'some/drive')
    kept = {name for name in some if not name.endswith(('.json', '.jsonl'))}
    assert all(some[name] == whole[name] for name in kept)
    for camera in ('front', 'left'):
        stamps = [START + number * PERIOD for number in (2, 3, 4)]
        (drive,) = Dataset(tmp_path / 'some').drives
        assert [frame.stamp_ns for frame in drive.cameras[camera]] == stamps
    with pytest.raises(BagError, match=r'frames 8:9 select none of the 8 of /camera/front'):
        run(bag, tmp_path / 'none', frames='8:9')


def test_images_lie_there_as_recorded(make_bag, tmp_path):
    run(make_bag('jpeg'), tmp_path / 'dataset')
    run(make_bag('raw', compressed=False), tmp_path / 'dataset')
    jpeg, raw = Dataset(tmp_path / 'dataset').drives
    assert jpeg.frames[0].image_path.suffix == '.jpg'
    assert jpeg.frames[0].image_path.read_bytes()[:2] == b'\xff\xd8'
    assert raw.frames[0].image_path.suffix == '.png'
    assert tuple(raw.frames[0].image()[0, 0]) == (200, 160, 120)


def test_processes_write_what_one_process_writes(make_bag, tmp_path):
    bag = make_bag(count=7)
    run(bag, tmp_path / 'one')
    options = ExtractOptions(workers=2)
    assert extract([bag], tmp_path / 'two', FrameParameters(), options).frames == 7
    assert files(tmp_path / 'one') == files(tmp_path / 'two')


def test_resuming_finishes_what_was_begun_and_nothing_is_overwritten(make_bag, tmp_path):
    bag = make_bag(count=6)
    run(bag, tmp_path / 'whole')
    run(bag, tmp_path / 'dataset')
    drive = tmp_path / 'dataset' / 'drive'
    index = drive / 'front/frames.jsonl'
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(b''.join(lines[:2]) + lines[2][:20])
    before = files(drive)
    with pytest.raises(DatasetError, match='drive exists and is not overwritten'):
        run(bag, tmp_path / 'dataset')
    assert files(drive) == before
    report = run(bag, tmp_path / 'dataset', resume=True)
    assert report.frames == 4
    assert files(tmp_path / 'whole') == files(tmp_path / 'dataset')
    assert run(bag, tmp_path / 'dataset', resume=True).frames == 0


def test_odometry_moves_points_and_its_absence_is_told(make_bag, tmp_path):
    run(make_bag('with'), tmp_path / 'dataset')
    run(make_bag('without', odometry=False), tmp_path / 'dataset')
    moved, unmoved = Dataset(tmp_path / 'dataset').drives
    assert {frame.record['motion'] for frame in moved.frames} == {'per_point'}
    assert {frame.record['motion'] for frame in unmoved.frames} == {'none'}


def test_the_frame_of_the_images_goes_before_that_of_camera_info(make_bag, tmp_path):
    assert run(make_bag(info_frame=False), tmp_path / 'dataset').frames == 4


def test_a_trailer_does_not_move_the_vehicle(make_bag, tmp_path):
    run(make_bag(), tmp_path / 'alone')
    (tmp_path / 'drive').rename(tmp_path / 'bag_alone')
    run(make_bag(trailer=True), tmp_path / 'towing')
    assert files(tmp_path / 'towing') == files(tmp_path / 'alone')


def test_a_calibration_file_stands_in_for_the_bag(make_bag, tmp_path):
    inspect(make_bag('calibrated'), tmp_path / 'calibration.yaml')
    bare = make_bag('bare', transforms=False, info=False)
    report = run(bare, tmp_path / 'dataset', calibration=tmp_path / 'calibration.yaml')
    assert report.frames == 4
    run(make_bag('drive'), tmp_path / 'other')
    (one,), (other,) = (Dataset(tmp_path / name).drives for name in ('dataset', 'other'))
    np.testing.assert_array_equal(one.frames[0].segment(), other.frames[0].segment())


def test_of_rectified_images_camera_info_needs_no_k(make_bag, tmp_path):
    bag = make_bag(only_p=True)
    parameters = dataclasses.replace(FrameParameters(), rectified='true')
    assert extract([bag], tmp_path / 'dataset', parameters).frames == 4
    with pytest.raises(CalibrationError, match='K is all zero'):
        run(bag, tmp_path / 'other')


def test_preview_draws_each_frame(make_bag, tmp_path):
    import cv2

    run(make_bag(count=2), tmp_path / 'dataset', preview=True)
    pictures = sorted((tmp_path / 'dataset/drive/front/preview').iterdir())
    assert [path.stem for path in pictures] == [str(START), str(START + PERIOD)]
    picture = cv2.imread(str(pictures[0]))
    frame = Drive(tmp_path / 'dataset/drive').frames[0]
    assert picture.shape == frame.image().shape
    # Pixels of segments are blended with a colour, so they differ from the image.
    painted = (picture != frame.image()).any(axis=2)
    segment = cv2.resize(frame.segment(), (160, 120), interpolation=cv2.INTER_NEAREST)
    assert painted[segment > 0].mean() > 0.99


@pytest.mark.parametrize(
    ('bag_options', 'options', 'error', 'message'),
    [
        ({'cameras': ()}, {}, BagError, 'has no camera images'),
        ({}, {'cameras': ['/rear']}, BagError, 'has no camera /rear'),
        ({}, {'lidar': '/rear'}, BagError, 'has no /rear'),
        ({'info': False}, {}, CalibrationError, 'no camera_info for .* give --calibration'),
        ({'calibrated': False}, {}, CalibrationError, 'K is all zero'),
        ({'transforms': False}, {}, CalibrationError, "no transform from 'lidar'"),
        ({'cloud': lambda p: p[:0]}, {}, BagError, 'no frame could be extracted'),
        ({'cloud': nan}, {}, BagError, 'no frame could be extracted'),
        (
            {'cloud': lambda p: recfunctions.drop_fields(p, 'x')},
            {},
            BagError,
            'no frame could be extracted.*has no field x',
        ),
        ({'stamp': lambda _: 0}, {}, BagError, 'have no time stamp'),
        ({'sweep_stamp': lambda _: 0}, {}, BagError, 'have no time stamp'),
        ({'sweep_stamp': lambda s: s + 180 * SECOND}, {}, BagError, 'none of 4 images paired'),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    make_bag, tmp_path, bag_options, options, error, message
):
    with pytest.raises(error, match=message) as caught:
        run(make_bag(**bag_options), tmp_path / 'dataset', **options)
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'dataset' / 'drive').exists()


def test_all_cameras_of_a_bag_are_one_drive(make_bag, tmp_path):
    """Each camera has its own frames; the proposals of a sweep are stored once for all cameras."""
    assert run(make_bag(cameras=('/left', '/right')), tmp_path / 'dataset').frames == 8
    (drive,) = Dataset(tmp_path / 'dataset').drives
    assert {name: len(frames) for name, frames in drive.cameras.items()} == {
        'left': 4,
        'right': 4,
    }
    assert len(list((drive.path / 'proposal').iterdir())) == 4
    assert set(drive.info['cameras']) == {'left', 'right'}


def test_a_sweep_is_decoded_and_segmented_once_for_all_cameras(make_bag, tmp_path, monkeypatch):
    from drive_segment_ros.frame import sweep as module

    counts = Counter()
    for name in ('spinning_beams', 'find_proposals', 'describe_proposals'):
        real = getattr(module, name)

        def counted(*args, name=name, real=real):
            counts[name] += 1
            return real(*args)

        monkeypatch.setattr(module, name, counted)
    read = FrameParameters.cloud

    def cloud(self, message):
        counts['cloud'] += 1
        return read(self, message)

    monkeypatch.setattr(FrameParameters, 'cloud', cloud)
    bag = make_bag(cameras=('/left', '/middle', '/right'))
    assert run(bag, tmp_path / 'dataset').frames == 12
    # One more is decoded in advance, for the time at which the LiDAR passes the cameras.
    assert counts.pop('cloud') == 4 + 1
    assert counts == {'spinning_beams': 4, 'find_proposals': 4, 'describe_proposals': 4}


def test_a_namespace_chooses_the_camera(make_bag, tmp_path):
    bag = make_bag(cameras=('/left', '/right'))
    assert run(bag, tmp_path / 'dataset', cameras=['/right']).frames == 4
    (drive,) = Dataset(tmp_path / 'dataset').drives
    assert drive.info['cameras']['right']['topic'] == '/right/image_raw/compressed'


def test_what_a_truncated_bag_holds_is_extracted(make_bag, tmp_path):
    bag = make_bag(count=20)
    (file,) = bag.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    report = run(bag, tmp_path / 'dataset')
    assert 8 <= report.frames <= 11
    assert 'truncated after' in report.damage[0]
    assert len(Drive(tmp_path / 'dataset/drive').frames) == report.frames


def test_unknown_message_types_do_no_harm(make_bag, tmp_path):
    assert run(make_bag(extra_type=True), tmp_path / 'dataset').frames == 4


def test_images_without_a_stamp_cost_only_their_frames(make_bag, tmp_path):
    # Images 0 and 1 have no stamp.
    bag = make_bag(count=6, stamp=lambda s: 0 if s < START + 2 * PERIOD else s)
    report = run(bag, tmp_path / 'dataset')
    assert report.frames == 4
    assert report.dropped == {'zero_stamp': 2}
    assert report.frames + sum(report.dropped.values()) == report.images


@pytest.mark.parametrize('number', [0, 2])
@pytest.mark.parametrize(
    ('topic', 'reason'),
    [('/camera/front/image_raw/compressed', 'bad_image'), ('/points', 'bad_cloud')],
)
def test_a_message_cut_in_half_costs_its_frame(make_bag, tmp_path, topic, reason, number):
    report = run(make_bag(cut=(topic, number)), tmp_path / 'dataset')
    assert report.frames == 3
    assert report.dropped == {reason: 1}


@pytest.mark.parametrize(
    ('topic', 'reason'),
    [('/camera/front/image_raw/compressed', 'zero_stamp'), ('/points', 'no_sweep')],
)
def test_a_message_without_a_header_costs_its_frame(make_bag, tmp_path, topic, reason):
    report = run(make_bag(cut=(topic, 2), kept=8), tmp_path / 'dataset')
    assert report.frames == 3
    assert report.dropped == {reason: 1}


def test_of_images_with_one_stamp_the_first_is_kept(make_bag, tmp_path):
    def played_twice(stamp_ns):
        """Return three stamps, one 5 s later, and the first three again, as with `play --loop`."""
        k = (stamp_ns - START) // PERIOD
        return stamp_ns + (0 if k < 3 else 5 * SECOND if k == 3 else -4 * PERIOD)

    bag = make_bag(count=7, stamp=played_twice, sweep_stamp=played_twice)
    report = run(bag, tmp_path / 'dataset')
    assert report.frames == 4
    assert report.dropped == {'duplicate': 3}


def test_a_calibration_file_stands_in_for_transforms_that_cannot_be_read(make_bag, tmp_path):
    inspect(make_bag('calibrated'), tmp_path / 'calibration.yaml')
    damaged = make_bag('damaged', cut=('/tf_static', 0))
    with pytest.raises(BagError):
        run(damaged, tmp_path / 'dataset')
    report = run(damaged, tmp_path / 'dataset', calibration=tmp_path / 'calibration.yaml')
    assert report.frames == 4


def test_a_topic_without_a_whole_message_is_named(make_bag, tmp_path):
    with pytest.raises(BagError, match='no message of /points can be read'):
        run(make_bag(count=1, cut=('/points', 0)), tmp_path / 'dataset')


def test_full_disk_keeps_what_was_written(make_bag, tmp_path, monkeypatch):
    """If the disk fills up during the second of two parts, the frames of the first are kept."""
    real_write, left = part_writer.write_files, 99

    def write(folder, files):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, 'No space left on device')
        real_write(folder, files)

    bag = make_bag(count=140)
    with monkeypatch.context() as patch:
        patch.setattr(part_writer, 'write_files', write)
        with pytest.raises(DatasetError, match='No space left on device') as error:
            run(bag, tmp_path / 'dataset')
    assert '\n' not in str(error.value)
    assert len(Drive(tmp_path / 'dataset/drive').frames) == 70
    assert run(bag, tmp_path / 'dataset', resume=True).frames == 70
    run(bag, tmp_path / 'whole')
    assert files(tmp_path / 'dataset') == files(tmp_path / 'whole')


def test_a_disk_that_is_full_from_the_start_is_one_line_and_leaves_nothing(
    make_bag, tmp_path, monkeypatch
):
    def write_plan(drive, plan):
        raise DatasetError(f'cannot write {drive}: No space left on device')

    monkeypatch.setattr(drive_extraction, 'write_plan', write_plan)
    with pytest.raises(DatasetError, match='No space left on device'):
        run(make_bag(), tmp_path / 'dataset')
    assert not (tmp_path / 'dataset' / 'drive').exists()


def test_a_damaged_plan_is_told_and_kept(make_bag, tmp_path):
    plan = tmp_path / 'dataset/drive/parts/plan.json'
    plan.parent.mkdir(parents=True)
    plan.write_text('{')
    with pytest.raises(DatasetError, match=r'plan\.json is not valid JSON'):
        run(make_bag(), tmp_path / 'dataset', resume=True)
    assert plan.read_text() == '{'


def test_one_bad_bag_does_not_keep_the_others_back(make_bag, tmp_path):
    good, bad = make_bag('good'), make_bag('bad', transforms=False)
    report = extract([bad, good], tmp_path / 'd', FrameParameters(), ExtractOptions(workers=1))
    assert list(report.failed) == ['bad']
    assert 'no transform' in report.failed['bad']
    assert len(Drive(tmp_path / 'd/good').frames) == report.frames == 4
    arguments = ['extract', str(bad), str(good), '-o', str(tmp_path / 'f'), '--workers', '1']
    answer = CliRunner().invoke(cli.app, arguments)
    assert answer.exit_code == 3
    assert '4 frames from 4 images' in answer.stdout
    assert 'drive-segment: error: bad: ' in answer.stderr
    with pytest.raises(DriveSegmentError, match='no transform'):
        run(bad, tmp_path / 'e')
    with pytest.raises(BagError, match='given twice'):
        extract([good, good], tmp_path / 'e', FrameParameters())


def test_two_bags_of_one_name_become_two_drives(make_bag, tmp_path):
    first = make_bag('one')
    second = tmp_path / 'elsewhere' / first.name
    shutil.copytree(first, second)
    extract([first, second], tmp_path / 'd', FrameParameters(), ExtractOptions(workers=1))
    assert [len(drive.frames) for drive in Dataset(tmp_path / 'd').drives] == [4, 4]


def test_memory_holds_few_sweeps_at_a_time(make_bag, tmp_path, monkeypatch):
    """Sweeps that no image can pair with any more are released: at most 20 of 60 are alive."""
    alive, most = weakref.WeakSet(), 0
    real_event, real_add = bag_rig.raw_sweep_event, part_writer.PartWriter.add

    def event(*arguments):
        alive.add(sweep := real_event(*arguments))
        return sweep

    def add(writer, frame):
        nonlocal most
        most = max(most, len(alive))
        real_add(writer, frame)

    monkeypatch.setattr(bag_rig, 'raw_sweep_event', event)
    monkeypatch.setattr(part_writer.PartWriter, 'add', add)
    assert run(make_bag(count=60), tmp_path / 'dataset').frames == 60
    assert 0 < most <= 20


def test_command_prints_the_promised_keys(make_bag, tmp_path):
    arguments = ['extract', str(make_bag()), '-o', str(tmp_path / 'dataset'), '--workers', '1']
    result = CliRunner().invoke(cli.app, [*arguments, '--json'])
    values = json.loads(result.stdout)
    assert {'images', 'sweeps', 'frames', 'dropped', 'frames_per_second', 'dataset'} <= set(values)
    assert values['frames'] == values['images'] == 4
    result = CliRunner().invoke(cli.app, [*arguments, '--json'])
    assert result.exit_code == 1
    assert result.stdout == ''
    assert 'exists and is not overwritten' in result.stderr


def test_max_offset_and_parameters_reach_the_matcher(make_bag, tmp_path):
    bag, output = str(make_bag()), str(tmp_path / 'dataset')
    arguments = ['extract', bag, '-o', output, '--workers', '1', '--set', 'sync.camera_offset=0.0']
    result = CliRunner().invoke(cli.app, [*arguments, '--max-offset', '0.04'])
    assert result.exit_code == 1
    assert 'none of 4 images paired' in result.stderr
    result = CliRunner().invoke(cli.app, [*arguments, '--set', 'nonsense=1'])
    assert "unknown parameter 'nonsense'" in result.stderr


def test_real_drive_pairs_every_image(real_bag, tmp_path):
    report = extract([real_bag], tmp_path / 'dataset', FrameParameters())
    assert (report.images, report.sweeps, report.frames) == (56, 56, 56)
    assert dataclasses.asdict(report)['dropped'] == {}


def test_json_counts_drops_by_reason(make_bag, tmp_path):
    bag = make_bag(count=4, sweep_stamp=lambda at: at if at < START + 3 * PERIOD else at + SECOND)
    arguments = ['extract', str(bag), '-o', str(tmp_path / 'dataset'), '--workers', '1', '--json']
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)['dropped'] == {'no_sweep': 1}


@pytest.mark.parametrize('workers', [1, 2])
def test_an_interrupted_extraction_goes_on_where_it_was(make_bag, tmp_path, workers):
    bag, dataset = make_bag(count=240), tmp_path / 'dataset'
    arguments = ['extract', str(bag), '-o', str(dataset), '--workers', str(workers), '--json']
    with subprocess.Popen(
        [sys.executable, '-m', 'drive_segment_ros.cli', *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120.0
        while time.monotonic() < deadline and not any(dataset.glob('drive/parts/[0-9]*.json')):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, ''), err
    last = err.strip().splitlines()[-1]
    assert f'interrupted; the frames written are kept in {dataset}; continue by' in last
    assert 'Traceback' not in err
    kept = len((dataset / 'drive/front/frames.jsonl').read_text().splitlines())
    assert 0 < kept < 240
    result = CliRunner().invoke(cli.app, [*arguments, '--resume'])
    assert json.loads(result.stdout)['frames'] == 240 - kept
    run(bag, tmp_path / 'whole')
    assert files(dataset) == files(tmp_path / 'whole')


def beams_listed(points: np.ndarray) -> np.ndarray:
    """Return the first 60 % of a sweep stored beam by beam, without ring and times."""
    kept = points[: int(0.6 * len(points))]
    return recfunctions.drop_fields(kept, ['ring', 't'])


def test_a_truncated_sweep_is_told_and_what_it_lacks_stays_unlabelled(make_bag, tmp_path, caplog):
    whole = run(make_bag('whole', count=1), tmp_path / 'whole_set')
    assert (whole.segments_from, whole.incomplete_sweeps) == ({'ring': 1}, 0)
    bag = make_bag('cut', count=1, cloud=beams_listed)
    report = run(bag, tmp_path / 'cut_set')
    assert (report.segments_from, report.incomplete_sweeps) == ({'rows': 1}, 1)
    assert 'ends within beam 20' in caplog.text
    before, after = (
        Drive(tmp_path / name).frames[0] for name in ('whole_set/whole', 'cut_set/cut')
    )
    # The truncated beam points 11 degrees down, to row 80 of 120; no beam is complete below it.
    assert np.mean(before.segment()[85:] > 0) > 0.9
    assert not after.segment()[85:].any()
    assert np.mean(after.segment()[65:75] > 0) > 0.5
    assert 'ends within beam 20' in '\n'.join(p.what for p in inspect(bag).problems)


def without_left(message, number: int) -> None:
    """Remove the left half of the third sweep."""
    if number == 2:
        points = message.data.reshape(-1, message.point_step)
        kept = points[points[:, 4:8].copy().view('<f4')[:, 0] <= 0.0]
        message.data, message.width = kept.reshape(-1), len(kept)
        message.row_step = message.data.size


def test_a_sweep_without_the_sector_that_others_have_is_told(make_bag, tmp_path, caplog):
    bag = make_bag(count=8, sweep=without_left)
    report = run(bag, tmp_path / 'set')
    assert report.incomplete_sweeps == 1
    assert 'no returns at azimuth' in caplog.text
    segments = [frame.segment() for frame in Drive(tmp_path / 'set/drive').frames]
    # The missing sector is the left half of the image.
    assert not segments[2][:, :70].any()
    assert np.mean(segments[3][:, :70] > 0) > 0.5
    assert 'no returns at azimuth' in '\n'.join(p.what for p in inspect(bag).problems)


def test_a_sensor_that_sees_a_part_of_the_turn_only_makes_no_alarm(make_bag, tmp_path, caplog):
    bag = make_bag(count=5, cloud=lambda points: points[points['x'] > 4.0])
    report = run(bag, tmp_path / 'set')
    assert report.incomplete_sweeps == 0
    assert 'incomplete' not in caplog.text
    assert 'incomplete' not in '\n'.join(p.what for p in inspect(bag).problems)


@pytest.mark.parametrize(
    ('order', 'source'),
    [
        (lambda p: p, 'rows'),
        (lambda p: p.reshape(32, -1).T.reshape(-1), 'columns'),
        (lambda p: np.random.default_rng(0).permutation(p), 'elevation'),
        (lambda p: np.random.default_rng(0).permutation(p)[:300], 'none'),
    ],
)
def test_how_segments_are_made_is_said(make_bag, tmp_path, order, source):
    bag = make_bag(
        count=1, cloud=lambda points: order(recfunctions.drop_fields(points, ['ring', 't']))
    )
    answer = CliRunner().invoke(
        cli.app, ['extract', str(bag), '-o', str(tmp_path / 'set'), '--workers', '1']
    )
    assert answer.exit_code == 0
    told = ' '.join(answer.stdout.split())
    assert f'segments of 1 sweeps by {SEGMENTS_FROM[source]}' in told
    (lidar,) = inspect(bag).lidars
    assert lidar.segments_from == SEGMENTS_FROM[source]
    assert (lidar.beams is None) == (source == 'none')
