"""Growth of time, memory and bytes with the data: each stage on 1, 4 and 16 times a drive.

Longer drives repeat the shortest one, with continuous odometry; only the stage `simulate` renders
whole drives. Each stage runs in a separate process with one worker, so that memory and CPU time
are those of a worker. `exponent` is the slope of log time over log data by least squares, over all
sizes; fixed costs lower it, so `exponent_large` is the slope between the two largest sizes, and
`fixed_s` the intercept of a straight line through these two. `scale.<stage>.real` is the stage on
the real drive, if there is one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from dask_cluster import dask_cluster, has_dask
from drives import real_drive
from inference import tiny_model
from process_tree import measured
from repeated_bag import repeat_bag
from scale_stages import SIMULATED, STAGES

from drive_segment_ros.parameters import from_flat
from offline_training.simulator import SimulatorParameters, simulate, truth_folder

SIZES, QUICK_SIZES = (1, 4, 16), (1, 4)
SECONDS, SIMULATED_SECONDS = 4.0, 2.0
# Also run on a cluster, to count the bytes that pass through the client.
CLUSTERED = ('simulate', 'extract', 'segment', 'evaluate')
CLUSTER_WORKERS = 2
REAL = ('extract', 'label', 'segment')
_CLUSTERED_SIZES = (1, 4)
_RUNS = {1: 3, 4: 3, 16: 3}
_STAGES = Path(__file__).with_name('scale_stages.py')


def run(quick: bool = False) -> dict[str, Any]:
    """Measure each stage at each size.

    Args:
        quick: 1 and 4 times only, once each, and no cluster.

    Returns:
        `results` as `drive-segment bench` prints them, where `median_s`, `p95_s`, `peak_mib`,
        `cpu_s` and `bytes` are of the largest size, `ratio` is its time over that of the smallest,
        and `sizes` has the figures of each size.
    """
    sizes = QUICK_SIZES if quick else SIZES
    found: dict[str, dict[int, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix='.bench_scale_') as name:
        folder = Path(name)
        for size in sizes:
            data = folder / str(size)
            _prepare(data, folder, size)
            for stage in STAGES:
                for _ in range(1 if quick else _RUNS[size]):
                    _forget(data, stage)
                    report = _stage(stage, data, size)
                    found.setdefault(stage, {}).setdefault(size, []).append(report)
                    for step, seconds in report.get('steps', {}).items():
                        of_step = {'seconds': seconds, 'items': report['items']}
                        runs = found.setdefault(f'{stage}.{step}', {})
                        runs.setdefault(size, []).append(of_step)
            if not quick and size in _CLUSTERED_SIZES and has_dask():
                with dask_cluster(CLUSTER_WORKERS) as address:
                    for stage in CLUSTERED:
                        _forget(data, stage)
                        report = _stage(stage, data, size, address)
                        runs = found.setdefault(f'{stage}.cluster', {})
                        runs.setdefault(size, []).append(report)
            if size != sizes[0]:
                shutil.rmtree(data)
        real = real_drive()
        if real is not None and not quick:
            data = folder / 'real'
            data.mkdir()
            (data / 'bag').symlink_to(real / 'bag')
            shutil.copytree(folder / '1/model', data / 'model')
            for stage in REAL:
                found[f'{stage}.real'] = {1: [_stage(stage, data, 1)]}
    results = [_result(f'scale.{stage}', of_sizes) for stage, of_sizes in found.items()]
    return {'results': results}


def _prepare(data: Path, folder: Path, size: int) -> None:
    """Write a bag of `size` times the shortest drive, its ground truth, and a model."""
    first = folder / '1'
    period_ns = round(SECONDS * 1e9)
    if size == 1:
        simulate(
            data / 'bag', from_flat(SimulatorParameters, {**SIMULATED, 'duration_s': SECONDS})
        )
        shutil.move(tiny_model(data / 'run'), data / 'model')
        return
    data.mkdir()
    repeat_bag(first / 'bag', data / 'bag', size, period_ns)
    shutil.copytree(first / 'model', data / 'model')
    for path in truth_folder(first / 'bag').glob('front/semantic/*'):
        target = truth_folder(data / 'bag') / 'front/semantic'
        target.mkdir(parents=True, exist_ok=True)
        if path.suffix != '.png':
            shutil.copy(path, target)
            continue
        for number in range(size):
            os.link(path, target / f'{int(path.stem) + number * period_ns}.png')


def _stage(stage: str, data: Path, size: int, scheduler: str = '') -> dict[str, Any]:
    seconds = (SIMULATED_SECONDS if stage == 'simulate' else SECONDS) * size
    return measured(_STAGES, stage, data, seconds, *([scheduler] if scheduler else []))


def _forget(data: Path, stage: str) -> None:
    """Remove the output of a stage's previous run."""
    written = {
        'simulate': ('drive', 'drive_truth'),
        'extract': ('dataset',),
        'train_preparation': ('training',),
        'segment': ('masks',),
    }
    for name in written.get(stage, ()):
        shutil.rmtree(data / name, ignore_errors=True)


def _result(name: str, of_sizes: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the result of a stage from its reports by size, see `run`."""
    sizes = sorted(of_sizes)
    seconds = {size: [report['seconds'] for report in of_sizes[size]] for size in sizes}
    medians = np.array([float(np.median(seconds[size])) for size in sizes])
    items = np.array([of_sizes[size][0]['items'] for size in sizes], float)
    largest = of_sizes[sizes[-1]]
    result: dict[str, Any] = {
        'name': name,
        'median_s': float(medians[-1]),
        'p95_s': float(np.quantile(seconds[sizes[-1]], 0.95)),
        'runs': sum(map(len, of_sizes.values())),
        'peer': False,
        'ratio': float(medians[-1] / medians[0]),
        'items': int(items[-1]),
    }
    if len(sizes) > 1:
        result['exponent'] = _slope(items, medians)
        result['exponent_large'] = _slope(items[-2:], medians[-2:])
        per_item = float(np.diff(medians[-2:])[0] / np.diff(items[-2:])[0])
        result['item_ms'] = 1e3 * per_item
        result['fixed_s'] = float(medians[-1] - per_item * items[-1])
    for key in ('peak_mib', 'cpu_s', 'bytes', 'client_bytes', 'segments'):
        if key in largest[0]:
            result[key] = float(np.median([report[key] for report in largest]))
    if 'cpu_s' in largest[0] and len(sizes) > 1:
        cpu = np.array([np.median([r['cpu_s'] for r in of_sizes[size]]) for size in sizes])
        result['cpu_exponent_large'] = _slope(items[-2:], cpu[-2:])
    result['sizes'] = {
        str(size): {
            key: float(np.median([report[key] for report in of_sizes[size]]))
            for key in ('items', 'seconds', 'cpu_s', 'peak_mib', 'bytes', 'client_bytes')
            if key in of_sizes[size][0]
        }
        for size in sizes
    }
    return result


def _slope(items: np.ndarray, seconds: np.ndarray) -> float:
    """Return the exponent of the power law fitted by least squares to the logarithms."""
    return round(float(np.polyfit(np.log(items), np.log(np.maximum(seconds, 1e-3)), 1)[0]), 3)
