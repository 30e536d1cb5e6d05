"""A model folder whose answer is known, made without a network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from drive_segment_ros.inference.model import Model, ModelClass

HEIGHT, WIDTH = 8, 12


def write_model(folder: Path) -> Model:
    """Write a model whose label is each pixel's strongest channel, and confidence its value."""
    nodes = [
        helper.make_node('Cast', ['image'], ['pixels'], to=TensorProto.FLOAT),
        helper.make_node('ArgMax', ['pixels'], ['strongest'], axis=3, keepdims=0),
        helper.make_node('Cast', ['strongest'], ['label'], to=TensorProto.UINT8),
        helper.make_node('ReduceMax', ['pixels', 'axes'], ['value'], keepdims=0),
        helper.make_node('Cast', ['value'], ['confidence'], to=TensorProto.UINT8),
    ]
    shape = [1, HEIGHT, WIDTH]
    graph = helper.make_graph(
        nodes,
        'strongest channel',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, [*shape, 3])],
        [
            helper.make_tensor_value_info(n, TensorProto.UINT8, shape)
            for n in ('label', 'confidence')
        ],
        [numpy_helper.from_array(np.array([3]), 'axes')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'model.onnx').write_bytes(data)
    colours = ((0, 0, 255), (0, 255, 0), (255, 0, 0))
    described = Model(
        onnx_path=folder / 'model.onnx',
        sha256=hashlib.sha256(data).hexdigest(),
        precision='fp32',
        opset=18,
        input_size=(HEIGHT, WIDTH),
        output_size=(HEIGHT, WIDTH),
        classes=[ModelClass(n, c) for n, c in zip(('blue', 'green', 'red'), colours, strict=True)],
        provenance={'run': 'none'},
    )
    (folder / 'model.json').write_text(json.dumps(described.to_dict()))
    return described


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A model folder, see `write_model`."""
    write_model(tmp_path / 'model')
    return tmp_path / 'model'


@pytest.fixture
def image() -> np.ndarray:
    """An image of the model's size whose strongest channel is never in doubt."""
    random = np.random.default_rng(0)
    image = random.integers(0, 100, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    strongest = random.integers(0, 3, (HEIGHT, WIDTH, 1))
    np.put_along_axis(image, strongest, np.uint8(200), axis=2)
    return image
