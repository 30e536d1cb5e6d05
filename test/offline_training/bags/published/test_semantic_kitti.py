"""SemanticKITTI: compensated clouds, and a class and an instance for every point."""

from __future__ import annotations

import json
import shutil

import cv2
import kitti_layout
import numpy as np
import pytest
from checks import clouds, odometry_error, on_their_own_instance

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect
from offline_training.bags.published.import_set import ImportOptions, import_set, list_drives
from offline_training.evaluation.drive_truth import load_drive_truth


def imported(root, output):
    report = import_set('semantic-kitti', root, output, ImportOptions(workers=1))
    return output / '08', report.drives[0]


def by_stamp(bag, truth):
    stamps = [cloud.stamp_ns for cloud in clouds(bag)]
    return dict(zip(stamps, truth.values(), strict=True))


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """Return the set, the bag imported from it, the report, and each point's instance by sweep."""
    folder = tmp_path_factory.mktemp('semantic_kitti')
    truth = kitti_layout.write_semantic(folder / 'set')
    bag, done = imported(folder / 'set', folder / 'bags')
    return folder / 'set', bag, done, by_stamp(bag, truth)


def test_points_lie_on_their_own_instance(drive):
    _, bag, done, truth = drive
    share, counted = on_their_own_instance(bag, truth)
    assert counted > 5_000
    assert share > 0.99
    assert done.notes == []


@pytest.mark.parametrize('instant', [-kitti_layout.PERIOD / 2, kitti_layout.PERIOD / 2])
def test_clouds_compensated_to_another_instant_are_seen_to_be_wrong(tmp_path, instant):
    truth = kitti_layout.write_semantic(tmp_path / 'set', moved_to=instant)
    bag, _ = imported(tmp_path / 'set', tmp_path / 'bags')
    assert on_their_own_instance(bag, by_stamp(bag, truth))[0] < 0.97


def test_odometry_is_how_the_vehicle_drove(drive):
    _, bag, _, truth = drive
    metres, degrees = odometry_error(bag, min(truth), max(truth))
    assert metres < 0.01
    assert degrees < 0.01


def test_sixty_four_beams_and_no_times(drive):
    _, bag, _, _ = drive
    for cloud in clouds(bag):
        assert cloud.time is None
        assert len(np.unique(cloud.ring)) == 64


def test_inspect_finds_nothing_wrong_and_truth_fits_what_extract_makes(drive, tmp_path):
    _, bag, _, truth = drive
    assert inspect(bag).problems == []
    report = extract(
        [bag],
        tmp_path / 'dataset',
        lambda declared: from_flat(FrameParameters, dict(declared)),
        ExtractOptions(workers=1),
    )
    assert (report.frames, report.segments_from) == (4, {'ring': 4})
    written = json.loads((tmp_path / 'dataset' / '08' / 'drive.json').read_text())
    assert written['parameters']['point_motion'] == 'compensated'
    assert written['source']['import']['geometry']['no_returns'] is False
    labelled = load_drive_truth(Dataset(tmp_path / 'dataset').drives[0], bag.parent / '08_truth')
    assert len(labelled['image_2'].images) == 4
    assert len(truth) == 4


def test_truth_is_of_the_pixels_that_points_lie_on(drive):
    _, bag, _, _ = drive
    folder = bag.parent / '08_truth' / 'image_2'
    classes = json.loads((folder / 'semantic' / 'classes.json').read_text())
    # The set's ids do not fit into a byte.
    assert classes['ids'][classes['classes'].index('moving-car')] == 252
    assert classes['ids'][-1] == 259
    assert 'unlabeled' not in classes['classes']
    for path in sorted((folder / 'semantic').glob('*.png')):
        semantic = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        instance = cv2.imread(str(folder / 'instance' / path.name), cv2.IMREAD_UNCHANGED)
        assert semantic.dtype == np.uint8
        assert instance.dtype == np.uint16
        known = semantic != 255
        assert 0.2 < known.mean() < 1.0
        names = {classes['classes'][k] for k in np.unique(semantic[known])}
        assert names - {'pole'} == {'road', 'car', 'person', 'building'}
        # Instance 2, the first box, is a car.
        car = known & (instance == 2)
        assert set(np.unique(semantic[car])) == {classes['classes'].index('car')}


def test_truth_of_points_is_in_the_order_of_the_cloud(drive):
    _, bag, _, truth = drive
    for stamp, instance in truth.items():
        with np.load(bag.parent / '08_truth' / 'point_labels' / f'{stamp}.npz') as labels:
            np.testing.assert_array_equal(labels['instance'], instance)


def test_listing_says_what_is_there(drive):
    root, _, _, _ = drive
    (entry,) = list_drives('semantic-kitti', root)
    assert (entry.name, entry.frames, entry.cameras) == ('08', 4, ('image_2',))
    assert entry.labels == 'points of 4 sweeps'


def test_a_sequence_without_labels_has_no_truth(tmp_path):
    kitti_layout.write_semantic(tmp_path / 'set', count=2, labels=False)
    bag, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.truth == ''
    assert [path.name for path in bag.parent.iterdir()] == ['08']


def test_labels_of_another_length_are_told(tmp_path):
    kitti_layout.write_semantic(tmp_path / 'set', count=3)
    path = tmp_path / 'set' / 'sequences' / '08' / 'labels' / '000001.label'
    path.write_bytes(path.read_bytes()[:-8])
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.sweeps == 2
    assert len(done.notes) == 1
    assert '000001.label' in done.notes[0]


def test_poses_may_lie_with_the_benchmark_or_be_missing(tmp_path, drive):
    root, bag, _, _ = drive
    shutil.copytree(root, tmp_path / 'set')
    (tmp_path / 'set' / 'poses').mkdir()
    poses = tmp_path / 'set' / 'sequences' / '08' / 'poses.txt'
    poses.rename(tmp_path / 'set' / 'poses' / '08.txt')
    again, _ = imported(tmp_path / 'set', tmp_path / 'bags')
    assert (again / '08.mcap').read_bytes() == (bag / '08.mcap').read_bytes()
    (tmp_path / 'set' / 'poses' / '08.txt').unlink()
    _, done = imported(tmp_path / 'set', tmp_path / 'others')
    assert done.notes == ['08: no poses.txt, so the motion is unknown']


def test_without_images_the_remedy_is_named(tmp_path):
    kitti_layout.write_semantic(tmp_path / 'set', count=1)
    shutil.rmtree(tmp_path / 'set' / 'sequences' / '08' / 'image_2')
    with pytest.raises(DatasetError, match='unpack image_2 of the odometry benchmark'):
        imported(tmp_path / 'set', tmp_path / 'bags')
