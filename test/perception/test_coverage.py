"""Unscanned sectors and truncated sweeps are reported, usual gaps and losses are not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.coverage import UsualCoverage, sweep_facts, unscanned_points
from drive_segment_ros.perception.proposals import (
    FIRST_OBJECT_LABEL,
    GROUND_LABEL,
    ProposalParameters,
    find_proposals,
)

CAR = (9.0, 12.0, -1.0, 1.0, 0.0, 1.5)
WALLS = ((-30.0, 30.0, 9.0, 10.0, 0.0, 8.0), (-30.0, 30.0, -10.0, -9.0, 0.0, 8.0))
PARAMS = ProposalParameters()
UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope='module')
def listed(make_sweep) -> PointCloud:
    """Return a sweep beam by beam from the highest, azimuth 0 first, without missing returns."""
    cloud = make_sweep(
        elevation_deg=np.linspace(6.0, -24.0, 64), columns=900, noise=0.01, boxes=(CAR, *WALLS)
    )
    return taken(cloud, np.isfinite(cloud.x))


def taken(cloud: PointCloud, kept: np.ndarray, ring: bool = True) -> PointCloud:
    return dataclasses.replace(
        cloud,
        x=cloud.x[kept],
        y=cloud.y[kept],
        z=cloud.z[kept],
        time=None,
        ring=cloud.ring[kept] if ring else None,
        height=1,
        width=int(np.count_nonzero(kept)),
    )


def azimuth_deg(cloud: PointCloud) -> np.ndarray:
    return np.degrees(np.arctan2(cloud.y, cloud.x)) % 360.0


def truncated(cloud: PointCloud, beams: float, ring: bool) -> PointCloud:
    """Return the cloud truncated after a number of beams, within a beam for a fraction."""
    whole, part = divmod(beams, 1.0)
    azimuth = azimuth_deg(cloud)
    kept = (cloud.ring < whole) | ((cloud.ring == whole) & (azimuth < 360.0 * part))
    return taken(cloud, kept, ring)


def without(cloud: PointCloud, start: float, end: float) -> PointCloud:
    azimuth = azimuth_deg(cloud)
    return taken(cloud, (azimuth < start) | (azimuth > end))


@pytest.mark.parametrize('ring', [True, False])
def test_a_whole_sweep_lacks_nothing(listed, ring):
    cloud = taken(listed, np.ones(len(listed), bool), ring)
    assert find_proposals(cloud, PARAMS, UP).coverage is None
    assert sweep_facts(cloud) == {'segments_from': 'ring' if ring else 'rows', 'beams': 64}


@pytest.mark.parametrize('ring', [True, False])
@pytest.mark.parametrize('beams', [38.1, 38.6, 38.9])
def test_a_file_that_ends_in_a_beam_says_so(listed, beams, ring):
    facts = sweep_facts(truncated(listed, beams, ring))
    assert facts['cut']
    assert facts['beams'] == 39
    assert 'ends within beam 39' in UsualCoverage([facts]).lacking(facts)


@pytest.mark.parametrize('ring', [True, False])
def test_no_object_becomes_ground_in_a_truncated_sweep(listed, ring):
    """The sweep lacks the lower beams, which see the road near the vehicle."""
    cloud = truncated(listed, 38.6, ring)
    sweep = find_proposals(cloud, PARAMS, UP)
    height = cloud.z + 1.8
    x0, x1, y0, y1, _, _ = CAR
    inside = (cloud.x > x0 - 0.1) & (cloud.x < x1) & (cloud.y > y0) & (cloud.y < y1)
    car = inside & (height > 0.4)
    assert np.count_nonzero(car) > 50
    assert np.mean(sweep.label[car] >= FIRST_OBJECT_LABEL) > 0.95
    road = (height < 0.05) & (np.abs(cloud.y) < 8.0)
    assert np.mean(sweep.label[road] == GROUND_LABEL) > 0.9


def test_what_a_truncated_sweep_did_not_scan_lies_below_its_last_beams(listed):
    cloud = truncated(listed, 38.5, ring=False)
    sweep = find_proposals(cloud, PARAMS, UP)
    assert sweep.image is not None
    assert sweep.coverage is not None
    points = unscanned_points(sweep.image, sweep.coverage)
    elevation = np.degrees(np.arcsin(points[:, 2] / np.linalg.norm(points, axis=1)))
    left = np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360.0 < 178.0
    step = 30.0 / 63
    lowest = 6.0 - 38 * step
    assert elevation[left].max() == pytest.approx(lowest - step / 2, abs=0.4)
    assert elevation[~left].max() == pytest.approx(lowest + step / 2, abs=0.4)


def test_points_listed_from_the_lowest_beam_lose_the_highest(listed):
    order = np.lexsort((azimuth_deg(listed), -listed.ring))
    upward = taken(listed, order[: int(0.7 * len(order))], ring=False)
    upward = dataclasses.replace(upward, width=len(upward))
    sweep = find_proposals(upward, PARAMS, UP)
    assert sweep.coverage is not None
    assert sweep.coverage.cut
    assert np.isfinite(sweep.coverage.highest).all()
    assert np.isinf(sweep.coverage.lowest).all()


@pytest.mark.parametrize(('start', 'end'), [(100, 190), (221, 355)])
def test_a_missing_sector_is_found(listed, start, end):
    cloud = without(listed, start, end)
    ((first, last),) = sweep_facts(cloud)['gaps_deg']
    assert (first, last) == (pytest.approx(start, abs=2), pytest.approx(end, abs=2))
    sweep = find_proposals(cloud, PARAMS, UP)
    assert sweep.coverage is not None
    assert not sweep.coverage.cut
    points = unscanned_points(sweep.image, sweep.coverage)
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360.0
    assert azimuth.min() == pytest.approx(start, abs=2)
    assert azimuth.max() == pytest.approx(end, abs=2)


def test_a_sector_that_spans_the_ahead_is_found(listed):
    azimuth = azimuth_deg(listed)
    ((start, end),) = sweep_facts(taken(listed, np.abs(azimuth - 180.0) < 150.0))['gaps_deg']
    assert (start, end) == (pytest.approx(330, abs=2), pytest.approx(390, abs=2))


def test_lost_packets_and_few_lost_points_are_no_sector(listed):
    kept = np.random.default_rng(0).random(len(listed)) < 0.7
    azimuth = azimuth_deg(listed)
    cloud = taken(listed, kept & ((azimuth < 100.0) | (azimuth > 103.0)))
    assert find_proposals(cloud, PARAMS, UP).coverage is None


def test_a_sector_is_lacking_only_where_other_sweeps_have_it(listed):
    whole, lacking = sweep_facts(listed), sweep_facts(without(listed, 100, 190))
    text = UsualCoverage([*[whole] * 9, lacking]).lacking(lacking)
    assert 'no returns at azimuth 100 to 190 degrees' in text
    # A sector missing in all sweeps is usual for the sensor, as a limited field of view.
    assert UsualCoverage([lacking] * 9).lacking(lacking) == ''
    wider = sweep_facts(without(listed, 100, 240))
    assert '100 to 240' in UsualCoverage([lacking] * 9).lacking(wider)
    # Without other sweeps there is nothing to compare with.
    assert UsualCoverage([lacking]).lacking(lacking) == ''
    assert UsualCoverage([]).lacking(lacking) == ''


def test_beams_are_lacking_where_other_sweeps_have_them(listed):
    whole, half = sweep_facts(listed), sweep_facts(taken(listed, listed.ring < 40))
    assert 'cut' not in half
    assert UsualCoverage([whole] * 5).lacking(half) == 'it has 40 of 64 beams'
    assert UsualCoverage([half] * 5).lacking(half) == ''
    some = sweep_facts(taken(listed, listed.ring >= 6))
    assert UsualCoverage([whole] * 5).lacking(some) == ''
