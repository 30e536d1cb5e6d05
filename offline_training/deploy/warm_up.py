"""Compile ahead what nodes and commands need, so that nobody waits for it at a first start."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from drive_segment_ros.compiled_kernels import FRAMES, cold_notice, kernel_folder
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.warm_up import warm_up as warm_up_frames
from drive_segment_ros.inference.segmenter import load
from drive_segment_ros.perception.resizing import resize_image

_log = logging.getLogger(__name__)
# Of the example that simulation and extraction are run on.
_SECONDS, _WIDTH, _HEIGHT = 0.3, 160, 96


@dataclasses.dataclass(frozen=True)
class WarmUpReport:
    """What was made ready.

    Attributes:
        seconds: how long it took.
        kernels: folder in which compiled kernels are kept.
        backend: what runs the model; empty without one.
    """

    seconds: float
    kernels: str
    backend: str = ''


def warm_up(
    model: Path | None, progress: Callable[[str, int, int], None] = lambda *_: None
) -> WarmUpReport:
    """Compile the kernels for this processor, and make a model ready for it.

    Args:
        model: an exported one: TensorRT builds its engine, OpenVINO compiles it; None is none.
        progress: is told a name, steps done and their number.

    Raises:
        ModelError, DependencyError: if the model cannot be run here.
    """
    began = time.monotonic()
    if notice := cold_notice(FRAMES):
        _log.warning('%s', notice)
    steps = [_frames, _commands]
    for number, step in enumerate(steps):
        progress('compiling', number, len(steps))
        step()
    progress('compiling', len(steps), len(steps))
    backend = ''
    if model is not None:
        segmenter = load(model, progress=progress)
        backend = segmenter.backend
        segmenter.close()
    return WarmUpReport(round(time.monotonic() - began, 1), str(kernel_folder()), backend)


def _frames() -> None:
    """What the nodes need."""
    warm_up_frames(FrameParameters())
    # By no whole number: as a camera's image is shrunk for a network.
    resize_image(np.zeros((_HEIGHT + 1, _WIDTH + 1, 3), np.uint8), _HEIGHT, _WIDTH)


def _commands() -> None:
    """What simulation and extraction need besides, by doing both on next to nothing."""
    from offline_training.bags.extract import ExtractOptions, extract
    from offline_training.simulator import SimulatorParameters, simulate
    from offline_training.simulator.parameters import CameraParameters

    camera = CameraParameters(width=_WIDTH, height=_HEIGHT)
    with tempfile.TemporaryDirectory() as name:
        bag = Path(name) / 'drive'
        simulate(bag, SimulatorParameters(duration_s=_SECONDS, camera=camera), workers=1)
        extract([bag], Path(name) / 'dataset', FrameParameters(), ExtractOptions(workers=1))
