"""TensorRT 10 and 11 through its own Python interface: the fastest on an NVIDIA GPU.

Networks are strongly typed, the only kind TensorRT 11 knows: precision is what the file says.
Type-checked against `tensorrt-stubs` and exercised in tests with a stand-in for TensorRT; never
run on hardware by the authors.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.backend import import_backend
from drive_segment_ros.inference.cuda import Buffer, Cuda
from drive_segment_ros.inference.engine_cache import EngineKey, cached_engine, engine_folder
from drive_segment_ros.inference.model import CONFIDENCE_NAME, INPUT_NAME, LABEL_NAME, Model

if TYPE_CHECKING:
    import tensorrt

# Takes the phase, steps done and their number.
Progress = Callable[[str, int, int], None]


class TensorRtBackend:
    """A model on the first GPU: one stream, pinned buffers, a CUDA graph."""

    def __init__(self, model: Model, progress: Progress | None = None) -> None:
        """Load the model's engine, or build it: minutes, once.

        Args:
            model: to run.
            progress: is told how far building has come.

        Raises:
            DependencyError: if TensorRT or cuda-python is not installed.
            ModelError: if there is no GPU, or TensorRT does not take the model.
        """
        self._cuda = Cuda()
        try:
            self._engine = load_engine(model, self._cuda.gpu, progress)
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise ModelError(f'{self._cuda.gpu} has no memory left for {model.onnx_path}')
            self._image = self._bind(INPUT_NAME, (*model.input_size, 3))
            self._label = self._bind(LABEL_NAME, model.output_size)
            self._confidence = self._bind(CONFIDENCE_NAME, model.output_size)
            # TensorRT allocates on the first run, which a graph cannot record.
            self._queue()
            self._cuda.synchronize()
            self._launch = self._cuda.capture(self._queue)
        except BaseException:
            self._cuda.close()
            raise
        self.description = f'TensorRT {self._cuda.gpu} {model.precision}'

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See `Backend.run`."""
        np.copyto(self._image.host, image)
        self._launch()
        self._cuda.synchronize()
        return self._label.host.copy(), self._confidence.host.copy()

    def close(self) -> None:
        """See `Backend.close`."""
        del self._context, self._engine
        self._cuda.close()

    def _bind(self, name: str, shape: tuple[int, ...]) -> Buffer:
        buffer = self._cuda.buffer(shape)
        if not self._context.set_tensor_address(name, buffer.device):
            raise ModelError(f'the engine has no tensor {name!r}; export the model again')
        return buffer

    def _queue(self) -> None:
        self._cuda.upload(self._image)
        if not self._context.execute_async_v3(self._cuda.stream):
            raise ModelError('TensorRT cannot run the model; its log says why')
        self._cuda.download(self._label)
        self._cuda.download(self._confidence)


def build_engine(model: Model, progress: Progress | None = None) -> Path:
    """Make sure that the cache holds a model's engine for this machine.

    Returns:
        The engine's file.

    Raises:
        DependencyError, ModelError: as for `TensorRtBackend`.
    """
    cuda = Cuda()
    try:
        load_engine(model, cuda.gpu, progress)
        return engine_folder() / _key(model, cuda.gpu).file_name
    finally:
        cuda.close()


def load_engine(model: Model, gpu: str, progress: Progress | None = None) -> tensorrt.ICudaEngine:
    """Return a model's engine for a GPU, from the cache or built."""
    import_backend('tensorrt', 'tensorrt')
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    runtime = trt.Runtime(logger)
    return cached_engine(
        engine_folder(),
        _key(model, gpu),
        build=lambda: _build(model.onnx_path, logger, progress),
        load=runtime.deserialize_cuda_engine,
    )


def _key(model: Model, gpu: str) -> EngineKey:
    version = import_backend('tensorrt', 'tensorrt').__version__
    return EngineKey(model.sha256, version, gpu, model.precision, model.input_size)


def _build(onnx: Path, logger: tensorrt.ILogger, progress: Progress | None) -> bytes:
    import tensorrt as trt

    builder = trt.Builder(logger)
    # TensorRT 11 has no such flag, for all its networks are strongly typed.
    flag = getattr(trt.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED', None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        errors = '; '.join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise ModelError(f'TensorRT cannot read {onnx}: {errors}')
    config = builder.create_builder_config()
    if progress is not None:
        config.progress_monitor = _monitor(progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(f'TensorRT cannot build an engine from {onnx}; its log says why')
    return bytes(plan)


def _monitor(progress: Progress) -> tensorrt.IProgressMonitor:
    import tensorrt as trt

    class Monitor(trt.IProgressMonitor):
        """Hands TensorRT's progress on."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self.steps[phase_name])
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            steps = self.steps.pop(phase_name)
            progress(phase_name, steps, steps)

    return Monitor()
