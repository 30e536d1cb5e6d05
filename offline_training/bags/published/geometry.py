"""The geometry of a data set's clouds and cameras: declared by its importer, never assumed."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class SetGeometry:
    """The measurement, preprocessing and licence of a set.

    Attributes:
        compensated_to: the instant of a sweep to which the published points are
            motion-compensated; `none` if they are as measured.
        points_frame: the frame of the coordinates as published.
        rotation: direction of rotation of the LiDAR, seen from above.
        begins: where a revolution begins, seen from the vehicle.
        beams: the source of the beam numbers.
        point_times: the source of the time of each point; `order`: that of points in a file;
            `none`: it is not known.
        bag_points: what the bag's clouds hold: `measured`, each point where it was measured and
            with its time; `compensated`, all at the header stamp and without times. A set that was
            compensated and has times is put back to where it was measured: beams keep their
            elevation there, and every step takes it as any recording.
        no_returns: whether directions without a return are listed. Where they are not, a gap may
            be a dropped point: it is no sky by itself, and is taken for sky only where the image
            looks like it, as in any cloud.
        cameras_fire: when the cameras expose.
        shutter: of the cameras.
        licence: its name.
        weights: whether weights trained on the set may be distributed.
    """

    compensated_to: Literal['none', 'start', 'end', 'stamp']
    points_frame: Literal['sensor', 'vehicle', 'world']
    rotation: Literal['clockwise', 'counter-clockwise', 'none']
    begins: str
    beams: str
    point_times: Literal['field', 'azimuth', 'order', 'none']
    bag_points: Literal['measured', 'compensated']
    no_returns: bool
    cameras_fire: str
    shutter: Literal['global', 'rolling']
    licence: str
    weights: Literal['yes', 'non-commercial', 'no']

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of `extract` that follow, by their names."""
        return {'point_motion': 'raw' if self.bag_points == 'measured' else 'compensated'}
