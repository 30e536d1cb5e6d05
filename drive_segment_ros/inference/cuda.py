"""The CUDA calls that TensorRT needs, through NVIDIA's cuda-python: buffers, a stream, a graph.

Exercised in tests with a stand-in for cuda-python; run by hand on an H100, without TensorRT:
copies, a captured graph and its fallback, running out of memory, repeated opening and closing.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.backend import import_backend

log = logging.getLogger(__name__)


class Cuda:
    """The first GPU and one stream on it; frees its buffers when closed.

    Methods raise ModelError if a call of CUDA fails, except `close`, which logs it, and `capture`.

    Attributes:
        gpu: name and compute capability.
        has_tf32: whether it can multiply fp32 matrices in TF32.
    """

    def __init__(self) -> None:
        """Open the GPU.

        Raises:
            DependencyError: if cuda-python is not installed.
            ModelError: if there is no GPU, or its driver does not answer.
        """
        self._runtime = import_backend('cuda.bindings.runtime', 'cuda-python')
        properties = self._call('cudaGetDeviceProperties', 0)
        name = properties.name.decode().strip('\0')
        self.gpu = f'{name} sm_{properties.major}{properties.minor}'
        self.has_tf32 = properties.major >= 8
        self._stream = self._call('cudaStreamCreate')
        self._release: list[tuple[str, Any]] = [('cudaStreamDestroy', self._stream)]

    @property
    def stream(self) -> int:
        """The stream's handle, for TensorRT."""
        return int(self._stream)

    def buffer(self, shape: tuple[int, ...]) -> Buffer:
        """Return a uint8 array on host and GPU, pinned on the host for asynchronous copies."""
        size = int(np.prod(shape))
        device = self._call('cudaMalloc', size)
        self._release.append(('cudaFree', device))
        pinned = self._call('cudaHostAlloc', size, 0)
        self._release.append(('cudaFreeHost', pinned))
        memory = (ctypes.c_uint8 * size).from_address(int(pinned))
        return Buffer(np.ctypeslib.as_array(memory).reshape(shape), int(pinned), int(device))

    def upload(self, buffer: Buffer) -> None:
        """Queue a copy to the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        size = buffer.host.nbytes
        self._call('cudaMemcpyAsync', buffer.device, buffer.pinned, size, kind, self._stream)

    def download(self, buffer: Buffer) -> None:
        """Queue a copy from the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        size = buffer.host.nbytes
        self._call('cudaMemcpyAsync', buffer.pinned, buffer.device, size, kind, self._stream)

    def synchronize(self) -> None:
        """Wait until everything queued is done."""
        self._call('cudaStreamSynchronize', self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the operations queued by `work` as a CUDA graph, which one call then queues.

        Returns:
            A function that queues the graph, or `work` itself if it cannot be recorded.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        try:
            self._call('cudaStreamBeginCapture', self._stream, mode)
            try:
                work()
            finally:
                graph = self._call('cudaStreamEndCapture', self._stream)
            self._release.append(('cudaGraphDestroy', graph))
            executable = self._call('cudaGraphInstantiate', graph, 0)
        except ModelError as err:
            # Otherwise the next call would report the error of the failed one.
            self._runtime.cudaGetLastError()
            log.warning('no CUDA graph (%s); the operations are queued one by one', err)
            return work
        self._release.append(('cudaGraphExecDestroy', executable))
        return lambda: self._call('cudaGraphLaunch', executable, self._stream)

    def close(self) -> None:
        """Free everything, the last acquired first."""
        while self._release:
            function, handle = self._release.pop()
            try:
                self._call(function, handle)
            except ModelError as err:
                log.warning('GPU memory was not freed: %s', err)

    def _call(self, function: str, *arguments: Any) -> Any:
        error, *values = getattr(self._runtime, function)(*arguments)
        if int(error) != 0:
            reason = getattr(error, 'name', error)
            raise ModelError(f'{function} failed with {reason}; check the GPU with nvidia-smi')
        return values[0] if values else None


class Buffer:
    """A uint8 array in pinned host memory and its counterpart on the GPU.

    Attributes:
        host: the array.
        pinned, device: addresses of both sides.
    """

    def __init__(self, host: NDArray[np.uint8], pinned: int, device: int) -> None:
        self.host = host
        self.pinned = pinned
        self.device = device
