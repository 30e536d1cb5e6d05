"""A loaded model that segments images, on a chosen backend or the fastest installed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.cores import cores_of_quota
from drive_segment_ros.errors import DependencyError, ImageError, ModelError
from drive_segment_ros.inference.backend import Backend
from drive_segment_ros.inference.machine import GPU_DEVICES
from drive_segment_ros.inference.model import DESCRIPTION_FILE, Model, ModelClass, read_model
from drive_segment_ros.inference.onnxruntime_backend import OnnxRuntimeBackend, has_gpu_provider
from drive_segment_ros.inference.openvino_backend import OpenVinoBackend
from drive_segment_ros.inference.tensorrt_backend import Progress, TensorRtBackend
from drive_segment_ros.perception.resizing import is_distorted, resize_image

BACKENDS = ('tensorrt', 'openvino', 'onnxruntime')
AUTO = 'auto'
_WARM_UP_IMAGES = 2

log = logging.getLogger(__name__)


class Segmenter:
    """A loaded model. One thread at a time may use it."""

    def __init__(self, model: Model, backend: Backend) -> None:
        """Store a model and its backend, and warm it up; the backend is closed if that fails.

        Raises:
            ModelError: if the backend cannot run the model, or gives other outputs than described.
        """
        self.model = model
        self._backend = backend
        self._distorted: set[tuple[int, int]] = set()
        height, width = model.input_size
        # One pixel larger, so that the resizing is compiled as well.
        blank = np.zeros((height + 1, width + 1, 3), np.uint8)
        try:
            for _ in range(_WARM_UP_IMAGES):
                _check_outputs(model, *backend.run(self.fit(blank)))
        except BaseException:
            backend.close()
            raise

    @property
    def classes(self) -> list[ModelClass]:
        """Names and colours of the labels."""
        return self.model.classes

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of images that need no resizing, px."""
        return self.model.input_size

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of label and confidence, px."""
        return self.model.output_size

    @property
    def backend(self) -> str:
        """Backend, device and precision, as text."""
        return self._backend.description

    def fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize an image to `input_size`, as `segment` does; log sizes that this distorts.

        Raises:
            ImageError: as `segment`.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ImageError(
                f'cannot segment an image of shape {image.shape} and type {image.dtype}; '
                'it must be (height, width, 3) uint8 BGR'
            )
        size = image.shape[:2]
        if is_distorted(size, *self.input_size) and size not in self._distorted:
            self._distorted.add(size)
            log.warning(
                'images of %d x %d are distorted to %d x %d; export the model with --height %d '
                '--width %d',
                *(*size[::-1], *self.input_size[::-1], *size),
            )
        return np.ascontiguousarray(resize_image(image, *self.input_size))

    def segment(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Segment an image.

        Args:
            image: (H, W, 3) uint8 BGR; one of another size than `input_size` is resized first.

        Returns:
            Label and confidence (255 is certain), each uint8 of `output_size`.

        Raises:
            ImageError: if the image has another form, or no pixels.
            ModelError: if the backend fails.
        """
        return self._backend.run(self.fit(image))

    def close(self) -> None:
        """Free the model."""
        self._backend.close()


def load(
    folder: Path,
    backend: str = AUTO,
    threads: int = 0,
    exact: bool = False,
    progress: Progress | None = None,
) -> Segmenter:
    """Load an exported model and warm it up.

    Args:
        folder: written by `drive-segment export`.
        backend: `tensorrt`, `openvino`, `onnxruntime`, or `auto` for the fastest present.
        threads: largest number of CPU threads; 0 leaves it to the backend, within a container's
            quota of processor time.
        exact: compute in the model's own precision where OpenVINO would use bf16, or TensorRT
            TF32.
        progress: called with the progress of building a TensorRT engine.

    Raises:
        ModelError: if the folder is not a valid model, or the backend is unknown or refuses it.
        DependencyError: if the backend's package is not installed; for `auto`, if none of them is
            or none can load the model.
        StorageError: if a model in object storage cannot be copied.
    """
    threads = threads or cores_of_quota()
    makers: dict[str, Callable[[Model], Backend]] = {
        'tensorrt': lambda model: TensorRtBackend(model, progress, exact),
        'openvino': lambda model: OpenVinoBackend(model, threads, exact),
        'onnxruntime': lambda model: OnnxRuntimeBackend(model, threads),
    }
    if backend != AUTO and backend not in makers:
        raise ModelError(
            f'unknown backend {backend!r}; choose from {", ".join((AUTO, *BACKENDS))}'
        )
    model = read_model(folder)
    if backend != AUTO:
        return Segmenter(model, makers[backend](model))
    missing = []
    for name in _by_speed():
        try:
            segmenter = Segmenter(model, makers[name](model))
        except DependencyError as err:
            missing.append(str(err))
        except ModelError as err:
            log.warning('backend %s is not used: %s', name, err)
        else:
            log.info('%s on %s', folder, segmenter.backend)
            return segmenter
    raise DependencyError(
        f'no backend can run {folder}: {"; ".join(missing) or "none can load it, see above"}'
    )


def _check_outputs(model: Model, *outputs: NDArray[np.uint8]) -> None:
    for output in outputs:
        if output.dtype != np.uint8 or output.shape != model.output_size:
            raise ModelError(
                f'{model.onnx_path} gives {output.dtype} {output.shape}, but {DESCRIPTION_FILE} '
                f'describes uint8 {model.output_size}; export the model again'
            )


def _by_speed() -> list[str]:
    """Return the backends to try on this machine, fastest first."""
    if not any(Path(device).exists() for device in GPU_DEVICES):
        return ['openvino', 'onnxruntime']
    if has_gpu_provider():
        return ['tensorrt', 'onnxruntime', 'openvino']
    return ['tensorrt', 'openvino', 'onnxruntime']
