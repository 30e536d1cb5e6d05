"""Coverage and purity of object segments on simulated drives, and on the real one.

Simulated drives have dense ground truth. That of the real drive (DRIVE_SEGMENT_DATA, else searched
beside the repository) is sparse, without sky and without instances. Ground truth is read for
scoring only.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from drives import real_drive

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.evaluation.segment_scores import score_segments
from offline_training.simulator import SimulatorParameters, simulate, truth_folder

SENSORS = ('pandar64', 'hdl64', 'vlp32', 'vlp16', 'solid_state')
SEEDS = (1, 2, 3)
DURATION_S = 4.0


def run(quick: bool = False) -> dict[str, Any]:
    """Simulate, extract and score.

    Args:
        quick: one short drive of one sensor.

    Returns:
        `results` as `drive-segment bench` prints them: time per frame of `extract`, and scores.
    """
    seeds, sensors = ((1,), SENSORS[:1]) if quick else (SEEDS, SENSORS)
    duration_s = 1.0 if quick else DURATION_S
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for sensor in sensors:
            for seed in seeds:
                bag = Path(folder) / f'{sensor}_{seed}'
                flat = {'seed': seed, 'duration_s': duration_s, 'lidar.model': sensor}
                simulate(bag, from_flat(SimulatorParameters, flat))
                cameras = [p for p in truth_folder(bag).iterdir() if (p / 'semantic').is_dir()]
                results.append(
                    _scored(
                        f'segments.{sensor}.seed{seed}',
                        bag,
                        Path(folder) / f'dataset_{sensor}_{seed}',
                        cameras[0] / 'semantic',
                        cameras[0] / 'instance',
                    )
                )
        real = real_drive()
        if real is not None and not quick:
            results.append(
                _scored(
                    'segments.real',
                    real / 'bag',
                    Path(folder) / 'real',
                    real / 'ground_truth',
                    None,
                )
            )
    return {'results': results}


def _scored(
    name: str, bag: Path, dataset: Path, truth: Path, instances: Path | None
) -> dict[str, Any]:
    report = extract([bag], dataset, FrameParameters(), ExtractOptions())
    (drive,) = Dataset(dataset).drives
    (frames,) = drive.cameras.values()
    scores = score_segments(frames, truth, instances).summary()
    seconds = np.reciprocal(report.frames_per_second)
    return {
        'name': name,
        'median_s': float(seconds),
        'p95_s': float(seconds),
        'runs': report.frames,
        'peer': False,
        'ratio': None,
        'images': report.images,
        **scores,
    }
