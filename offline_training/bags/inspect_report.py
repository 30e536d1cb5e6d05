"""The report of `inspect` on a bag."""

from __future__ import annotations

import dataclasses
from typing import Any

from offline_training.bags.extrinsics_check import ExtrinsicsReport


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem and how to fix it."""

    what: str
    fix: str


@dataclasses.dataclass(frozen=True)
class TopicReport:
    """One topic.

    Attributes:
        name, type, count: as in the bag.
        rate_hz: messages a second over the topic's own span; None for fewer than two.
        clock_offset_s: median of bag stamp minus header stamp; None without header.
        zero_stamps: messages whose header stamp is zero.
    """

    name: str
    type: str
    count: int
    rate_hz: float | None
    clock_offset_s: float | None
    zero_stamps: int


@dataclasses.dataclass(frozen=True)
class CameraReport:
    """One camera.

    Attributes:
        name: as the folder of a drive and `--camera` have it, see `camera_names`.
        topic, frame_id, encoding, width, height: of its images; encoding or format as named.
        info_topic: its camera_info, None if not recorded.
        calibration: the model as `CameraModel.to_dict` gives it, None if there is none usable.
    """

    name: str
    topic: str
    frame_id: str
    encoding: str
    width: int
    height: int
    info_topic: str | None
    calibration: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class LidarReport:
    """One LiDAR, by its first sweep.

    Attributes:
        topic, frame_id, points, fields: of the sweep.
        beams: number of beams with returns, None without beams.
        segments_from: the source of segments, as text.
        first_time_s, last_time_s: point times relative to the stamp, None without a usable field.
    """

    topic: str
    frame_id: str
    points: int
    fields: list[str]
    beams: int | None
    first_time_s: float | None
    last_time_s: float | None
    segments_from: str = ''


@dataclasses.dataclass(frozen=True)
class PairReport:
    """One camera with one LiDAR.

    Attributes:
        camera, lidar: topics.
        offset_s: median of image stamp minus sweep stamp, for the sweep that passes the camera's
            view nearest in time; None without stamps.
        spread_s: half of the 90 % range of these offsets.
        view_time_s: time from the sweep's stamp to its passing of the middle of the camera's view;
            None if unknown. For sweeps that start in the view, their start or end.
        camera_lidar_offset_ms: `offset_s` minus `view_time_s`: delay of the images' stamps after
            the LiDAR's passing of their view, negative if they are earlier. If the LiDAR triggers
            the camera, as on most rigs, it is the error of the stamps. It is known up to
            multiples of the shorter period. None if unknown, as for a free-running camera.
        transform: whether the transform between the two is known.
        extrinsics: whether it agrees with the images; None if not decided.
    """

    camera: str
    lidar: str
    offset_s: float | None
    spread_s: float | None
    view_time_s: float | None
    camera_lidar_offset_ms: float | None
    transform: bool
    extrinsics: ExtrinsicsReport | None


@dataclasses.dataclass(frozen=True)
class BagReport:
    """The results of `inspect`; `problems` is empty if the bag can be extracted as it is."""

    bag: str
    duration_s: float
    topics: list[TopicReport]
    cameras: list[CameraReport]
    lidars: list[LidarReport]
    pairs: list[PairReport]
    transforms: list[str]
    odometry: str | None
    problems: list[Problem]
