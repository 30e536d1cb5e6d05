"""Publishes the LiDAR's points in the colours of the camera's mask, if there are subscribers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from drive_segment_ros.frame.events import CameraInfo, Image
from drive_segment_ros.frame.paint import Mask, PaintedSweep, paint
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.pairing_report import pairing_report
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.frame.warm_up import warm_up_view
from drive_segment_ros.nodes.frame_node import InputParameters
from drive_segment_ros.nodes.frame_pipeline import FramePipeline, Outcome
from drive_segment_ros.nodes.lifecycle import ManagedNode
from drive_segment_ros.nodes.mask_outputs import MaskOutputs
from drive_segment_ros.nodes.view_parameters import ViewPipelineParameters, ViewSyncParameters
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.calibration import load_calibration
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.diagnostics import ERROR, OK, WARN, RecentCounts, Status, summarise
from drive_segment_ros.ros.events import stamp_ns, sweep_event
from drive_segment_ros.ros.missing_topics import MissingTopics
from drive_segment_ros.ros.point_cloud2 import coloured_points, point_cloud2
from drive_segment_ros.ros.qos import FollowingSubscription
from drive_segment_ros.ros.vehicle_listener import VehicleListener, motion_kinds

# The name of the only camera in the stream.
_CAMERA = 'camera'
_QOS = QoSProfile(depth=2)
POINTS_TOPIC = 'segmentation/points'
_SOURCE = 'painted cloud'


@dataclasses.dataclass(frozen=True)
class PaintParameters(GeometryParameters):
    """Parameters of painting sweeps; the same as those of the recorder's frames."""

    calibration_file: str = parameter(
        '',
        'extrinsics, written by `drive-segment inspect --calibration`; they take precedence over '
        '/tf_static. Intrinsics are always those of camera_info',
    )
    inputs: InputParameters = dataclasses.field(default_factory=InputParameters)
    sync: ViewSyncParameters = dataclasses.field(default_factory=ViewSyncParameters)
    pipeline: ViewPipelineParameters = dataclasses.field(default_factory=ViewPipelineParameters)


class PaintedCloud:
    """Publishes `segmentation/points`; subscribes to sweeps, tf and odometry only when needed."""

    def __init__(
        self,
        node: ManagedNode,
        parameters: PaintParameters,
        outputs: MaskOutputs,
    ) -> None:
        """Advertise, and compile the kernels for painting.

        Args:
            node: the node that owns it.
            parameters: of painting.
            outputs: has the labels' colours.

        Raises:
            CalibrationError: if the calibration file cannot be used.
        """
        self._calibration = TransformTree()
        if parameters.calibration_file:
            # An invalid file is reported now, not at the first subscription.
            self._calibration = load_calibration(parameters.calibration_file)[0]
        self._node = node
        self._parameters = parameters
        self._outputs = outputs
        self._publisher = node.advertise(PointCloud2, POINTS_TOPIC, _QOS)
        self._pipeline: FramePipeline | None = None
        self._listener: VehicleListener | None = None
        self._sweeps: FollowingSubscription | None = None
        self._model: CameraModel | None = None
        self._recent_drops = RecentCounts()
        self._last_summary: dict[str, Any] = {}
        warm_up_view(parameters)

    def wanted(self) -> bool:
        """Whether there are subscribers."""
        return bool(self._publisher.get_subscription_count())

    def look(self) -> None:
        """Start or stop with the subscribers; decide waiting pairs. To be called often."""
        if self.wanted() and self._pipeline is None:
            self._open()
        elif not self.wanted() and self._pipeline is not None:
            self.close()
        if self._pipeline is not None:
            self._pipeline.expire()

    def close(self) -> None:
        """Stop and unsubscribe."""
        pipeline, self._pipeline = self._pipeline, None
        for part in (self._sweeps, self._listener):
            if part is not None:
                part.destroy()
        self._sweeps = self._listener = None
        if pipeline is not None:
            pipeline.close()
            self._last_summary = pipeline.summary()

    def add_calibration(self, model: CameraModel) -> None:
        """Push the camera's calibration."""
        self._model = model
        if self._pipeline is not None:
            self._pipeline.push(CameraInfo(_CAMERA, model))

    def add_mask(self, mask: Mask) -> None:
        """Push a mask; called on the thread of the network."""
        pipeline = self._pipeline  # It may be closed by another thread.
        if pipeline is not None:
            stamp = stamp_ns(mask)
            pipeline.push(Image(_CAMERA, stamp, mask.header.frame_id, mask))

    def summary(self) -> dict[str, Any]:
        """Return the statistics since the last start, ready for JSON."""
        pipeline = self._pipeline
        return self._last_summary if pipeline is None else pipeline.summary()

    def status(self) -> Status:
        """Return the status: sweeps received and painted, and problems."""
        pipeline, listener, sweeps = self._pipeline, self._listener, self._sweeps
        if pipeline is None or listener is None or sweeps is None:
            return Status(OK, 'no subscribers')
        summary = pipeline.summary()
        received = summary['received']
        report = pairing_report(pipeline.stream)
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
        if not pipeline.stream.cameras[_CAMERA].pairs:
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
            # It is tried again soon: subscriptions created so far must be removed.
            self.close()
            raise

    def _start(self) -> None:
        parameters = self._parameters
        kinds = motion_kinds(parameters.inputs.motion_source)
        stream = FrameStream(
            parameters,
            [_CAMERA],
            expects_motion=self._expects_motion,
            motion_kinds=kinds,
            calibration=self._calibration,
            on_error=self._on_error,
        )
        pipeline = FramePipeline(stream, parameters.pipeline, self._on_pair, self._on_error)
        self._pipeline = pipeline
        if self._model is not None:
            pipeline.push(CameraInfo(_CAMERA, self._model))
        self._listener = VehicleListener(self._node, stream, pipeline.push, kinds)
        self._missing = MissingTopics(self._node, {'points': [('points', PointCloud2)]})
        self._sweeps = FollowingSubscription(
            self._node,
            PointCloud2,
            'points',
            self._node.guarded(self._on_sweep, 'points'),
            parameters.inputs.reliability,
            parameters.inputs.depth,
        )

    def _expects_motion(self) -> bool:
        return self._listener is not None and self._listener.expects_motion()

    def _on_error(self, reason: str, text: str) -> None:
        self._node.note_error(_SOURCE, text)

    def _on_sweep(self, message: Any) -> None:
        if self._pipeline is not None:
            self._pipeline.push(sweep_event(message, self._parameters))

    def _on_pair(self, pair: Pair) -> Outcome:
        painted = paint(pair, self._parameters)
        message = painted_cloud_message(painted, self._outputs.table)

        def publish() -> bool:
            self._publisher.publish(message)
            return True

        return Outcome(publish, painted.moved != 'none')


def painted_cloud_message(painted: PaintedSweep, table: NDArray[np.uint8]) -> PointCloud2:
    """Return the painted points as measured, in the LiDAR's frame.

    Args:
        painted: the sweep.
        table: (256, 3) uint8 BGR, a colour for each label.
    """
    cloud = painted.cloud
    header = Header(frame_id=cloud.frame_id)
    header.stamp.sec, header.stamp.nanosec = divmod(cloud.stamp_ns, 1_000_000_000)
    x, y, z = (values[painted.index] for values in (cloud.x, cloud.y, cloud.z))
    rgb = table[painted.label][:, ::-1]
    points = coloured_points(x, y, z, rgb, label=painted.label, confidence=painted.confidence)
    return point_cloud2(points, header)
