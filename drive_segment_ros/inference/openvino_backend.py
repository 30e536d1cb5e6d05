"""OpenVINO: the fastest on processors; in bf16 where the processor computes in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import ModelError
from drive_segment_ros.inference.backend import import_backend
from drive_segment_ros.inference.model import CONFIDENCE_NAME, LABEL_NAME, Model


class OpenVinoBackend:
    """A model on the processor through OpenVINO."""

    def __init__(self, model: Model, threads: int = 0, exact: bool = False) -> None:
        """Compile a model.

        Args:
            model: to compile.
            threads: to use at most; 0 leaves it to OpenVINO.
            exact: compute in fp32 even where the processor has bf16.

        Raises:
            DependencyError: if OpenVINO is not installed.
            ModelError: if OpenVINO does not take the model.
        """
        openvino = import_backend('openvino', 'openvino')
        core = openvino.Core()
        capabilities = core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        precision = 'bf16' if 'BF16' in capabilities and not exact else 'f32'
        settings = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': precision}
        if threads:
            settings['INFERENCE_NUM_THREADS'] = str(threads)
        try:
            compiled = core.compile_model(str(model.onnx_path), 'CPU', settings)
        except RuntimeError as err:
            reason = ' '.join(str(err).split())
            raise ModelError(f'OpenVINO cannot load {model.onnx_path}: {reason}') from err
        self._request = compiled.create_infer_request()
        self._outputs = [compiled.output(name) for name in (LABEL_NAME, CONFIDENCE_NAME)]
        self.description = f'OpenVINO CPU {precision}'

    def run(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See `Backend.run`."""
        self._request.infer([image[None]], share_inputs=True)
        # The request's tensors are overwritten by the next image.
        label, confidence = (self._request.get_tensor(o).data[0].copy() for o in self._outputs)
        return label, confidence

    def close(self) -> None:
        """See `Backend.close`."""
        del self._request, self._outputs
