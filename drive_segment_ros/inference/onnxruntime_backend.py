"""ONNX Runtime: runs everywhere, on a GPU if the package was built for one.

The CUDA and TensorRT providers have never been run on hardware by the authors.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DependencyError, ModelError
from drive_segment_ros.inference.backend import import_backend
from drive_segment_ros.inference.engine_cache import engine_folder
from drive_segment_ros.inference.model import CONFIDENCE_NAME, INPUT_NAME, LABEL_NAME, Model

_CPU = 'CPUExecutionProvider'
_GPU = ('TensorrtExecutionProvider', 'CUDAExecutionProvider')


class OnnxRuntimeBackend:
    """A model on the fastest of ONNX Runtime's available providers."""

    def __init__(self, model: Model, threads: int = 0) -> None:
        """Open a session.

        Args:
            model: to load.
            threads: largest number used on a CPU; 0 leaves it to ONNX Runtime.

        Raises:
            DependencyError: if ONNX Runtime is not installed.
            ModelError: if ONNX Runtime cannot load the model.
        """
        runtime = import_backend('onnxruntime', 'onnxruntime')
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that spin between two images would take cores from other nodes.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        try:
            self._session = runtime.InferenceSession(
                str(model.onnx_path), options, providers=_providers(runtime, model)
            )
        # Its exceptions have no other common base class.
        except Exception as err:
            reason = ' '.join(str(err).split())
            raise ModelError(f'ONNX Runtime cannot load {model.onnx_path}: {reason}') from err
        # ONNX Runtime skips a provider whose libraries are missing: query the one in use.
        provider = self._session.get_providers()[0].removesuffix('ExecutionProvider')
        self.description = f'ONNX Runtime {provider} {model.precision}'

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See `Backend.run`."""
        names = [LABEL_NAME, CONFIDENCE_NAME]
        try:
            label, confidence = self._session.run(names, {INPUT_NAME: image[None]})
        except Exception as err:
            reason = ' '.join(str(err).split())
            raise ModelError(f'ONNX Runtime cannot run the model: {reason}') from err
        return label[0], confidence[0]

    def close(self) -> None:
        """See `Backend.close`."""
        del self._session


def has_gpu_provider() -> bool:
    """Return whether an installed ONNX Runtime was built for NVIDIA GPUs."""
    try:
        runtime = import_backend('onnxruntime', 'onnxruntime')
    except DependencyError:
        return False
    return any(provider in runtime.get_available_providers() for provider in _GPU)


def _providers(runtime: Any, model: Model) -> list[tuple[str, dict[str, Any]]]:
    """Return the installed providers, fastest first, with their options."""
    present = runtime.get_available_providers()
    options: dict[str, dict[str, Any]] = {}
    if _GPU[0] in present:
        # ONNX Runtime identifies engines by name, not by weights: a retrained model would get the
        # engine of the old one.
        folder = engine_folder() / 'onnxruntime' / model.sha256[:16]
        # Without the folder every start builds the engine again.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        options[_GPU[0]] = {'trt_engine_cache_enable': True, 'trt_engine_cache_path': str(folder)}
    return [(name, options.get(name, {})) for name in (*_GPU, _CPU) if name in present]
