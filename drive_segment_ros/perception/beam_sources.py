"""Which beam each point of a sweep belongs to, from the most reliable source there is."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.range_image import spin_axis

BeamSource = Literal['ring', 'rows', 'columns', 'elevation', 'none', 'method']
# How segments are made of a sweep, by the source of its beam numbers.
SEGMENTS_FROM: dict[str, str] = {
    'ring': 'beams of the ring field',
    'rows': 'beams from the order of points, beam by beam; no usable ring field',
    'columns': 'beams from the order of points, column by column; no usable ring field',
    'elevation': 'beams from elevations; no usable ring field, and points are in no known order',
    'method': 'density clustering, as set by proposals.method',
    'none': 'density clustering, slower and without sky or kerbs; no beams were found in the ring '
    'field, the order of points or the elevations',
}


@dataclasses.dataclass(frozen=True)
class Beams:
    """The beams of one sweep.

    Attributes:
        ring: (N,) integer, the beam of each point; below 0 for points without one.
        axis: the spin axis: 0, 1 or 2.
        source: of the beam numbers, a key of `SEGMENTS_FROM`.
    """

    ring: NDArray[np.integer]
    axis: int
    source: BeamSource

    @property
    def descending(self) -> bool:
        """Whether beams are known to be numbered from the highest to the lowest."""
        return self.source in ('rows', 'columns')


def spinning_beams(cloud: PointCloud) -> Beams | None:
    """Return the beams of a sweep, None for a cloud without beams.

    They are read from the ring field, else found by the order of points, else by elevations.
    """
    if cloud.ring is not None:
        axis = spin_axis(cloud, cloud.ring)
        if axis is not None:
            return Beams(cloud.ring, axis, 'ring')
    # SciPy takes a third of the package's import time, and most clouds number their beams.
    from drive_segment_ros.perception.beam_order import beams_from_order
    from drive_segment_ros.perception.beams import find_beams

    ordered = beams_from_order(cloud)
    if ordered is not None:
        return Beams(*ordered)
    table = find_beams([cloud])
    return None if table is None else Beams(table.ring(cloud), table.axis, 'elevation')
