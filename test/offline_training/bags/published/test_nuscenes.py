"""nuScenes: points compensated to the end of the sweep, triggered cameras, lidarseg labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import nuscenes_layout
import pytest
from checks import on_their_own_instance

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.clouds import cloud_from_message
from drive_segment_ros.ros.bags import BagReader
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect
from offline_training.bags.published.import_set import ImportOptions, import_set, list_drives
from offline_training.bags.published.sets import nuscenes, nuscenes_tables
from offline_training.evaluation.drive_truth import load_labelled


@pytest.fixture(autouse=True)
def _fresh():
    nuscenes_tables.read_tables.cache_clear()


def imported(root: Path, output: Path, **options):
    report = import_set('nuscenes', root, output, ImportOptions(workers=1, **options))
    return output / nuscenes_layout.SCENE, report.drives[0]


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """Return the set, the bag imported from it, the report, and each point's instance by sweep."""
    folder = tmp_path_factory.mktemp('nuscenes')
    truth = nuscenes_layout.write(folder / 'set')
    bag, done = imported(folder / 'set', folder / 'bags')
    return folder / 'set', bag, done, truth


def test_points_lie_on_their_own_instance(drive):
    _, bag, done, truth = drive
    share, counted = on_their_own_instance(bag, truth)
    assert counted > 2000
    assert share > 0.99
    assert done.notes == []
    assert (done.images, done.sweeps) == (8, 8)


@pytest.mark.parametrize('moved_to', [-nuscenes_layout.TURN, nuscenes_layout.TURN])
def test_points_moved_to_another_instant_are_seen_to_be_wrong(tmp_path, moved_to):
    truth = nuscenes_layout.write(tmp_path / 'set', moved_to=moved_to)
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
    written = json.loads((tmp_path / 'dataset' / nuscenes_layout.SCENE / 'drive.json').read_text())
    assert written['source']['import']['geometry']['compensated_to'] == 'end'
    assert written['parameters']['point_motion'] == 'raw'
    found = load_labelled(
        'folder', tmp_path / 'dataset', bag.with_name(f'{bag.name}_truth'), space='common-12'
    )
    classes = {
        part.classes[number]
        for part in found.values()
        for item in part.images
        for number in np.unique(part.label(item))
        if number != 255
    }
    assert classes == {'car', 'building', 'road', 'person'}


def test_beams_are_counted_from_the_highest(drive):
    _, bag, _, _ = drive
    with BagReader(bag) as reader:
        sweeps = [
            cloud_from_message(reader.deserialize(m.raw, m.msgtype))
            for m in reader.messages(['/lidar/points'])
        ]
    for cloud in sweeps:
        elevation = np.arctan2(cloud.z, np.hypot(cloud.x, cloud.y))
        middle = [np.median(elevation[cloud.ring == k]) for k in range(nuscenes.BEAMS)]
        known = [value for value in middle if np.isfinite(value)]
        assert len(known) > 20
        # Without the motion compensation of the set, all points of a beam have its elevation.
        expected = np.radians(nuscenes_layout.ELEVATIONS[::-1])[cloud.ring]
        assert np.percentile(np.abs(elevation - expected), 99) < np.radians(0.05)
        # All but the two lowest beams, which the sensor has swapped.
        assert (np.diff(known)[:-1] < 0).all()


def test_labels_are_of_key_frames(drive):
    _, bag, done, truth = drive
    labels = bag.with_name(f'{bag.name}_truth') / 'point_labels'
    names = json.loads((labels / 'classes.json').read_text())['classes']
    assert 'noise' not in names
    (file,) = labels.glob('*.npz')
    semantic = np.load(file)['semantic']
    instance = truth[int(file.stem)]
    assert len(semantic) == len(instance)
    assert names[int(semantic[instance == 2][0])] == 'vehicle.car'
    assert done.labelled > 1


def test_a_single_sweep_is_taken_as_of_a_vehicle_that_stands(tmp_path):
    nuscenes_layout.write(tmp_path / 'set', sweeps=1)
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.sweeps == 1
    assert done.notes == [
        'scene-0061: it has a single pose; the vehicle is assumed to be stationary'
    ]


def test_scenes_are_listed(drive):
    root, _, _, _ = drive
    (entry,) = list_drives('nuscenes', root)
    assert entry.name == nuscenes_layout.SCENE
    assert (entry.frames, entry.cameras) == (8, ('front', 'front_left'))
    assert entry.labels == 'points of 1 sweeps'


def test_what_is_missing_or_cut_is_told(tmp_path):
    root = tmp_path / 'set'
    nuscenes_layout.write(root)
    files = sorted((root / 'sweeps/LIDAR_TOP').iterdir())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-7])
    (label,) = (root / 'lidarseg/v1.0-mini').iterdir()
    label.write_bytes(label.read_bytes()[:-1])
    _, done = imported(root, tmp_path / 'bags')
    assert done.sweeps == 5
    assert done.notes[0].endswith('LIDAR_TOP: 1 of 8 files are missing')
    assert any('it is truncated' in line for line in done.notes)
    assert any('labels, its sweep' in line for line in done.notes)
    nuscenes_tables.read_tables.cache_clear()
    tables = root / 'v1.0-mini'
    (tables / 'ego_pose.json').write_text('[{')
    with pytest.raises(DatasetError, match=r'ego_pose.json is damaged: .*unpack the metadata'):
        imported(root, tmp_path / 'others')
    (tables / 'ego_pose.json').unlink()
    with pytest.raises(DatasetError, match=r'cannot read .*ego_pose.json'):
        imported(root, tmp_path / 'others')
    nuscenes_tables.read_tables.cache_clear()
    rows = json.loads((tables / 'sample_data.json').read_text())
    rows[3]['sample_token'] = 'of another version'
    (tables / 'sample_data.json').write_text(json.dumps(rows))
    with pytest.raises(DatasetError, match=r"sample_data.json has a row .* 'of another version'"):
        list_drives('nuscenes', root)
