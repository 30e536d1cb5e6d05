"""Argoverse 2: points compensated to the start of the sweep, two LiDARs in one file, boxes."""

from __future__ import annotations

import json
from pathlib import Path

import argoverse2_layout
import numpy as np
import pytest
from checks import on_their_own_instance
from pyarrow import feather

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.perception.clouds import cloud_from_message
from drive_segment_ros.ros.bags import BagReader
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect
from offline_training.bags.published.import_set import ImportOptions, import_set, list_drives

LOG = argoverse2_layout.LOG


def imported(root: Path, output: Path):
    report = import_set('argoverse2', root, output, ImportOptions(workers=1))
    return output / LOG, report.drives[0]


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    """Return the set, the bag imported from it, the report, and each point's instance by sweep."""
    folder = tmp_path_factory.mktemp('argoverse')
    truth = argoverse2_layout.write(folder / 'set')
    bag, done = imported(folder / 'set', folder / 'bags')
    return folder / 'set', bag, done, truth


def test_points_lie_on_their_own_instance(drive):
    _, bag, done, truth = drive
    share, counted = on_their_own_instance(bag, truth)
    assert counted > 2000
    assert share > 0.99
    assert done.notes == ['the points of the lower LiDAR are not imported']
    assert (done.images, done.sweeps) == (16, 4)


@pytest.mark.parametrize('moved_to', [argoverse2_layout.TURN, argoverse2_layout.TURN / 2])
def test_points_moved_to_another_instant_are_seen_to_be_wrong(tmp_path, moved_to):
    truth = argoverse2_layout.write(tmp_path / 'set', moved_to=moved_to)
    bag, _ = imported(tmp_path / 'set', tmp_path / 'bags')
    assert on_their_own_instance(bag, truth)[0] < 0.985


def test_inspect_finds_nothing_wrong_and_extract_takes_all_near_a_sweep(drive, tmp_path):
    _, bag, _, _ = drive
    assert inspect(bag).problems == []
    report = extract(
        [bag],
        tmp_path / 'dataset',
        lambda declared: from_flat(FrameParameters, dict(declared)),
        ExtractOptions(workers=1),
    )
    # Per camera and sweep, the image taken as the upper unit passes; the other one is dropped.
    assert report.frames == 8
    assert report.dropped == {'sweep_taken': 8}
    written = json.loads((tmp_path / 'dataset' / LOG / 'drive.json').read_text())
    assert written['source']['import']['geometry']['compensated_to'] == 'start'
    assert written['parameters']['point_motion'] == 'raw'


def test_each_beam_has_its_one_elevation_from_the_highest(drive):
    _, bag, _, _ = drive
    with BagReader(bag) as reader:
        sweeps = [
            cloud_from_message(reader.deserialize(m.raw, m.msgtype))
            for m in reader.messages(['/lidar/points'])
        ]
    expected = np.sort(argoverse2_layout.ELEVATIONS)[::-1]
    for cloud in sweeps:
        elevation = np.degrees(np.arctan2(cloud.z, np.hypot(cloud.x, cloud.y)))
        for ring in np.unique(cloud.ring):
            # A percentile, because the elevation of the nearest points is the least exact.
            off = np.abs(elevation[cloud.ring == ring] - expected[ring])
            assert np.percentile(off, 95) < 0.05


def test_points_in_boxes_have_their_class_and_track(drive):
    _, bag, done, truth = drive
    labels = bag.with_name(f'{bag.name}_truth') / 'point_labels'
    names = json.loads((labels / 'classes.json').read_text())['classes']
    for file in labels.glob('*.npz'):
        found, instance = np.load(file), truth[int(file.stem)]
        of_first = found['semantic'][instance == 2]
        assert np.mean(of_first == names.index('REGULAR_VEHICLE')) > 0.99
        assert len(np.unique(found['instance'][instance == 2])) <= 2
        # Outside the boxes there are no labels; only a few ground points are inside boxes.
        assert np.count_nonzero(found['semantic'][instance == 1] != 255) < 20
    assert done.labelled > 4


def test_logs_are_listed_from_any_folder(drive):
    root, _, _, _ = drive
    for folder in (root, root / 'val', root / 'val' / LOG):
        (entry,) = list_drives('argoverse2', folder)
        assert (entry.name, entry.frames, entry.labels) == (LOG, 4, 'boxes')
        assert entry.cameras == ('ring_front_center', 'ring_front_left')


def test_what_is_damaged_is_told(tmp_path):
    argoverse2_layout.write(tmp_path / 'set')
    log = tmp_path / 'set/val' / LOG
    first, second, *_ = sorted((log / 'sensors/lidar').iterdir())
    first.write_bytes(first.read_bytes()[:-100])
    table = feather.read_table(second)
    feather.write_feather(table.drop_columns(['offset_ns']), str(second))
    _, done = imported(tmp_path / 'set', tmp_path / 'bags')
    assert done.sweeps == 2
    assert [line for line in done.notes if 'is damaged or lacks columns' in line] == done.notes[1:]
    (log / 'city_SE3_egovehicle.feather').unlink()
    with pytest.raises(DatasetError, match=r'cannot read .*city_SE3.*download the log again'):
        import_set('argoverse2', log, tmp_path / 'again', ImportOptions(workers=1))
