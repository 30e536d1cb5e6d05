"""An ONNX graph in int8: expensive operators between Q/DQ nodes, sensitive ones in float.

By ONNX Runtime's static quantiser. Scales are symmetric, those of weights per channel, and biases
stay float, as required by TensorRT and supported by OpenVINO and ONNX Runtime.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from drive_segment_ros.inference.backend import import_backend
from drive_segment_ros.inference.model import INPUT_NAME

# Convolutions and the head stay in float: they take a small part of the time, and in int8 they
# would cause most of the changes of class.
_HEAVY = 'MatMul'
_BEFORE_A_NORM = ('Add', 'Concat')
# Smaller matrices are not worth it.
_FEWEST_CHANNELS = 32


def to_int8(model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]]) -> onnx.ModelProto:
    """Return a copy of a float32 model whose expensive operators compute in int8.

    Args:
        model: nodes in topological order.
        images: (H, W, 3) uint8 BGR each, of the model's input size, to see which values its
            tensors take.

    Raises:
        DependencyError: if ONNX Runtime is not installed.
    """
    import_backend('onnxruntime', 'onnxruntime')
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._images, None)
            return None if image is None else {INPUT_NAME: image[None]}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        full, path = Path(folder) / 'full.onnx', Path(folder) / 'int8.onnx'
        # If given the model itself, the quantiser moves its weights to a file.
        onnx.save(model, full)
        quantization.quantize_static(
            full,
            path,
            Reader(),
            op_types_to_quantize=[_HEAVY],
            nodes_to_quantize=heavy_nodes(model.graph),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={
                'ActivationSymmetric': True,
                'MatMulConstBOnly': True,
                'OpTypesToExcludeOutputQuantization': [_HEAVY],
                'QDQOpTypePerChannelSupportToAxis': {_HEAVY: 1},
                'QuantizeBias': False,
            },
        )
        return onnx.load(path)


def heavy_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes to compute in int8: the linear maps of the blocks.

    A block's norm follows a residual sum or the concatenated tokens; the head comes after the last
    of these.
    """
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    ends = [
        index
        for index, node in enumerate(graph.node)
        if node.op_type == 'LayerNormalization' and made_by.get(node.input[0]) in _BEFORE_A_NORM
    ]
    return [
        node.name
        for node in graph.node[: max(ends, default=0)]
        if node.op_type == _HEAVY and min(shapes.get(node.input[1], (0,))) >= _FEWEST_CHANNELS
    ]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser's advice in the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
