"""`inspect` reports the faults of simulated drives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from drive_segment_ros.parameters import from_flat
from offline_training.bags.inspect import inspect
from offline_training.bags.inspect_report import PairReport
from offline_training.simulator import SimulatorParameters, simulate


def seen(bag: Path, **values: Any) -> tuple[PairReport, str]:
    """Simulate a drive; return `inspect`'s report of camera and LiDAR, and its problems."""
    simulate(bag, from_flat(SimulatorParameters, values))
    report = inspect(bag)
    (pair,) = report.pairs
    return pair, '\n'.join(f'{p.what} -> {p.fix}' for p in report.problems)


@pytest.mark.parametrize(('offset_s', 'jitter_s'), [(-0.04, 0.0), (0.0, 0.004), (0.04, 0.004)])
def test_time_offset_is_told_to_10_ms(tmp_path: Path, offset_s: float, jitter_s: float) -> None:
    faults = {'fault.time_offset_s': offset_s, 'fault.time_jitter_s': jitter_s}
    size = {'camera.width': 64, 'camera.height': 48, 'lidar.model': 'vlp16', 'duration_s': 1.0}
    pair, problems = seen(tmp_path / 'drive', **faults, **size)
    assert pair.camera_lidar_offset_ms == pytest.approx(1e3 * offset_s, abs=5.0)
    advice = re.search(r'camera_delay_s=(\S+)', problems)
    if offset_s == 0.0:
        assert not problems
    else:
        assert advice is not None
        assert float(advice[1]) == pytest.approx(offset_s, abs=0.005)
        assert ('that much late' in problems) is (offset_s > 0.0)


@pytest.mark.parametrize('error_deg', [0.0, 1.5, 3.0])
def test_wrong_extrinsics_are_noticed(tmp_path: Path, error_deg: float) -> None:
    size = {'seed': 1, 'camera.width': 640, 'camera.height': 360, 'duration_s': 0.8}
    pair, problems = seen(tmp_path / 'drive', **size, **{'fault.extrinsic_error_deg': error_deg})
    assert pair.extrinsics is not None
    assert pair.extrinsics.ok is (error_deg == 0.0)
    assert pair.extrinsics.angle_deg == pytest.approx(error_deg, abs=0.4)
    assert ('would correct it' in problems) is (error_deg > 0.0)


def test_no_camera_of_a_sound_rig_is_called_late_or_turned(tmp_path: Path) -> None:
    """A correct rig of six cameras has no fault, nor has its rear camera, where sweeps begin."""
    values = {'seed': 1, 'rig': 'six', 'camera.width': 480, 'camera.height': 270}
    simulate(tmp_path / 'drive', from_flat(SimulatorParameters, {**values, 'duration_s': 0.8}))
    report = inspect(tmp_path / 'drive')
    assert [problem.what for problem in report.problems] == []
    assert len(report.pairs) == 6
    for pair in report.pairs:
        assert pair.camera_lidar_offset_ms == pytest.approx(0.0, abs=6.0), pair.camera
        assert pair.extrinsics is not None
        assert pair.extrinsics.ok is not False
    assert sum(pair.extrinsics.ok is True for pair in report.pairs if pair.extrinsics) >= 4
