"""Loads models of every kind for prediction."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.cores import usable_cores
from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.machine import GPU_DEVICES
from drive_segment_ros.inference.model import DESCRIPTION_FILE
from drive_segment_ros.inference.segmenter import Segmenter as ExportedSegmenter
from drive_segment_ros.inference.segmenter import load as load_exported
from drive_segment_ros.storage import read_whole
from drive_segment_ros.what_is import not_wanted
from offline_training.common.classes import ClassName, default_classes
from offline_training.common.files import absolute
from offline_training.evaluation.baseline import BASELINE_FILE, ColourClusters
from offline_training.evaluation.prediction import Prediction, Predictor

# Number of images that take as long as starting a process and loading a network.
_IMAGES_A_WORKER = 40


def load_predictor(model: Path, zoom: int = 1, threads: int = 0) -> Predictor:
    """Load a run, one of its stages, a model file, an exported model, or a baseline.

    Args:
        model: path of it.
        zoom: see `NetworkPredictor`.
        threads: largest number of CPU threads; 0 for one per core.

    Raises:
        ModelError: if `model` is none of them, or is exported and `zoom` is not 1.
        DependencyError: if `model` is exported and no backend is installed.
    """
    if (model / DESCRIPTION_FILE).is_file():
        if zoom != 1:
            raise ModelError(
                f'{model} is exported and segments whole images only; omit --zoom, or give its run'
            )
        return ExportedPredictor(load_exported(model, threads=threads))
    if (model / BASELINE_FILE).is_file():
        baseline = ColourClusters.load(model / BASELINE_FILE)
        return BaselinePredictor(baseline, default_classes(len(baseline.centres)))
    if not _holds_network(model):
        advice = 'give a run of `train`, a stage of one, a model of `export`, or a baseline'
        raise ModelError(not_wanted(model, 'a model', advice))
    # Needs PyTorch, which a vehicle does not have.
    from offline_training.evaluation.network_prediction import NetworkPredictor

    return NetworkPredictor.load(model, zoom, threads)


@dataclasses.dataclass(frozen=True)
class PredictorSource:
    """Description of a model, which a worker loads once for all jobs.

    Attributes:
        model, zoom, threads: see `load_predictor`. Rounding in a network depends on the number of
            threads: it is 1 where the result must not depend on the number of processes.
        digest: of the model, so that a worker loads it again after another training.
    """

    model: Path
    zoom: int
    threads: int
    digest: str

    def predictor(self) -> Predictor:
        """Return the loaded model."""
        return _loaded(self)


def predictor_source(model: Path, zoom: int, threads: int) -> PredictorSource:
    """Return the description of a model for jobs.

    Raises:
        ModelError: if there is no model.
    """
    return PredictorSource(absolute(model), zoom, threads, model_digest(model))


def enough_workers(workers: int, images: int) -> int:
    """Return the number of processes that segment images.

    Args:
        workers: requested number; 0 for one per core, or fewer if starting them takes longer than
            it saves, and for one if there is a GPU, which all would share.
        images: number of images.
    """
    if workers:
        return workers
    if any(Path(device).exists() for device in GPU_DEVICES):
        return 1
    return max(1, min(usable_cores(), images // _IMAGES_A_WORKER))


@functools.lru_cache(maxsize=1)
def _loaded(source: PredictorSource) -> Predictor:
    return load_predictor(source.model, source.zoom, source.threads)


def model_digest(model: Path) -> str:
    """Return a hash of a model's weights or description, and of its class names and colours.

    Args:
        model: a model, see `load_predictor`.

    Raises:
        ModelError: if there is no model.
    """
    for name in (DESCRIPTION_FILE, BASELINE_FILE):
        if (model / name).is_file():
            # An exported model's description has the hash of its network.
            files = [model / name]
            break
    else:
        from offline_training.training.checkpoints import classes_file, model_file

        files = [model_file(model), classes_file(model)]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(read_whole(file))
    return digest.hexdigest()


def _holds_network(model: Path) -> bool:
    """Return whether a path is a run (finished or not), one of its stages, or a model file."""
    if model.suffix == '.safetensors' and model.is_file():
        return True
    names = ('run.json', '*.safetensors', 'student*/*.safetensors')
    return any(next(model.glob(name), None) is not None for name in names)


def is_model(path: Path) -> bool:
    """Return whether `load_predictor` would find a model at a path."""
    if any((path / name).is_file() for name in (BASELINE_FILE, DESCRIPTION_FILE)):
        return True
    from offline_training.training.checkpoints import model_file

    with contextlib.suppress(ModelError):
        return model_file(path).is_file()
    return False


class ExportedPredictor:
    """An exported model on this machine's fastest backend, as a vehicle would run it."""

    def __init__(self, segmenter: ExportedSegmenter) -> None:
        self.classes = [ClassName(item.name, item.color) for item in segmenter.classes]
        self._segmenter = segmenter

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image, see `Predictor`."""
        return Prediction(*self._segmenter.segment(image))


@dataclasses.dataclass(frozen=True)
class BaselinePredictor:
    """The image-only baseline as a predictor, without an estimate of confidence."""

    clusters: ColourClusters
    classes: list[ClassName]

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment an image, see `Predictor`."""
        label = self.clusters.predict(image)
        return Prediction(label, np.full(label.shape, 255, np.uint8))
