"""What a report says beside its pictures: classes, scores, curves, synchronisation, versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

import drive_segment_ros
from drive_segment_ros.dataset.label_sets import PSEUDO_CLASSES_FOLDER
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.inference.model import DESCRIPTION_FILE
from drive_segment_ros.staging import local_copy
from drive_segment_ros.storage import is_there
from offline_training.common.classes import CLASSES_FILE, load_classes
from offline_training.common.files import read_json
from offline_training.common.image_files import read_image
from offline_training.report.frames import data_uri
from offline_training.report.sources import Sources
from offline_training.training.checkpoints import CHECKPOINT_FILE, MODEL_FILE
from offline_training.training.run_folder import RUN_FILE

# Whose versions decide what comes out; those not installed are left out.
_DISTRIBUTIONS = (
    *('numpy', 'scipy', 'numba', 'opencv-contrib-python-headless', 'open3d', 'rosbags', 'torch'),
    *('transformers', 'onnx', 'openvino', 'onnxruntime', 'tensorrt', 'ros-jazzy-rclpy'),
    'ros-jazzy-rmw-fastrtps-cpp',
)


@dataclasses.dataclass(frozen=True)
class GalleryEntry:
    """One pseudo-class.

    Attributes:
        number, name: of the class.
        color: red, green, blue.
        picture: of its segments, a data URI.
        amount: what `label` counted, empty if unknown.
    """

    number: int
    name: str
    color: tuple[int, int, int]
    picture: str
    amount: str


@dataclasses.dataclass(frozen=True)
class Synchronisation:
    """How the images of one drive were paired and moved.

    Attributes:
        drive, role: whose.
        frames: written.
        offset_ms: median, smallest and largest offset of sweep and image stamp.
        motion: frames by the kind of motion undone.
        points_dropped: points of a sweep without a place in the range image, all frames.
    """

    drive: str
    role: str
    frames: int
    offset_ms: tuple[float, float, float] | None
    motion: dict[str, int]
    points_dropped: int


def gallery(sources: Sources) -> list[GalleryEntry]:
    """Return the pseudo-classes with their pictures, the most common first."""
    if sources.dataset is None:
        return []
    folder = sources.dataset / PSEUDO_CLASSES_FOLDER
    named = sources.run if sources.run and (sources.run / CLASSES_FILE).is_file() else folder
    if not (named / CLASSES_FILE).is_file():
        return []
    statistics = {
        entry['class']: entry
        for entry in (read_if_there(folder / 'statistics.json') or {}).get('class_statistics', [])
    }
    entries = []
    for number, item in enumerate(load_classes(named / CLASSES_FILE)):
        file = folder / f'gallery/class_{number:02d}.png'
        if not file.is_file():
            continue
        counted = statistics.get(number)
        amount = (
            f'{counted["objects"]} objects in {counted["segments"]} segments' if counted else ''
        )
        entry = GalleryEntry(number, item.name, item.color, data_uri(read_image(file)), amount)
        entries.append((-(counted or {}).get('pixels', 0), entry))
    return [entry for _, entry in sorted(entries, key=lambda item: item[0])]


def losses(run: Path | None) -> dict[str, NDArray[np.float64]]:
    """Return the loss of every step by network, as its checkpoint has it."""
    curves = {}
    for file in sorted(run.glob(f'*/{CHECKPOINT_FILE}')) if run else []:
        try:
            with safetensors.safe_open(local_copy(file), 'np') as checkpoint:
                curves[file.parent.name] = np.asarray(checkpoint.get_tensor('losses'), np.float64)
        except (OSError, SafetensorError) as err:
            raise DatasetError(f'{file} is damaged: {err}; train again, or remove it') from err
    # The teacher comes first, as in training.
    return dict(sorted(curves.items(), key=lambda item: (item[0] != 'teacher', item[0])))


def synchronisation(sources: Sources) -> list[Synchronisation]:
    """Return how each drive was paired."""
    results = []
    for source in sources.drives:
        for drive in source.drives:
            records = [frame.record for frame in drive.frames]
            offsets = [1e3 * r['offset_s'] for r in records if r.get('offset_s') is not None]
            span = (float(np.median(offsets)), min(offsets), max(offsets)) if offsets else None
            results.append(
                Synchronisation(
                    drive.name,
                    source.role,
                    len(records),
                    span,
                    dict(Counter(str(r.get('motion', 'unknown')) for r in records)),
                    sum(int(r.get('points_dropped', 0)) for r in records),
                )
            )
    return results


def configurations(sources: Sources) -> dict[str, dict[str, Any]]:
    """Return all parameters and provenance, as the steps wrote them beside their results."""
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
    """Return what this page, and all that was made with it, was made by."""
    found = {
        'drive_segment_ros': drive_segment_ros.__version__,
        'Python': platform.python_version(),
        'system': platform.platform(),
        'processor': f'{_processor()}, {os.cpu_count()} cores',
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


def read_if_there(path: Path) -> Any:
    """Return a JSON file's content, None if there is none.

    Raises:
        DatasetError: if it cannot be read, or is damaged.
    """
    return read_json(path) if is_there(path) else None


def _processor() -> str:
    """Return the processor's name, as Linux has it."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.machine())
