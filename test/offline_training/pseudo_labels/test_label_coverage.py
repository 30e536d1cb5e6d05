from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros.cli import app
from drive_segment_ros.dataset.reader import Dataset
from offline_training.pseudo_labels.label_coverage import DriveCoverage, coverage_warnings

GOOD = np.random.default_rng(0).uniform(0.8, 0.95, 100)
OBJECTS = np.full(100, 20)


def drive(labelled=GOOD, objects=OBJECTS, name='drive') -> DriveCoverage:
    return DriveCoverage(name, np.asarray(labelled, float), np.asarray(objects))


def changed(values: np.ndarray, where: slice, value: float) -> np.ndarray:
    values = values.copy()
    values[where] = value
    return values


@pytest.mark.parametrize(
    ('labelled', 'objects'),
    [
        (GOOD, OBJECTS),
        # Gradual change, as between streets, crossings and parks.
        (np.linspace(0.7, 0.97, 100), np.linspace(3, 200, 100).astype(int)),
        # Low coverage throughout, as with a LiDAR of 16 beams.
        (GOOD - 0.3, OBJECTS),
        # Three successive frames behind a windscreen wiper, and a single frame elsewhere.
        (changed(changed(GOOD, slice(20, 23), 0.1), slice(60, 61), 0.0), OBJECTS),
        (GOOD, changed(OBJECTS, slice(20, 23), 0)),
        ([0.9], [3]),
        ([0.9, 0.9, 0.4, 0.9], [3, 3, 3, 3]),
    ],
)
def test_what_varies_as_streets_do_is_well(labelled, objects):
    whole = drive(labelled, objects)
    assert coverage_warnings([whole]) == []
    assert whole.summary()['poor'] == []


@pytest.mark.parametrize('where', [slice(50, 100), slice(16, 100), slice(40, 46)])
def test_a_range_far_below_the_norm_is_named(where):
    whole = drive(changed(GOOD, where, 0.3))
    (warning,) = coverage_warnings([whole, drive(name='other')])
    assert warning.startswith(f'drive: frames {where.start}:{where.stop} ')
    (poor,) = whole.summary()['poor']
    assert poor == {
        'frames': f'{where.start}:{where.stop}',
        'labelled_fraction': 0.3,
        'frames_with_objects': 1.0,
    }
    assert whole.summary()['norm'] > 0.8


def test_frames_without_objects_are_named():
    whole = drive(objects=changed(OBJECTS, slice(30, 60), 0))
    (warning,) = coverage_warnings([whole])
    assert 'frames 30:60 (30 of 100)' in warning
    assert whole.summary()['poor'][0]['frames_with_objects'] == 0.0


def test_scattered_poor_frames_are_named_where_they_are_many():
    (warning,) = coverage_warnings([drive(changed(GOOD, slice(0, 100, 5), 0.1))])
    assert '(20 of 100)' in warning
    assert 'and others' in warning


@pytest.mark.parametrize(
    ('labelled', 'objects', 'says'),
    [
        (GOOD * 0.1, OBJECTS, 'hardly anything to train on'),
        (np.zeros(100), np.zeros(100, int), 'hardly anything to train on'),
        (GOOD, changed(OBJECTS, slice(0, 70), 0), '70.0% of its frames have no object'),
    ],
)
def test_a_drive_with_next_to_nothing_is_told_whatever_its_norm(labelled, objects, says):
    assert any(says in warning for warning in coverage_warnings([drive(labelled, objects)]))


def test_a_drive_far_below_the_others_is_told():
    (warning,) = coverage_warnings([drive(), drive(GOOD * 0.4, name='turned')])
    assert warning.startswith('turned: ')


def lose(dataset: Path, first: int, last: int) -> None:
    """Remove most segments from frames `first` to `last - 1` of the only drive."""
    for frame in Dataset(dataset).drives[0].frames[first:last]:
        segment = frame.segment()
        segment[:, 20:] = 0
        cv2.imwrite(str(frame.segment_path), segment)


LABEL = ['--classes', '4', '--features', 'descriptor', '--set', 'restarts=1']


def test_label_warns_and_lists_it_in_its_report(painted_drive, tmp_path):
    damaged = tmp_path / 'damaged'
    shutil.copytree(painted_drive.dataset, damaged)
    lose(damaged, 3, 6)
    ran = {
        path: CliRunner().invoke(app, ['label', str(path), *LABEL, '--json'])
        for path in (painted_drive.dataset, damaged)
    }
    assert {run.exit_code for run in ran.values()} == {0}
    well, ill = (json.loads(run.stdout) for run in ran.values())
    assert well['warnings'] == []
    assert well['coverage'][0]['poor'] == []
    assert well['coverage'][0]['frames_with_objects'] == 1.0
    (warning,) = ill['warnings']
    assert warning.startswith('painted/front: frames 3:6 (3 of 6) have ')
    assert ill['coverage'][0]['poor'][0]['frames'] == '3:6'
    statistics = json.loads((damaged / 'pseudo_classes/statistics.json').read_text())
    assert statistics['warnings'] == [warning]


def test_a_person_reads_the_warning(painted_drive):
    lose(painted_drive.dataset, 3, 6)
    run = CliRunner().invoke(app, ['label', str(painted_drive.dataset), *LABEL])
    assert run.exit_code == 0
    assert 'painted/front: frames 3:6' in ' '.join(run.stderr.split())


def test_figures_are_of_one_drive_each(painted_drive):
    shutil.copytree(painted_drive.dataset / 'painted', painted_drive.dataset / 'second')
    run = CliRunner().invoke(app, ['label', str(painted_drive.dataset), *LABEL, '--json'])
    first, second = json.loads(run.stdout)['coverage']
    assert (first['drive'], second['drive']) == ('painted/front', 'second/front')
    assert first | {'drive': 'second/front'} == second
    assert first['frames'] == 6
