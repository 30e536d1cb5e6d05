"""An ONNX graph in 8 bits: what is heavy in int8 between Q/DQ nodes, what is delicate in float.

ONNX Runtime's static quantiser does it. Scales are symmetric, of weights one a channel, and biases
stay float: what TensorRT takes, and OpenVINO and ONNX Runtime run as well.
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

# Convolutions and the head stay in float: they are a tenth of the time a network takes, and in
# int8 most of the pixels that change their class would be theirs.
_HEAVY = 'MatMul'
_BEFORE_A_NORM = ('Add', 'Concat')
# Fewer are little work.
_FEWEST_CHANNELS = 32


def to_int8(model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]]) -> onnx.ModelProto:
    """Return a copy of a float32 model whose heavy operators compute in int8.

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
        # Given the model itself, the quantiser moves its weights out to a file.
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
    """Return the names of the nodes worth computing in int8: the linear maps of the blocks.

    A block's norm follows a residual sum, or the tokens joined; after the last of these comes the
    head.
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
    """Keep the quantiser from advice on how to call it, which it logs at the root."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
