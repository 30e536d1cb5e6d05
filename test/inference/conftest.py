"""An image for the small model of `test/conftest.py`; fakes of TensorRT and cuda-python.

The fakes keep the contract of the real libraries: device memory is only accessed by copies on the
stream, pinned memory is ordinary memory, a captured graph repeats the queued calls, and a call
that fails returns an error code.
"""

from __future__ import annotations

import ctypes
import enum
import importlib.machinery
import sys
import types

import numpy as np
import pytest

HEIGHT, WIDTH = 8, 12


@pytest.fixture
def image() -> np.ndarray:
    """Return an image of the model's size with one clearly strongest channel per pixel."""
    random = np.random.default_rng(0)
    image = random.integers(0, 100, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    strongest = random.integers(0, 3, (HEIGHT, WIDTH, 1))
    np.put_along_axis(image, strongest, np.uint8(200), axis=2)
    return image


class Error(enum.IntEnum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorNoDevice = 100  # noqa: N815
    cudaErrorStreamCaptureUnsupported = 900  # noqa: N815


class FakeCuda(types.ModuleType):
    """Fake cuda.bindings.runtime: memory, and one stream that runs calls at once or records."""

    cudaMemcpyKind = enum.IntEnum(  # noqa: N815
        'cudaMemcpyKind', [('cudaMemcpyHostToDevice', 1), ('cudaMemcpyDeviceToHost', 2)]
    )
    cudaStreamCaptureMode = enum.IntEnum(  # noqa: N815
        'cudaStreamCaptureMode', [('cudaStreamCaptureModeThreadLocal', 1)]
    )

    def __init__(self) -> None:
        super().__init__('cuda.bindings.runtime')
        self.__spec__ = importlib.machinery.ModuleSpec(self.__name__, None, origin='fake')
        self.memory: dict[int, ctypes.Array] = {}
        self.open: set[str] = set()
        self.recording: list | None = None
        self.graph_launches = 0
        self.gpus = 1
        self.capability = 8, 9
        self.can_capture = True

    def queue(self, work):
        if self.recording is not None:
            self.recording.append(work)
        else:
            work()

    def cudaGetDeviceProperties(self, _):
        if not self.gpus:
            return Error.cudaErrorNoDevice, None
        major, minor = self.capability
        properties = types.SimpleNamespace(name=b'Fake GPU\0\0', major=major, minor=minor)
        return Error.cudaSuccess, properties

    def cudaStreamCreate(self):
        self.open.add('stream')
        return Error.cudaSuccess, 7

    def cudaStreamDestroy(self, _):
        self.open.remove('stream')
        return (Error.cudaSuccess,)

    def cudaMalloc(self, size):
        block = (ctypes.c_uint8 * size)()
        self.memory[ctypes.addressof(block)] = block
        return Error.cudaSuccess, ctypes.addressof(block)

    def cudaHostAlloc(self, size, _):
        return self.cudaMalloc(size)

    def cudaFree(self, address):
        del self.memory[address]
        return (Error.cudaSuccess,)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaMemcpyAsync(self, to, source, size, _kind, stream):
        assert stream == 7
        assert len(self.memory[to]) == len(self.memory[source]) == size
        self.queue(lambda: ctypes.memmove(to, source, size))
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, _):
        assert self.recording is None, 'waiting while capturing breaks the capture'
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, _stream, _mode):
        self.recording = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, _):
        work, self.recording = self.recording, None
        if not self.can_capture:
            return Error.cudaErrorStreamCaptureUnsupported, None
        self.open.add('graph')
        return Error.cudaSuccess, work

    def cudaGraphInstantiate(self, graph, _flags):
        self.open.add('executable')
        return Error.cudaSuccess, graph

    def cudaGraphLaunch(self, graph, _stream):
        self.graph_launches += 1
        for work in graph:
            work()
        return (Error.cudaSuccess,)

    def cudaGraphDestroy(self, _):
        self.open.remove('graph')
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, _):
        self.open.remove('executable')
        return (Error.cudaSuccess,)

    def cudaGetLastError(self):
        return (Error.cudaSuccess,)


class FakeContext:
    """Fake execution context that computes the strongest channel, as the small model does."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.address: dict[str, int] = {}

    def set_tensor_address(self, name, address):
        self.address[name] = address
        return name in ('image', 'label', 'confidence')

    def execute_async_v3(self, stream):
        assert stream == 7
        self.cuda.queue(self._compute)
        return True

    def _compute(self):
        memory = {name: self.cuda.memory[address] for name, address in self.address.items()}
        image = np.frombuffer(memory['image'], np.uint8).reshape(8, 12, 3)
        np.frombuffer(memory['label'], np.uint8)[:] = image.argmax(axis=2).ravel()
        np.frombuffer(memory['confidence'], np.uint8)[:] = image.max(axis=2).ravel()


class FakeConfig:
    """Fake builder configuration that records the cleared flags."""

    def __init__(self) -> None:
        self.cleared: list[str] = []
        self.progress_monitor = None

    def clear_flag(self, flag):
        self.cleared.append(flag)


class FakeTensorRt(types.ModuleType):
    """Fake tensorrt: the strong typing flag is 1 in version 10, 0 in 11, and absent later."""

    class Logger:
        WARNING = 1

        def __init__(self, _severity):
            pass

    class IProgressMonitor:
        pass

    def __init__(self, cuda: FakeCuda, version: str) -> None:
        super().__init__('tensorrt')
        self.__spec__ = importlib.machinery.ModuleSpec('tensorrt', None, origin='fake')
        self.__version__ = version
        self.cuda = cuda
        self.builds = 0
        self.flags: list[int] = []
        self.parser_error = ''
        self.build_fails = False
        self.opens_gpu = True
        self.configs: list[FakeConfig] = []
        flags = {'10': {'STRONGLY_TYPED': 1}, '11': {'STRONGLY_TYPED': 0}}.get(version[:2], {})
        self.NetworkDefinitionCreationFlag = types.SimpleNamespace(**flags)
        self.BuilderFlag = types.SimpleNamespace(TF32='TF32')

    def Runtime(self, _logger):
        if not self.opens_gpu:
            raise TypeError('pybind11::init(): factory function returned nullptr')

        def deserialize(plan):
            fits = bytes(plan) == f'plan {self.__version__}'.encode()
            context = lambda: FakeContext(self.cuda)  # noqa: E731
            return types.SimpleNamespace(create_execution_context=context) if fits else None

        return types.SimpleNamespace(deserialize_cuda_engine=deserialize)

    def Builder(self, _logger):
        def create_network(flags):
            self.flags.append(flags)
            return 'network'

        def build(network, config):
            assert network == 'network'
            self.builds += 1
            self.configs.append(config)
            monitor = config.progress_monitor
            if monitor is not None:
                monitor.phase_start('tactics', None, 2)
                assert monitor.step_complete('tactics', 0)
                monitor.phase_finish('tactics')
            return None if self.build_fails else f'plan {self.__version__}'.encode()

        return types.SimpleNamespace(
            create_network=create_network,
            create_builder_config=FakeConfig,
            build_serialized_network=build,
        )

    def OnnxParser(self, _network, _logger):
        error = types.SimpleNamespace(desc=lambda: self.parser_error)
        return types.SimpleNamespace(
            parse_from_file=lambda _: not self.parser_error,
            num_errors=1,
            get_error=lambda _: error,
        )


@pytest.fixture
def cuda(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, 'cuda.bindings.runtime', fake)
    return fake


@pytest.fixture(params=['10.13.0', '11.4.0', '99.0.0'])
def tensorrt(request, monkeypatch, cuda):
    fake = FakeTensorRt(cuda, request.param)
    monkeypatch.setitem(sys.modules, 'tensorrt', fake)
    return fake
