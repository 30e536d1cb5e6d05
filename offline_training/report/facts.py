"""The report's training curves, parameters and versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors import SafetensorError

import drive_segment_ros
from drive_segment_ros.cores import usable_cores
from drive_segment_ros.dataset.label_sets import PSEUDO_CLASSES_FOLDER
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.inference.model import DESCRIPTION_FILE
from drive_segment_ros.staging import local_copy
from offline_training.report.scores import read_if_there
from offline_training.report.sources import Sources
from offline_training.training.checkpoints import CHECKPOINT_FILE, MODEL_FILE
from offline_training.training.run_folder import RUN_FILE

# Packages whose versions affect the results; those not installed are omitted.
_DISTRIBUTIONS = (
    *('numpy', 'scipy', 'numba', 'opencv-contrib-python-headless', 'open3d', 'rosbags', 'torch'),
    *('transformers', 'onnx', 'openvino', 'onnxruntime', 'tensorrt', 'ros-jazzy-rclpy'),
    'ros-jazzy-rmw-fastrtps-cpp',
)


@dataclasses.dataclass(frozen=True)
class Curves:
    """The curves of a network's training.

    Attributes:
        losses: (N,) of every step.
        held_out: (V, 3) evaluations on held-out frames: step, cross-entropy, share of the labelled
            pixels predicted correctly.
    """

    losses: NDArray[np.float64]
    held_out: NDArray[np.float64]


def curves(run: Path | None) -> dict[str, Curves]:
    """Return the curves by network, read from its checkpoint; the teacher comes first."""
    found = {}
    for file in sorted(run.glob(f'*/{CHECKPOINT_FILE}')) if run else []:
        try:
            with safetensors.safe_open(local_copy(file), 'np') as checkpoint:
                losses = checkpoint.get_tensor('losses')
                there = 'held_out' in checkpoint.keys()  # noqa: SIM118
                looks = checkpoint.get_tensor('held_out') if there else np.zeros((0, 3))
        except (OSError, SafetensorError) as err:
            raise DatasetError(f'{file} is damaged: {err}; train again, or remove it') from err
        found[file.parent.name] = Curves(
            np.asarray(losses, np.float64), np.asarray(looks, np.float64).reshape(-1, 3)
        )
    return dict(sorted(found.items(), key=lambda item: (item[0] != 'teacher', item[0])))


def configurations(sources: Sources) -> dict[str, dict[str, Any]]:
    """Return all parameters and provenance that the steps wrote with their results."""
    found: dict[str, dict[str, Any]] = {}
    for source in sources.drives:
        for drive in source.drives:
            found[f'extract: {drive.name}'] = drive.info
        statistics = read_if_there(source.dataset / PSEUDO_CLASSES_FOLDER / 'statistics.json')
        if statistics:
            found['label'] = {k: v for k, v in statistics.items() if k != 'class_statistics'}
    if sources.run:
        found['train'] = read_if_there(sources.run / RUN_FILE) or {}
    if sources.model:
        found['export'] = read_if_there(sources.model / DESCRIPTION_FILE) or {}
    return found


def versions() -> dict[str, str]:
    """Return the versions of the software that wrote this page, and the machine."""
    found = {
        'drive_segment_ros': drive_segment_ros.__version__,
        'Python': platform.python_version(),
        'system': platform.platform(),
        'processor': f'{_processor()}, {usable_cores()} cores',
    }
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def networks_present(run: Path | None) -> list[str]:
    """Return the names of a run's trained networks."""
    return sorted(file.parent.name for file in run.glob(f'*/{MODEL_FILE}')) if run else []


def _processor() -> str:
    """Return the processor's name as Linux reports it."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.machine())
