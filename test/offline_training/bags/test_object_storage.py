"""A bag in object storage is read, inspected and extracted exactly as its local copy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.storage import write_files
from offline_training.simulator import SimulatorParameters, simulate

SMALL = {'duration_s': 1.0, 'camera.width': 96, 'camera.height': 64, 'lidar.model': 'vlp16'}


@pytest.fixture
def bags(tmp_path: Path, bucket: Path) -> tuple[Path, Path]:
    """Return a simulated bag on disk, and its copy in a bucket."""
    here, there = tmp_path / 'drive', bucket / 'bags/drive'
    simulate(here, from_flat(SimulatorParameters, SMALL), workers=1)
    write_files(there, {file.name: file.read_bytes() for file in here.iterdir()})
    return here, there


def test_a_simulated_bag_is_the_local_one(bags: tuple[Path, Path], tmp_path: Path) -> None:
    here, there = bags
    with BagReader(here) as one, BagReader(there) as two:
        messages = list(one.messages())
        assert list(two.messages()) == messages
        assert one.topics == two.topics
        assert one.damage == two.damage == []

    reports, datasets = [], []
    for bag in bags:
        dataset = tmp_path / f'dataset_{len(datasets)}'
        for command in (('inspect', bag), ('extract', bag, '-o', dataset, '--workers', 1)):
            done = CliRunner().invoke(cli.app, [str(part) for part in (*command, '--json')])
            assert done.exit_code == 0, done.output
            reports.append(json.loads(done.stdout))
        datasets.append(
            {p.relative_to(dataset): p.read_bytes() for p in dataset.rglob('*') if p.is_file()}
        )
    assert reports[0]['bag'] == str(here)
    assert reports[2]['bag'] == str(there)
    assert {**reports[0], 'bag': ''} == {**reports[2], 'bag': ''}
    assert reports[1]['frames'] == reports[3]['frames'] > 5
    assert datasets[0] == datasets[1]
