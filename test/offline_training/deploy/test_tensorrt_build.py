"""NVIDIA's parser and builder accept the exported graphs; needs TensorRT for RTX.

It shares TensorRT's Python interface and, unlike TensorRT, builds without a GPU:
`pip install tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs`.
"""

from __future__ import annotations

import sys

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.tensorrt_backend import serialized_engine
from offline_training.deploy.export import onnx_model
from offline_training.deploy.half_precision import to_half
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter

HEIGHT, WIDTH = 64, 112


@pytest.fixture
def logger(monkeypatch):
    tensorrt = pytest.importorskip(
        'tensorrt_rtx_bindings', reason='TensorRT for RTX is not installed'
    )
    monkeypatch.setitem(sys.modules, 'tensorrt', tensorrt)
    return tensorrt.Logger(tensorrt.Logger.ERROR)


@pytest.fixture(scope='module')
def graph():
    torch.manual_seed(0)
    network = Segmenter(NetworkConfiguration(7, HEIGHT, WIDTH, 64, depth=2, heads=2)).eval()
    # An input larger than that of the network, so that the graph has a resize.
    return onnx_model(network, 100, 250)


@pytest.mark.parametrize('precision', ['fp32', 'tf32', 'fp16'])
def test_nvidia_builds_what_we_export(logger, graph, tmp_path, precision):
    path, told = tmp_path / 'model.onnx', []
    onnx.save(to_half(graph) if precision == 'fp16' else graph, path)

    plan = serialized_engine(path, precision, logger, lambda *step: told.append(step))

    assert len(plan) > 100_000
    assert told[0][1] == 0
    assert told[-1][1] == told[-1][2] > 0


def test_what_nvidia_cannot_read_is_one_line(logger, tmp_path):
    path = tmp_path / 'model.onnx'
    value = helper.make_tensor_value_info('image', TensorProto.FLOAT, [1])
    label = helper.make_tensor_value_info('label', TensorProto.FLOAT, [1])
    node = helper.make_node('Unheard', ['image'], ['label'])
    onnx.save(helper.make_model(helper.make_graph([node], 'x', [value], [label])), path)

    with pytest.raises(
        ModelError, match=r'TensorRT cannot read .*model\.onnx: .*not found'
    ) as err:
        serialized_engine(path, 'fp32', logger, None)
    assert '\n' not in str(err.value)
