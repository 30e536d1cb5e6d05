"""A lifecycle node that turns one camera's images and one LiDAR's sweeps into frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, PointCloud2

from drive_segment_ros.dataset.frame import Frame
from drive_segment_ros.nodes.camera_intake import CameraIntake
from drive_segment_ros.nodes.frame_pipeline import (
    FramePipeline,
    LiveTrajectory,
    PipelineParameters,
)
from drive_segment_ros.nodes.image_input import TRANSPORTS, ImageInput
from drive_segment_ros.nodes.lifecycle import ManagedNode, exit_on_failure
from drive_segment_ros.nodes.statistics import FlowStatistics
from drive_segment_ros.nodes.sweep_watch import SweepWatch
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.synchronisation import Matcher, SyncParameters
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.built_frame import BuiltFrame
from drive_segment_ros.ros.camera_offset import CameraOffset
from drive_segment_ros.ros.diagnostics import ERROR, OK, WARN, RecentCounts, Status, summarise
from drive_segment_ros.ros.frame_builder import FrameBuilder
from drive_segment_ros.ros.frame_parameters import FrameParameters
from drive_segment_ros.ros.missing_topics import MissingTopics
from drive_segment_ros.ros.node_parameters import NodeParameters
from drive_segment_ros.ros.qos import RELIABILITIES
from drive_segment_ros.ros.transform_listener import MOTION_SOURCES, TransformListener

# All that frames may be made of; which depends on what is published.
INPUT_TOPICS = (
    'image_raw', 'image_raw/compressed', 'camera_info', 'points', 'odom', '/tf', '/tf_static',
)  # fmt: skip
_EXPIRE_PERIOD_S = 0.1
# Twenty periods of a 10 Hz sensor.
_SILENT_S = 2.0


@dataclasses.dataclass(frozen=True)
class InputParameters:
    """Where the sensor data comes from and how."""

    image_transport: str = parameter(
        'auto',
        'which images to take: image_raw, image_raw/compressed, or whichever is published',
        choices=TRANSPORTS,
    )
    reliability: str = parameter(
        'auto',
        'QoS of the sensor subscriptions; auto is reliable unless a publisher offers less, as '
        'large messages get lost on best effort',
        choices=RELIABILITIES,
    )
    depth: int = parameter(
        10, 'messages the middleware keeps for us; 1 s at 10 Hz', minimum=1, maximum=1000
    )
    motion_source: str = parameter(
        'auto',
        'where the motion of the vehicle is taken from; auto is odometry where that is '
        'published, else /tf, which takes tf2_msgs to be read',
        choices=MOTION_SOURCES,
    )
    odometry_frame: str = parameter(
        'odom',
        'parent frame of the transform in /tf that is the motion of the vehicle; of several '
        'children the base frame is the vehicle, else the first seen',
    )


@dataclasses.dataclass(frozen=True)
class FrameNodeParameters:
    """Everything about how frames are made on the vehicle."""

    calibration_file: str = parameter(
        '',
        'extrinsics, as `drive-segment inspect --calibration` writes them; they go before those '
        'of /tf_static. Intrinsics always are those of camera_info',
    )
    inputs: InputParameters = dataclasses.field(default_factory=InputParameters)
    sync: SyncParameters = dataclasses.field(default_factory=SyncParameters)
    pipeline: PipelineParameters = dataclasses.field(default_factory=PipelineParameters)
    frame: FrameParameters = dataclasses.field(default_factory=FrameParameters)
    exit_on_failure: bool = exit_on_failure()


class FrameNode(ManagedNode):
    """Subscribes, pairs, builds, and hands each frame on; what becomes of it is a subclass's.

    Attributes:
        frame_sinks: called with each frame that is wanted, on the pipeline's thread.
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
        self._listener: TransformListener | None = None
        self._images: ImageInput | None = None
        self._inputs: list[Any] = []
        self._segments_from: tuple[str, bool] | None = None
        self._recent_drops, self._recent_unmoved = RecentCounts(), RecentCounts()
        super().__init__(name, **kwargs)
        self._settings: NodeParameters[Any] = NodeParameters(
            self, parameters_class, lambda: self.state
        )
        self._last_summary: dict[str, Any] = {**FlowStatistics().summary(), 'pairs': 0}

    @property
    def parameters(self) -> FrameNodeParameters:
        """As declared and set."""
        values: FrameNodeParameters = self._settings.values
        return values

    def consume(self, built: BuiltFrame) -> Callable[[], bool]:
        """Make of a frame what this node is for; called on the pipeline's thread.

        Returns:
            What hands that on and says whether the frame is wanted; if not, it is not given to
            `frame_sinks` either. It is not called if the node was deactivated meanwhile.
        """
        raise NotImplementedError

    def configure(self) -> None:
        """Make the frame builder and compile what it needs."""
        self._tree = TransformTree()
        self._trajectory = LiveTrajectory()
        self._camera = CameraIntake(
            self, self.parameters.frame.rectified, lambda: self._images, 'image_raw'
        )
        self._builder = FrameBuilder(
            self.parameters.frame, self._tree, self._trajectory, self._camera.image_topic
        )
        self.get_logger().info('compiling; the first start takes a minute, later ones do not')
        self._builder.warm_up()

    def activate(self) -> None:
        """Start the pipeline, then subscribe."""
        parameters = self.parameters
        self._sweeps = SweepWatch(self.get_logger().warning)
        self._pipeline = FramePipeline(
            self._builder,
            Matcher(parameters.sync),
            self._trajectory,
            CameraOffset(
                parameters.sync.fixed_offset_s,
                self._tree,
                parameters.frame,
                self._camera.image_topic,
            ),
            parameters.pipeline,
            on_frame=self._on_frame,
            on_error=self.note_error,
            expects_motion=self._expects_motion,
            check_info=self._camera.look,
        )
        self._listener = self.own(
            TransformListener(
                self,
                self._tree,
                self._trajectory,
                motion_source=parameters.inputs.motion_source,
                odom_frame=parameters.inputs.odometry_frame,
                base_frame=parameters.frame.base_frame,
                calibration_file=parameters.calibration_file,
            )
        )
        quality: dict[str, Any] = {
            'reliability': parameters.inputs.reliability,
            'depth': parameters.inputs.depth,
        }
        self._images = self.own(
            ImageInput(
                self,
                'image_raw',
                self.guarded(self._pipeline.add_image, 'image'),
                parameters.inputs.image_transport,
                **quality,
            )
        )
        needed = {
            'image': self._images.candidates,
            'points': [('points', PointCloud2)],
            'camera_info': [('camera_info', CameraInfo)],
        }
        if parameters.inputs.motion_source == 'odometry':
            needed['odometry'] = [('odom', Odometry)]
        self._missing = MissingTopics(self, needed)
        add_info, add_sweep = self._pipeline.add_camera_info, self._pipeline.add_sweep
        self._inputs = [
            self._images,
            self.subscribe(CameraInfo, 'camera_info', add_info, **quality),
            self.subscribe(PointCloud2, 'points', add_sweep, **quality),
        ]
        self.every(_EXPIRE_PERIOD_S, self._tick)

    def deactivate(self) -> None:
        """Stop the pipeline; its figures stay."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._last_summary = self._pipeline.summary()
        self._pipeline = self._listener = self._images = None
        self._inputs = []

    def summary(self) -> dict[str, Any]:
        """Return the figures of this activation, or of the last one, ready for JSON."""
        figures = self._last_summary if self._pipeline is None else self._pipeline.summary()
        return {**figures, 'errors': dict(self.last_error)}

    def diagnostic_parts(self) -> Mapping[str, Callable[[], Status]]:
        """Name what reports on /diagnostics."""
        return {'frames': self._frame_status, 'input': self._input_status}

    def subscribed_topics(self) -> Sequence[str]:
        """Name the sensors' topics."""
        return INPUT_TOPICS

    def hardware_id(self) -> str:
        """Return the camera's topic, which tells nodes of several cameras apart."""
        return self.resolve_topic_name('image_raw')

    def _tick(self) -> None:
        if self._pipeline is not None and self._images is not None:
            self._pipeline.expire()
            self._images.look()

    def _on_frame(self, built: BuiltFrame) -> Callable[[], bool]:
        self.get_logger().debug(f'image of {built.stamp_ns} ns, sweep {built.offset_s:+.4f} s')
        hand_on = self.consume(built)

        def hand_on_to_all() -> bool:
            wanted = hand_on()
            # Superpixels are work: a frame is completed only if somebody takes it.
            for sink in self.frame_sinks if wanted else ():
                sink(built.frame)
            self._note_segments(built)
            if built.sweep_facts is not None:
                self._sweeps.note(built.sweep_facts)
            return wanted

        return hand_on_to_all

    def _note_segments(self, built: BuiltFrame) -> None:
        """Remember how segments are made, and log it where that changes."""
        found = built.segments_from
        if found is None or found == self._segments_from:
            return
        self._segments_from = found
        text, without_beams = found
        # rclpy takes one severity from a line of code.
        if without_beams:
            self.get_logger().warning(f'segments from {text}')
        else:
            self.get_logger().info(f'segments from {text}')

    def _expects_motion(self) -> bool:
        return self._listener is not None and self._listener.expects_motion()

    def _frame_status(self) -> Status:
        """Say how many frames come, how late, and what was lost."""
        if self._pipeline is None:
            return Status(OK, 'not active')
        summary = self._pipeline.summary()
        statistics = self._pipeline.statistics
        unmoved = summary['frames'] - summary['frames_with_motion']
        lost = self._recent_drops(summary['dropped'])
        segments, without_beams = self._segments_from or ('unknown yet', False)
        problems = {
            f'lost: {lost}' if lost else '': WARN,
            self._recent_unmoved({'frames without odometry': unmoved}): WARN,
            f'segments from {segments}' if without_beams else '': WARN,
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

    def _why_no_pairs(self) -> dict[str, int]:
        """Say what keeps pairs from coming though all topics have been heard, by level."""
        assert self._pipeline is not None
        statistics, matcher = self._pipeline.statistics, self._pipeline.matcher
        silent = {
            f'no {name} for {silent_s:.0f} s; is the sensor still on?': ERROR
            for name in ('image', 'points')
            if (silent_s := statistics.silent_s(name)) > _SILENT_S
        }
        unpaired_s = self._pipeline.unpaired_s
        if not silent and matcher.pairs and unpaired_s > _SILENT_S:
            return {f'no image has paired for {unpaired_s:.0f} s; {matcher.apart()}': ERROR}
        return silent

    def _input_status(self) -> Status:
        """Say which messages come, and why pairs do not."""
        if self._pipeline is None or self._listener is None:
            return Status(OK, 'not active')
        received = self._pipeline.summary()['received']
        matcher = self._pipeline.matcher
        report = matcher.report()
        unstamped = matcher.drops['zero_stamp'] + matcher.sweep_drops['zero_stamp']
        problems = {source.problem: ERROR for source in self._inputs}
        problems[self._pipeline.clock_steps.problem] = WARN
        problems[self._listener.problem] = WARN
        problems[self._camera.problem] = WARN
        missing = self._missing.problems({**received, 'odometry': len(self._trajectory)})
        problems |= missing
        if missing:
            problems[report] = WARN
        else:
            problems |= self._why_no_pairs()
        if not missing and (unstamped or not matcher.pairs):
            problems[report] = WARN
        return summarise(
            problems,
            report,
            **{f'{name} received': count for name, count in received.items()},
            **{'motion from': self._listener.motion_source},
        )
