"""From labelled points in the image to labelled pixels.

An image has many pixels for each LiDAR return. They are filled in five steps, most reliable first:
points are joined to lines where the LiDAR's geometry determines what is between them, superpixels
get the proposal that dominates their points, pixels next to a point get the point's, remaining
pixels get that of increasingly coarse superpixels, and regions above the highest beam or in gaps
that are not sky are flooded from their surroundings.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.parameters import parameter
from drive_segment_ros.perception.projected_points import ProjectedPoints
from drive_segment_ros.perception.proposals import FIRST_OBJECT_LABEL, RAISED_LABEL, SweepProposals
from drive_segment_ros.perception.superpixels import felzenszwalb, gathered

# Coarser superpixels, for regions without returns: facades above the highest beam, sky between
# beams. They are used only where the fine ones and the returns left a pixel unknown.
_COARSER = (25.0, 100.0)
# Lines are drawn as points this far apart; superpixels are larger.
_SPACING = 3.0
_MAX_LINE_POINTS = 64
# Rows between two returns of one object or of the ground that a line may bridge.
_MAX_ROWS = 2


@dataclasses.dataclass(frozen=True)
class DensifyParameters:
    """How labelled points become labelled pixels."""

    width: int = parameter(
        960,
        'working width; the height follows from the camera, larger images are resized first',
        unit='px',
        minimum=64,
        maximum=8192,
    )
    scale: float = parameter(
        60.0,
        'finest superpixel scale k of Felzenszwalb and Huttenlocher; small superpixels leak less',
        minimum=1.0,
        maximum=500.0,
    )
    sigma: float = parameter(
        0.5, 'smoothing before superpixels', unit='px', minimum=0.0, maximum=5.0
    )
    min_size: int = parameter(20, 'smallest superpixel', unit='px', minimum=1, maximum=100000)
    purity: float = parameter(
        0.8,
        'share of its points that a superpixel must have in one proposal to belong to it',
        minimum=0.51,
        maximum=1.0,
    )
    radius: float = parameter(
        3.0,
        'pixels still unknown this near to a point take its proposal; the distance between beams '
        'of a 64-beam LiDAR at 960 px',
        unit='px',
        minimum=0.0,
        maximum=100.0,
    )
    clearance: float = parameter(
        0.25,
        'objects are continued down to this above the ground, where the LiDAR shot below them',
        unit='m',
        minimum=0.0,
        maximum=2.0,
    )
    max_float: float = parameter(
        1.0,
        'objects that float higher than this above the ground (signs, crowns) are not continued',
        unit='m',
        minimum=0.0,
        maximum=10.0,
    )


@dataclasses.dataclass(frozen=True)
class GroundContacts:
    """Where objects that stand on the ground meet it, below their lowest returns.

    Attributes:
        cell: (F,) int32, the lowest return's cell in the range image.
        xyz: (F, 3) float32, metres, the contact point in the cloud's coordinates.
    """

    cell: NDArray[np.int32]
    xyz: NDArray[np.float32]


def find_ground_contacts(sweep: SweepProposals, params: DensifyParameters) -> GroundContacts:
    """Return the contact points of a sweep's objects; none for a cloud without beams.

    A beam that passes under a bumper hits the road behind, so the lowest return of a car is well
    above its lower edge. Below a return of an object, with ground as the next return down the
    column, the object is taken to continue straight down.
    """
    if sweep.image is None or sweep.cell_label is None or sweep.cell_above is None:
        return GroundContacts(np.empty(0, np.int32), np.empty((0, 3), np.float32))
    cell = _standing(
        sweep.image.range,
        sweep.cell_label,
        sweep.cell_above,
        np.float32(params.clearance),
        np.float32(params.max_float),
    )
    # From the image's coordinates, spin axis last, back to the cloud's.
    xyz = np.roll(sweep.image.xyz.reshape(3, -1)[:, cell].T, sweep.image.axis - 2, axis=1)
    drop = sweep.cell_above.reshape(-1)[cell] - np.float32(params.clearance)
    return GroundContacts(cell, xyz - drop[:, None] * sweep.up.astype(np.float32))


def support(
    sweep: SweepProposals,
    projected: ProjectedPoints,
    contacts: GroundContacts,
    contacts_projected: ProjectedPoints,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Join points to lines where the LiDAR's geometry says what lies between them.

    Down a column, two neighbouring returns of one proposal bound a piece of it; a contact point
    and the return above it bound the lower part of an object.

    Args:
        sweep: the proposals.
        projected: the visible points of the sweep.
        contacts: the objects' ground contact points.
        contacts_projected: the visible contacts, `index` into `contacts`.

    Returns:
        u, v: (M,) float32 px, points in the image.
        label: (M,) int32, their proposals, never 0.
    """
    label = sweep.label[projected.index]
    if sweep.image is None or sweep.cell_label is None:
        known = label > 0
        return projected.u[known], projected.v[known], label[known]
    return _lines(
        sweep.image.cell,
        sweep.image.range,
        sweep.cell_label,
        projected.index,
        projected.u,
        projected.v,
        label,
        contacts.cell,
        contacts_projected.index,
        contacts_projected.u,
        contacts_projected.v,
    )


def densify(
    image_bgr: NDArray[np.uint8],
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    label: NDArray[np.int32],
    params: DensifyParameters,
    highest_row: NDArray[np.float32] | None = None,
    gaps: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    """Fill an image from labelled points in it.

    Args:
        image_bgr: (H, W, 3) uint8 at working resolution.
        u, v: (M,) float32 px.
        label: (M,) int32 > 0.
        params: scales of the superpixels, the purity that is required, and the reach of points.
        highest_row: (W,) float32, px, the row in which the highest beam crosses each column;
            None where beams are not known.
        gaps: (H, W), regions without returns that are not sky.

    Returns:
        (H, W) int32 labels, 0 where unknown.
    """
    scales = [params.scale * factor for factor in (1.0, *_COARSER)]
    finest, *coarser = felzenszwalb(image_bgr, scales, params.sigma, params.min_size)
    winner = vote(*finest, u, v, label, params.purity)
    segment = gathered(winner, finest[0].reshape(-1)).reshape(finest[0].shape)
    if params.radius > 0.0 and len(label):
        _fill_nearest(segment, u, v, label, params.radius)
    # Ground without returns is between beams, never above the farthest ground.
    ground = label <= RAISED_LABEL
    farthest = _topmost(u[ground], v[ground], segment.shape)
    for superpixels, count in coarser:
        winner = vote(superpixels, count, u, v, label, params.purity)
        _fill_unknown(segment, superpixels, winner, farthest)
    if highest_row is not None:
        unseen = np.arange(len(segment))[:, None] < highest_row
        _flood(segment, image_bgr, unseen if gaps is None else unseen | gaps)
    return segment


def _topmost(
    u: NDArray[np.float32], v: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the row of the topmost point of each column or one near it, (W,) float32."""
    height, width = shape
    top = np.full(width, height, np.float32)
    np.minimum.at(top, np.clip(np.rint(u).astype(np.int32), 0, width - 1), v)
    # Points lie a few columns apart.
    return np.asarray(cv2.erode(top[None], np.ones((1, 9), np.uint8))[0], np.float32)


def _flood(
    segment: NDArray[np.int32], image_bgr: NDArray[np.uint8], unseen: NDArray[np.bool_]
) -> None:
    """Grow objects and sky by a watershed into adjacent regions that the LiDAR cannot see.

    Meyer's flooding, "Color image segmentation", ICIP 1992; OpenCV's implementation.
    """
    unseen = unseen & (segment == 0)
    if not unseen.any():
        return
    # All other pixels are one fixed marker, which is removed afterwards.
    other = int(segment.max()) + 1
    flooded = np.where((segment > RAISED_LABEL) | unseen, segment, np.int32(other))
    cv2.watershed(np.ascontiguousarray(image_bgr), flooded)
    grown = unseen & (flooded > 0) & (flooded != other)
    segment[grown] = flooded[grown]


def vote(
    superpixels: NDArray[np.int32],
    count: int,
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    label: NDArray[np.int32],
    purity: float,
) -> NDArray[np.int32]:
    """Return each superpixel's dominating label, 0 where none dominates, (count,) int32.

    Args:
        superpixels: (H, W) int32, 0..count-1.
        count: number of superpixels.
        u, v: (M,) float32 px.
        label: (M,) int32 > 0.
        purity: share of its points that the label must have, above one half.
    """
    return _vote(superpixels, count, u, v, label, purity)


def _fill_nearest(
    segment: NDArray[np.int32],
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    label: NDArray[np.int32],
    radius: float,
) -> None:
    height, width = segment.shape
    row = np.clip(np.rint(v).astype(np.int32), 0, height - 1)
    column = np.clip(np.rint(u).astype(np.int32), 0, width - 1)
    far = np.ones((height, width), np.uint8)
    far[row, column] = 0
    distance, nearest = cv2.distanceTransformWithLabels(
        far, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    name = np.zeros(int(nearest.max()) + 1, np.int32)
    name[nearest[row, column]] = label
    _fill_near(segment, distance, nearest, name, np.float32(radius))


@njit(cache=True, nogil=True)
def _fill_near(segment, distance, nearest, name, radius):
    """Give pixels without a label that of the nearest point, in place.

    Args:
        segment: (H, W) int32, 0 where unknown.
        distance: (H, W) float32, px, to the nearest point.
        nearest: (H, W) int32, which that is.
        name: (P,) int32, label of each.
        radius: float32, px; points further away are ignored.
    """
    height, width = segment.shape
    for row in range(height):
        for column in range(width):
            if segment[row, column] == 0 and distance[row, column] <= radius:
                segment[row, column] = name[nearest[row, column]]


@njit(cache=True, nogil=True)
def _fill_unknown(segment, superpixels, winner, farthest_ground):
    """Give pixels without a label that of their superpixel, in place.

    Args:
        segment: (H, W) int32, 0 where unknown.
        superpixels: (H, W) int32, 0..S-1.
        winner: (S,) int32, label of each.
        farthest_ground: (W,) float32, px, the row above which nothing becomes ground.
    """
    height, width = segment.shape
    for row in range(height):
        for column in range(width):
            if segment[row, column] == 0:
                label = winner[superpixels[row, column]]
                if label > RAISED_LABEL or row >= farthest_ground[column]:
                    segment[row, column] = label


@njit(cache=True, nogil=True)
def _vote(superpixels, count, u, v, label, purity):
    """See `vote`."""
    height, width = superpixels.shape
    # Boyer & Moore's majority vote, then a count for the candidate: no sorting, no table, and
    # selections instead of branches. Stored together: the candidate, its lead, and the number of
    # points.
    votes = np.zeros((count, 3), np.int32)
    where = np.empty(len(label), np.int32)
    zero, half = np.float32(0.0), np.float32(0.5)
    for i in range(len(label)):
        row = np.uint32(min(max(v[i] + half, zero), np.float32(height - 1)))
        column = np.uint32(min(max(u[i] + half, zero), np.float32(width - 1)))
        where[i] = superpixels[row, column]
    for i in range(len(label)):
        s = np.uint32(where[i])
        leads, lead = votes[s, 0], votes[s, 1]
        votes[s, 0] = label[i] if lead == 0 else leads
        votes[s, 1] = lead + (1 if (lead == 0) | (leads == label[i]) else -1)
        votes[s, 2] += 1
    won = np.zeros(count, np.int32)
    for i in range(len(label)):
        s = np.uint32(where[i])
        won[s] += votes[s, 0] == label[i]
    winner = np.empty(count, np.int32)
    for k in range(count):
        winner[k] = votes[k, 0] if won[k] >= purity * votes[k, 2] else 0
    return winner


@njit(cache=True, nogil=True)
def _standing(ranges, cell_label, above, clearance, max_float):
    """Return the cells of objects' lowest returns that have ground below them, (F,) int32.

    Args:
        ranges: (B, W) float32, metres, 0 where empty; row 0 is the highest beam.
        cell_label: (B, W) int32.
        above: (B, W) float32, metres above ground.
        clearance, max_float: float32, metres, between which such a return lies above ground.
    """
    beams, columns = ranges.shape
    found = np.empty(beams * columns, np.int32)
    n = 0
    # True while the next return down the column is ground, or there is none.
    on_ground = np.ones(columns, np.bool_)
    for row in range(beams - 1, -1, -1):
        for column in range(columns):
            if ranges[row, column] == np.float32(0.0):
                continue
            label = cell_label[row, column]
            if (
                on_ground[column]
                and label >= FIRST_OBJECT_LABEL
                and clearance < above[row, column] < max_float
            ):
                found[n] = row * columns + column
                n += 1
            on_ground[column] = 0 < label <= RAISED_LABEL
    return found[:n].copy()


@njit(cache=True, nogil=True, inline='always')
def _draw(u0, v0, u1, v1, label, out_u, out_v, out_label, n):
    """Append points between the ends, both left out; stop where the arrays are full.

    Args:
        u0, v0, u1, v1: float32 px, the ends.
        label: int32, of all of them.
        out_u, out_v: (S,) float32 px, written from `n` on.
        out_label: (S,) int32, likewise.
        n: how many points there are.

    Returns:
        The new number of points.
    """
    length = math.sqrt((u1 - u0) ** 2 + (v1 - v0) ** 2)
    steps = min(int(length / np.float32(_SPACING)), _MAX_LINE_POINTS)
    for k in range(1, steps):
        if n == len(out_u):
            return n
        t = np.float32(k) / np.float32(steps)
        out_u[n] = u0 + (u1 - u0) * t
        out_v[n] = v0 + (v1 - v0) * t
        out_label[n] = label
        n += 1
    return n


@njit(cache=True, nogil=True)
def _lines(
    cell, ranges, cell_label, index, u, v, label, contact_cell, contact_index, contact_u, contact_v
):
    """Return points, and those drawn between neighbours of one proposal, see `support`.

    Args:
        cell: (N,) int32, each point's cell in the range image.
        ranges: (B, W) float32, metres, 0 where empty.
        cell_label: (B, W) int32.
        index: (M,) int32, into the cloud, of the points in the image.
        u, v: (M,) float32 px.
        label: (M,) int32, 0 for none.
        contact_cell: (F,) int32, cells of objects' lowest returns.
        contact_index: (G,) int32, into these, of the contact points in the image.
        contact_u, contact_v: (G,) float32 px.

    Returns:
        u, v float32 px and label int32, (L,) each.
    """
    beams, columns = ranges.shape
    place = np.full(beams * columns, -1, np.int32)
    size = len(index) * 16 + len(contact_index) * _MAX_LINE_POINTS
    out_u = np.empty(size, np.float32)
    out_v = np.empty(size, np.float32)
    out_label = np.empty(size, np.int32)
    n = 0
    for i in range(len(index)):
        # A point without label has no cell, or lies behind the return of its cell.
        if label[i] > 0:
            place[cell[index[i]]] = i
            out_u[n], out_v[n], out_label[n] = u[i], v[i], label[i]
            n += 1
    flat_range, flat_label = ranges.reshape(-1), cell_label.reshape(-1)
    for i in range(len(index)):
        if label[i] == 0:
            continue
        k = cell[index[i]]
        for gap in range(1, _MAX_ROWS + 1):
            above = k - gap * columns
            if above < 0:
                break
            if flat_range[above] == np.float32(0.0):
                continue
            j = place[above]
            if j >= 0 and flat_label[above] == label[i]:
                n = _draw(u[i], v[i], u[j], v[j], label[i], out_u, out_v, out_label, n)
            break
    for f in range(len(contact_index)):
        k = contact_cell[contact_index[f]]
        i = place[k]
        if i >= 0 and label[i] > 0:
            n = _draw(u[i], v[i], contact_u[f], contact_v[f], label[i], out_u, out_v, out_label, n)
    return out_u[:n].copy(), out_v[:n].copy(), out_label[:n].copy()
