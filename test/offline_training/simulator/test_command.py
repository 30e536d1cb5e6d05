from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drive_segment_ros.cli import app


def test_simulate_takes_faults_and_sizes(tmp_path: Path) -> None:
    bag = tmp_path / 'drive'
    arguments = [
        'simulate',
        '-o',
        str(bag),
        '--seed',
        '1',
        '--duration',
        '0.4',
        '--lidar',
        'vlp16',
    ]
    arguments += ['--camera', 'plumb_bob', '--size', '64x48', '--fault', 'lost=1.0', '--preview']
    result = CliRunner().invoke(app, [*arguments, '--json'])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary['images'], summary['sweeps'], summary['lost']) == (0, 0, 8)
    truth = json.loads((Path(summary['truth']) / 'truth.json').read_text())
    assert truth['cameras']['front']['width'] == 64
    assert truth['parameters']['lidar.model'] == 'vlp16'


@pytest.mark.parametrize(
    ('wrong', 'word'),
    [
        (['--size', '960'], '960x540'),
        (['--size', '²x²'], '960x540'),
        (['--fault', 'fog=1'], 'fault.fog'),
        (['--lidar', 'radar'], 'lidar.model'),
        (['--duration', '0'], 'duration_s'),
    ],
)
def test_bad_options_are_one_line(tmp_path: Path, wrong: list[str], word: str) -> None:
    result = CliRunner().invoke(app, ['simulate', '-o', str(tmp_path / 'drive'), *wrong])
    assert result.exit_code == 1
    assert word in result.stderr
    assert result.stderr.count('\n') == 1
    assert not (tmp_path / 'drive').exists()
