"""Inference time of the `tiny` student at 288x512 with each available backend, and with PyTorch.

The reference is eager PyTorch in fp32. `inference.openvino` and the other backends run the fp32
export, computing in bf16 or TF32 where the backend supports it; with `_exact` they compute in fp32
only, and `_fp16` and `_int8` are exports of that precision. The student's weights are random and
non-zero: a newly initialised student has layers of zeros, which backends optimise away, so it
would be faster than a trained one. All get the same uint8 BGR image, return label and confidence,
and use the same number of threads.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from drive_segment_ros.errors import DependencyError, ModelError
from drive_segment_ros.inference.segmenter import BACKENDS, load
from offline_training.deploy.deployed_segmenter import DeployedSegmenter
from offline_training.deploy.export import PRECISIONS, export
from offline_training.networks.segmenter import Segmenter, configuration
from offline_training.training.checkpoints import save_model

HEIGHT, WIDTH, CLASSES = 288, 512, 30
# Several threads wait for each other, so that other load on the machine would dominate.
THREADS = 1
REFERENCE = 'inference.torch_fp32'
# Suffix of the name, precision of the export, and whether to compute in fp32 only.
_VARIANTS = (
    ('', 'fp32', False),
    ('_exact', 'fp32', True),
    ('_fp16', 'fp16', False),
    ('_int8', 'int8', False),
)
# Pause before each run, so that other processes are scheduled then and not during the run.
_PAUSE_S = 0.005


def run(quick: bool = False) -> dict[str, Any]:
    """Time the available backends alternately; a ratio is the time over that of eager PyTorch.

    Args:
        quick: few repetitions.
    """
    torch.set_num_threads(THREADS)
    network = _tiny_student()
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    tasks: dict[str, Callable[[], Any]] = {REFERENCE: _eager(network, image)}
    backends = {REFERENCE: f'torch {torch.__version__} eager fp32'}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / 'images'
        images.mkdir()
        cv2.imwrite(str(images / 'image.png'), image)
        models = {p: tiny_model(Path(folder) / p, p, images) for p in PRECISIONS}
        for backend, (suffix, precision, exact) in itertools.product(BACKENDS, _VARIANTS):
            # Backends that are not installed or have no GPU are skipped.
            with contextlib.suppress(DependencyError, ModelError):
                segmenter = load(models[precision], backend, THREADS, exact)
                if exact and segmenter.backend in backends.values():
                    continue  # The backend computes the fp32 export in fp32 anyway.
                name = f'inference.{backend}{suffix}'
                tasks[name] = lambda s=segmenter: s.segment(image)
                backends[name] = segmenter.backend
    seconds = _seconds(tasks, 5 if quick else 60)
    reference = float(np.median(seconds[REFERENCE]))
    return {
        'results': [
            {
                'name': name,
                'median_s': float(np.median(values)),
                'p95_s': float(np.percentile(values, 95)),
                'best_s': float(values.min()),
                'runs': len(values),
                'peer': name == REFERENCE,
                'ratio': float(np.median(values)) / reference,
                'backend': backends[name],
                'threads': THREADS,
            }
            for name, values in seconds.items()
        ],
        'network': f'tiny, {CLASSES} classes, {HEIGHT}x{WIDTH}',
    }


def tiny_model(folder: Path, precision: str = 'fp32', images: Path | None = None) -> Path:
    """Export a `tiny` student with random weights; return the model's folder.

    Args:
        folder: new folder, for the checkpoint and the model.
        precision: of the export.
        images: folder of images for the calibration of int8.
    """
    save_model(folder / 'student/model.safetensors', _tiny_student(), {})
    export(folder, folder / 'model', precision, calibrate=images)
    return folder / 'model'


def _tiny_student() -> Segmenter:
    torch.manual_seed(0)
    network = Segmenter(configuration('tiny', CLASSES, HEIGHT, WIDTH)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            # Biases and scales of norms are initialised to 0 and 1.
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return network


def _eager(network: Segmenter, image: np.ndarray) -> Callable[[], Any]:
    deployed = DeployedSegmenter(network).eval()

    def task() -> Any:
        with torch.inference_mode():
            return [part[0].numpy() for part in deployed(torch.from_numpy(image)[None])]

    return task


def _seconds(tasks: dict[str, Callable[[], Any]], runs: int) -> dict[str, np.ndarray]:
    """Return the times of each task, seconds, after two warm-up rounds.

    The tasks alternate, so that other load on the machine affects all.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(runs + 2):
        for name, task in tasks.items():
            time.sleep(_PAUSE_S)
            start = time.perf_counter()
            task()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}
