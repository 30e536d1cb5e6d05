"""Time per frame of `drive-segment extract`: process start, reading and writing included.

Each run starts a new process, because a second extraction in the same process would find the
workers' modules imported.

`extract.rig` is a simulated rig of three cameras; its `ratio` is the time per sweep with all
cameras over that with one camera of the same bag. `extract.cluster` is four bags on two workers of
a dask cluster; its `ratio` is the time over that with one worker.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from dask_cluster import dask_cluster, has_dask
from drives import some_bag
from processes import command

from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from offline_training.bags.extract import ExtractOptions, ExtractReport, extract
from offline_training.simulator import SimulatorParameters, simulate

CAMERA = '/camera/front/image_raw/compressed'


def run(quick: bool = False) -> dict[str, Any]:
    """Extract drives several times; `median_s` and `p95_s` are seconds per frame."""
    runs = 1 if quick else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag, source = some_bag(folder, duration_s=1.0 if quick else 5.0)
        reports = [_extract(bag, folder / f'dataset{k}') for k in range(runs)]
        rig = folder / 'rig'
        flat = {'rig': 'three', 'duration_s': 1.0 if quick else 5.0}
        simulate(rig, from_flat(SimulatorParameters, flat))
        # Alternate, so that other load on the machine affects both.
        pairs = [
            (
                _extract(rig, folder / f'one{k}', (CAMERA,)),
                _extract(rig, folder / f'three{k}'),
            )
            for k in range(runs)
        ]
        clustered = [] if quick or not has_dask() else _on_clusters(bag, folder)
    ones, threes = zip(*pairs, strict=True)
    ratio = float(np.median([_sweep_s(three) / _sweep_s(one) for one, three in pairs]))
    return {
        'results': [
            _result('extract.frame', reports),
            _result('extract.one_of_rig', ones),
            {**_result('extract.rig', threes), 'ratio': ratio},
            *clustered,
        ],
        'bag': source,
    }


def _on_clusters(bag: Path, folder: Path) -> list[dict[str, Any]]:
    """Extract four copies of a bag on one and on two workers of a dask cluster."""
    copies = [folder / f'copy{k}' for k in range(4)]
    for copy in copies:
        shutil.copytree(bag, copy)
    found: dict[int, list[ExtractReport]] = {}
    with tempfile.TemporaryDirectory(dir=folder) as warm:
        for workers in (1, 2):
            with dask_cluster(workers) as address:
                options = ExtractOptions(scheduler=address)
                # Workers import and compile before the measurement.
                extract([bag], Path(warm) / str(workers), FrameParameters(), options)
                found[workers] = [
                    extract(copies, folder / f'on{workers}_{k}', FrameParameters(), options)
                    for k in range(3)
                ]
    one, two = (_result('extract.cluster', found[workers]) for workers in (1, 2))
    return [{**two, 'ratio': two['median_s'] / one['median_s']}]


def _extract(bag: Path, dataset: Path, cameras: tuple[str, ...] = ()) -> ExtractReport:
    chosen = [word for camera in cameras for word in ('--camera', camera)]
    return ExtractReport(**command('extract', bag, '--output', dataset, *chosen))


def _sweep_s(report: ExtractReport) -> float:
    """Return the time per sweep with all its frames, seconds."""
    return report.frames / report.frames_per_second / report.sweeps


def _result(name: str, reports: Any) -> dict[str, Any]:
    seconds = np.array([1.0 / report.frames_per_second for report in reports])
    return {
        'name': name,
        'median_s': float(np.median(seconds)),
        'p95_s': float(seconds.max()),
        'runs': len(reports),
        'peer': False,
        'ratio': None,
        'frames': reports[0].frames,
        'images': reports[0].images,
        'frames_per_second': float(1.0 / np.median(seconds)),
    }
