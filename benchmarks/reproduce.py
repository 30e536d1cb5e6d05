"""What the publication's experiment costs per image: the commands of docs/reproduce.md in small.

Each command runs with config/reproduce.yaml in one process; its processor time, start-up included,
is divided by its images. The drive is the real one, or a simulated one; the backbone has the shape
of DINO ViT-S/16 and random weights.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from drives import some_bag
from process_tree import measured

_CONFIG = Path(__file__).resolve().parents[1] / 'config' / 'reproduce.yaml'
_TRAINED, _EVALUATED = 8, 4
# Of a Cityscapes image.
_HEIGHT, _WIDTH = 1024, 2048
_CITYSCAPES_ROAD = 7


def run(quick: bool = False) -> dict[str, Any]:
    """Measure `extract`, `label`, `train` and `evaluate`.

    Args:
        quick: `extract` alone.

    Returns:
        `results` as `drive-segment bench` prints them, where `median_s` is the processor time per
        image, and `disk_mb` what remains on disk per image, MB; for `reproduce.train` also
        `cache_mb` per image and, counted for one image, `forward_tflop` and `step_tflop`, which is
        forward and backward.
    """
    # Beside the sources, because the folder for temporary files may be in memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix='.bench_reproduce_') as name:
        folder = Path(name)
        bag, drive = some_bag(folder, 6.0)
        results = [_extract(folder, bag)]
        if not quick:
            _save_backbone(folder / 'backbone')
            results += [_label(folder), _train(folder), _evaluate(folder)]
    return {'results': results, 'drive': drive}


def _extract(folder: Path, bag: Path) -> dict[str, Any]:
    report = _command('extract', bag, '-o', folder / 'dataset', '--workers', 1)
    return _result('extract', report, report['frames'], _megabytes(folder / 'dataset'))


def _label(folder: Path) -> dict[str, Any]:
    before = _megabytes(folder / 'dataset')
    features = '--features', folder / 'backbone'
    report = _command('label', folder / 'dataset', '--workers', 1, *features)
    added = _megabytes(folder / 'dataset') - before
    return {**_result('label', report, report['frames'], added), 'segments': report['segments']}


def _train(folder: Path) -> dict[str, Any]:
    chosen = {
        'initial_weights': folder / 'backbone',
        'frames': f':{_TRAINED}',
        'training.epochs': 1,
    }
    settings = [word for key, value in chosen.items() for word in ('--set', f'{key}={value}')]
    report = _command('train', folder / 'dataset', '-o', folder / 'run', *settings)
    cache = _megabytes(folder / 'run/cache')
    kept = _megabytes(folder / 'run') - cache
    counted = measured(__file__, folder)
    return {
        **_result('train', report, _TRAINED, kept),
        'cache_mb': cache / _TRAINED,
        'forward_tflop': counted['forward_tflop'],
        'step_tflop': counted['step_tflop'],
    }


def _evaluate(folder: Path) -> dict[str, Any]:
    images, truth = folder / 'leftImg8bit/town', folder / 'gtFine/town'
    images.mkdir(parents=True)
    truth.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(_EVALUATED):
        small = random.integers(0, 255, (_HEIGHT // 16, _WIDTH // 16, 3), np.uint8)
        image = cv2.resize(small, (_WIDTH, _HEIGHT))
        cv2.imwrite(str(images / f'town_{number}_leftImg8bit.png'), image)
        label = np.full((_HEIGHT, _WIDTH), _CITYSCAPES_ROAD, np.uint8)
        cv2.imwrite(str(truth / f'town_{number}_gtFine_labelIds.png'), label)
    report = _command(
        *('evaluate', folder / 'run', images.parent, '--ground-truth', truth.parent),
        *('--format', 'cityscapes', '-o', folder / 'scores', '--workers', 1),
    )
    return _result('evaluate', report, _EVALUATED, 0.0)


def _command(name: str, *arguments: object) -> dict[str, Any]:
    """Run a command, with the configuration where it reads it; see `measured`."""
    params = () if name == 'evaluate' else ('--params', _CONFIG)
    return measured('-m', 'drive_segment_ros.cli', name, *arguments, *params, '--json')


def _result(name: str, report: dict[str, Any], images: int, disk_mb: float) -> dict[str, Any]:
    seconds = report['cpu_s'] / images
    return {
        'name': f'reproduce.{name}',
        'median_s': seconds,
        'p95_s': seconds,
        'runs': 1,
        'peer': False,
        'ratio': None,
        'images': images,
        'disk_mb': disk_mb / images,
        'peak_mib': report['peak_mib'],
    }


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6


def _save_backbone(folder: Path) -> None:
    """Write random weights of the shape of DINO ViT-S/16, as `from_pretrained` reads them."""
    import transformers

    config = transformers.ViTConfig(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536
    )
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)


def main(folder: str) -> None:
    """Print the operations of the network for one image, TFLOP: forward, and with backward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from drive_segment_ros.parameter_files import read_parameters
    from offline_training.training.train import TrainParameters, new_network

    weights = f'initial_weights={folder}/backbone'
    parameters = read_parameters(TrainParameters, _CONFIG, [weights])
    height = parameters.width * 9 // 16
    network = new_network(parameters, 30, height, parameters.width)
    images = torch.zeros(1, 3, height, parameters.width)
    counter = FlopCounterMode(display=False)
    with counter:
        loss = network(images).sum()
    forward = counter.get_total_flops()
    with counter:
        loss.backward()
    backward = counter.get_total_flops()
    print(json.dumps({'forward_tflop': forward / 1e12, 'step_tflop': (forward + backward) / 1e12}))


if __name__ == '__main__':
    main(*sys.argv[1:])
