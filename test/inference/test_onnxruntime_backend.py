"""Choice of the ONNX Runtime execution providers, with a fake of a GPU build."""

import dataclasses
import importlib.machinery
import sys
import types
from pathlib import Path

import pytest

from drive_segment_ros.inference import segmenter as module
from drive_segment_ros.inference.model import read_model
from drive_segment_ros.inference.onnxruntime_backend import OnnxRuntimeBackend, has_gpu_provider

CPU, CUDA, TENSORRT = (f'{name}ExecutionProvider' for name in ('CPU', 'CUDA', 'Tensorrt'))


class FakeRuntime(types.ModuleType):
    """Fake onnxruntime: `built_for` are its providers, `works` those that a session keeps."""

    def __init__(self, built_for, works):
        super().__init__('onnxruntime')
        self.__spec__ = importlib.machinery.ModuleSpec('onnxruntime', None, origin='fake')
        self.built_for, self.works = built_for, works
        self.SessionOptions = lambda: types.SimpleNamespace(add_session_config_entry=print)

    def get_available_providers(self):
        return self.built_for

    def InferenceSession(self, _path, _options, providers):
        self.asked = dict(providers)
        kept = [name for name in self.asked if name in self.works]
        return types.SimpleNamespace(get_providers=lambda: kept)


@pytest.fixture
def runtime(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))

    def install(built_for, works):
        fake = FakeRuntime(built_for, works)
        monkeypatch.setitem(sys.modules, 'onnxruntime', fake)
        return fake

    return install


def test_the_fastest_provider_comes_first_and_keeps_its_engines(runtime, model_folder, tmp_path):
    fake = runtime([CPU, CUDA, TENSORRT], [CPU, CUDA, TENSORRT])

    backend = OnnxRuntimeBackend(read_model(model_folder))

    assert list(fake.asked) == [TENSORRT, CUDA, CPU]
    assert fake.asked[TENSORRT]['trt_engine_cache_path'].startswith(str(tmp_path / 'cache'))
    assert backend.description == 'ONNX Runtime Tensorrt fp32'


def test_a_model_trained_again_is_not_given_the_engines_of_the_old_one(runtime, model_folder):
    fake = runtime([CPU, TENSORRT], [CPU, TENSORRT])
    model = read_model(model_folder)
    folders = set()
    for sha256 in ('a' * 64, 'b' * 64):
        OnnxRuntimeBackend(dataclasses.replace(model, sha256=sha256))
        folders.add(fake.asked[TENSORRT]['trt_engine_cache_path'])

    assert len(folders) == 2
    assert all(Path(folder).is_dir() for folder in folders)


def test_a_provider_without_its_libraries_is_not_claimed(runtime, model_folder):
    runtime([CPU, CUDA, TENSORRT], [CPU])

    assert OnnxRuntimeBackend(read_model(model_folder)).description == 'ONNX Runtime CPU fp32'


@pytest.mark.parametrize(
    ('providers', 'devices', 'order'),
    [
        ([CPU], (), ['openvino', 'onnxruntime']),
        ([CPU, CUDA], (), ['openvino', 'onnxruntime']),
        ([CPU], ('/',), ['tensorrt', 'openvino', 'onnxruntime']),
        ([CPU, CUDA], ('/',), ['tensorrt', 'onnxruntime', 'openvino']),
    ],
)
def test_a_gpu_is_preferred_where_there_is_one(runtime, monkeypatch, providers, devices, order):
    runtime(providers, providers)
    monkeypatch.setattr(module, 'GPU_DEVICES', devices)

    assert module._by_speed() == order
    assert has_gpu_provider() == (CUDA in providers)
