"""PandaSet: points in the world frame, two LiDARs in one table, untrusted pickles."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil

import box_world
import cv2
import numpy as np
import pandaset_layout
import pytest
from checks import clouds, odometry_error, on_their_own_instance

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.motion import Trajectory
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect
from offline_training.bags.published.import_set import ImportOptions, import_set, list_drives
from offline_training.bags.published.sets.pandas_files import read_table


def imported(root, output):
    report = import_set('pandaset', root, output, ImportOptions(workers=1))
    return output / '002', report.drives[0]


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """Return the set, the bag imported from it, the report, and each point's instance by sweep."""
    folder = tmp_path_factory.mktemp('pandaset')
    truth = pandaset_layout.write(folder / 'set')
    bag, done = imported(folder / 'set', folder / 'bags')
    return folder / 'set', bag, done, truth


def test_points_lie_on_their_own_instance(drive):
    _, bag, done, truth = drive
    share, counted = on_their_own_instance(bag, truth)
    assert counted > 10_000
    assert share > 0.99
    assert done.notes == []
    assert (done.images, done.sweeps) == (8, 4)


@pytest.mark.parametrize('late_ns', [-50_000_000, 50_000_000])
def test_poses_of_another_instant_are_seen_to_be_wrong(tmp_path, drive, monkeypatch, late_ns):
    root, _, _, truth = drive
    right = Trajectory.pose
    monkeypatch.setattr(Trajectory, 'pose', lambda self, stamp: right(self, stamp + late_ns))
    bag, _ = imported(root, tmp_path)
    assert on_their_own_instance(bag, truth)[0] < 0.97


def test_a_single_frame_is_taken_as_of_a_vehicle_that_stands(tmp_path):
    pandaset_layout.write(tmp_path / 'set', count=1)
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert (done.images, done.sweeps) == (2, 1)
    assert done.notes[0] == '002: it has a single pose; the vehicle is assumed to be stationary'


def test_odometry_is_how_the_vehicle_drove(drive):
    _, bag, _, _ = drive
    # The tolerances allow for interpolation between poses 0.1 s apart, on a curve.
    start = pandaset_layout.stamp_ns(pandaset_layout.START)
    metres, degrees = odometry_error(bag, start, start + 360_000_000)
    assert metres < 0.05
    assert degrees < 0.2


def test_points_are_back_where_they_were_measured_each_on_its_beam(drive):
    _, bag, _, _ = drive
    for number, cloud in enumerate(clouds(bag)):
        found = pandaset_layout.returns(number)
        xyz = np.stack([cloud.x, cloud.y, cloud.z], 1)
        # The tolerance allows for interpolation between poses 0.1 s apart, on a curve.
        np.testing.assert_allclose(xyz, found.xyz, atol=0.06)
        np.testing.assert_allclose(
            cloud.time, found.time - (number + 1) * pandaset_layout.PERIOD, atol=1e-5
        )
        assert np.mean(cloud.ring == found.row) > 0.995
        assert len(np.unique(cloud.ring)) == 64


def test_inspect_finds_nothing_wrong_and_extract_takes_all(drive, tmp_path):
    _, bag, _, _ = drive
    assert inspect(bag).problems == []
    report = extract(
        [bag],
        tmp_path / 'dataset',
        lambda declared: from_flat(FrameParameters, dict(declared)),
        ExtractOptions(workers=1),
    )
    assert (report.frames, report.dropped, report.segments_from) == (8, {}, {'ring': 4})


def test_truth_has_classes_of_points_and_objects_of_boxes(drive):
    _, bag, _, truth = drive
    folder = bag.parent / '002_truth'
    for stamp, instance in truth.items():
        with np.load(folder / 'point_labels' / f'{stamp}.npz') as labels:
            semantic, objects = labels['semantic'], labels['instance']
        # In the order of their ids: 1 Smoke, 7 Road, 13 Car, 30 Pedestrian, 38 Pole, 41 Building.
        number = {'road': 1, 'car': 2, 'person': 3, 'pole': 4, 'building': 5}
        expected = [number.get(name, 255) for name in box_world.NAMES]
        np.testing.assert_array_equal(semantic, np.array(expected)[instance])
        box = instance > box_world.GROUND
        np.testing.assert_array_equal(objects[box], instance[box] - 1)
    for camera in ('front', 'back'):
        images = sorted((folder / camera / 'semantic').glob('*.png'))
        assert len(images) == 4
        known = cv2.imread(str(images[0]), cv2.IMREAD_UNCHANGED) != 255
        assert 0.2 < known.mean() < 1.0


def test_listing_says_what_is_there(drive):
    (entry,) = list_drives('pandaset', drive[0])
    assert (entry.name, entry.frames, entry.cameras) == ('002', 4, ('front', 'back'))
    assert entry.labels == 'points and boxes'


class _Evil:
    def __reduce__(self):
        return os.system, ('touch pwned',)


@pytest.mark.parametrize(
    'content',
    [
        pickle.dumps(_Evil()),
        # A NumPy function that executes its argument.
        b'cnumpy.testing._private.utils\nrunstring\n(Vx=1\n}tR.',
        b'cpandas\neval\n(V1\ntR.',
        b'cbuiltins\neval\n(V1\ntR.',
    ],
)
def test_a_pickle_that_would_run_code_is_refused_in_one_line(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / '00.pkl.gz'
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DatasetError, match='may run code') as caught:
        read_table(path)
    assert '\n' not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / 'pwned').exists()


@pytest.mark.parametrize(
    ('spoil', 'what'),
    [
        (lambda data: data[:-2000], 'damaged'),
        (lambda data: gzip.compress(pickle.dumps([1, 2])), 'has no table'),
        (lambda data: gzip.compress(b'nothing'), 'damaged'),
        (lambda data: gzip.compress(pickle.dumps(_Evil())), 'may run code'),
    ],
)
def test_a_damaged_sweep_is_left_out_and_told(tmp_path, drive, spoil, what):
    shutil.copytree(drive[0], tmp_path / 'set')
    path = tmp_path / 'set' / '002' / 'lidar' / '02.pkl.gz'
    path.write_bytes(spoil(path.read_bytes()))
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.sweeps == 3
    assert len(done.notes) == 1
    assert '02.pkl.gz' in done.notes[0]
    assert what in done.notes[0]


def test_classes_of_another_sweep_are_told(tmp_path, drive):
    shutil.copytree(drive[0], tmp_path / 'set')
    folder = tmp_path / 'set' / '002' / 'annotations' / 'semseg'
    (folder / '01.pkl.gz').write_bytes((folder / '03.pkl.gz').read_bytes())
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.sweeps == 3
    assert '01.pkl.gz has' in done.notes[0]
