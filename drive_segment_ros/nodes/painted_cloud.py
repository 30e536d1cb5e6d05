"""The LiDAR's points in the colours of the camera's mask; at work only while somebody looks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2

from drive_segment_ros.nodes.camera_intake import CameraIntake
from drive_segment_ros.nodes.frame_node import InputParameters
from drive_segment_ros.nodes.frame_pipeline import (
    FramePipeline,
    LiveTrajectory,
    PipelineParameters,
)
from drive_segment_ros.nodes.lifecycle import ManagedNode
from drive_segment_ros.nodes.mask_outputs import MaskOutputs
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.calibration import load_calibration
from drive_segment_ros.perception.synchronisation import Matcher, SyncParameters
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.camera_offset import CameraOffset
from drive_segment_ros.ros.cloud_painter import CloudPainter, Mask, PaintedSweep
from drive_segment_ros.ros.diagnostics import ERROR, OK, WARN, RecentCounts, Status, summarise
from drive_segment_ros.ros.frame_parameters import GeometryParameters
from drive_segment_ros.ros.missing_topics import MissingTopics
from drive_segment_ros.ros.qos import FollowingSubscription
from drive_segment_ros.ros.transform_listener import TransformListener

_QOS = QoSProfile(depth=2)
POINTS_TOPIC = 'segmentation/points'
_SOURCE = 'painted cloud'


@dataclasses.dataclass(frozen=True)
class PaintParameters:
    """How sweeps are painted; as the recorder makes frames."""

    calibration_file: str = parameter(
        '',
        'extrinsics, as `drive-segment inspect --calibration` writes them; they go before those '
        'of /tf_static. Intrinsics always are those of camera_info',
    )
    inputs: InputParameters = dataclasses.field(default_factory=InputParameters)
    sync: SyncParameters = dataclasses.field(default_factory=SyncParameters)
    pipeline: PipelineParameters = dataclasses.field(default_factory=PipelineParameters)
    frame: GeometryParameters = dataclasses.field(default_factory=GeometryParameters)


class PaintedCloud:
    """Publishes `segmentation/points`; hears sweeps, tf and odometry only while it has to."""

    def __init__(
        self,
        node: ManagedNode,
        parameters: PaintParameters,
        outputs: MaskOutputs,
        camera: CameraIntake,
    ) -> None:
        """Advertise and compile what painting needs.

        Args:
            node: whose parts they are.
            parameters: how.
            outputs: knows the labels' colours.
            camera: reads camera_info.

        Raises:
            CalibrationError: if the calibration file cannot be used.
        """
        if parameters.calibration_file:
            # A wrong file is told now, not when somebody first looks.
            load_calibration(parameters.calibration_file)
        self._node = node
        self._parameters = parameters
        self._outputs = outputs
        self._camera = camera
        self._publisher = node.advertise(PointCloud2, POINTS_TOPIC, _QOS)
        self._pipeline: FramePipeline | None = None
        self._listener: TransformListener | None = None
        self._sweeps: FollowingSubscription | None = None
        self._camera_info: Any = None
        self._recent_drops = RecentCounts()
        self._last_summary: dict[str, Any] = {}
        CloudPainter(parameters.frame, TransformTree()).warm_up()

    def wanted(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self._publisher.get_subscription_count())

    def look(self) -> None:
        """Start or stop with the subscribers; decide pairs that waited. To be called often."""
        if self.wanted() and self._pipeline is None:
            self._open()
        elif not self.wanted() and self._pipeline is not None:
            self.close()
        if self._pipeline is not None:
            self._pipeline.expire()

    def close(self) -> None:
        """Stop; nothing is heard any more."""
        pipeline, self._pipeline = self._pipeline, None
        for part in (self._sweeps, self._listener):
            if part is not None:
                part.destroy()
        self._sweeps = self._listener = None
        if pipeline is not None:
            pipeline.close()
            self._last_summary = pipeline.summary()

    def add_camera_info(self, message: Any) -> None:
        """Take the camera's calibration, one that makes sense."""
        self._camera_info = message
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.add_camera_info(message)

    def add_mask(self, mask: Mask) -> None:
        """Take a mask; called on the thread that makes them."""
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.add_image(mask)

    def summary(self) -> dict[str, Any]:
        """Return the figures since somebody last began to subscribe, ready for JSON."""
        pipeline = self._pipeline
        return self._last_summary if pipeline is None else pipeline.summary()

    def status(self) -> Status:
        """Say which sweeps come, what became of them, and why nothing does."""
        pipeline, listener, sweeps = self._pipeline, self._listener, self._sweeps
        if pipeline is None or listener is None or sweeps is None:
            return Status(OK, 'nobody subscribes')
        summary = pipeline.summary()
        received = summary['received']
        report = pipeline.matcher.report()
        missing = self._missing.problems(received)
        lost = self._recent_drops(summary['dropped'])
        problems = {
            sweeps.problem: ERROR,
            listener.problem: WARN,
            self._node.recent_errors().get(_SOURCE, ''): ERROR,
            f'lost: {lost}' if lost else '': WARN,
            **missing,
        }
        if not received.get('image'):
            problems['waiting for masks'] = WARN
        if not pipeline.matcher.pairs:
            problems[report] = WARN
        return summarise(
            problems,
            report,
            **pipeline.statistics.recent.values(),
            **{'motion from': listener.motion_source},
        )

    def _open(self) -> None:
        try:
            self._start()
        except Exception:
            # It is tried again soon: what was made by then must not stay.
            self.close()
            raise

    def _start(self) -> None:
        parameters = self._parameters
        tree, trajectory = TransformTree(), LiveTrajectory()
        listener = self._listener = TransformListener(
            self._node,
            tree,
            trajectory,
            motion_source=parameters.inputs.motion_source,
            odom_frame=parameters.inputs.odometry_frame,
            base_frame=parameters.frame.base_frame,
            calibration_file=parameters.calibration_file,
        )
        pipeline = FramePipeline(
            CloudPainter(parameters.frame, tree, trajectory, self._camera.image_topic),
            Matcher(parameters.sync),
            trajectory,
            CameraOffset(
                parameters.sync.fixed_offset_s,
                tree,
                parameters.frame,
                self._camera.image_topic,
            ),
            parameters.pipeline,
            on_frame=self._publish,
            on_error=lambda reason, text: self._node.note_error(_SOURCE, text),
            expects_motion=listener.expects_motion,
            check_info=self._camera.look,
        )
        self._pipeline = pipeline
        if self._camera_info is not None:
            pipeline.add_camera_info(self._camera_info)
        self._missing = MissingTopics(self._node, {'points': [('points', PointCloud2)]})
        self._sweeps = FollowingSubscription(
            self._node,
            PointCloud2,
            'points',
            self._node.guarded(pipeline.add_sweep, 'points'),
            parameters.inputs.reliability,
            parameters.inputs.depth,
        )

    def _publish(self, painted: PaintedSweep) -> Callable[[], bool]:
        message = painted.message(self._outputs.table)

        def publish() -> bool:
            self._publisher.publish(message)
            return True

        return publish
