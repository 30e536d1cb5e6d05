"""The TensorRT backend with the fakes of `conftest.py`, without a GPU."""

from __future__ import annotations

import importlib.machinery
import sys
import types

import pytest

from drive_segment_ros.errors import DependencyError, ModelError
from drive_segment_ros.inference.engine_cache import engine_folder
from drive_segment_ros.inference.model import read_model
from drive_segment_ros.inference.segmenter import load
from drive_segment_ros.inference.tensorrt_backend import TensorRtBackend, build_engine


def test_masks_come_from_one_captured_graph(tensorrt, cuda, model_folder, image):
    segmenter = load(model_folder, 'tensorrt')
    launches = cuda.graph_launches

    first = segmenter.segment(image)
    second = segmenter.segment(image[::-1])

    assert (first[0] == image.argmax(axis=2)).all()
    assert (second[0] == image[::-1].argmax(axis=2)).all()
    assert (first[1] == 200).all()
    assert cuda.graph_launches == launches + 2
    assert segmenter.backend == 'TensorRT Fake GPU sm_89 tf32'
    segmenter.close()


def test_networks_are_strongly_typed_on_every_version(tensorrt, model_folder):
    load(model_folder, 'tensorrt')

    assert tensorrt.flags == [{'10': 1 << 1, '11': 1 << 0, '99': 0}[tensorrt.__version__[:2]]]


def test_exact_is_an_engine_of_its_own_without_tf32(tensorrt, model_folder):
    fast = load(model_folder, 'tensorrt')
    exact = load(model_folder, 'tensorrt', exact=True)

    assert [config.cleared for config in tensorrt.configs] == [[], ['TF32']]
    assert fast.backend.endswith('tf32')
    assert exact.backend.endswith('fp32')


def test_a_gpu_older_than_tf32_computes_in_fp32(tensorrt, cuda, model_folder):
    cuda.capability = 7, 5

    assert load(model_folder, 'tensorrt').backend == 'TensorRT Fake GPU sm_75 fp32'


def test_everything_taken_is_given_back(tensorrt, cuda, model_folder):
    segmenter = load(model_folder, 'tensorrt')
    assert cuda.memory

    segmenter.close()

    assert not cuda.memory
    assert not cuda.open


def test_without_graphs_calls_are_queued_one_by_one(tensorrt, cuda, model_folder, image, caplog):
    cuda.can_capture = False

    label, _ = load(model_folder, 'tensorrt').segment(image)

    assert (label == image.argmax(axis=2)).all()
    assert cuda.graph_launches == 0
    assert 'no CUDA graph' in caplog.text


def test_the_second_start_builds_nothing(tensorrt, model_folder):
    path = build_engine(read_model(model_folder))
    load(model_folder, 'tensorrt')

    assert tensorrt.builds == 1
    assert path.parent == engine_folder()
    assert path.read_bytes().startswith(b'plan')


def test_an_upgrade_of_tensorrt_builds_anew(tensorrt, model_folder):
    load(model_folder, 'tensorrt')
    tensorrt.__version__ = '11.5.0'
    load(model_folder, 'tensorrt')

    assert tensorrt.builds == 2


def test_a_torn_engine_is_built_again(tensorrt, model_folder, image):
    build_engine(read_model(model_folder)).write_bytes(b'plan 1')

    label, _ = load(model_folder, 'tensorrt').segment(image)

    assert (label == image.argmax(axis=2)).all()
    assert tensorrt.builds == 2


def test_progress_is_told(tensorrt, model_folder):
    told = []

    TensorRtBackend(read_model(model_folder), lambda *step: told.append(step))

    assert told == [('tactics', 0, 2), ('tactics', 1, 2), ('tactics', 2, 2)]


def test_failures_are_one_line_and_leave_nothing_behind(tensorrt, cuda, model_folder):
    model = read_model(model_folder)
    tensorrt.parser_error = 'no importer for operator X'
    with pytest.raises(ModelError, match=r'cannot read .*model\.onnx: no importer'):
        TensorRtBackend(model)
    tensorrt.parser_error, tensorrt.build_fails = '', True
    with pytest.raises(ModelError, match='cannot build'):
        TensorRtBackend(model)
    tensorrt.opens_gpu = False
    with pytest.raises(ModelError, match='TensorRT cannot open the GPU'):
        TensorRtBackend(model)
    assert not cuda.memory
    assert not cuda.open
    cuda.gpus = 0
    with pytest.raises(ModelError, match='cudaErrorNoDevice'):
        TensorRtBackend(model)


def test_missing_packages_are_named(cuda, model_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    with pytest.raises(DependencyError, match='pip install tensorrt'):
        load(model_folder, 'tensorrt')
    monkeypatch.setitem(sys.modules, 'cuda.bindings.runtime', None)
    with pytest.raises(DependencyError, match='pip install cuda-python'):
        load(model_folder, 'tensorrt')


def test_a_package_of_stubs_alone_is_no_tensorrt(cuda, model_folder, monkeypatch):
    stubs = types.ModuleType('tensorrt')
    stubs.__spec__ = importlib.machinery.ModuleSpec('tensorrt', None)
    monkeypatch.setitem(sys.modules, 'tensorrt', stubs)

    with pytest.raises(DependencyError, match='pip install tensorrt'):
        load(model_folder, 'tensorrt')
