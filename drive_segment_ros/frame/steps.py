"""Steps of `build` that combine several functions of `perception`."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.frame.view import View
from drive_segment_ros.perception.coverage import UNSCANNED_SPACING, unscanned_points
from drive_segment_ros.perception.densify import (
    DensifyParameters,
    GroundContacts,
    find_ground_contacts,
    support,
)
from drive_segment_ros.perception.masks import around, at_points
from drive_segment_ros.perception.occlusion import visible
from drive_segment_ros.perception.projected_points import ProjectedPoints
from drive_segment_ros.perception.proposals import SKY_LABEL, SweepProposals
from drive_segment_ros.perception.range_image import RangeImage
from drive_segment_ros.perception.sky import find_sky, gap_size, highest_beam, sky_spacing
from drive_segment_ros.perception.sky_appearance import looks_like_sky


@dataclasses.dataclass(frozen=True)
class Contacts:
    """Where objects meet the ground below their lowest returns.

    Attributes:
        found: in 3D.
        projected: those the camera sees, `index` into `found`.
    """

    found: GroundContacts
    projected: ProjectedPoints


@dataclasses.dataclass(frozen=True)
class LabelledPoints:
    """Points in an image whose label is known.

    Attributes:
        u, v: (M,) float32 px.
        label: (M,) int32 > 0.
    """

    u: NDArray[np.float32]
    v: NDArray[np.float32]
    label: NDArray[np.int32]

    def with_sky(
        self, sky: Sky | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Return u, v and label, with the sky's points after them."""
        if sky is None:
            return self.u, self.v, self.label
        label = np.full(len(sky.points), SKY_LABEL, np.int32)
        return (
            np.concatenate([self.u, sky.points.u]),
            np.concatenate([self.v, sky.points.v]),
            np.concatenate([self.label, label]),
        )


@dataclasses.dataclass(frozen=True)
class Sky:
    """The sky according to both sensors.

    Attributes:
        points: directions without a return that look like sky in the image.
        like_sky: (H, W) pixels that look like sky.
        gaps: (H, W) pixels without returns that do not look like sky.
    """

    points: ProjectedPoints
    like_sky: NDArray[np.bool_]
    gaps: NDArray[np.bool_]


def ground_contacts(
    segments: SweepProposals, view: View, points: ProjectedPoints, params: DensifyParameters
) -> Contacts:
    """Return the visible ground contact points of objects."""
    found = find_ground_contacts(segments, params)
    time = None
    if view.cloud.time is not None and segments.image is not None:
        time = _cell_times(view.cloud.time, segments.image, found.cell)
    projected = view.project(found.xyz, time)
    # They are occluded by the same points, so both are tested together.
    seen = visible(points.joined(projected), view.camera)
    return Contacts(found, projected.where(seen[len(points) :]))


def join_points(
    segments: SweepProposals, points: ProjectedPoints, contacts: Contacts
) -> LabelledPoints:
    """Return the labelled points of an image, joined to lines down the columns of the sweep."""
    return LabelledPoints(*support(segments, points, contacts.found, contacts.projected))


def sky_seen(
    segments: SweepProposals, view: View, image: NDArray[np.uint8], seen: LabelledPoints
) -> Sky | None:
    """Return the sky: directions without return that look like sky; None without beams.

    Args:
        segments: the sweep's.
        view: of it.
        image: (H, W, 3) uint8 BGR.
        seen: the labelled points in the image.
    """
    if segments.image is None:
        return None
    clear = view.project(*find_sky(view.cloud, segments.image, segments.up))
    objects = seen.label > SKY_LABEL
    spacing = float(view.camera.K[0, 0]) * sky_spacing(segments.image)
    like_sky = looks_like_sky(
        image, (clear.u, clear.v), (seen.u[objects], seen.v[objects]), spacing
    )
    agree = at_points(like_sky, clear)
    others = clear.where(~agree)
    # From the points in a gap to the returns beside and below it.
    width, height = gap_size(segments.image, segments.up)
    focal = float(view.camera.K[0, 0]), float(view.camera.K[1, 1])
    gaps = around(others, like_sky.shape, focal[0] * width, focal[1] * height) & ~like_sky
    return Sky(clear.where(agree), like_sky, gaps)


def highest_row(segments: SweepProposals, view: View) -> NDArray[np.float32] | None:
    """Return the row in which the highest beam crosses each column, (W,) float32 px.

    Columns beside the beam get the row of its nearest point, and all 0 if the camera does not see
    it; None without beams.
    """
    if segments.image is None:
        return None
    beam = view.project(highest_beam(segments.image), None)
    row = np.zeros(view.camera.width, np.float32)
    if len(beam) > 1:
        order = np.argsort(beam.u)
        columns = np.arange(view.camera.width)
        row = np.interp(columns, beam.u[order], beam.v[order]).astype(np.float32)
    return row


def unscanned(segments: SweepProposals, view: View) -> NDArray[np.bool_] | None:
    """Return the pixels that the sweep did not scan, (H, W); None if there are none."""
    if segments.image is None or segments.coverage is None:
        return None
    seen = view.project(unscanned_points(segments.image, segments.coverage), None)
    mask = np.zeros((view.camera.height, view.camera.width), np.uint8)
    row = np.clip(np.rint(seen.v).astype(int), 0, view.camera.height - 1)
    column = np.clip(np.rint(seen.u).astype(int), 0, view.camera.width - 1)
    mask[row, column] = 1
    # Twice as wide, as angles are stretched towards the edges of an image.
    spacing = math.ceil(2.0 * float(view.camera.K[0, 0]) * UNSCANNED_SPACING) + 1
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((spacing, spacing), np.uint8)).astype(
        np.bool_
    )


def leave_out(
    label_image: NDArray[np.int32], sky: Sky | None, missing: NDArray[np.bool_] | None
) -> None:
    """Clear, in place, sky pixels that do not look like sky, and pixels not scanned."""
    if sky is not None:
        label_image[(label_image == SKY_LABEL) & ~sky.like_sky] = 0
    if missing is not None:
        label_image[missing] = 0


def _cell_times(
    time: NDArray[np.floating], image: RangeImage, cells: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the time of a point in each of the given cells of the range image."""
    # The last, unused element is for points without a cell (-1).
    times = np.zeros(image.range.size + 1, np.float32)
    times[image.cell] = time
    return times[cells]
