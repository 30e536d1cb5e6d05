"""Live object proposals: the LiDAR's segments as a coloured cloud and over the image."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.nodes.camera_input import topic_of
from drive_segment_ros.nodes.frame_node import FrameNode, FrameNodeParameters
from drive_segment_ros.nodes.view_parameters import ViewPipelineParameters, ViewSyncParameters
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.overlay import draw_segments, palette
from drive_segment_ros.perception.proposals import SweepProposals
from drive_segment_ros.ros.images import compressed_message, image_message
from drive_segment_ros.ros.point_cloud2 import coloured_points, point_cloud2

# For display: only the newest counts.
_QOS = QoSProfile(depth=2)


@dataclasses.dataclass(frozen=True)
class ProposalsParameters(FrameNodeParameters):
    """All parameters of frames for display."""

    sync: ViewSyncParameters = dataclasses.field(default_factory=ViewSyncParameters)
    pipeline: ViewPipelineParameters = dataclasses.field(default_factory=ViewPipelineParameters)


class ProposalsNode(FrameNode):
    """Publishes `proposals/points` and, of each camera, `proposals/image_raw`, also compressed.

    For a rig the cloud is published once per sweep, and images in the cameras' namespaces. Outputs
    without subscribers are not computed.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('proposals_node', ProposalsParameters, **kwargs)

    def configure(self) -> None:
        """Advertise, then create the frame builder."""
        self.image_topics()  # Raises an error that names an invalid camera.
        self._points = self.advertise(PointCloud2, 'proposals/points', _QOS)
        self._overlays: dict[str, tuple[Any, Any]] = {}
        for namespace in self.parameters.cameras or ['']:
            topic = topic_of(namespace, 'proposals/image_raw')
            self._overlays[namespace] = (
                self.advertise(Image, topic, _QOS),
                self.advertise(CompressedImage, f'{topic}/compressed', _QOS),
            )
        self._shown: weakref.WeakSet[Sweep] = weakref.WeakSet()
        super().configure()

    def consume(self, pair: Pair) -> Callable[[], bool]:
        """Compute the outputs that have subscribers."""
        messages: list[tuple[Any, Any]] = []
        if pair.sweep not in self._shown and self._points.get_subscription_count():
            self._shown.add(pair.sweep)
            segments = pair.sweep.segments(self.parameters.proposals, pair.T_base_lidar)
            messages.append((self._points, _coloured_cloud(pair.sweep.cloud, segments)))
        overlay, jpeg = self._overlays[self._cameras[pair.image.camera].namespace]
        raw_wanted, jpeg_wanted = overlay.get_subscription_count(), jpeg.get_subscription_count()
        if raw_wanted or jpeg_wanted:
            built = self.build(pair)
            picture = draw_segments(built.image, built.label_image, palette(built.segments.kind()))
            header = pair.image.content.message.header
            if raw_wanted:
                messages.append((overlay, image_message(picture, 'bgr8', header)))
            if jpeg_wanted:
                messages.append((jpeg, compressed_message(picture, header)))

        def publish() -> bool:
            for publisher, message in messages:
                publisher.publish(message)
            return True

        return publish


def _coloured_cloud(cloud: PointCloud, segments: SweepProposals) -> PointCloud2:
    """Return the sweep with its segments' colours and ids, as measured, in the LiDAR's frame."""
    rgb = np.take(palette(segments.kind()), segments.label, axis=0)[:, ::-1]
    header = Header(frame_id=cloud.frame_id)
    header.stamp.sec, header.stamp.nanosec = divmod(cloud.stamp_ns, 1_000_000_000)
    label = segments.label.astype(np.uint16)
    points = coloured_points(cloud.x, cloud.y, cloud.z, rgb, label=label)
    return point_cloud2(points, header)
