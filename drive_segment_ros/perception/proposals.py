"""Objects, ground and sky of one LiDAR sweep: the proposals that are projected into the image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CloudError
from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.beam_sources import Beams, BeamSource, spinning_beams
from drive_segment_ros.perception.cell_labels import (
    FIRST_OBJECT_LABEL,
    GROUND_LABEL,
    RAISED_LABEL,
    SKY_LABEL,
    add_ground,
    heights_and_distances,
    object_cells,
    point_labels,
    raise_ground,
)
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.clustering import cluster
from drive_segment_ros.perception.coverage import Coverage, coverage_facts, find_coverage
from drive_segment_ros.perception.density import density_clusters
from drive_segment_ros.perception.flatness import flat_cells
from drive_segment_ros.perception.ground import (
    BELOW_GROUND,
    ground_surface,
    height_above,
    road_surface,
)
from drive_segment_ros.perception.kerbs import raise_pavements, release_feet
from drive_segment_ros.perception.label_limit import limit_labels
from drive_segment_ros.perception.range_image import RangeImage, range_image
from drive_segment_ros.perception.road_plane import (
    SECTORS,
    LevelPoints,
    level_plane,
    road_plane,
)
from drive_segment_ros.perception.roughness import rough_cells
from drive_segment_ros.perception.transforms import level_rotation

KINDS = ('object', 'ground', 'sky')
OBJECT, GROUND, SKY = range(3)


@dataclasses.dataclass(frozen=True)
class ProposalParameters:
    """How objects are found in a sweep."""

    method: str = parameter(
        'auto',
        'auto is range_image if the cloud has beams, else dbscan',
        choices=('auto', 'range_image', 'dbscan'),
    )
    beta_deg: float = parameter(
        30.0,
        'returns are joined if the line through them meets the farther beam above this angle; '
        "10, the publication's value, joins a car to the hedge behind it",
        unit='deg',
        minimum=1.0,
        maximum=89.0,
    )
    grazing_beta_deg: float = parameter(
        5.0,
        'the same where the line continues straight, as on a wall along the road',
        unit='deg',
        minimum=0.5,
        maximum=89.0,
    )
    straightness_deg: float = parameter(
        12.0, 'how far such a line may bend', unit='deg', minimum=0.0, maximum=90.0
    )
    max_step: float = parameter(
        1.0,
        'largest range difference between neighbouring beams of an object',
        unit='m',
        minimum=0.0,
        maximum=100.0,
    )
    roughness: float = parameter(
        0.1,
        'foliage is split from surfaces where ranges deviate by more than this; three times the '
        'range noise of a spinning LiDAR',
        unit='m',
        minimum=0.01,
        maximum=10.0,
    )
    ground_slope_deg: float = parameter(
        25.0, 'steepest ground between two beams', unit='deg', minimum=1.0, maximum=60.0
    )
    ground_height: float = parameter(
        0.2,
        'level returns up to this above the ground surface are ground; a kerb is 0.15 high',
        unit='m',
        minimum=0.0,
        maximum=1.0,
    )
    ground_margin: float = parameter(
        0.08,
        'any return up to this above the surface is ground; three times the range noise',
        unit='m',
        minimum=0.0,
        maximum=1.0,
    )
    kerb: float = parameter(
        0.07,
        'ground this much above the level of the road is a separate proposal (pavements, '
        'verges); half a kerb',
        unit='m',
        minimum=0.0,
        maximum=1.0,
    )
    min_points: int = parameter(
        5, 'smallest object; fewer returns than this are often noise', minimum=1, maximum=10000
    )
    sky: bool = parameter(True, 'add a proposal for sky: directions without any return')
    dbscan_radius_deg: float = parameter(
        1.0,
        'neighbourhood for clouds without beams, five times the spacing of their points',
        unit='deg',
        minimum=0.05,
        maximum=20.0,
    )


@dataclasses.dataclass(frozen=True)
class SweepProposals:
    """The proposals of one sweep.

    Attributes:
        label: (N,) int32 for each point of the cloud: 0 none, 1 ground at the road's
            level, 2 raised ground, 3 sky, 4.. objects.
        count: labels in use, counted from 0, so that 0 <= label < count.
        above_ground: (N,) float32, metres; infinite where unknown.
        up: (3,) unit vector against gravity in the cloud's coordinates.
        image: the range image; None for a cloud without beams.
        cell_label: (B, W) int32, the label of each cell; None without beams.
        cell_above: (B, W) float32, metres above ground, infinite where empty; None without beams.
        dropped: points that are not finite or lie at the sensor.
        source: of the beam numbers, a key of `beam_sources.SEGMENTS_FROM`.
        coverage: what the sweep did not scan; None where it covers its turn, and without beams.
        crowded_out: objects dropped, as a segment image cannot number more; see `limit_labels`.
    """

    label: NDArray[np.int32]
    count: int
    above_ground: NDArray[np.float32]
    up: NDArray[np.float64]
    image: RangeImage | None
    cell_label: NDArray[np.int32] | None
    cell_above: NDArray[np.float32] | None
    dropped: int
    source: BeamSource = 'none'
    coverage: Coverage | None = None
    crowded_out: int = 0

    def kind(self) -> NDArray[np.uint8]:
        """Return the kind of each label, (count,) uint8 indices into KINDS."""
        kind = np.full(self.count, OBJECT, np.uint8)
        kind[GROUND_LABEL] = kind[RAISED_LABEL] = GROUND
        kind[SKY_LABEL] = SKY
        return kind

    def facts(self) -> dict[str, Any]:
        """Return how segments were made and what the sweep lacks, as `coverage_facts`.

        With `proposals_dropped` where there were more objects than can be numbered.
        """
        facts = coverage_facts(self.image, self.source, self.coverage)
        return {**facts, 'proposals_dropped': self.crowded_out} if self.crowded_out else facts


def find_proposals(
    cloud: PointCloud,
    params: ProposalParameters,
    up: NDArray[np.float64] | None = None,
    beams: Callable[[], Beams | None] | None = None,
    forward: NDArray[np.float64] | None = None,
) -> SweepProposals:
    """Find the objects, the ground and the sky of a sweep.

    The result depends on this sweep only, so that live and offline runs agree.

    Args:
        cloud: the sweep.
        params: thresholds of ground, clusters and beams.
        up: (3,) unit vector against gravity in the cloud's coordinates; None: the spin axis, in
            the direction for which the ground is below.
        beams: called to get the beams of the cloud; None: `spinning_beams`.
        forward: (3,) unit vector of the vehicle's heading in the cloud's coordinates, at right
            angles to `up`; kerbs are searched for on both sides of it. None: no kerbs.

    Raises:
        CloudError: if no point is usable, or beams are demanded of a cloud without any.
        DependencyError: if density clustering is needed and Open3D is missing.
    """
    if len(cloud) == 0:
        raise CloudError(f'the cloud in frame {cloud.frame_id!r} has no points')
    by_beams = params.method != 'dbscan'
    known = (spinning_beams(cloud) if beams is None else beams()) if by_beams else None
    if known is not None:
        image = range_image(cloud, known.ring, axis=known.axis, descending=known.descending)
        found = dataclasses.replace(
            _by_beams(cloud, image, params, up, forward), source=known.source
        )
    elif params.method == 'range_image':
        raise CloudError(
            f'no beams found in the cloud in frame {cloud.frame_id!r}; '
            'use proposals.method auto or dbscan'
        )
    else:
        found = _by_density(cloud, params, up)
        found = found if by_beams else dataclasses.replace(found, source='method')
    if found.dropped == len(cloud):
        raise CloudError(
            f'all {len(cloud)} points in frame {cloud.frame_id!r} are NaN, infinite or at the '
            'sensor; check the driver'
        )
    label, cells, count = limit_labels(
        found.label, found.cell_label, found.count, FIRST_OBJECT_LABEL
    )
    if count == found.count:
        return found
    lost = found.count - count
    return dataclasses.replace(found, label=label, cell_label=cells, count=count, crowded_out=lost)


def _by_beams(
    cloud: PointCloud,
    image: RangeImage,
    params: ProposalParameters,
    up: NDArray[np.float64] | None,
    forward: NDArray[np.float64] | None,
) -> SweepProposals:
    if up is None:
        forward = None
        up = np.zeros(3)
        up[image.axis] = _upward(image.range, image.elevation)
    if up[image.axis] < 0.0:
        image = image.upside_down()
    ranges = image.range
    # The image's coordinates have the spin axis last; gravity is permuted likewise.
    turned = np.roll(up, 2 - image.axis).astype(np.float32)
    x, y, z = image.xyz
    height, distance = heights_and_distances(x, y, z, ranges, turned)
    flat = flat_cells(image.xyz, ranges, height, params.ground_slope_deg)
    column = np.arange(ranges.shape[1], dtype=np.int32)
    points = LevelPoints(distance, height, column * SECTORS // len(column))
    coverage = find_coverage(image)
    candidates = points.where(flat)
    cut = coverage is not None and coverage.cut
    plane = level_plane(candidates) if cut else road_plane(candidates)
    above = height_above(points, ground_surface(candidates, plane))
    kind, excluded = object_cells(
        ranges, flat, above, np.float32(params.ground_height), np.float32(params.ground_margin)
    )
    rough = rough_cells(ranges, excluded, threshold=params.roughness)
    cell_label, count = cluster(
        image.xyz,
        ranges,
        # Smooth returns are of kind 1, rough ones of kind 2.
        kind + (kind & rough),
        beta_deg=params.beta_deg,
        grazing_beta_deg=params.grazing_beta_deg,
        straightness_deg=params.straightness_deg,
        max_step=params.max_step,
        min_points=params.min_points,
    )
    add_ground(cell_label, excluded, above)
    road = road_surface(points.where(cell_label == GROUND_LABEL), plane)
    raise_ground(cell_label, height_above(points, road), np.float32(params.kerb))
    if forward is not None:
        ahead = np.roll(forward, 2 - image.axis)
        raise_pavements(cell_label, image.xyz, height, flat, ahead, turned, params.kerb)
    release_feet(cell_label, ranges, flat)
    label, above_ground = _to_points(cloud, image, cell_label, above)
    return SweepProposals(
        label,
        FIRST_OBJECT_LABEL + count,
        above_ground,
        up,
        image,
        cell_label,
        above,
        image.dropped,
        coverage=coverage,
    )


def _by_density(
    cloud: PointCloud, params: ProposalParameters, up: NDArray[np.float64] | None
) -> SweepProposals:
    up = np.array([0.0, 0.0, 1.0]) if up is None else up
    xyz = np.stack([cloud.x, cloud.y, cloud.z], 1).astype(np.float32)
    norm = np.linalg.norm(xyz, axis=1)
    valid = np.isfinite(norm) & (norm > 0.05)
    kept = xyz[valid]
    # Bearings about the vertical, from any horizontal direction.
    level = kept @ level_rotation(up).T.astype(np.float32)
    height = np.ascontiguousarray(level[:, 2])
    bearing = np.arctan2(level[:, 1], level[:, 0]) + math.pi
    sector = (bearing / (2.0 * math.pi) * SECTORS).astype(np.int32) % SECTORS
    distance = np.hypot(level[:, 0], level[:, 1])
    points = LevelPoints(distance[None], height[None], sector)
    above = height_above(points, ground_surface(points, road_plane(points)))[0]
    # Without neighbouring beams there is no slope: all points near the surface are ground.
    is_ground = (above < params.ground_height) & (above > BELOW_GROUND)
    objects = above >= params.ground_height
    clusters = density_clusters(level[objects], radius_deg=params.dbscan_radius_deg)
    sizes = np.bincount(clusters, minlength=1)
    keep = sizes >= params.min_points
    keep[0] = False
    renumber = np.zeros(len(sizes), np.int32)
    renumber[keep] = FIRST_OBJECT_LABEL + np.arange(keep.sum(), dtype=np.int32)
    inner = np.zeros(len(kept), np.int32)
    inner[is_ground] = GROUND_LABEL
    inner[objects] = renumber[clusters]
    label = np.zeros(len(cloud), np.int32)
    label[valid] = inner
    above_ground = np.full(len(cloud), np.inf, np.float32)
    above_ground[valid] = above
    return SweepProposals(
        label,
        FIRST_OBJECT_LABEL + int(keep.sum()),
        above_ground,
        up,
        None,
        None,
        None,
        int(len(cloud) - valid.sum()),
    )


def _upward(ranges: NDArray[np.float32], elevation: NDArray[np.float32]) -> float:
    """Return the sign of the spin axis that points up: near returns lie below the sensor."""
    near = np.count_nonzero((ranges > 0.5) & (ranges < 15.0), axis=1)
    return 1.0 if near @ np.sin(elevation) <= 0.0 else -1.0


def _to_points(
    cloud: PointCloud,
    image: RangeImage,
    cell_label: NDArray[np.int32],
    above: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    x, y, z = (np.ascontiguousarray(c, np.float32) for c in (cloud.x, cloud.y, cloud.z))
    return point_labels(x, y, z, image.cell, image.range, cell_label, above)
