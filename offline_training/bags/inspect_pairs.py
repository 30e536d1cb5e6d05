"""Checks a camera with a LiDAR: their stamps, and whether their extrinsics fit."""

from __future__ import annotations

import contextlib
import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import BagError, CalibrationError, CloudError, ImageError
from drive_segment_ros.frame.events import Image
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.frame.vehicle import Motion
from drive_segment_ros.frame.view import motion_to_image
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud, cloud_from_message
from drive_segment_ros.perception.motion import JUMP_BACK_NS, SweepMotion
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.bags import BagReader, Topic, header_stamp_ns
from drive_segment_ros.ros.events import pose_event, transform_event
from drive_segment_ros.ros.images import decode_image
from drive_segment_ros.ros.video import VIDEO_TYPES, primed
from offline_training.bags.extrinsics_check import ExtrinsicsReport, check_extrinsics
from offline_training.bags.sensors import ODOMETRY

# Number of frames: enough for the sign test to tolerate one that disagrees.
_FRAMES = 8
# Odometry is read this long before and after a pair, in bag time, which may differ from stamps.
_AROUND_NS = 1_500_000_000
# Images and sweeps this close count as simultaneous: at 15 m/s, an object 10 m to the side moves
# by 0.9 degrees.
_AT_ONCE_S = 0.01


@dataclasses.dataclass(frozen=True)
class StampPairs:
    """Images with the sweeps that were measured nearest to them.

    Attributes:
        images, sweeps: (P,) int64 rows of the two topics' messages.
        offset_s: (P,) float64 image stamp minus the stamp of its sweep.
        period_s: usual period of the more frequent topic, seconds.
    """

    images: NDArray[np.int64]
    sweeps: NDArray[np.int64]
    offset_s: NDArray[np.float64]
    period_s: float

    @property
    def median_s(self) -> float:
        """Median of the offsets, seconds."""
        return float(np.median(self.offset_s))

    @property
    def spread_s(self) -> float:
        """Half of the 90 % range of the offsets, seconds."""
        low, high = np.percentile(self.offset_s, [5, 95])
        return float(high - low) / 2

    @property
    def steady(self) -> bool:
        """Whether one of the sensors triggers the other.

        Offsets of free-running sensors are uniform over the period, so that their interquartile
        range is half of it. Lost messages, which cause wrong pairs, hardly affect this range.
        """
        low, high = np.percentile(self.offset_s, [25, 75])
        return bool(high - low < 0.3 * self.period_s)


def pair_stamps(
    images: NDArray[np.int64], sweeps: NDArray[np.int64], view_time_s: float
) -> StampPairs | None:
    """Pair by header stamps: each message of the rarer topic with the nearest of the other.

    Args:
        images, sweeps: (N,) header stamps, ns, in any order; 0 where a message has none.
        view_time_s: when, after its stamp, a sweep passes the camera's view.

    Returns:
        None if either has no stamps.
    """
    image_rows, sweep_rows = (np.flatnonzero(stamps > 0) for stamps in (images, sweeps))
    if len(image_rows) == 0 or len(sweep_rows) == 0:
        return None
    gaps = [np.diff(np.sort(stamps[stamps > 0])) for stamps in (images, sweeps)]
    period_s = min(float(np.median(gap)) * 1e-9 if len(gap) else np.inf for gap in gaps)
    seen = sweeps[sweep_rows] + round(view_time_s * 1e9)
    if len(image_rows) <= len(sweep_rows):
        sweep_rows = sweep_rows[_nearest(images[image_rows], seen)]
    else:
        image_rows = image_rows[_nearest(seen, images[image_rows])]
    offset = np.asarray((images[image_rows] - sweeps[sweep_rows]) * 1e-9, np.float64)
    return StampPairs(image_rows, sweep_rows, offset, period_s)


@dataclasses.dataclass(frozen=True)
class Vehicle:
    """Extrinsics and odometry of the vehicle in the bag.

    Attributes:
        tree: extrinsics.
        odometry: topics of the vehicle's motion, empty if there are none.
        odometry_frame, base_frame: its frames.
        point_motion: the parameter, as declared in the bag's import record, or `auto`.
    """

    tree: TransformTree
    odometry: tuple[str, ...]
    odometry_frame: str
    base_frame: str
    point_motion: str = 'auto'


def inspect_extrinsics(
    reader: BagReader,
    topics: tuple[Topic, Topic],
    bag_stamps: tuple[NDArray[np.int64], NDArray[np.int64]],
    camera: CameraModel,
    vehicle: Vehicle,
    apart_s: float,
) -> ExtrinsicsReport | None:
    """Check extrinsics by pairs of images and sweeps spread over the bag.

    Points are moved to the image's instant as in `extract`. Without odometry for that, and if
    images are not exposed when the LiDAR passes their view, no error is reported.

    Args:
        reader: the open bag.
        topics: the camera's images and the LiDAR's sweeps.
        bag_stamps: (P,) each, of the paired images and sweeps, nanoseconds.
        camera: of the images.
        vehicle: extrinsics as published, and odometry.
        apart_s: time between the exposure and the LiDAR's scan of the camera's view, seconds.

    Returns:
        None if it cannot be decided, see `check_extrinsics`.
    """
    count = len(bag_stamps[0])
    # The centres of equal parts of the drive.
    chosen = ((np.arange(_FRAMES) + 0.5) / _FRAMES * count).astype(int)
    images, sweeps = [], []
    motions: list[SweepMotion | None] = []
    for k in np.unique(chosen):
        image, sweep = (
            next(reader.messages([topic.name], int(stamps[k]), int(stamps[k]) + 1), None)
            for topic, stamps in zip(topics, bag_stamps, strict=True)
        )
        if image is None or sweep is None:
            continue
        try:
            message = reader.deserialize(image.raw, topics[0].type)
            if topics[0].type in VIDEO_TYPES:
                message = primed(reader, topics[0].name, image.bag_stamp_ns).push(message)
            picture = decode_image(message)
            cloud = cloud_from_message(reader.deserialize(sweep.raw, topics[1].type))
        except (BagError, ImageError, CloudError):
            continue
        images.append(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8))
        sweeps.append(cloud)
        poses = _poses(reader, vehicle, image.bag_stamp_ns, sweep.bag_stamp_ns)
        motions.append(_motion(cloud, camera, header_stamp_ns(message), vehicle, poses))
    T_camera_lidar = vehicle.tree.lookup(camera.frame_id, sweeps[0].frame_id) if sweeps else None
    if T_camera_lidar is None:
        return None
    report = check_extrinsics(images, sweeps, camera, T_camera_lidar, motions)
    unmoved = None in motions and apart_s > _AT_ONCE_S
    if report is not None and report.ok is False and unmoved:
        return dataclasses.replace(report, ok=None)
    return report


def _poses(reader: BagReader, vehicle: Vehicle, *bag_stamps: int) -> Motion:
    """Return the vehicle's poses around some messages."""
    motion = Motion(vehicle.odometry_frame, vehicle.base_frame, JUMP_BACK_NS)
    first, last = min(bag_stamps) - _AROUND_NS, max(bag_stamps) + _AROUND_NS
    for raw in reader.messages(vehicle.odometry, first, last) if vehicle.odometry else ():
        # Skip damaged samples.
        with contextlib.suppress(BagError):
            message = reader.deserialize(raw.raw, raw.msgtype)
            if raw.msgtype == ODOMETRY:
                motion.add(pose_event(message))
                continue
            for item in message.transforms:
                transform = transform_event(item, static=False)
                if transform.parent.lstrip('/') == vehicle.odometry_frame.lstrip('/'):
                    motion.add(transform.as_pose())
    return motion


def _motion(
    cloud: PointCloud, camera: CameraModel, stamp_ns: int, vehicle: Vehicle, poses: Motion
) -> SweepMotion | None:
    """Return the LiDAR's motion from a sweep to an image's instant; None if unknown."""
    sweep = Sweep(cloud.stamp_ns, cloud.frame_id, lambda: cloud)
    T_base_lidar = None
    with contextlib.suppress(CalibrationError):  # not all vehicles name a base frame
        T_base_lidar = vehicle.tree.lookup(vehicle.base_frame, cloud.frame_id)
    first_ns, last_ns = sweep.span_ns()
    pair = Pair(
        Image('', stamp_ns, camera.frame_id, None),
        sweep,
        camera,
        stamp_ns,
        0.0,
        vehicle.tree.lookup(camera.frame_id, cloud.frame_id),
        T_base_lidar,
        poses.around(poses.clock.epoch, min(first_ns, stamp_ns), max(last_ns, stamp_ns)),
    )
    return motion_to_image(pair, vehicle.point_motion)[0]


def _nearest(stamps: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each of (N,) stamps the index of the nearest of (M,) others."""
    order = np.argsort(among, kind='stable')
    ranked = among[order]
    after = np.clip(np.searchsorted(ranked, stamps), 0, len(ranked) - 1)
    before = np.maximum(after - 1, 0)
    earlier = np.abs(stamps - ranked[before]) <= np.abs(ranked[after] - stamps)
    return order[np.where(earlier, before, after)]
