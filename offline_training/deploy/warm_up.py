"""Compiles the kernels of nodes and commands in advance, for a quick first start."""

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
from drive_segment_ros.inference.model import read_model
from drive_segment_ros.inference.segmenter import load
from drive_segment_ros.perception.resizing import resize_image

_log = logging.getLogger(__name__)
# Size of the example for simulation and extraction.
_SECONDS, _WIDTH, _HEIGHT = 0.3, 160, 96


@dataclasses.dataclass(frozen=True)
class WarmUpReport:
    """The result of warming up.

    Attributes:
        seconds: duration.
        kernels: folder of the compiled kernels.
        backend: of the model; empty without one.
    """

    seconds: float
    kernels: str
    backend: str = ''


def warm_up(
    model: Path | None, progress: Callable[[str, int, int], None] = lambda *_: None
) -> WarmUpReport:
    """Compile the kernels for this processor, and prepare a model.

    Args:
        model: an exported one: TensorRT builds its engine, OpenVINO compiles it; None for none.
        progress: called with a name, steps done and their number.

    Raises:
        ModelError, DependencyError: if the model cannot be run on this machine.
    """
    began = time.monotonic()
    if model is not None:
        read_model(model)  # An invalid model is reported before anything is compiled.
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
    """Compile the kernels of the nodes."""
    warm_up_frames(FrameParameters())
    # A fractional factor, as for a camera's image and a network.
    resize_image(np.zeros((_HEIGHT + 1, _WIDTH + 1, 3), np.uint8), _HEIGHT, _WIDTH)


def _commands() -> None:
    """Compile the other kernels of simulation and extraction by a tiny example of both."""
    from offline_training.bags.extract import ExtractOptions, extract
    from offline_training.simulator import SimulatorParameters, simulate
    from offline_training.simulator.parameters import CameraParameters

    camera = CameraParameters(width=_WIDTH, height=_HEIGHT)
    with tempfile.TemporaryDirectory() as name:
        bag = Path(name) / 'drive'
        simulate(bag, SimulatorParameters(duration_s=_SECONDS, camera=camera), workers=1)
        extract([bag], Path(name) / 'dataset', FrameParameters(), ExtractOptions(workers=1))
