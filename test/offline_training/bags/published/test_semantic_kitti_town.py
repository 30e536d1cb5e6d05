"""SemanticKITTI import of a simulated HDL-64 drive, less regular than `box_world`."""

from __future__ import annotations

import numpy as np
import pytest
import town_layout
from checks import clouds

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.bags.inspect import inspect
from offline_training.bags.published.import_set import ImportOptions, import_set
from offline_training.evaluation.segment_scores import score_segments
from offline_training.simulator import SimulatorParameters, simulate, truth_folder


@pytest.fixture(scope='module')
def town(tmp_path_factory):
    """Return the bag of an imported simulated drive, and the beam of each point by sweep."""
    folder = tmp_path_factory.mktemp('town')
    flat = {'seed': 3, 'duration_s': 0.5, 'lidar.model': 'hdl64'}
    flat |= {'camera.width': 480, 'camera.height': 270}
    simulate(folder / 'bag', from_flat(SimulatorParameters, flat))
    rings = town_layout.write(folder / 'bag', truth_folder(folder / 'bag'), folder / 'set')
    import_set('semantic-kitti', folder / 'set', folder / 'bags', ImportOptions(workers=1))
    return folder / 'bags' / '08', rings


def test_rows_are_the_beams_that_measured_them(town):
    bag, rings = town
    assert len(rings) > 3
    for cloud, ring in zip(clouds(bag), rings, strict=True):
        # Motion compensation may move points across the azimuth at which rows start.
        assert np.mean(cloud.ring == ring) > 0.999


def test_segments_are_pure(town, tmp_path):
    bag, rings = town
    assert inspect(bag).problems == []
    report = extract(
        [bag],
        tmp_path / 'dataset',
        lambda declared: from_flat(FrameParameters, dict(declared)),
        ExtractOptions(workers=1),
    )
    assert report.segments_from == {'ring': len(rings)}
    (drive,) = Dataset(tmp_path / 'dataset').drives
    (frames,) = drive.cameras.values()
    truth = bag.with_name(f'{bag.name}_truth') / 'image_2' / 'semantic'
    scores = score_segments(frames, truth).summary()
    assert scores['coverage'] > 95.0
    assert scores['purity'] > 92.0
