"""Live masks: segments every image with the lowest latency that the machine allows."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import SetBool

from drive_segment_ros.compiled_kernels import VIEW
from drive_segment_ros.errors import DriveSegmentError, ParameterError
from drive_segment_ros.frame.paint import Mask
from drive_segment_ros.frame.reasons import reason_of
from drive_segment_ros.inference.model_source import model_location
from drive_segment_ros.inference.segmenter import Segmenter, load
from drive_segment_ros.nodes.camera_intake import CameraIntake
from drive_segment_ros.nodes.frame_node import INPUT_TOPICS
from drive_segment_ros.nodes.image_input import ImageInput
from drive_segment_ros.nodes.lifecycle import ManagedNode
from drive_segment_ros.nodes.mask_figures import MaskFigures
from drive_segment_ros.nodes.mask_outputs import MaskOutputs
from drive_segment_ros.nodes.painted_cloud import PaintedCloud
from drive_segment_ros.nodes.segmentation_parameters import SegmentationParameters
from drive_segment_ros.perception.masks import above_threshold
from drive_segment_ros.ros.clock_hint import clock_hint
from drive_segment_ros.ros.diagnostics import ERROR, OK, WARN, RecentCounts, Status, summarise
from drive_segment_ros.ros.events import stamp_ns
from drive_segment_ros.ros.image_size import image_size, reduction
from drive_segment_ros.ros.images import decode_image
from drive_segment_ros.ros.missing_topics import MissingTopics
from drive_segment_ros.ros.node_parameters import NodeParameters
from drive_segment_ros.worker import Worker

_LOOK_PERIOD_S = 0.1
_PROGRESS_PERIOD_S = 1.0
# Twenty periods of a 10 Hz camera.
_SILENT_S = 2.0
# Work that takes longer is abandoned, as the node must end within a second on a signal.
_CLOSE_S = 0.2
# Images that are not segmented on purpose do not count as lost.
_ON_PURPOSE = _DISABLED, _UNWATCHED = 'disabled', 'nobody_subscribes'


@dataclasses.dataclass(frozen=True)
class _Picture:
    """A decoded image for the network.

    Attributes:
        header: of its message.
        size: height and width of the camera's image, px.
        pixels: (H, W, 3) uint8 BGR, the image or a reduced copy of it.
        fitting: (h, w, 3) uint8 BGR of the network's input size.
        arrival_s: when its message arrived.
    """

    header: Any
    size: tuple[int, int]
    pixels: NDArray[np.uint8]
    fitting: NDArray[np.uint8]
    arrival_s: float


class SegmentationNode(ManagedNode):
    """Publishes the mask of each image, and the painted cloud.

    One thread decodes while another segments the previous image. For each the newest image waits;
    older ones are dropped. Outputs without subscribers are not computed.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters.

        Raises:
            ParameterError: if one has a wrong type or is out of range.
        """
        self._segmenter: Segmenter | None = None
        self._outputs: MaskOutputs | None = None
        self._painted: PaintedCloud | None = None
        self._camera: CameraIntake | None = None
        self._decoder: Worker[tuple[Any, float]] | None = None
        self._worker: Worker[_Picture] | None = None
        self._at_work: Worker[_Picture] | None = None
        self._images: ImageInput | None = None
        self._inputs: list[Any] = []
        self._service: Any = None
        self._enabled = True
        self._camera_info: Any = None
        self._clock_hint = ''
        self._described: dict[str, Any] = {}
        self._painted_summary: dict[str, Any] = {}
        self._loading = ''
        self._reported_s = 0.0
        self._recent_drops = RecentCounts()
        super().__init__('segmentation_node', **kwargs)
        self._settings = NodeParameters(
            self, SegmentationParameters, lambda: self.state, self._on_change
        )
        self._figures = MaskFigures()

    @property
    def parameters(self) -> SegmentationParameters:
        """The parameters as declared and set."""
        return self._settings.values

    def configure(self) -> None:
        """Advertise first, as loading a model may take minutes; then load and warm up.

        Raises:
            ParameterError, ModelError, DependencyError, StorageError: if the model cannot be
                loaded.
            CalibrationError: if the calibration file cannot be used.
        """
        parameters = self.parameters
        camera = self._camera = CameraIntake(
            self, parameters.rectified, lambda: self._images, 'image_raw'
        )
        outputs = MaskOutputs(self, camera.rectified)
        self._outputs = outputs
        self._service = self.create_service(SetBool, '~/enable', self._enable)
        if not parameters.model:
            raise ParameterError(
                'parameter model is empty; give a folder written by `drive-segment export`'
            )
        folder = model_location(parameters.model)
        self._loading = f'loading {folder}'
        self.report()
        self.tell_if_cold(VIEW)
        try:
            segmenter = load(
                folder, parameters.backend, parameters.threads, progress=self._on_progress
            )
        finally:
            self._loading = ''
        self._segmenter = segmenter
        self._described = {'backend': segmenter.backend, 'model_sha256': segmenter.model.sha256}
        self.get_logger().info(f'{folder} on {segmenter.backend}')
        outputs.set_classes(segmenter.classes)
        self._painted = PaintedCloud(self, parameters, outputs)

    def activate(self) -> None:
        """Start the workers, then subscribe."""
        assert self._outputs is not None
        inputs = self.parameters.inputs
        quality: dict[str, Any] = {'reliability': inputs.reliability, 'depth': inputs.depth}
        self._figures = MaskFigures()
        self._camera_info = None  # of an earlier activation, possibly of another camera
        self._outputs.publish_label_info(self.parameters.confidence_threshold)
        self._stopping = False
        self._worker = Worker(
            self._segment, on_error=self._on_failure, on_drop=self._on_drop, name='masks'
        )
        self._decoder = Worker(
            self._decode, on_error=self._on_failure, on_drop=self._on_drop, name='images'
        )
        take = self.guarded(self._on_image, 'image')
        self._images = self.own(
            ImageInput(self, 'image_raw', take, inputs.image_transport, **quality)
        )
        self._inputs = [
            self._images,
            self.subscribe(CameraInfo, 'camera_info', self._on_camera_info, **quality),
        ]
        self._missing = MissingTopics(
            self,
            {'image': self._images.candidates, 'camera_info': [('camera_info', CameraInfo)]},
        )
        self.every(_LOOK_PERIOD_S, self._look)

    def deactivate(self) -> None:
        """Stop the workers; their statistics are kept."""
        self._stopping = True
        # The decoder first, as it feeds the other.
        if self._decoder is not None:
            self._decoder.close(_CLOSE_S)
        if self._worker is not None and not self._worker.close(_CLOSE_S):
            self._at_work = self._worker
        self._decoder = self._worker = None
        if self._painted is not None:
            self._painted.close()
            self._painted_summary = self._painted.summary()
        self._images = None
        self._inputs = []

    def cleanup(self) -> None:
        """Free the model."""
        if self._service is not None:
            self.destroy_service(self._service)
        if self._segmenter is not None:
            if self._at_work is None:
                self._segmenter.close()
            else:
                # In use until the current image is finished.
                ending = (self._at_work, self._segmenter)
                threading.Thread(target=_close_after, args=ending, daemon=True).start()
        self._at_work = None
        self._segmenter = self._outputs = self._painted = self._service = None

    def summary(self) -> dict[str, Any]:
        """Return the statistics of this activation, or of the last one, ready for JSON."""
        return {
            **self._figures.summary(),
            **self._described,
            'waiting': sum(w.pending for w in (self._decoder, self._worker) if w is not None),
            'painted': self._painted_summary if self._painted is None else self._painted.summary(),
            'errors': dict(self.last_error),
        }

    def diagnostic_parts(self) -> Mapping[str, Callable[[], Status]]:
        """Return the parts of /diagnostics."""
        return {
            'model': self._model_status,
            'masks': self._mask_status,
            'input': self._input_status,
            'painted cloud': self._cloud_status,
        }

    def subscribed_topics(self) -> Sequence[str]:
        """Return the sensors' topics."""
        return INPUT_TOPICS

    def hardware_id(self) -> str:
        """Return the camera's topic, which identifies the node."""
        return self.resolve_topic_name('image_raw')

    def _on_image(self, message: Any) -> None:
        """Pass an image to the decoder if its mask is needed."""
        arrival_s = time.monotonic()
        if self._decoder is None or self._outputs is None or self._painted is None:
            return
        self._figures.count('image')
        self._clock_hint = clock_hint(self, 'image', stamp_ns(message))
        if not self._enabled:
            self._figures.dropped(_DISABLED)
        elif not self._outputs.wanted() and not self._painted.wanted():
            self._figures.dropped(_UNWATCHED)
        else:
            self._decoder.submit((message, arrival_s))

    def _decode(self, item: tuple[Any, float]) -> None:
        """Decode an image and pass it to the network; on a separate thread."""
        message, arrival_s = item
        segmenter, decoder, worker = self._segmenter, self._decoder, self._worker
        if segmenter is None or decoder is None or worker is None:
            # Abandoned and counted by a deactivation that could not wait.
            return
        size = image_size(message)
        parameters = self.parameters
        pixels = decode_image(
            message,
            reduction(size, segmenter.input_size),
            bits=parameters.image_bits,
            max_pixels=parameters.max_pixels,
        )
        picture = _Picture(
            message.header, size or pixels.shape[:2], pixels, segmenter.fit(pixels), arrival_s
        )
        if decoder.commit():
            worker.submit(picture)

    def _segment(self, picture: _Picture) -> None:
        """Segment an image and publish its mask; on a separate thread."""
        segmenter, outputs, painted = self._segmenter, self._outputs, self._painted
        worker = self._worker
        if segmenter is None or outputs is None or painted is None or worker is None:
            return
        parameters = self.parameters
        began_s = time.monotonic()
        label, confidence = segmenter.segment(picture.fitting)
        inference_s = time.monotonic() - began_s
        label = above_threshold(label, confidence, parameters.confidence_threshold)
        if not worker.commit():
            return
        mask = Mask(picture.header, label, confidence, picture.size)
        outputs.publish(mask, picture.pixels, parameters.overlay)
        if self._camera_info is not None:
            calibrate = self.guarded(outputs.publish_camera_info, 'camera_info')
            calibrate(mask, picture.pixels.shape[:2], self._camera_info)
        latency_s = time.monotonic() - picture.arrival_s
        self._figures.finished(latency_s, inference_s)
        self.get_logger().debug(f'mask of {stamp_ns(mask)} ns after {latency_s * 1e3:.1f} ms')
        painted.add_mask(mask)

    def _on_drop(self, item: Any) -> None:
        self._figures.dropped('stopped' if self._stopping else 'worker_busy')

    def _on_failure(self, error: Exception) -> None:
        """Count an image that could not be segmented; on a worker's thread."""
        known = isinstance(error, DriveSegmentError)
        reason = reason_of(error)
        self._figures.dropped(reason)
        text = str(error) if known else f'unexpected {type(error).__name__}: {error}'
        self.note_error(reason, text)

    def _on_camera_info(self, message: Any) -> None:
        self._figures.count('camera_info')
        # Drivers send zeros before they are calibrated.
        if self._camera is None:
            return
        model = self._camera.look(message)
        self._camera_info = message
        if self._painted is not None:
            self._painted.add_calibration(model)

    def _on_change(self, values: SegmentationParameters) -> None:
        """Publish a new threshold; other parameters are read with the next image."""
        if self._worker is not None and self._outputs is not None:
            self._outputs.publish_label_info(values.confidence_threshold)

    def _on_progress(self, phase: str, done: int, total: int) -> None:
        """Publish the progress of building an engine, while the executor is blocked."""
        self._loading = f'building the engine: {phase} {done} of {total}'
        now_s = time.monotonic()
        if now_s - self._reported_s >= _PROGRESS_PERIOD_S:
            self._reported_s = now_s
            self.get_logger().info(self._loading)
            self.report()

    def _enable(self, request: Any, response: Any) -> Any:
        self._enabled = request.data
        response.success = True
        response.message = 'segmenting' if request.data else 'images are not segmented'
        return response

    def _look(self) -> None:
        if self._images is not None:
            self._images.look()
        if self._outputs is not None:
            self._outputs.keep_label_info_stamped()
        if self._painted is not None:
            self._painted.look()

    def _model_status(self) -> Status:
        """Return the status of the model, or the progress of loading it."""
        if self._loading:
            return Status(WARN, self._loading)
        if self._segmenter is None:
            return Status(OK, 'not loaded')
        height, width = self._segmenter.input_size
        return Status(
            OK,
            self._segmenter.backend,
            {
                'folder': self.parameters.model,
                'sha256': self._segmenter.model.sha256,
                'input (px)': f'{width} x {height}',
                'classes': len(self._segmenter.classes),
            },
        )

    def _mask_status(self) -> Status:
        """Return the status of masks: rate, latency and lost images."""
        if self._worker is None:
            return Status(OK, 'not active')
        if not self._enabled:
            return Status(OK, 'disabled by ~/enable')
        summary = self._figures.summary()
        dropped = summary['dropped']
        lost = self._recent_drops({w: n for w, n in dropped.items() if w not in _ON_PURPOSE})
        problems = dict.fromkeys(self.recent_errors().values(), ERROR)
        problems[f'lost: {lost}' if lost else ''] = WARN
        return summarise(
            problems,
            f'{summary["frames"]} masks',
            masks=summary['frames'],
            **self._figures.recent_values(),
            **{f'lost: {why}': count for why, count in dropped.items()},
        )

    def _input_status(self) -> Status:
        """Return the status of the inputs."""
        if self._worker is None or self._images is None:
            return Status(OK, 'not active')
        received = self._figures.received
        problems = {source.problem: ERROR for source in self._inputs}
        problems[self._clock_hint] = WARN
        problems[self._camera.problem if self._camera else ''] = WARN
        problems |= self._missing.problems(received)
        silent_s = self._figures.silent_s('image')
        if silent_s > _SILENT_S:
            problems[f'no image for {silent_s:.0f} s; check the camera'] = ERROR
        images = self._images.subscription
        return summarise(
            problems,
            'receiving',
            **{f'{name} received': count for name, count in received.items()},
            **{'images lost by the middleware': 0 if images is None else images.lost},
        )

    def _cloud_status(self) -> Status:
        return Status(OK, 'not active') if self._painted is None else self._painted.status()


def _close_after(worker: Worker[_Picture], segmenter: Segmenter) -> None:
    """Free a model once a closed worker has finished its current image."""
    while not worker.close():
        pass
    segmenter.close()
