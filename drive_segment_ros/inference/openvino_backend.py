"""OpenVINO: the fastest backend on CPUs; in bf16 if the processor is faster with it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.backend import import_backend
from drive_segment_ros.inference.model import CONFIDENCE_NAME, LABEL_NAME, Model

# bf16 in hardware is faster than f32, emulated it takes many times as long. Runs that are
# compared, each the best of some, and how much longer bf16 may take, in processor time: a busy
# machine must not change the precision from one start to the next.
_TRIAL_RUNS = 10
_LIMITS = ('ONEDNN_MAX_CPU_ISA', 'DNNL_MAX_CPU_ISA')
_BELOW_AVX512 = ('SSE41', 'AVX', 'AVX2', 'AVX2_VNNI', 'AVX2_VNNI_2')
_SLOWEST = 1.5

_ONE_AT_A_TIME = threading.Lock()
log = logging.getLogger(__name__)


class OpenVinoBackend:
    """A model on the processor through OpenVINO."""

    def __init__(self, model: Model, threads: int = 0, exact: bool = False) -> None:
        """Compile a model.

        Args:
            model: to compile.
            threads: largest number; 0 leaves it to OpenVINO.
            exact: compute in fp32 even where the processor has bf16.

        Raises:
            DependencyError: if OpenVINO is not installed.
            ModelError: if OpenVINO cannot load the model, or would crash.
        """
        core = process_core()
        refuse_limited_processor()
        try:
            compiled = compile_fastest(core, str(model.onnx_path), threads, exact)
            self._request = compiled.model.create_infer_request()
            names = (LABEL_NAME, CONFIDENCE_NAME)
            self._outputs = [compiled.model.output(name) for name in names]
        except RuntimeError as err:
            reason = _one_line(err)
            raise ModelError(f'OpenVINO cannot load {model.onnx_path}: {reason}') from err
        if compiled.fallback:
            log.warning('OpenVINO computes in f32: %s', compiled.fallback)
        # Operations between Q/DQ nodes are int8, the rest is not.
        int8 = 'int8 and ' if model.precision == 'int8' else ''
        self.description = f'OpenVINO CPU {int8}{compiled.precision}'

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See `Backend.run`."""
        try:
            self._request.infer([image[None]], share_inputs=True)
        except RuntimeError as err:
            raise ModelError(f'OpenVINO cannot run the model: {_one_line(err)}') from err
        # The request's tensors are overwritten by the next image.
        label, confidence = (self._request.get_tensor(o).data[0].copy() for o in self._outputs)
        return label, confidence

    def close(self) -> None:
        """See `Backend.close`."""
        del self._request, self._outputs


def process_core() -> Any:
    """Return the process's only `openvino.Core`, which is never destroyed.

    Each core that compiles for the processor replaces its thread's alternate signal stack, and
    restores the previous one when it is destroyed. When several are destroyed in the order they
    were made, that of the first, already freed, remains: the next signal would end the process
    with a segmentation fault, as Python's handlers run on that stack (OpenVINO 2026.4.1).

    Raises:
        DependencyError: if OpenVINO is not installed.
    """
    with _ONE_AT_A_TIME:
        return _core()


@functools.cache
def _core() -> Any:
    return import_backend('openvino', 'openvino').Core()


def refuse_limited_processor(cpuinfo: Path = Path('/proc/cpuinfo')) -> None:
    """Refuse to run if oneDNN may not use the AVX-512 that the processor has.

    OpenVINO's own kernels ignore that limit: together with oneDNN's they end the process with a
    segmentation fault (2026.4.1 on a Zen 5 under ONEDNN_MAX_CPU_ISA=AVX2, f32).

    Args:
        cpuinfo: Linux's description of the processor.

    Raises:
        ModelError: if that is the case.
    """
    limit = next((name for name in _LIMITS if os.environ.get(name)), '')
    if not limit or os.environ[limit].upper() not in _BELOW_AVX512:
        return
    with contextlib.suppress(OSError):
        if 'avx512f' in cpuinfo.read_text(encoding='utf-8', errors='replace'):
            raise ModelError(
                f'OpenVINO crashes if {limit} is {os.environ[limit]} and the processor has '
                f'AVX-512; unset {limit}, or use another backend'
            )


@dataclass(frozen=True)
class Compiled:
    """A graph that OpenVINO has compiled.

    Attributes:
        model: OpenVINO's compiled model.
        precision: `bf16` or `f32`.
        fallback: why it is not bf16 although the processor reports it; empty otherwise.
    """

    model: Any
    precision: str
    fallback: str = ''


def compile_fastest(core: Any, graph: Any, threads: int = 0, exact: bool = False) -> Compiled:
    """Compile a graph for the processor, in bf16 if that is faster.

    Args:
        core: an `openvino.Core`.
        graph: path of an ONNX file, or an `openvino.Model`.
        threads: largest number; 0 leaves it to OpenVINO.
        exact: f32 in any case.

    Raises:
        RuntimeError: OpenVINO's, if it cannot compile the graph in f32.
    """
    fallback = ''
    if not exact:
        trial = processor_precision(core)
        fallback = trial.fallback
        if trial.precision == 'bf16':
            try:
                return Compiled(_compiled(core, graph, 'bf16', threads), 'bf16')
            except RuntimeError as err:
                fallback = _fails(err)
    return Compiled(_compiled(core, graph, 'f32', threads), 'f32', fallback)


def processor_precision(core: Any = None) -> Compiled:
    """Run a small convolution to determine the precision for models on this machine.

    The reported features are not relied on: with a limited instruction set (ONEDNN_MAX_CPU_ISA,
    some virtual machines) bf16 does not compile, or is emulated at a fraction of the speed of f32.
    Compiling the model itself twice would double its loading time.

    Args:
        core: an `openvino.Core`; None is the process's.

    Returns:
        The convolution in the precision found, and why it is not bf16 if the processor reports it.

    Raises:
        DependencyError: if OpenVINO is not installed.
        RuntimeError: OpenVINO's, if it cannot compute at all.
    """
    openvino = import_backend('openvino', 'openvino')
    from openvino import opset13 as ops

    core = core or process_core()
    image = ops.parameter([1, 64, 64, 64], np.float32)
    weight = ops.constant(np.full((64, 64, 3, 3), 1e-3, np.float32))
    ones = [1, 1]
    graph = openvino.Model([ops.convolution(image, weight, ones, ones, ones, ones)], [image])
    full = _compiled(core, graph, 'f32', 1)
    if 'BF16' not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        return Compiled(full, 'f32')
    try:
        half = _compiled(core, graph, 'bf16', 1)
        half_s, full_s = _seconds(half), _seconds(full)
    except RuntimeError as err:
        return Compiled(full, 'f32', _fails(err))
    if half_s > _SLOWEST * full_s:
        slower = f'takes {half_s / full_s:.1f} times as long as f32'
        return Compiled(full, 'f32', f'bf16, which the processor reports, {slower}')
    return Compiled(half, 'bf16')


def _compiled(core: Any, graph: Any, precision: str, threads: int) -> Any:
    settings = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': precision}
    if threads:
        settings['INFERENCE_NUM_THREADS'] = str(threads)
    return core.compile_model(graph, 'CPU', settings)


def _fails(error: Exception) -> str:
    return f'bf16, which the processor reports, fails ({_one_line(error)})'


def _seconds(compiled: Any) -> float:
    """Return the best processor time of some runs, s, after one to warm up."""
    request = compiled.create_infer_request()
    taken = []
    for _ in range(1 + _TRIAL_RUNS):
        began = time.process_time()
        request.infer()
        taken.append(time.process_time() - began)
    return min(taken[1:])


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())
