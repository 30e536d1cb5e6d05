"""An ONNX graph in half precision: expensive operators in fp16, sensitive ones in fp32.

The casts are in the graph, so that every runtime computes the same: TensorRT 11 has no other
setting of precision. Like autocast: convolutions and matrix products are fp16, arithmetic and
reshaping follow their inputs, the rest (softmax, norms, resizing, argmax) stays fp32.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_HEAVY = {'Conv', 'Gemm', 'MatMul'}
_FOLLOWS = {
    *('Add', 'Sub', 'Mul', 'Div', 'Erf', 'Gelu', 'Concat', 'Expand', 'Gather', 'Identity'),
    *('Reshape', 'Slice', 'Split', 'Squeeze', 'Transpose', 'Unsqueeze'),
}


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a float32 model whose expensive operators compute in fp16.

    Args:
        model: nodes in topological order, shapes inferred or not; inputs and outputs keep their
            types.
    """
    half = _HalfGraph(model.graph)
    graph = helper.make_graph(
        half.nodes,
        model.graph.name,
        model.graph.input,
        model.graph.output,
        [*half.initializers.values()],
    )
    result = helper.make_model(graph, opset_imports=model.opset_import)
    result.ir_version = model.ir_version
    return result


class _HalfGraph:
    """The nodes and initializers of the new graph while it is built."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._constants = {item.name: item for item in graph.initializer}
        # Type of every computed floating-point tensor.
        self._type: dict[str, int] = {}
        self._casts: dict[tuple[str, int], str] = {}
        floating = _floating_tensors(graph)
        outputs = {item.name for item in graph.output}
        for node in graph.node:
            self._add(node, floating, outputs)

    def _add(self, node: onnx.NodeProto, floating: set[str], outputs: set[str]) -> None:
        wanted = self._wanted(node, outputs)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            copy.input[index] = self._as(name, wanted)
        self.nodes.append(copy)
        for name in node.output:
            if name in floating:
                self._type[name] = wanted

    def _wanted(self, node: onnx.NodeProto, outputs: set[str]) -> int:
        """Return the type a node computes in."""
        if outputs.intersection(node.output):
            return TensorProto.FLOAT
        if node.op_type in _HEAVY:
            return TensorProto.FLOAT16
        types = {self._type[name] for name in node.input if name in self._type}
        if node.op_type in _FOLLOWS and types == {TensorProto.FLOAT16}:
            return TensorProto.FLOAT16
        return TensorProto.FLOAT

    def _as(self, name: str, wanted: int) -> str:
        """Return the name of a tensor in a type, with a cast if needed."""
        if name in self._constants:
            return self._constant(name, wanted)
        if self._type.get(name, wanted) == wanted:
            return name
        key = name, wanted
        if key not in self._casts:
            self._casts[key] = f'{name}_{_suffix(wanted)}'
            self.nodes.append(helper.make_node('Cast', [name], [self._casts[key]], to=wanted))
        return self._casts[key]

    def _constant(self, name: str, wanted: int) -> str:
        tensor = self._constants[name]
        if tensor.data_type != TensorProto.FLOAT or wanted == TensorProto.FLOAT:
            self.initializers[name] = tensor
            return name
        half = f'{name}_{_suffix(wanted)}'
        if half not in self.initializers:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            self.initializers[half] = numpy_helper.from_array(values, half)
        return half


def _floating_tensors(graph: onnx.GraphProto) -> set[str]:
    """Return the names of all float32 tensors that nodes compute."""
    inferred = onnx.shape_inference.infer_shapes(helper.make_model(graph)).graph
    values = [*inferred.value_info, *inferred.output]
    return {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}


def _suffix(wanted: int) -> str:
    return 'half' if wanted == TensorProto.FLOAT16 else 'full'
