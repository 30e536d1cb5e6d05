"""One LiDAR sweep, read and segmented once for any number of cameras."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.frame import SweepRecord
from drive_segment_ros.errors import CloudError
from drive_segment_ros.perception.beam_sources import Beams, spinning_beams
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.geometry import describe_proposals
from drive_segment_ros.perception.proposals import (
    RAISED_LABEL,
    SKY_LABEL,
    ProposalParameters,
    SweepProposals,
    find_proposals,
)
from drive_segment_ros.perception.transforms import level_rotation

_NS = 1e-9
_MEMO = ('cloud', 'beams', '_segments', '_record')


class Sweep:
    """A sweep for the frames of a rig; results are cached.

    Attributes:
        stamp_ns: header stamp, nanoseconds.
        frame_id: of its points.
    """

    def __init__(self, stamp_ns: int, frame_id: str, read: Callable[[], PointCloud]) -> None:
        """Store the function that reads it.

        Args:
            stamp_ns: header stamp, nanoseconds.
            frame_id: of its points.
            read: returns its points, or raises CloudError; must be picklable if the sweep is sent
                to another process.
        """
        self.stamp_ns = stamp_ns
        self.frame_id = frame_id
        self._read = read

    @functools.cached_property
    def cloud(self) -> PointCloud:
        """Its points.

        Raises:
            CloudError: if they cannot be interpreted.
        """
        return self._read()

    @functools.cached_property
    def beams(self) -> Beams | None:
        """Its beams; None for a cloud without any.

        Raises:
            CloudError: as `cloud`.
        """
        return spinning_beams(self.cloud)

    def span_ns(self) -> tuple[int, int]:
        """Return when its first and its last point were measured, nanoseconds.

        Raises:
            CloudError: as `cloud`.
        """
        time = self.cloud.time
        if time is None:
            return self.stamp_ns, self.stamp_ns
        known = time[np.isfinite(time)]
        if not len(known):
            return self.stamp_ns, self.stamp_ns
        first, last = float(known.min()), float(known.max())
        return self.stamp_ns + round(first / _NS), self.stamp_ns + round(last / _NS)

    def segments(
        self, params: ProposalParameters, T_base_lidar: NDArray[np.float64] | None
    ) -> SweepProposals:
        """Return its objects, ground and sky; found once, with the first caller's arguments.

        Args:
            params: thresholds.
            T_base_lidar: (4, 4) at the sweep's stamp, gives the directions up and ahead; None if
                it is not known.

        Raises:
            CloudError: as `cloud`, or if no point is usable.
        """
        found = vars(self).get('_segments')
        if found is None:
            up = forward = None
            if T_base_lidar is not None:
                forward, up = T_base_lidar[0, :3].copy(), T_base_lidar[2, :3].copy()
            try:
                found = find_proposals(self.cloud, params, up, lambda: self.beams, forward)
            except CloudError as err:
                # Cached for the next camera.
                found = err
            self._segments = found
        if isinstance(found, CloudError):
            raise found
        segments: SweepProposals = found
        return segments

    def record(
        self, params: ProposalParameters, T_base_lidar: NDArray[np.float64] | None
    ) -> SweepRecord:
        """Return its segments as stored on disk; cached, with the arguments of `segments`.

        Raises:
            CloudError: as `segments`.
        """
        if '_record' not in vars(self):
            segments = self.segments(params, T_base_lidar)
            R_level = level_rotation(segments.up) if T_base_lidar is None else T_base_lidar[:3, :3]
            self._record = _record(self, segments, R_level, has_sky=params.sky)
        record: SweepRecord = self._record
        return record

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the cached results."""
        return {name: value for name, value in vars(self).items() if name not in _MEMO}


def _record(
    sweep: Sweep, segments: SweepProposals, R_level_lidar: NDArray[np.float64], *, has_sky: bool
) -> SweepRecord:
    """Describe all segments of a sweep, whether or not a camera sees them."""
    points = np.bincount(segments.label, minlength=segments.count)
    exists = points > 0
    exists[0] = False
    # Sky has no points, and the sweep does not determine which images show it.
    exists[SKY_LABEL] = has_sky and segments.image is not None
    labels = np.flatnonzero(exists).astype(np.int32)
    return SweepRecord(
        sweep.stamp_ns,
        {
            'id': labels.astype(np.uint16),
            'kind': segments.kind()[labels],
            'raised': labels == RAISED_LABEL,
            'points': points[labels].astype(np.int32),
            **describe_proposals(sweep.cloud, segments, labels, R_level_lidar),
        },
    )
