from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.perception.roughness import rough_cells

BEAMS, COLUMNS = 12, 720
NOTHING = np.zeros((BEAMS, COLUMNS), np.bool_)


def ranges_of_plane(distance: float, angle: float) -> np.ndarray:
    """Return ranges of a vertical plane, 0 where it is seen at less than 3 degrees."""
    azimuth = (np.arange(COLUMNS) + 0.5) * 2.0 * np.pi / COLUMNS
    elevation = np.radians(np.linspace(5.0, -15.0, BEAMS))[:, None]
    cosine = np.cos(azimuth - angle)[None] * np.cos(elevation)
    return np.where(cosine > 0.05, distance / np.maximum(cosine, 0.05), 0.0).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    distance=st.floats(2.0, 30.0),
    angle=st.floats(0.0, 2.0 * np.pi),
    noise=st.sampled_from([0.0, 0.01, 0.02]),
)
def test_a_plane_is_smooth_at_any_angle(distance, angle, noise):
    ranges = ranges_of_plane(distance, angle)
    ranges += np.random.default_rng(0).normal(0.0, noise, ranges.shape) * (ranges > 0)
    assert not rough_cells(ranges.astype(np.float32), NOTHING).any()


def hedge(depth: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (10.0 + rng.uniform(0.0, depth, (BEAMS, COLUMNS))).astype(np.float32)


def test_foliage_is_rough_and_the_threshold_decides():
    leaves = hedge(0.6)
    assert rough_cells(leaves, NOTHING).mean() > 0.99
    assert not rough_cells(leaves, NOTHING, threshold=2.0).any()
    assert not rough_cells(hedge(0.05), NOTHING).any()


def test_a_hedge_in_front_of_a_wall_is_told_from_it():
    ranges = np.full((BEAMS, COLUMNS), 15.0, np.float32)
    ranges[:, 100:200] = hedge(0.6)[:, 100:200]
    rough = rough_cells(ranges, NOTHING)
    assert rough[:, 106:194].mean() > 0.98
    assert not rough[:, 210:].any()
    assert not rough[:, :90].any()


def test_a_single_stray_return_makes_nothing_rough():
    ranges = np.full((BEAMS, COLUMNS), 12.0, np.float32)
    ranges[6, 300] = 4.0
    assert not rough_cells(ranges, NOTHING).any()


def test_excluded_and_empty_cells_have_no_say():
    ranges = np.full((BEAMS, COLUMNS), 12.0, np.float32)
    excluded = NOTHING.copy()
    excluded[6:] = True
    ranges[6:] = hedge(0.6)[6:]
    assert not rough_cells(ranges, excluded).any()
    assert not rough_cells(np.zeros_like(ranges), NOTHING).any()


@settings(max_examples=20, deadline=None)
@given(shift=st.integers(0, COLUMNS - 1), seed=st.integers(0, 99))
def test_no_column_is_special(shift, seed):
    rng = np.random.default_rng(seed)
    ranges = np.full((BEAMS, COLUMNS), 9.0, np.float32)
    ranges[:, 200:260] = hedge(0.6)[:, 200:260]
    ranges[rng.random(ranges.shape) < 0.1] = 0.0
    rough = rough_cells(ranges, NOTHING)
    turned = rough_cells(np.roll(ranges, shift, axis=1), NOTHING)
    np.testing.assert_array_equal(turned, np.roll(rough, shift, axis=1))
