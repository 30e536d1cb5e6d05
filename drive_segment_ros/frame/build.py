"""The method: an image and its sweep, made into a frame of object segments.

Vobecky et al., "Drive&Segment", ECCV 2022, find objects by range-image segmentation (Bogoslavskyi
and Stachniss, IROS 2016) and project them into the image. `build` follows it, from top to bottom.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.frame import Frame
from drive_segment_ros.frame import steps
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.picture import working_camera, working_image
from drive_segment_ros.frame.view import View
from drive_segment_ros.perception.densify import densify
from drive_segment_ros.perception.projected_points import ProjectedPoints
from drive_segment_ros.perception.proposals import SweepProposals


@dataclasses.dataclass(frozen=True)
class BuiltFrame:
    """The result of an image and its sweep.

    Attributes:
        pair: image and sweep.
        image: (H, W, 3) uint8 BGR, at working resolution.
        segments: the sweep's, in 3D.
        view: the sweep as the camera sees it.
        points: the sweep's points in the image.
        label_image: (H, W) int32, the sweep's label of each pixel, 0 where unknown.
    """

    pair: Pair
    image: NDArray[np.uint8]
    segments: SweepProposals
    view: View
    points: ProjectedPoints
    label_image: NDArray[np.int32]


def build(
    pair: Pair, params: FrameParameters, image: NDArray[np.uint8] | None = None
) -> BuiltFrame:
    """Segment an image by the object proposals of its sweep.

    Args:
        pair: the image and its sweep.
        params: thresholds and scales.
        image: (H, W, 3) uint8 BGR, the image at working resolution if it is already decoded.

    Raises:
        ImageError: if the image cannot be decoded.
        CalibrationError: if its shape is not that of its calibration.
        CloudError: if the sweep has no usable point, or none in the image.
    """
    # Beams, range image, ground, clusters: once per sweep, for any number of cameras.
    segments = pair.sweep.segments(params.proposals, pair.T_base_lidar)
    camera = working_camera(pair.camera, params)
    image = working_image(pair, camera) if image is None else image
    # Each point is moved from its own time to the image's instant; hidden points are dropped.
    view = View.of(pair, camera, params)
    points = view.points()
    # Regions between points: down to the ground contact points, and up to the sky.
    contacts = steps.ground_contacts(segments, view, points, params.densify)
    seen = steps.join_points(segments, points, contacts)
    sky = steps.sky_seen(segments, view, image, seen) if params.proposals.sky else None
    # From points to pixels: superpixels get the label that dominates their points.
    label_image = densify(
        image,
        *seen.with_sky(sky),
        params.densify,
        steps.highest_row(segments, view),
        None if sky is None else sky.gaps,
    )
    steps.leave_out(label_image, sky, steps.unscanned(segments, view))
    return BuiltFrame(pair, image, segments, view, points, label_image)


def to_frame(built: BuiltFrame, params: FrameParameters) -> Frame:
    """Return a built frame in the format of a dataset.

    Raises:
        ImageError: if the image cannot be decoded at its own resolution.
    """
    pair = built.pair
    content, suffix = pair.image.content.encoded()
    return Frame(
        camera=pair.image.camera,
        stamp_ns=pair.image.stamp_ns,
        image=content,
        image_suffix=suffix,
        segment=built.label_image.astype(np.uint16),
        sweep=pair.sweep.record(params.proposals, pair.T_base_lidar),
        record=_record(built),
    )


def _record(built: BuiltFrame) -> dict[str, Any]:
    record: dict[str, Any] = {
        'offset_s': built.pair.offset_s,
        'motion': built.view.moved,
        'points': len(built.points),
        'points_dropped': built.segments.dropped,
        **built.segments.facts(),
    }
    if built.view.motion is not None:
        record['T_odom_base'] = built.view.motion.T_odom_base.tolist()
    return record
