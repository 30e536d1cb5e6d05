"""Loading a model and segmenting: equal results on all backends, errors without a backend."""

import json
import logging
import sys
import types

import numpy as np
import pytest

from drive_segment_ros.errors import DependencyError, ImageError, ModelError
from drive_segment_ros.inference import segmenter as module
from drive_segment_ros.inference.model import read_model
from drive_segment_ros.inference.segmenter import Segmenter, load

PACKAGES = ('openvino', 'onnxruntime')


@pytest.fixture(params=PACKAGES)
def segmenter(request, model_folder):
    pytest.importorskip(request.param)
    loaded = load(model_folder, request.param, threads=1)
    yield loaded
    loaded.close()


def test_every_backend_gives_the_strongest_channel(segmenter, image):
    label, confidence = segmenter.segment(image)

    assert label.dtype == confidence.dtype == np.uint8
    assert (label == image.argmax(axis=2)).all()
    assert (confidence == 200).all()
    assert segmenter.input_size == segmenter.output_size == (8, 12)
    assert segmenter.classes[0].name == 'blue'


def test_fitting_first_gives_the_same(segmenter, image):
    large = image.repeat(2, axis=0).repeat(2, axis=1)

    assert segmenter.fit(large).shape == (8, 12, 3)
    assert (segmenter.segment(segmenter.fit(large))[0] == segmenter.segment(large)[0]).all()


def test_images_that_are_distorted_are_logged_once(segmenter, caplog):
    tall = np.zeros((12, 12, 3), np.uint8)

    with caplog.at_level(logging.WARNING):
        for image in (np.zeros((16, 24, 3), np.uint8), tall, tall):
            segmenter.segment(image)

    (record,) = caplog.records
    assert record.getMessage() == (
        'images of 12 x 12 are distorted to 12 x 8; export the model with --height 12 --width 12'
    )


def test_a_result_outlives_the_next_image(segmenter, image):
    label, confidence = segmenter.segment(image)
    kept = label.copy(), confidence.copy()

    segmenter.segment(np.roll(image, 1, axis=2) // 2)

    assert (label == kept[0]).all()
    assert (confidence == kept[1]).all()


def test_odd_strides_and_other_sizes_are_taken(segmenter, image):
    wide = np.zeros((8, 29, 4), np.uint8)
    wide[:, 2:26:2, :3] = image

    label, _ = segmenter.segment(wide[:, 2:26:2, :3])
    larger, _ = segmenter.segment(image.repeat(3, axis=0).repeat(3, axis=1))
    smaller, _ = segmenter.segment(image[:4, :6])

    assert (label == image.argmax(axis=2)).all()
    assert (larger == label).all()
    assert smaller.shape == (8, 12)


@pytest.mark.parametrize(
    'wrong',
    [
        np.zeros((8, 12), np.uint8),
        np.zeros((8, 12, 4), np.uint8),
        np.zeros((8, 12, 3), np.uint16),
        np.zeros((0, 12, 3), np.uint8),
    ],
)
def test_what_is_no_image_is_refused_and_the_next_is_segmented(segmenter, image, wrong):
    with pytest.raises(ImageError, match='shape'):
        segmenter.segment(wrong)

    assert (segmenter.segment(image)[0] == image.argmax(axis=2)).all()


def test_auto_says_what_it_took(model_folder, caplog):
    pytest.importorskip('openvino')
    with caplog.at_level(logging.INFO):
        loaded = load(model_folder, threads=1)

    assert loaded.backend.startswith('OpenVINO CPU')
    assert loaded.backend in caplog.text


@pytest.mark.parametrize(('threads', 'quota', 'used'), [(0, 0, 0), (0, 2, 2), (1, 2, 1)])
def test_threads_are_no_more_than_a_quota_allows(model_folder, monkeypatch, threads, quota, used):
    class AskedError(Exception):
        pass

    def backend(model, threads):
        raise AskedError(threads)

    monkeypatch.setattr(module, 'OnnxRuntimeBackend', backend)
    monkeypatch.setattr(module, 'cores_of_quota', lambda: quota)
    with pytest.raises(AskedError) as asked:
        load(model_folder, 'onnxruntime', threads)
    assert asked.value.args == (used,)


def test_openvino_computes_in_full_precision_when_told(model_folder):
    pytest.importorskip('openvino')

    assert load(model_folder, 'openvino', exact=True).backend == 'OpenVINO CPU f32'


def test_auto_goes_on_without_a_package(model_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)

    assert load(model_folder, threads=1).backend == 'ONNX Runtime CPU fp32'


def test_auto_goes_on_when_the_gpu_refuses(model_folder, monkeypatch, caplog):
    def refuse(*_):
        raise ModelError('the driver does not answer')

    monkeypatch.setattr(module, 'GPU_DEVICES', ('/',))
    monkeypatch.setattr(module, 'TensorRtBackend', refuse)

    loaded = load(model_folder, threads=1)

    assert 'TensorRT' not in loaded.backend
    assert 'backend tensorrt is not used: the driver does not answer' in caplog.text


def test_without_any_backend_the_message_names_packages(model_folder, monkeypatch):
    for package in (*PACKAGES, 'tensorrt'):
        monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(DependencyError, match='pip install openvino'):
        load(model_folder)
    for package in PACKAGES:
        with pytest.raises(DependencyError, match=f'pip install {package}'):
            load(model_folder, package)


def test_unknown_backends_and_folders_are_one_line(model_folder, tmp_path):
    with pytest.raises(ModelError, match="unknown backend 'tpu'; choose from auto, tensorrt"):
        load(model_folder, 'tpu')
    with pytest.raises(ModelError, match='not an exported model'):
        load(tmp_path)


@pytest.mark.parametrize('backend', PACKAGES)
def test_a_graph_the_backend_refuses_is_one_line(model_folder, monkeypatch, backend):
    pytest.importorskip(backend)
    monkeypatch.setattr('drive_segment_ros.inference.model._check_hash', lambda _: None)
    (model_folder / 'model.onnx').write_bytes(b'no graph')

    with pytest.raises(ModelError, match='cannot load') as error:
        load(model_folder, backend)

    assert '\n' not in str(error.value)


@pytest.mark.parametrize('backend', PACKAGES)
def test_a_graph_without_the_outputs_is_one_line(model_folder, monkeypatch, backend):
    package = pytest.importorskip(f'drive_segment_ros.inference.{backend}_backend')
    pytest.importorskip(backend)
    monkeypatch.setattr(package, 'LABEL_NAME', 'no_such_output')

    with pytest.raises(ModelError, match='no_such_output') as error:
        load(model_folder, backend)

    assert '\n' not in str(error.value)


@pytest.mark.parametrize('backend', PACKAGES)
def test_outputs_of_another_size_than_described_are_refused(model_folder, backend):
    pytest.importorskip(backend)
    file = model_folder / 'model.json'
    content = json.loads(file.read_text())
    content['output']['height'] += 1
    file.write_text(json.dumps(content))

    with pytest.raises(ModelError, match=r'gives uint8 \(\d+, \d+\).*describes uint8'):
        load(model_folder, backend)


def test_outputs_of_another_type_than_described_are_refused(model_folder):
    model = read_model(model_folder)
    wide = np.zeros(model.output_size, np.int64)
    closed = []
    backend = types.SimpleNamespace(run=lambda _: (wide, wide), close=lambda: closed.append(1))

    with pytest.raises(ModelError, match='gives int64'):
        Segmenter(model, backend)
    assert closed
