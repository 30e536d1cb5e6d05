"""Records pseudo-labelled frames on the vehicle: the same as `extract` makes from a bag."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from std_srvs.srv import Trigger

from drive_segment_ros.errors import MotionError, ParameterError
from drive_segment_ros.frame.build import to_frame
from drive_segment_ros.frame.drive_info import camera_info, drive_info
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import frame_parameters
from drive_segment_ros.frame.picture import working_camera, working_image
from drive_segment_ros.nodes.frame_node import FrameNode, FrameNodeParameters
from drive_segment_ros.parameters import parameter, to_flat
from drive_segment_ros.recording.gates import GateParameters, Gates, Moment
from drive_segment_ros.recording.quality import disagreement
from drive_segment_ros.recording.recorder import Recorder, RecorderParameters
from drive_segment_ros.ros.diagnostics import (
    ERROR,
    OK,
    WARN,
    RecentCounts,
    Status,
    in_words,
    summarise,
)
from drive_segment_ros.storage import expanded

if TYPE_CHECKING:
    from drive_segment_ros.inference.segmenter import Segmenter

_LOOK_PERIOD_S = 1.0
_PAUSED = 'paused'
# Remaining time below which there is a warning.
_SHORT_S = 1800.0


@dataclasses.dataclass(frozen=True)
class RecorderNodeParameters(FrameNodeParameters):
    """All parameters of recording and of its frames."""

    dataset: str = parameter(
        '', 'folder for the drives, on a local disk; its parent folder must exist'
    )
    start: bool = parameter(
        True, 'record from activation; otherwise from a call of the service `start`'
    )
    model: str = parameter(
        '',
        'exported model whose label and confidence are stored with each frame and used by the '
        'gates; empty for none',
    )
    gates: GateParameters = dataclasses.field(default_factory=GateParameters)
    disk: RecorderParameters = dataclasses.field(default_factory=RecorderParameters)


class PseudoLabelRecorderNode(FrameNode):
    """Records frames; services `~/start`, `~/stop`, `~/snapshot` and `~/status` (Trigger).

    `~/status` returns JSON; see `summary`.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._recorder: Recorder | None = None
        self._segmenter: Segmenter | None = None
        self._servers: list[Any] = []
        self._lost_images = 0
        self._recent_losses = RecentCounts()
        self._gated: Counter[str] = Counter()
        self._recording = False
        self._told_problem = ''
        self._snapshot: set[str] = set()
        self._gates: dict[str, Gates] = {}
        self._last_status: dict[str, Any] = {
            'recorded': 0, 'dropped': {}, 'waiting': 0, 'problem': '',
        }  # fmt: skip
        super().__init__('pseudo_label_recorder_node', RecorderNodeParameters, **kwargs)

    @property
    def parameters(self) -> RecorderNodeParameters:
        """The parameters as declared and set."""
        values: RecorderNodeParameters = self._settings.values
        return values

    def configure(self) -> None:
        """Load the model, create the frame builder and the services."""
        if not self.parameters.dataset:
            raise ParameterError('parameter dataset is empty; set it to the folder to record to')
        if self.parameters.model:
            from drive_segment_ros.inference import segmenter
            from drive_segment_ros.inference.model_source import model_location

            self._segmenter = segmenter.load(model_location(self.parameters.model))
        super().configure()
        for name in ('start', 'stop', 'snapshot', 'status'):
            answer = getattr(self, f'_on_{name}')
            self._servers.append(self.create_service(Trigger, f'~/{name}', answer))

    def activate(self) -> None:
        """Open the dataset, then subscribe."""
        parameters = self.parameters
        self._recorder = Recorder(
            expanded(parameters.dataset),
            parameters.disk,
            name=self.get_namespace().strip('/').replace('/', '_'),
        )
        self._gates = {}
        self._first: Pair | None = None
        self._drive: dict[str, Any] = {}
        self._entries: dict[str, tuple[Pair, dict[str, Any]]] = {}
        self._gated.clear()
        self._lost_images = 0
        self._snapshot.clear()
        self._recording = parameters.start
        super().activate()
        self.every(_LOOK_PERIOD_S, self._look)

    def deactivate(self) -> None:
        """Unsubscribe, then write waiting frames."""
        super().deactivate()
        self._recording = False
        if self._recorder is not None:
            self._recorder.close()
            self._last_status = self._recorder.status()
            self._recorder = None
            self.get_logger().info(self._told_at_the_end())

    def cleanup(self) -> None:
        """Free the model and remove the services."""
        while self._servers:
            self.destroy_service(self._servers.pop())
        if self._segmenter is not None:
            self._segmenter.close()
        self._segmenter = None

    def destroy_node(self) -> None:
        """Write waiting frames even if the node was not deactivated, as on a signal."""
        if self._recorder is not None:
            self.deactivate()
        super().destroy_node()

    def consume(self, pair: Pair) -> Callable[[], bool]:
        """Encode a frame if it passes the gates; others are not built."""
        recorder, camera = self._recorder, pair.image.camera
        if recorder is None:
            return lambda: False
        gates = self._gates.setdefault(camera, Gates(self.parameters.gates))
        wanted = camera in self._snapshot
        moment = observe(pair)
        refusal = ''
        if not wanted:
            refusal = gates.of_moment(moment) if self._recording else _PAUSED
        if refusal:
            return functools.partial(self._keep_out, refusal)
        image = working_image(pair, working_camera(pair.camera, self.parameters))
        if not wanted:
            refusal = gates.of_image(image)
        if refusal:
            return functools.partial(self._keep_out, refusal)
        answer = None if self._segmenter is None else self._segmenter.segment(image)
        if answer is not None and not wanted:
            label, confidence = answer
            refusal = gates.of_model(
                float(confidence.mean()) / 255.0,
                lambda: disagreement(self.build(pair, image).label_image, label),
            )
        if refusal:
            return functools.partial(self._keep_out, refusal)
        frame = to_frame(self.build(pair, image), self.parameters)
        if answer is not None:
            frame = dataclasses.replace(frame, model_label=answer[0], model_confidence=answer[1])
        encoded, drive = frame.encoded(), self._drive_info(pair)

        def record() -> bool:
            recorder.submit(encoded, drive)
            # Only now, as nothing would be recorded of a broken pair.
            self._snapshot.discard(camera)
            gates.passed(moment)
            return True

        return record

    def summary(self) -> dict[str, Any]:
        """Return the figures of this activation, or of the last one, ready for JSON.

        Every image received is `recorded`, rejected by a gate (`gated`), `dropped` or `waiting`;
        `lost_on_the_way` are those that the middleware reports as lost.
        """
        flow = super().summary()
        disk = self._disk_status()
        dropped = Counter(flow['dropped']) + Counter(disk['dropped'])
        # Counter's + omits zeros.
        dropped += Counter(lost_on_the_way=self._lost_images)
        return {
            **flow,
            **disk,
            'dropped': dict(dropped),
            'waiting': flow['waiting'] + disk['waiting'],
            'gated': dict(self._gated),
            'recording': self._recording,
        }

    def diagnostic_parts(self) -> Mapping[str, Callable[[], Status]]:
        """Return the parts of /diagnostics."""
        return {**super().diagnostic_parts(), 'recorder': self._recorder_status}

    def _keep_out(self, gate: str) -> bool:
        self._gated[gate] += 1
        return False

    def _drive_info(self, pair: Pair) -> dict[str, Any]:
        """Return the content of the frame's `drive.json`, as `extract` writes it."""
        camera = pair.image.camera
        moving = self._pipeline is not None and self._pipeline.has_moving_sensors()
        if self._first is None or not (moving or _same_base(self._first, pair)):
            self._drive, self._first = self._rig_info(pair), pair
        known = self._entries.get(camera)
        if known is None or not (moving or _same_camera(known[0], pair)):
            topic = self._cameras[camera].intake.image_topic()
            known = self._entries[camera] = pair, camera_info(pair, topic)
        return {**self._drive, 'cameras': {camera: known[1]}}

    def _rig_info(self, pair: Pair) -> dict[str, Any]:
        parameters = self.parameters
        source = {
            'recorder': self.get_fully_qualified_name(),
            **to_flat(parameters.gates, 'gates.'),
        }
        info = drive_info(
            pair,
            self.resolve_topic_name('points'),
            [self.resolve_topic_name('odom')],
            frame_parameters(parameters),
            source,
        )
        if self._segmenter is not None:
            model = self._segmenter.model
            info['model'] = {'sha256': model.sha256, 'classes': [c.name for c in model.classes]}
        return info

    def _told_at_the_end(self) -> str:
        """Return a summary of all images for the log at the end."""
        summary = self.summary()
        counts = {**summary['dropped'], **{f'gated {k}': n for k, n in summary['gated'].items()}}
        rest = in_words(counts) or 'none'
        return f'{summary["recorded"]} frames recorded; not recorded: {rest}'

    def _look(self) -> None:
        """Check the disk, and the images lost by the middleware."""
        if self._recorder is not None:
            self._recorder.look()
            problem = self._recorder.problem
            if problem and problem != self._told_problem:
                self.get_logger().error(problem)
            self._told_problem = problem
        if self._cameras:
            self._lost_images = sum(camera.lost for camera in self._cameras.values())

    def _disk_status(self) -> dict[str, Any]:
        return self._last_status if self._recorder is None else self._recorder.status()

    def _recorder_status(self) -> Status:
        """Return the status of recording: frames, losses with reasons, and the disk."""
        if self._recorder is None:
            return Status(OK, 'not active')
        status = self._recorder.status()
        left_s = status['time_left_s']
        drops = Counter(status['dropped']) + Counter(lost_on_the_way=self._lost_images)
        lost = self._recent_losses(drops)
        problems = {
            status['problem']: ERROR,
            f'lost: {lost}' if lost else '': WARN,
            f'the disk is full in {left_s / 60:.0f} minutes'
            if left_s is not None and left_s < _SHORT_S
            else '': WARN,
            f'removed old drives: {", ".join(status["drives_removed"])}'
            if status['drives_removed']
            else '': WARN,
        }
        fine = f'{status["recorded"]} frames in {status["drive"] or self.parameters.dataset}'
        values: dict[str, Any] = {
            'recording': self._recording,
            'recorded': status['recorded'],
            'frames waiting for the disk': status['waiting'],
            'dataset (GB)': status['used_gb'],
            'free (GB)': status['free_gb'],
            'room (GB)': status['room_gb'],
            'time left (min)': 'unknown' if left_s is None else round(left_s / 60),
            **{f'lost: {name}': count for name, count in drops.items()},
            **{f'rejected: {name}': count for name, count in dict(self._gated).items()},
        }
        return summarise(problems, fine if self._recording else f'paused; {fine}', **values)

    def _on_start(self, request: Any, response: Any) -> Any:
        return self._switch(True, response)

    def _on_stop(self, request: Any, response: Any) -> Any:
        return self._switch(False, response)

    def _switch(self, recording: bool, response: Any) -> Any:
        response.success = self._recorder is not None
        if response.success:
            self._recording = recording
        response.message = self._described('recording' if recording else 'paused')
        return response

    def _on_snapshot(self, request: Any, response: Any) -> Any:
        response.success = self._recorder is not None
        if response.success:
            self._snapshot.update(self._cameras)
        response.message = self._described('the next pair is recorded')
        return response

    def _on_status(self, request: Any, response: Any) -> Any:
        response.success = self._recorder is not None
        response.message = json.dumps(self.summary())
        return response

    def _described(self, done: str) -> str:
        return done if self._recorder is not None else 'not active; activate the node first'


def observe(pair: Pair) -> Moment:
    """Return the properties of a pair that are known without decoding."""
    moment = Moment(pair.image.stamp_ns, pair.offset_s - pair.camera_offset_s)
    with contextlib.suppress(MotionError):  # odometry has just begun, or there is none
        position = pair.trajectory.pose(pair.instant_ns)[:3, 3]
        moment = dataclasses.replace(moment, position=position)
        speed, yaw_rate = pair.trajectory.speed_and_yaw_rate(pair.instant_ns)
        moment = dataclasses.replace(moment, speed=speed, yaw_rate_deg=math.degrees(yaw_rate))
    return moment


def _same_camera(one: Pair, other: Pair) -> bool:
    """Return whether two pairs of a camera have the same calibration."""
    if one.camera is not other.camera and one.camera.to_dict() != other.camera.to_dict():
        return False
    return _same(one.T_camera_lidar, other.T_camera_lidar)


def _same_base(one: Pair, other: Pair) -> bool:
    """Return whether the LiDAR's pose on the vehicle is unchanged."""
    return _same(one.T_base_lidar, other.T_base_lidar)


def _same(one: NDArray[np.float64] | None, other: NDArray[np.float64] | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)
