"""Beams from the order of points: orders of data sets, and orders without beam information."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from drive_segment_ros.perception.beam_order import beams_from_order
from drive_segment_ros.perception.beam_sources import spinning_beams
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.proposals import (
    FIRST_OBJECT_LABEL,
    ProposalParameters,
    find_proposals,
)

HDL64 = np.r_[np.linspace(2.0, -8.33, 32), np.linspace(-8.83, -24.33, 32)]
HDL32 = np.linspace(10.67, -30.67, 32)
CAR = (8.0, 12.0, -1.0, 1.0, 0.0, 1.5)
BOXES = (CAR, (-14.0, -9.0, -1.0, 1.0, 0.0, 2.5), (-30.0, 30.0, 9.0, 10.0, 0.0, 8.0))
COLUMNS = 900


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Points of a sweep (B, W, 3), the highest beam first; NaN without a return."""

    points: NDArray

    def rows(self, *, start: int = 0, backwards: bool = False) -> tuple[PointCloud, NDArray]:
        """Return the cloud in KITTI's order, beam by beam without missing returns, and beams."""
        points = np.roll(self.points, -start, axis=1)
        return listed(points[:, ::-1] if backwards else points)

    def columns(self, fires: NDArray) -> tuple[PointCloud, NDArray]:
        """Return the cloud in nuScenes' order, every beam in each column, and the beams."""
        points = np.nan_to_num(self.points[fires].transpose(1, 0, 2), nan=0.3)
        return cloud_of(points.reshape(-1, 3)), np.tile(fires, points.shape[0])


def cloud_of(points: NDArray) -> PointCloud:
    x, y, z = np.asarray(points, np.float32).T.copy()
    return PointCloud(0, 'lidar', x, y, z, width=len(x))


def listed(points: NDArray) -> tuple[PointCloud, NDArray]:
    seen = np.isfinite(points).all(axis=2)
    return cloud_of(points[seen]), np.nonzero(seen)[0]


def measured(make_sweep, elevation_deg: NDArray, beside: float = 0.0) -> Sweep:
    """Return a sweep of a street; the upper lasers are `beside` metres above the origin."""
    upper = len(elevation_deg) // 2
    halves = []
    for part, offset in ((elevation_deg[:upper], beside), (elevation_deg[upper:], 0.0)):
        half = make_sweep(
            elevation_deg=part, columns=COLUMNS, boxes=BOXES, noise=0.01, height=1.8 + offset
        )
        points = np.stack([half.x, half.y, half.z + offset], 1)
        halves.append(points.reshape(len(part), COLUMNS, 3))
    return Sweep(np.concatenate(halves))


@pytest.fixture(scope='module')
def hdl64(make_sweep) -> Sweep:
    return measured(make_sweep, HDL64, beside=0.2)


@pytest.fixture(scope='module')
def hdl32(make_sweep) -> Sweep:
    return measured(make_sweep, HDL32)


def assert_found(cloud: PointCloud, beam: NDArray, order: str, least: float = 1.0) -> None:
    """Check spin axis, order, and beam numbers, which count from the highest without gaps."""
    found = beams_from_order(cloud)
    assert found is not None
    ring, axis, found_order = found
    assert (axis, found_order) == (2, order)
    numbers = np.unique(beam, return_inverse=True)[1]
    assert ring.max() == numbers.max()
    assert np.mean(ring == numbers) >= least


@pytest.mark.parametrize('backwards', [False, True])
@pytest.mark.parametrize('start', [0, 317])
def test_rows_that_begin_anywhere_and_run_either_way(hdl64, start, backwards):
    assert_found(*hdl64.rows(start=start, backwards=backwards), 'rows')


def test_rows_listed_from_the_lowest_beam(hdl64):
    cloud, beam = listed(hdl64.points[::-1])
    assert_found(cloud, len(hdl64.points) - 1 - beam, 'rows')


def test_a_row_that_is_missing_leaves_no_number(hdl64):
    cloud, beam = hdl64.rows(start=100)
    assert_found(*taken(cloud, beam, beam != 20), 'rows')


def test_rows_of_which_a_sector_is_blind_and_points_are_lost(hdl64):
    cloud, beam = hdl64.rows()
    azimuth = np.degrees(np.arctan2(cloud.y, cloud.x))
    kept = (np.abs(azimuth - 120.0) > 15.0) & (np.random.default_rng(0).random(len(beam)) < 0.9)
    assert_found(*taken(cloud, beam, kept), 'rows')


def test_rows_of_a_motion_compensated_sweep(hdl64):
    """Points are shifted by up to 0.75 m, so rows do not close and near points change order."""
    fraction = np.linspace(-0.5, 0.5, COLUMNS)
    moved = hdl64.points + 1.5 * np.stack([fraction, 0 * fraction, 0 * fraction], 1)
    cloud, beam = Sweep(np.roll(moved, COLUMNS // 2, axis=1)).rows()
    assert_found(cloud, beam, 'rows', least=0.999)


@pytest.mark.parametrize('axis', [0, 1])
def test_rows_about_another_axis(hdl64, axis):
    cloud, beam = hdl64.rows()
    turned = cloud_of(np.roll(np.stack([cloud.x, cloud.y, cloud.z], 1), axis - 2, axis=1))
    found = beams_from_order(turned)
    assert found is not None
    assert found[1:] == (axis, 'rows')
    assert (found[0] == np.unique(beam, return_inverse=True)[1]).all()


@pytest.mark.parametrize(
    'fires', [np.arange(32), np.arange(32)[::-1], np.arange(64).reshape(2, 32)[0] * 5 % 32]
)
def test_index_modulo_the_number_of_beams(hdl32, fires):
    cloud, beam = hdl32.columns(fires)
    assert_found(cloud, beam, 'columns')


def test_a_sweep_of_columns_that_is_cut(hdl32):
    cloud, beam = hdl32.columns(np.arange(32))
    assert_found(*taken(cloud, beam, np.arange(len(beam)) < 0.6 * len(beam)), 'columns')


def taken(cloud: PointCloud, beam: NDArray, kept: NDArray) -> tuple[PointCloud, NDArray]:
    return cloud_of(np.stack([cloud.x, cloud.y, cloud.z], 1)[kept]), beam[kept]


def shuffled(points: NDArray) -> NDArray:
    return np.random.default_rng(0).permutation(points)


def by_range(points: NDArray) -> NDArray:
    return points[np.argsort(np.linalg.norm(points, axis=1), kind='stable')]


def by_azimuth(points: NDArray) -> NDArray:
    return points[np.argsort(np.arctan2(points[:, 1], points[:, 0]), kind='stable')]


def by_voxel(points: NDArray) -> NDArray:
    return points[np.lexsort((points // 0.5).T)]


def columns_with_losses(points: NDArray) -> NDArray:
    order = by_azimuth(points)
    return order[np.random.default_rng(1).random(len(order)) < 0.8]


@pytest.mark.parametrize(
    'reorder', [shuffled, by_range, by_azimuth, by_voxel, columns_with_losses]
)
def test_an_order_that_tells_nothing_is_not_taken_for_beams(hdl64, reorder):
    cloud, _ = hdl64.rows()
    points = reorder(np.stack([cloud.x, cloud.y, cloud.z], 1))
    assert beams_from_order(cloud_of(points)) is None


def test_a_spiral_whose_turns_do_not_step_is_no_beam(hdl64):
    """A single laser that is tilted continuously while it spins has no distinct beams."""
    turn = np.linspace(0.0, 40.0, 40 * 500)
    elevation, azimuth = np.radians(2.0 - turn * 0.5), 2.0 * np.pi * turn
    ray = np.stack([np.cos(azimuth), np.sin(azimuth), np.tan(elevation)], 1)
    assert beams_from_order(cloud_of(10.0 * ray)) is None


@pytest.mark.parametrize(
    'points',
    [
        pytest.param(np.empty((0, 3)), id='empty'),
        pytest.param(np.full((5_000, 3), np.nan), id='nan'),
        pytest.param(np.ones((5_000, 3)), id='one place'),
        pytest.param(np.random.default_rng(0).uniform(-30, 30, (20_000, 3)), id='random'),
    ],
)
def test_clouds_without_beams_have_no_order(points):
    assert beams_from_order(cloud_of(points)) is None


def test_beams_come_from_ring_then_order_then_elevation_then_nowhere(make_sweep, hdl64):
    ringed = make_sweep(elevation_deg=HDL64, columns=COLUMNS, boxes=BOXES)
    xyz = np.stack([ringed.x, ringed.y, ringed.z], 1)[np.isfinite(ringed.x)]
    sources = [
        spinning_beams(cloud)
        for cloud in (
            ringed,
            hdl64.rows()[0],
            cloud_of(shuffled(xyz)),
            cloud_of(np.random.default_rng(0).uniform(-30, 30, (5_000, 3))),
        )
    ]
    found = [None if beams is None else beams.source for beams in sources]
    assert found == ['ring', 'rows', 'elevation', None]


def test_segments_by_rows_are_those_by_ring_though_lasers_sit_beside_the_origin(hdl64):
    cloud, beam = hdl64.rows()
    by_order = find_proposals(cloud, ProposalParameters())
    by_ring = find_proposals(
        dataclasses.replace(cloud, ring=beam.astype(np.int32)), ProposalParameters()
    )
    assert (by_order.source, by_ring.source) == ('rows', 'ring')
    assert (
        np.mean((by_order.label >= FIRST_OBJECT_LABEL) == (by_ring.label >= FIRST_OBJECT_LABEL))
        > 0.99
    )
    assert by_order.image is not None
    # Elevations are those seen from the origin, 0.2 m below the upper lasers.
    assert (np.diff(by_order.image.elevation) <= 0.0).all()
    np.testing.assert_allclose(
        np.degrees(by_order.image.elevation), HDL64[np.unique(beam)], atol=1.0
    )
