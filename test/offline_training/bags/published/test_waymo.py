"""Waymo: points from range images with a pose per pixel, compensated to the sweep's stamp."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import waymo_layout
from checks import on_their_own_instance

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect
from offline_training.bags.published.import_set import ImportOptions, import_set, list_drives
from offline_training.bags.published.sets import waymo, waymo_components

SEGMENT = waymo_layout.SEGMENT


def imported(root: Path, output: Path):
    report = import_set('waymo', root, output, ImportOptions(workers=1))
    return output / SEGMENT, report.drives[0]


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """Return the set, the bag imported from it, the report, and each point's instance by sweep."""
    folder = tmp_path_factory.mktemp('waymo')
    truth = waymo_layout.write(folder / 'set/training')
    bag, done = imported(folder / 'set', folder / 'bags')
    return folder / 'set', bag, done, truth


def test_points_lie_on_their_own_instance(drive):
    _, bag, done, truth = drive
    share, counted = on_their_own_instance(bag, truth)
    assert counted > 2000
    assert share > 0.99
    assert done.notes == ['only first returns of the top LiDAR are imported']
    assert (done.images, done.sweeps) == (8, 4)


@pytest.mark.parametrize('posed_at', [-waymo_layout.TURN / 2, waymo_layout.TURN / 2])
def test_points_moved_to_another_instant_are_seen_to_be_wrong(tmp_path, posed_at, monkeypatch):
    truth = waymo_layout.write(tmp_path / 'set')

    def moved(self, measured, pose, right=waymo.Sweep._moved):
        time = (self.stamp_ns - waymo_layout.stamp_ns(0.0)) * 1e-9
        other = waymo_layout.world(time + posed_at)
        return right(dataclasses.replace(self, T_world_base=other), measured, pose)

    monkeypatch.setattr(waymo.Sweep, '_moved', moved)
    bag, _ = imported(tmp_path / 'set', tmp_path / 'bags')
    assert on_their_own_instance(bag, truth)[0] < 0.985


def test_points_without_their_own_poses_are_seen_to_be_wrong(tmp_path, monkeypatch):
    """Using one pose per sweep instead of lidar_pose puts points on wrong instances."""
    from scipy.spatial.transform import Rotation

    def one_pose(self, measured, pose, right=waymo.Sweep._moved):
        T = self.T_world_base
        yaw, pitch, roll = Rotation.from_matrix(T[:3, :3]).as_euler('ZYX')
        same = np.array([roll, pitch, yaw, *T[:3, 3]])
        return right(self, measured, np.broadcast_to(same, pose.shape))

    truth = waymo_layout.write(tmp_path / 'set')
    monkeypatch.setattr(waymo.Sweep, '_moved', one_pose)
    bag, _ = imported(tmp_path / 'set', tmp_path / 'bags')
    assert on_their_own_instance(bag, truth)[0] < 0.985


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
    written = json.loads((tmp_path / 'dataset' / SEGMENT / 'drive.json').read_text())
    assert written['source']['import']['weights'] == 'no'
    assert written['parameters']['point_motion'] == 'raw'


def test_times_of_columns_are_found_by_the_poses(drive):
    root, _, _, _ = drive
    drive = waymo.SET.open(root, SEGMENT)
    half = waymo_layout.TURN / waymo_layout.COLUMNS / 2
    for sweep in drive.sweeps:
        assert sweep.read.times == pytest.approx((half, waymo_layout.TURN - half), abs=3e-4)


def test_labels_are_of_labelled_frames(drive):
    _, bag, done, truth = drive
    labels = bag.with_name(f'{bag.name}_truth') / 'point_labels'
    names = json.loads((labels / 'classes.json').read_text())['classes']
    assert len(names) == 22
    (file,) = labels.glob('*.npz')
    found, instance = np.load(file), truth[int(file.stem)]
    assert (found['instance'] == instance).all()
    assert {names[k] for k in found['semantic'][instance == 2]} == {'TYPE_CAR'}
    assert done.labelled > 1


def test_uniform_inclinations_are_those_between_the_ends(drive):
    calibration = np.array([]), (-0.3, 0.1), np.eye(4), np.eye(4)
    sweep = waymo.Sweep(Path(), '', 0, 0, None, *calibration, 0, (0.0, 0.1), None)
    rays = sweep._rays(4, 8)
    assert np.allclose(np.arcsin(rays[:, 0, 2]), [0.05, -0.05, -0.15, -0.25])
    # The first column is left of straight behind by half a column, the middle ones are ahead.
    assert np.degrees(np.arctan2(rays[0, 0, 1], rays[0, 0, 0])) == pytest.approx(157.5)
    assert rays[0, 3, 0] > 0.9 * np.cos(0.05)


def test_segments_are_listed(drive):
    root, _, _, _ = drive
    (entry,) = list_drives('waymo', root)
    assert (entry.name, entry.frames) == (SEGMENT, 4)
    assert entry.cameras == ('front', 'front_left')
    assert entry.labels == 'points of 1 sweeps'


def test_what_is_missing_or_damaged_is_told(tmp_path):
    waymo_layout.write(tmp_path / 'set')
    file = tmp_path / f'set/lidar_pose/{SEGMENT}.parquet'
    table = parquet.read_table(file)
    parquet.write_table(table.slice(1), file)
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.sweeps == 3
    assert f'the sweep of {waymo_layout.START_US} us has no pose; it is skipped' in done.notes
    file.unlink()
    waymo_layout.write(tmp_path / 'other')
    for name in ('lidar_pose', 'vehicle_pose'):
        other = tmp_path / f'other/{name}/{SEGMENT}.parquet'
        kept = other.read_bytes()
        other.write_bytes(kept[: len(kept) // 2])
        waymo_components._column.cache_clear()
        with pytest.raises(DatasetError, match=rf'{name}/.* is damaged') as error:
            import_set('waymo', tmp_path / 'other', tmp_path / 'again', ImportOptions(workers=1))
        assert '\n' not in str(error.value)
        other.write_bytes(kept)
