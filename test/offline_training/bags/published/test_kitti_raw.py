"""KITTI raw: times of points, beams, lost frames, truncated and missing files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import kitti_layout
import numpy as np
import pytest
from checks import clouds, odometry_error, on_their_own_instance

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect
from offline_training.bags.published.import_set import ImportOptions, import_set, list_drives
from offline_training.bags.published.sets import kitti_files

NAME = '2011_09_26_drive_0005_sync'


def imported(root: Path, output: Path, name: str = NAME):
    report = import_set('kitti-raw', root, output, ImportOptions([name], workers=1))
    return output / name, report.drives[0]


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """Return the set, the bag imported from it, the report, and each point's instance by sweep."""
    folder = tmp_path_factory.mktemp('kitti')
    truth = kitti_layout.write_raw(folder / 'set')
    bag, done = imported(folder / 'set', folder / 'bags')
    return folder / 'set', bag, done, truth


def test_points_lie_on_their_own_instance(drive):
    _, bag, done, truth = drive
    share, counted = on_their_own_instance(bag, truth)
    assert counted > 10_000
    assert share > 0.99
    assert done.notes == []
    assert (done.images, done.sweeps) == (8, 4)


@pytest.mark.parametrize('late', [-0.03, 0.03])
def test_sweeps_at_another_time_are_seen_to_be_wrong(tmp_path, late):
    truth = kitti_layout.write_raw(tmp_path / 'set')
    points = tmp_path / 'set' / kitti_layout.DATE / NAME / 'velodyne_points'
    times = [kitti_layout.frame_time(number) + late for number in range(4)]
    half = kitti_layout.PERIOD / 2
    for name, offset in (('start', -half), ('end', half)):
        lines = [kitti_layout.line(time + offset) for time in times]
        (points / f'timestamps_{name}.txt').write_text('\n'.join(lines) + '\n')
    bag, _ = imported(tmp_path / 'set', tmp_path / 'bags')
    assert on_their_own_instance(bag, truth)[0] < 0.985


def test_points_have_the_times_at_which_they_were_measured(drive):
    _, bag, _, _ = drive
    for number, cloud in enumerate(clouds(bag)):
        time = kitti_layout.returns(number).time - kitti_layout.frame_time(number)
        np.testing.assert_allclose(cloud.time, time, atol=1e-5)
        assert cloud.stamp_ns == kitti_layout.stamp_ns(kitti_layout.frame_time(number))


def test_odometry_is_how_the_vehicle_drove(drive):
    _, bag, _, _ = drive
    start, end = kitti_layout.START_NS, kitti_layout.stamp_ns(kitti_layout.frame_time(3) + 0.003)
    metres, degrees = odometry_error(bag, start, end)
    assert metres < 0.02
    assert degrees < 0.1


def test_beams_are_the_rows_of_the_file(drive):
    _, bag, _, _ = drive
    for number, cloud in enumerate(clouds(bag)):
        np.testing.assert_array_equal(cloud.ring, kitti_layout.returns(number).row)


@pytest.mark.parametrize('sector', [(0.0, 40.0), (100.0, 230.0), (300.0, 360.0)])
def test_beams_of_which_only_a_sector_returns(sector):
    found = kitti_layout.returns(0)
    azimuth = np.degrees(np.arctan2(found.xyz[:, 1], found.xyz[:, 0])) % 360.0
    first, last = sector
    kept = found.where((found.row >= 9) | ((azimuth > first) & (azimuth < last)))
    _, number = np.unique(kept.row, return_inverse=True)
    rings = kitti_files.rings_of(kept.xyz.astype(np.float32))
    np.testing.assert_array_equal(rings, number.reshape(-1))


def test_beams_where_points_are_not_quite_in_the_order_of_azimuth():
    found = kitti_layout.returns(0)
    rng = np.random.default_rng(1)
    turned = np.arctan2(found.xyz[:, 1], found.xyz[:, 0]) + rng.normal(0.0, 0.006, len(found.xyz))
    level = np.hypot(found.xyz[:, 0], found.xyz[:, 1])
    xyz = np.stack([level * np.cos(turned), level * np.sin(turned), found.xyz[:, 2]], 1)
    rings = kitti_files.rings_of(xyz.astype(np.float32))
    assert rings is not None
    assert np.mean(rings == found.row) > 0.99


def test_points_in_no_order_have_no_beams_by_it():
    xyz = kitti_layout.returns(0).xyz.astype(np.float32)
    assert kitti_files.rings_of(np.random.default_rng(1).permutation(xyz)) is None


def test_inspect_finds_nothing_wrong_and_extract_takes_all(drive, tmp_path):
    _, bag, _, _ = drive
    assert inspect(bag).problems == []
    report = extract(
        [bag],
        tmp_path / 'dataset',
        lambda declared: from_flat(FrameParameters, dict(declared)),
        ExtractOptions(workers=1),
    )
    assert (report.frames, report.dropped) == (8, {})
    written = json.loads((tmp_path / 'dataset' / NAME / 'drive.json').read_text())
    assert written['source']['import']['geometry']['compensated_to'] == 'none'
    assert written['source']['import']['licence'] == 'CC BY-NC-SA 3.0'
    assert written['parameters']['point_motion'] == 'raw'
    frames = (tmp_path / 'dataset' / NAME / 'image_02' / 'frames.jsonl').read_text()
    assert {json.loads(line)['motion'] for line in frames.splitlines()} == {'per_point'}


def test_images_are_the_published_files(drive):
    root, bag, _, _ = drive
    from drive_segment_ros.ros.bags import BagReader

    with BagReader(bag) as reader:
        topic = '/camera/image_02/image_raw/compressed'
        read = [reader.deserialize(m.raw, m.msgtype) for m in reader.messages([topic])]
    files = sorted((root / kitti_layout.DATE / NAME / 'image_02' / 'data').iterdir())
    assert [bytes(message.data) for message in read] == [file.read_bytes() for file in files]
    assert {message.format for message in read} == {'png'}


def test_images_before_rectification_and_points_as_text(tmp_path):
    truth = kitti_layout.write_raw(tmp_path / 'set', count=3, cameras=('02',), release='extract')
    name = NAME.replace('sync', 'extract')
    bag, _ = imported(tmp_path / 'set', tmp_path / 'bags', name)
    share, counted = on_their_own_instance(bag, truth)
    assert counted > 3_000
    assert share > 0.99


def test_lost_frames_are_told_and_others_matched_by_time(tmp_path):
    truth = kitti_layout.write_raw(tmp_path / 'set', lost=(1,))
    bag, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert len(done.notes) == 1
    assert 'velodyne_points: 1 frames were lost, the first is number 1' in done.notes[0]
    assert done.sweeps == 3
    assert on_their_own_instance(bag, truth)[0] > 0.99


def test_lost_frames_without_empty_lines(tmp_path):
    truth = kitti_layout.write_raw(tmp_path / 'set', lost=(1,))
    points = tmp_path / 'set' / kitti_layout.DATE / NAME / 'velodyne_points'
    for path in points.glob('timestamps*.txt'):
        lines = [line for line in path.read_text().splitlines() if line]
        path.write_text('\n'.join(lines) + '\n')
    bag, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.sweeps == 3
    assert on_their_own_instance(bag, truth)[0] > 0.99


def test_files_that_are_missing_are_told(tmp_path):
    kitti_layout.write_raw(tmp_path / 'set')
    folder = tmp_path / 'set' / kitti_layout.DATE / NAME
    (folder / 'image_03' / 'data' / '0000000001.png').unlink()
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.images == 7
    assert len(done.notes) == 1
    assert 'image_03: 1 frames were lost, the first is number 1' in done.notes[0]


def test_grey_images_are_taken(tmp_path):
    kitti_layout.write_raw(tmp_path / 'set', count=2, cameras=('00',))
    folder = tmp_path / 'set' / kitti_layout.DATE / NAME / 'image_00' / 'data'
    for path in folder.iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    bag, _ = imported(tmp_path / 'set', tmp_path / 'bags')
    report = extract([bag], tmp_path / 'set2', FrameParameters(), ExtractOptions(workers=1))
    assert (report.frames, report.dropped) == (2, {})


def test_a_sweep_that_was_cut_off_is_left_out_and_told(tmp_path):
    kitti_layout.write_raw(tmp_path / 'set')
    points = tmp_path / 'set' / kitti_layout.DATE / NAME / 'velodyne_points' / 'data'
    path = points / '0000000002.bin'
    path.write_bytes(path.read_bytes()[:-7])
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.sweeps == 3
    assert len(done.notes) == 1
    assert '0000000002.bin' in done.notes[0]
    assert 'truncated' in done.notes[0]


def test_a_record_of_the_motion_that_is_damaged_is_left_out_and_told(tmp_path):
    kitti_layout.write_raw(tmp_path / 'set')
    path = tmp_path / 'set' / kitti_layout.DATE / NAME / 'oxts' / 'data' / '0000000001.txt'
    path.write_text('49.0 8.4\n')
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert len(done.notes) == 1
    assert '0000000001.txt' in done.notes[0]


def test_what_is_missing_is_named(tmp_path):
    kitti_layout.write_raw(tmp_path, count=1)
    calibration = tmp_path / kitti_layout.DATE / 'calib_velo_to_cam.txt'
    calibration.unlink()
    with pytest.raises(DatasetError, match=r'calib_velo_to_cam\.txt.*download the calibration'):
        imported(tmp_path, tmp_path / 'bags')
    assert not (tmp_path / 'bags').exists()


def test_the_odometry_benchmark_is_named(tmp_path):
    (tmp_path / 'sequences').mkdir()
    with pytest.raises(DatasetError, match='import it as semantic-kitti'):
        list_drives('kitti-raw', tmp_path)
