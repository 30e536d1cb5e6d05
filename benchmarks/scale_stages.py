"""Program that runs one stage of the pipeline on a drive and prints its report; see scale.py.

The folder of a drive contains bag, truth, model, and the output of the previous stages.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from process_tree import ClientBytes

from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat

# Small images and few beams, which are fast to render.
SIMULATED = {'camera.width': 320, 'camera.height': 180, 'lidar.model': 'vlp16'}


def simulate(folder: Path, seconds: float, scheduler: str) -> dict[str, Any]:
    """Simulate a drive of `seconds`."""
    from offline_training.simulator import SimulatorParameters, simulate

    parameters = from_flat(SimulatorParameters, {**SIMULATED, 'duration_s': seconds})
    return {'items': simulate(folder / 'drive', parameters, **_where(scheduler)).sweeps}


def extract(folder: Path, seconds: float, scheduler: str) -> dict[str, Any]:
    """Extract a dataset from the bag."""
    from offline_training.bags.extract import ExtractOptions, extract

    options = ExtractOptions(**_where(scheduler))
    report = extract([folder / 'bag'], folder / 'dataset', FrameParameters(), options)
    return {'items': report.frames}


def label(folder: Path, seconds: float, scheduler: str) -> dict[str, Any]:
    """Label the dataset with pseudo-classes; its progress bars give the time of each step."""
    from offline_training.pseudo_labels.pseudo_classes import LabelParameters, label

    steps: dict[str, float] = {}

    def progress(name: str) -> Callable[[Iterable], Iterable]:
        def show(items: Iterable) -> Iterator[Any]:
            began = time.perf_counter()
            yield from items
            steps[name.replace(' ', '_')] = time.perf_counter() - began

        return show

    parameters = LabelParameters(features='descriptor')
    report = label([folder / 'dataset'], parameters, progress)
    return {'items': report['frames'], 'segments': report['segments'], 'steps': steps}


def train_preparation(folder: Path, seconds: float, scheduler: str) -> dict[str, Any]:
    """Prepare images and pseudo-labels at network size for training."""
    from offline_training.training.train import TrainingRun, TrainParameters

    # Only the preparation is measured, not the training after it.
    TrainingRun._fit = lambda *_: None  # type: ignore[method-assign]
    parameters = from_flat(TrainParameters, {'width': 256})
    run = TrainingRun([folder / 'dataset'], folder / 'training', parameters, False)
    run.train_teacher()
    return {'items': len(run.frames)}


def segment(folder: Path, seconds: float, scheduler: str) -> dict[str, Any]:
    """Write the mask of every image of the bag."""
    from offline_training.deploy.segment import segment

    report = segment(folder / 'model', [folder / 'bag'], folder / 'masks', **_where(scheduler))
    return {'items': report['images']}


def evaluate(folder: Path, seconds: float, scheduler: str) -> dict[str, Any]:
    """Score the model on all images of the dataset."""
    from offline_training.evaluation.evaluate import evaluate

    report = evaluate(
        folder / 'model', folder / 'dataset', folder / 'bag_truth', **_where(scheduler)
    )
    return {'items': report['images']}


STAGES = {
    'simulate': simulate,
    'extract': extract,
    'label': label,
    'train_preparation': train_preparation,
    'segment': segment,
    'evaluate': evaluate,
}


def _where(scheduler: str) -> dict[str, Any]:
    return {'scheduler': scheduler} if scheduler else {'workers': 1}


def main(stage: str, folder: str, seconds: str, scheduler: str = '') -> None:
    """Run a stage and print its report, with its time and the client's bytes on a cluster."""
    logging.disable(logging.WARNING)
    counted = ClientBytes() if scheduler else None
    with counted or contextlib.nullcontext():
        began = time.perf_counter()
        report = STAGES[stage](Path(folder), float(seconds), scheduler)
        report['seconds'] = time.perf_counter() - began
    if counted is not None:
        report['client_bytes'] = counted.total
    print(json.dumps(report))


if __name__ == '__main__':
    main(*sys.argv[1:])
