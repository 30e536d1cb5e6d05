"""One image through the tiny student at 288x512: every backend and precision here, and a peer.

The peer is eager PyTorch in fp32. `inference.openvino` and its like run the model exported in
fp32, in bf16 or TF32 where the backend has it; `_exact` in nothing less, `_fp16` and `_int8` the
model exported so. The student's weights are random, and none zero as in a fresh one: backends
leave out what adds zero, and a trained student would take longer. Every contender gets the same
camera image, uint8 BGR, gives label and confidence, and has the same number of threads.
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
# Several threads that wait for each other would time the machine's other work instead.
THREADS = 1
REFERENCE = 'inference.torch_fp32'
# Ending of the name, precision of the export, and whether to compute in nothing less.
_VARIANTS = (
    ('', 'fp32', False),
    ('_exact', 'fp32', True),
    ('_fp16', 'fp16', False),
    ('_int8', 'int8', False),
)
# A pause lets other work of the machine in between the rounds, not into them.
_PAUSE_S = 0.005


def run(quick: bool = False) -> dict[str, Any]:
    """Measure every backend present, in turns; a ratio is the time over eager PyTorch's in fp32.

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
            # What is not installed, or has no GPU to run on, is left out.
            with contextlib.suppress(DependencyError, ModelError):
                segmenter = load(models[precision], backend, THREADS, exact)
                if exact and segmenter.backend in backends.values():
                    continue  # It computes so anyway.
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
    """Export a tiny student of random weights; return the model's folder.

    Args:
        folder: for it, new.
        precision: to export in.
        images: to calibrate int8 on.
    """
    save_model(folder / 'student/model.safetensors', _tiny_student(), {})
    export(folder, folder / 'model', precision, calibrate=images)
    return folder / 'model'


def _tiny_student() -> Segmenter:
    torch.manual_seed(0)
    network = Segmenter(configuration('tiny', CLASSES, HEIGHT, WIDTH)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            # Biases and the norms' scales start at 0 and 1.
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
    """Time tasks in turns, after two rounds that warm up, so that all meet the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(runs + 2):
        for name, task in tasks.items():
            time.sleep(_PAUSE_S)
            start = time.perf_counter()
            task()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}
