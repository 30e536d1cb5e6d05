"""TensorRT 10 and 11 through its own Python interface: the fastest backend on an NVIDIA GPU.

Networks are strongly typed, the only kind in TensorRT 11: the file determines the precision,
except that GPUs since Ampere multiply fp32 in TF32 by default. Type-checked against
`tensorrt-stubs` and exercised in tests with a stand-in for TensorRT; never run on hardware by the
authors.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.backend import import_backend
from drive_segment_ros.inference.cuda import Buffer, Cuda
from drive_segment_ros.inference.engine_cache import EngineKey, cached_engine, engine_folder
from drive_segment_ros.inference.model import CONFIDENCE_NAME, INPUT_NAME, LABEL_NAME, Model

if TYPE_CHECKING:
    import tensorrt

# Arguments: the phase, steps done and their number.
Progress = Callable[[str, int, int], None]
Opened = TypeVar('Opened')


class TensorRtBackend:
    """A model on the first GPU: one stream, pinned buffers, a CUDA graph."""

    def __init__(
        self, model: Model, progress: Progress | None = None, exact: bool = False
    ) -> None:
        """Load the model's engine, or build it once, which takes minutes.

        Args:
            model: to run.
            progress: called with the progress of building.
            exact: multiply fp32 in fp32 even where the GPU has TF32.

        Raises:
            DependencyError: if TensorRT or cuda-python is not installed.
            ModelError: if there is no GPU, or TensorRT cannot load the model.
        """
        self._cuda = Cuda()
        try:
            precision = _precision(model, self._cuda, exact)
            self._engine = load_engine(model, self._cuda.gpu, precision, progress)
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise ModelError(f'{self._cuda.gpu} has no memory left for {model.onnx_path}')
            self._image = self._bind(INPUT_NAME, (*model.input_size, 3))
            self._label = self._bind(LABEL_NAME, model.output_size)
            self._confidence = self._bind(CONFIDENCE_NAME, model.output_size)
            # TensorRT allocates memory on the first run, which a graph cannot record.
            self._queue()
            self._cuda.synchronize()
            self._launch = self._cuda.capture(self._queue)
        except BaseException:
            self._cuda.close()
            raise
        self.description = f'TensorRT {self._cuda.gpu} {precision}'

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
            raise ModelError('TensorRT cannot run the model; see its log')
        self._cuda.download(self._label)
        self._cuda.download(self._confidence)


def build_engine(model: Model, progress: Progress | None = None) -> Path:
    """Build a model's engine for this machine unless it is in the cache.

    Returns:
        The engine's file.

    Raises:
        DependencyError, ModelError: as for `TensorRtBackend`.
    """
    cuda = Cuda()
    try:
        precision = _precision(model, cuda, exact=False)
        load_engine(model, cuda.gpu, precision, progress)
        return engine_folder() / _key(model, cuda.gpu, precision).file_name
    finally:
        cuda.close()


def load_engine(
    model: Model, gpu: str, precision: str, progress: Progress | None = None
) -> tensorrt.ICudaEngine:
    """Return a model's engine for a GPU and a precision, from the cache or built.

    Args:
        model: the model.
        gpu: name and compute capability, see `Cuda`.
        precision: `fp32`, `tf32`, `fp16` or `int8`, see `serialized_engine`.
        progress: called with the progress of building.

    Raises:
        DependencyError: if TensorRT is not installed.
        ModelError: if it cannot open the GPU, or build or load the engine.
    """
    import_backend('tensorrt', 'tensorrt')
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    runtime = _opened(trt.Runtime, logger)
    return cached_engine(
        engine_folder(),
        _key(model, gpu, precision),
        build=lambda: serialized_engine(model.onnx_path, precision, logger, progress),
        load=runtime.deserialize_cuda_engine,
    )


def serialized_engine(
    onnx: Path, precision: str, logger: tensorrt.ILogger, progress: Progress | None = None
) -> bytes:
    """Build an engine from a graph, which takes minutes.

    Args:
        onnx: the graph.
        precision: `fp32` disables TF32; otherwise the graph determines it.
        logger: TensorRT's.
        progress: called with the progress of building.

    Raises:
        ModelError: if TensorRT cannot open the GPU, read the graph or build it.
    """
    import tensorrt as trt

    builder = _opened(trt.Builder, logger)
    # Deprecated since TensorRT 11, whose networks are all strongly typed.
    flag = getattr(trt.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED', None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        errors = '; '.join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise ModelError(f'TensorRT cannot read {onnx}: {" ".join(errors.split())}')
    config = builder.create_builder_config()
    if precision == 'fp32':
        config.clear_flag(trt.BuilderFlag.TF32)
    if progress is not None:
        config.progress_monitor = _monitor(progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(f'TensorRT cannot build an engine from {onnx}; see its log')
    return bytes(plan)


def _precision(model: Model, cuda: Cuda, exact: bool) -> str:
    """Return the precision a model is computed in: the file's, or `tf32` for fp32 with TF32."""
    return 'tf32' if model.precision == 'fp32' and cuda.has_tf32 and not exact else model.precision


def _key(model: Model, gpu: str, precision: str) -> EngineKey:
    version = import_backend('tensorrt', 'tensorrt').__version__
    return EngineKey(model.sha256, version, gpu, precision, model.input_size)


def _opened(kind: Callable[[tensorrt.ILogger], Opened], logger: tensorrt.ILogger) -> Opened:
    """Return TensorRT's builder or runtime; both open the GPU with their own CUDA."""
    try:
        return kind(logger)
    # The binding's error for a null pointer; the reason is only in TensorRT's log.
    except TypeError as err:
        raise ModelError(
            'TensorRT cannot open the GPU, perhaps because its CUDA is newer than the driver; see '
            'its log'
        ) from err


def _monitor(progress: Progress) -> tensorrt.IProgressMonitor:
    import tensorrt as trt

    class Monitor(trt.IProgressMonitor):
        """Forwards TensorRT's progress."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self.steps[phase_name])
            return True  # continue the build

        def phase_finish(self, phase_name: str) -> None:
            steps = self.steps.pop(phase_name)
            progress(phase_name, steps, steps)

    return Monitor()
