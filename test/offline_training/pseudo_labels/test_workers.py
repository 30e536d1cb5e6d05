"""Labels do not depend on the workers, nor on how drives are divided among them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from boxes import Box, write_boxes
from tables import tracked
from typer.testing import CliRunner

from drive_segment_ros.cli import app
from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.dataset.repair import repair
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import location, write_files
from offline_training.common.files import write_png
from offline_training.pseudo_labels import drive_plan, sampling
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.drive_plan import plan_drives
from offline_training.pseudo_labels.pseudo_classes import label, label_folders
from offline_training.pseudo_labels.segment_table import read_table

FEW = LabelParameters(classes=6, features='descriptor', restarts=2, frames=':20')
FRAMES = 33


def quiet(description):
    return iter


@pytest.fixture(scope='module')
def street(tmp_path_factory) -> Path:
    """A dataset of two drives past boxes, the first with two cameras."""
    folder = tmp_path_factory.mktemp('street') / 'set'
    for number, cameras in enumerate((('front', 'mirror'), ('front',))):
        random = np.random.default_rng(number)
        sizes = random.uniform(0.5, 4.0, (30, 3))
        boxes = [
            Box(4.0 * k + random.uniform(0, 3), random.uniform(-9, 9), high / 2, wide, high, long)
            for k, (wide, high, long) in enumerate(sizes)
        ]
        write_boxes(folder / f'drive_{number}', boxes, FRAMES, *cameras)
    return folder


@pytest.fixture
def dataset(street, tmp_path) -> Path:
    shutil.copytree(street, tmp_path / 'set')
    return tmp_path / 'set'


def labels(dataset: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(dataset)): path.read_bytes()
        for path in sorted(dataset.glob('*/*/pseudo_label/*.png'))
    }


def cut(monkeypatch, frames: int) -> None:
    """Divide drives into ranges of at most `frames` frames."""
    monkeypatch.setattr(drive_plan, '_FEWEST_FRAMES', frames)
    monkeypatch.setattr(drive_plan, '_MOST_FRAMES', frames)


def test_labels_are_the_same_bytes_for_any_workers_and_ranges(dataset, monkeypatch):
    whole = label([dataset], FEW, quiet)
    expected = labels(dataset)
    fingerprint = (dataset / 'pseudo_classes/statistics.json').read_bytes()
    model = (dataset / 'pseudo_classes/clusters.npz').read_bytes()
    assert len(expected) == 3 * FRAMES

    for frames, workers in ((4, 1), (7, 2), (100, 2)):
        cut(monkeypatch, frames)
        assert label([dataset], FEW, quiet, workers) == whole
        assert labels(dataset) == expected
        assert (dataset / 'pseudo_classes/statistics.json').read_bytes() == fingerprint
        assert (dataset / 'pseudo_classes/clusters.npz').read_bytes() == model


def test_tables_do_not_depend_on_how_a_drive_is_divided(dataset):
    (whole, *_), (parts, *_) = ([read_table(p) for p in tracked(dataset, n)] for n in (100, 5))

    assert len(whole.matches) > 500
    for name in ('frame', 'id', 'pixels', 'track', 'moved', 'in_sweep'):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    assert sorted(map(tuple, whole.matches)) == sorted(map(tuple, parts.matches))
    for group, values in whole.features.items():
        assert np.array_equal(values, parts.features[group], equal_nan=True)


def test_more_objects_than_are_learned_from_make_the_same_labels_everywhere(dataset, monkeypatch):
    everything = label([dataset], FEW, quiet)
    monkeypatch.setattr(sampling, 'MOST_OBJECTS', 25)

    reports = [label([dataset], FEW, quiet)]
    first = labels(dataset)
    cut(monkeypatch, 6)
    reports.append(label([dataset], FEW, quiet))

    assert reports[0] == reports[1]
    assert labels(dataset) == first
    assert reports[0]['inertia'] != everything['inertia']
    assert reports[0]['segments'] == everything['segments']


def test_ranges_hold_every_frame_once_and_none_is_a_remnant(dataset):
    for plan in plan_drives(Dataset(dataset), [], 1, 10):
        for camera in plan.frames:
            parts = [part for part in plan.ranges if part.camera == camera]
            frames = [k for part in parts for k in range(part.first, part.last)]
            assert frames == list(range(FRAMES))
            assert {part.last - part.first for part in parts} <= {8, 9}


def test_a_second_run_reads_what_has_changed_and_leaves_no_table_of_the_first(
    dataset, monkeypatch
):
    cut(monkeypatch, 5)
    label([dataset], FEW, quiet)
    index = dataset / 'drive_1/front/frames.jsonl'
    index.write_text(''.join(index.read_text().splitlines(keepends=True)[-8:]))
    cut(monkeypatch, 100)
    for path in labels(dataset):
        (dataset / path).unlink()

    report = label([dataset], FEW, quiet)

    assert report['frames'] == len(labels(dataset)) == 2 * FRAMES + 8
    assert all(frame.pseudo_label_path.exists() for frame in Dataset(dataset).drives[1].frames)
    names = sorted(p.name for p in (dataset / 'pseudo_classes/segments/drive_1').iterdir())
    assert names == [
        *(
            f'front.00000000.{content}.parquet'
            for content in ('classes', 'matches', 'seen_through', 'segments')
        ),
        'tracks.parquet',
    ]


def test_labels_in_object_storage_are_those_of_a_folder(dataset):
    files = {str(p.relative_to(dataset)): p for p in dataset.rglob('*') if p.is_file()}
    remote = location('memory://labelled/set')
    write_files(remote, {name: path.read_bytes() for name, path in files.items()})

    here = label([dataset], FEW, quiet)
    for _ in range(2):  # the second run finds the results of the first
        there = label([remote], FEW, quiet)

    assert {**there, 'datasets': []} == {**here, 'datasets': []}
    expected = labels(dataset)
    assert len(expected) == 3 * FRAMES
    for name, content in expected.items():
        assert (remote / name).read_bytes() == content


def test_a_frame_without_segments_is_unknown_and_costs_the_others_nothing(dataset):
    frames = Dataset(dataset).drives[1].frames
    for frame in frames[3:5]:
        write_png(frame.segment_path, np.zeros_like(frame.segment()))

    report = label([dataset], FEW, quiet)

    shares = [np.mean(frame.pseudo_label() != 255) for frame in frames]
    assert shares[3] == shares[4] == 0.0
    assert min(shares[:3] + shares[5:]) > 0.0
    assert report['frames'] == 3 * FRAMES


def test_a_drive_without_any_segment_stands_beside_one_with(dataset):
    for frame in Dataset(dataset).drives[1].frames:
        write_png(frame.segment_path, np.zeros_like(frame.segment()))

    report = label([dataset], FEW, quiet)

    assert report['coverage'][2]['labelled_fraction'] == 0.0
    assert report['coverage'][0]['labelled_fraction'] > 0.0


def test_tables_are_named_as_results_and_repair_leaves_them(dataset):
    label([dataset], FEW, quiet)
    before = {p for p in dataset.rglob('*') if p.is_file()}
    folders = label_folders([dataset])

    report = repair(dataset)

    assert report.repaired == report.problems == []
    assert {p for p in dataset.rglob('*') if p.is_file()} == before
    for name in ('', 'gallery', 'segments', 'segments/drive_0', 'segments/drive_1'):
        assert dataset / 'pseudo_classes' / name in folders


def test_tables_are_not_written_through_links(dataset, tmp_path):
    (dataset / 'pseudo_classes').mkdir()
    (dataset / 'pseudo_classes/segments').symlink_to(tmp_path)

    with pytest.raises(DatasetError, match='segments is a link'):
        label([dataset], FEW, quiet)


def test_the_command_takes_workers_and_names_a_broken_frame(dataset):
    arguments = ['label', str(dataset), '--features', 'descriptor', '--set', 'restarts=1']
    done = CliRunner().invoke(app, [*arguments, '--workers', '2', '--json'])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)['frames'] == 3 * FRAMES
    before = labels(dataset)
    broken = dataset / 'drive_1/front/segment/1500000000.png'
    broken.write_bytes(b'')

    done = CliRunner().invoke(app, [*arguments, '--workers', '2', '--overwrite'])

    assert done.exit_code == 1
    assert str(broken) in done.stderr
    assert 'Traceback' not in done.output
    # Earlier labels are kept until all segments are described.
    assert labels(dataset) == before
    assert (dataset / 'pseudo_classes/classes.yaml').exists()
