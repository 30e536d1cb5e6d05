"""A lifecycle node that turns a rig's images and its LiDAR's sweeps into frames."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, PointCloud2

from drive_segment_ros.compiled_kernels import FRAMES
from drive_segment_ros.dataset.frame import Frame
from drive_segment_ros.errors import ParameterError
from drive_segment_ros.frame.build import BuiltFrame, build, to_frame
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.pairing_report import pairing_report, stamp_differences
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.rig import TRANSPORT_SUFFIXES, camera_names
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.nodes.camera_input import CameraInput, topic_of
from drive_segment_ros.nodes.frame_pipeline import FramePipeline, Outcome, PipelineParameters
from drive_segment_ros.nodes.image_input import TRANSPORTS
from drive_segment_ros.nodes.lifecycle import ManagedNode, exit_on_failure
from drive_segment_ros.nodes.statistics import FlowStatistics
from drive_segment_ros.nodes.sweep_watch import SweepWatch
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.beam_sources import SEGMENTS_FROM
from drive_segment_ros.perception.calibration import load_calibration
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.diagnostics import ERROR, OK, WARN, RecentCounts, Status, summarise
from drive_segment_ros.ros.events import sweep_event
from drive_segment_ros.ros.missing_topics import MissingTopics
from drive_segment_ros.ros.node_parameters import NodeParameters
from drive_segment_ros.ros.qos import RELIABILITIES
from drive_segment_ros.ros.vehicle_listener import (
    MOTION_SOURCES,
    VehicleListener,
    motion_kinds,
)

# All topics that frames may use; which ones depends on what is published.
CAMERA_TOPICS = (
    'image_raw',
    *(f'image_raw{suffix}' for suffix in TRANSPORT_SUFFIXES),
    'camera_info',
)
INPUT_TOPICS = (*CAMERA_TOPICS, 'points', 'odom', '/tf', '/tf_static')
_EXPIRE_PERIOD_S = 0.1
# Twenty periods of a 10 Hz sensor.
_SILENT_S = 2.0


@dataclasses.dataclass(frozen=True)
class InputParameters:
    """The source of the sensor data and its QoS."""

    image_transport: str = parameter(
        'auto',
        'image topic: image_raw, image_raw/compressed, or encoded video in image_raw/ffmpeg or '
        'image_raw/foxglove; auto uses what is published: compressed, else raw, else video',
        choices=TRANSPORTS,
    )
    reliability: str = parameter(
        'auto',
        'QoS of the sensor subscriptions; auto is reliable unless a publisher offers less, '
        'because large messages get lost with best effort',
        choices=RELIABILITIES,
    )
    depth: int = parameter(10, 'history depth of the QoS; 1 s at 10 Hz', minimum=1, maximum=1000)
    motion_source: str = parameter(
        'auto',
        'source of the vehicle motion; auto is odometry if that is published, otherwise /tf, '
        'which needs tf2_msgs',
        choices=MOTION_SOURCES,
    )


@dataclasses.dataclass(frozen=True)
class FrameNodeParameters(FrameParameters):
    """All parameters of frames on the vehicle."""

    cameras: list[str] = parameter(  # noqa: RUF009
        [],
        'namespaces of the cameras of the rig, relative to that of the node, each with its '
        'image_raw and camera_info; empty for one camera whose topics have no namespace of '
        'their own',
    )
    calibration_file: str = parameter(
        '',
        'extrinsics, written by `drive-segment inspect --calibration`; they take precedence over '
        '/tf_static. Intrinsics are always those of camera_info',
    )
    inputs: InputParameters = dataclasses.field(default_factory=InputParameters)
    pipeline: PipelineParameters = dataclasses.field(default_factory=PipelineParameters)
    exit_on_failure: bool = exit_on_failure()


class FrameNode(ManagedNode):
    """Subscribes to the sensors and forms pairs, which a subclass processes.

    Attributes:
        frame_sinks: called with each completed frame, on the pipeline's thread.
    """

    def __init__(
        self, name: str, parameters_class: type[FrameNodeParameters], **kwargs: Any
    ) -> None:
        """Declare the parameters.

        Raises:
            ParameterError: if one has a wrong type or is out of range.
        """
        self.frame_sinks: list[Callable[[Frame], None]] = []
        self._pipeline: FramePipeline | None = None
        self._listener: VehicleListener | None = None
        self._cameras: dict[str, CameraInput] = {}
        self._points_input: Any = None
        self._built: tuple[Pair, BuiltFrame] | None = None
        self._segments_from = ''
        self._recent_drops, self._recent_unmoved = RecentCounts(), RecentCounts()
        self._recent_camera_drops: dict[str, RecentCounts] = {}
        super().__init__(name, **kwargs)
        self._settings: NodeParameters[Any] = NodeParameters(
            self, parameters_class, lambda: self.state
        )
        nothing = {'pairs': 0, 'waiting': 0}
        self._last_summary: dict[str, Any] = {**FlowStatistics().summary(), **nothing}

    @property
    def parameters(self) -> FrameNodeParameters:
        """The parameters as declared and set."""
        values: FrameNodeParameters = self._settings.values
        return values

    def consume(self, pair: Pair) -> Callable[[], bool]:
        """Process a pair; called on the pipeline's thread.

        Returns:
            A function that publishes the result and returns whether it is a frame; otherwise it is
            not passed to `frame_sinks`. It is not called if the node was deactivated meanwhile.
        """
        raise NotImplementedError

    def build(self, pair: Pair, image: Any = None) -> BuiltFrame:
        """Build a pair's frame, see `frame.build`; the last one is stored."""
        if self._built is None or self._built[0] is not pair:
            built = build(pair, self.parameters, image)
            self._built = pair, built
            self._note(built)
        return self._built[1]

    def configure(self) -> None:
        """Check the cameras' names, then compile the kernels of frames."""
        # Imported here, as it is needed only once.
        from drive_segment_ros.frame.warm_up import warm_up

        self.image_topics()
        self.tell_if_cold(FRAMES)
        warm_up(self.parameters)

    def activate(self) -> None:
        """Start the pipeline, then subscribe."""
        parameters = self.parameters
        inputs = parameters.inputs
        self._sweeps = SweepWatch(self.get_logger().warning)
        kinds = motion_kinds(inputs.motion_source)
        calibration = TransformTree()
        if parameters.calibration_file:
            calibration = load_calibration(parameters.calibration_file)[0]
        namespaces = parameters.cameras or ['']
        topics = self.image_topics()
        names = camera_names(topics)
        stream = FrameStream(
            parameters,
            [names[topic] for topic in topics],
            expects_motion=self._expects_motion,
            motion_kinds=kinds,
            calibration=calibration,
            on_error=self.note_error,
        )
        pipeline = self._pipeline = FramePipeline(
            stream, parameters.pipeline, self._on_pair, self.note_error
        )
        self._listener = self.own(VehicleListener(self, stream, pipeline.push, kinds))
        quality: dict[str, Any] = {'reliability': inputs.reliability, 'depth': inputs.depth}
        for namespace, topic in zip(namespaces, topics, strict=True):
            self._cameras[names[topic]] = CameraInput(
                self,
                names[topic],
                namespace,
                parameters,
                pipeline.push,
                inputs.image_transport,
                quality,
            )
        self._points_input = self.subscribe(PointCloud2, 'points', self._on_sweep, **quality)
        cameras = self._cameras.values()
        needed: dict[str, Any] = {camera.label: camera.images.candidates for camera in cameras}
        needed['points'] = [('points', PointCloud2)]
        needed |= {c.info_topic: [(c.info_topic, CameraInfo)] for c in cameras}
        if inputs.motion_source == 'odometry':
            needed['odometry'] = [('odom', Odometry)]
        self._missing = MissingTopics(self, needed)
        self.every(_EXPIRE_PERIOD_S, self._tick)

    def deactivate(self) -> None:
        """Stop the pipeline; its statistics are kept."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._last_summary = self._pipeline.summary()
        self._pipeline = self._listener = self._points_input = self._built = None
        self._cameras = {}

    def summary(self) -> dict[str, Any]:
        """Return the statistics of this activation, or of the last one, ready for JSON."""
        figures = self._last_summary if self._pipeline is None else self._pipeline.summary()
        return {**figures, 'errors': dict(self.last_error)}

    def diagnostic_parts(self) -> Mapping[str, Callable[[], Status]]:
        """Return the parts of /diagnostics: frames, the input, and each of several cameras."""
        parts: dict[str, Callable[[], Status]] = {
            'frames': self._frame_status,
            'input': self._input_status,
        }
        for namespace in self.parameters.cameras:
            parts[f'camera {namespace}'] = functools.partial(self._camera_status, namespace)
        return parts

    def subscribed_topics(self) -> Sequence[str]:
        """Return the sensors' topics."""
        cameras = self.parameters.cameras
        own = [topic_of(n, topic) for n in cameras for topic in CAMERA_TOPICS]
        return own + list(INPUT_TOPICS[len(CAMERA_TOPICS) :]) if cameras else INPUT_TOPICS

    def hardware_id(self) -> str:
        """Return the cameras' topics, which identify the node."""
        try:
            return ', '.join(self.image_topics())
        except ParameterError:  # Configuring will fail with the reason.
            return ', '.join(self.parameters.cameras)

    def image_topics(self) -> list[str]:
        """Return the topic of raw images of each camera, resolved.

        Raises:
            ParameterError: if two cameras have the same, or a topic name is invalid.
        """
        topics = []
        for namespace in self.parameters.cameras or ['']:
            try:
                topic = self.resolve_topic_name(topic_of(namespace, 'image_raw'))
            except Exception as err:  # rclpy's own classes of errors for invalid names
                text = ' '.join(str(err).split())
                raise ParameterError(f'parameter cameras: {namespace!r}: {text}') from err
            if topic in topics:
                raise ParameterError(
                    f'parameter cameras contains {topic} twice; give each camera once'
                )
            topics.append(topic)
        return topics

    def _tick(self) -> None:
        if self._pipeline is not None:
            self._pipeline.expire()
        for camera in self._cameras.values():
            camera.images.look()

    def _on_sweep(self, message: Any) -> None:
        if self._pipeline is not None:
            self._pipeline.push(sweep_event(message, self.parameters))

    def _on_pair(self, pair: Pair) -> Outcome:
        self.get_logger().debug(f'image of {pair.image.stamp_ns} ns, sweep {pair.offset_s:+.4f} s')
        hand_on = self.consume(pair)
        moved = bool(len(pair.trajectory))
        if self._built is not None and self._built[0] is pair:
            moved = self._built[1].view.moved != 'none'

        def hand_on_to_all() -> bool:
            wanted = hand_on()
            # Superpixels are expensive: a frame is only completed if it is used.
            for sink in self.frame_sinks if wanted else ():
                sink(to_frame(self.build(pair), self.parameters))
            return wanted

        return Outcome(hand_on_to_all, moved)

    def _note(self, built: BuiltFrame) -> None:
        """Store the source of the segments, and log it if it changes."""
        self._sweeps.note(built.segments.facts())
        source = built.segments.source
        if source == self._segments_from:
            return
        self._segments_from = source
        # rclpy allows one severity per line of code.
        if source == 'none':
            self.get_logger().warning(f'segments from {SEGMENTS_FROM[source]}')
        else:
            self.get_logger().info(f'segments from {SEGMENTS_FROM[source]}')

    def _expects_motion(self) -> bool:
        return self._listener is not None and self._listener.expects_motion()

    def _frame_status(self) -> Status:
        """Return the status of frames: rate, latency and losses."""
        if self._pipeline is None:
            return Status(OK, 'not active')
        summary = self._pipeline.summary()
        statistics = self._pipeline.statistics
        unmoved = summary['frames'] - summary['frames_with_motion']
        lost = self._recent_drops(summary['dropped'])
        segments = SEGMENTS_FROM.get(self._segments_from, 'unknown yet')
        problems = {
            f'lost: {lost}' if lost else '': WARN,
            self._recent_unmoved({'frames without odometry': unmoved}): WARN,
            f'segments from {segments}' if self._segments_from == 'none' else '': WARN,
            **self._sweeps.problems(),
            **{f'{source}: {text}': ERROR for source, text in self.recent_errors().items()},
        }
        return summarise(
            problems,
            f'{summary["frames"]} frames',
            frames=summary['frames'],
            **{'segments from': segments},
            **self._sweeps.values(),
            **statistics.recent.values(),
            **{f'lost: {why}': count for why, count in summary['dropped'].items()},
        )

    def _camera_status(self, namespace: str) -> Status:
        """Return the status of one of several cameras: images received and lost."""
        camera = next((c for c in self._cameras.values() if c.namespace == namespace), None)
        if camera is None or self._pipeline is None:
            return Status(OK, 'not active')
        stream = self._pipeline.stream.cameras[camera.name]
        drops: Counter[str] = Counter(dict(stream.drops))
        problems = {**camera.problems(), **self._why_it_does_not_pair(camera)}
        if not stream.clock.received:
            problems[f'no image of {namespace} yet'] = WARN
        if not camera.calibrated:
            problems[f'no usable camera_info of {namespace} yet'] = WARN
        lost = self._recent_camera_drops.setdefault(namespace, RecentCounts())(drops)
        problems[f'lost: {lost}' if lost else ''] = WARN
        return summarise(
            problems,
            f'{stream.pairs} of {stream.clock.received} images paired',
            images=stream.clock.received,
            pairs=stream.pairs,
            **{'camera offset (s)': stream.offset.value_s, 'lost on the way': camera.lost},
            **{f'lost: {why}': count for why, count in drops.items()},
        )

    def _why_no_pairs(self) -> dict[str, int]:
        """Return why there are no pairs although all topics have messages, by level."""
        assert self._pipeline is not None
        silent_s = self._pipeline.statistics.silent_s('points')
        if silent_s > _SILENT_S:
            problems = {f'no points for {silent_s:.0f} s; check the sensor': ERROR}
        else:
            problems = {}
        for camera in self._cameras.values():
            problems |= self._why_it_does_not_pair(camera)
        return problems

    def _why_it_does_not_pair(self, camera: CameraInput) -> dict[str, int]:
        """Return whether a camera is silent, or why its images are not paired, by level."""
        assert self._pipeline is not None
        pipeline, label = self._pipeline, camera.label
        if camera.silent_s > _SILENT_S:
            return {f'no {label} for {camera.silent_s:.0f} s; check the sensor': ERROR}
        unpaired_s = pipeline.unpaired_s(camera.name)
        silent = pipeline.statistics.silent_s('points') > _SILENT_S
        if silent or unpaired_s <= _SILENT_S or not pipeline.stream.cameras[camera.name].pairs:
            return {}
        apart = '; '.join(stamp_differences(pipeline.stream))
        return {f'no {label} has paired for {unpaired_s:.0f} s; {apart}': ERROR}

    def _input_status(self) -> Status:
        """Return the status of the inputs: messages received, and why there are no pairs."""
        if self._pipeline is None or self._listener is None:
            return Status(OK, 'not active')
        received = self._pipeline.summary()['received']
        stream = self._pipeline.stream
        cameras = stream.cameras.values()
        report = pairing_report(stream)
        unstamped = stream.sweep_drops['zero_stamp'] + sum(c.drops['zero_stamp'] for c in cameras)
        paired = any(camera.pairs for camera in cameras)
        problems = {self._points_input.problem: ERROR}
        for camera in self._cameras.values():
            problems |= camera.problems()
        problems[self._pipeline.clock_steps.problem] = WARN
        problems[self._listener.problem] = WARN
        missing = self._missing.problems({**received, **self._heard(), 'odometry': self._poses()})
        problems |= missing
        if missing:
            problems[report] = WARN
        else:
            problems |= self._why_no_pairs()
        if not missing and (unstamped or not paired):
            problems[report] = WARN
        return summarise(
            problems,
            report,
            **{f'{name} received': count for name, count in received.items()},
            **{'motion from': self._listener.motion_source},
        )

    def _poses(self) -> int:
        return 0 if self._pipeline is None else len(self._pipeline.stream.vehicle.motion)

    def _heard(self) -> dict[str, int]:
        """Return the number of messages received from each camera, by label."""
        return {
            name: count
            for camera in self._cameras.values()
            for name, count in (
                (camera.label, camera.received),
                (camera.info_topic, camera.calibrated),
            )
        }
