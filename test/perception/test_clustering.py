from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drive_segment_ros.perception.clustering import cluster
from drive_segment_ros.perception.range_image import range_image

BETA, GRAZING, STRAIGHT, STEP, ROWS, COLUMNS = 30.0, 5.0, 12.0, 1.0, 2, 3


def same_partition(a, b) -> bool:
    """Return whether two label arrays have the same zeros and group the same elements."""
    pairs = np.unique(np.stack([np.ravel(a), np.ravel(b)], 1), axis=0)
    # Labels must correspond one to one.
    return all(len(np.unique(side)) == len(pairs) for side in pairs.T) and all(
        (x == 0) == (y == 0) for x, y in pairs
    )


def joined(xyz, ranges, i, j, before, after, max_step, margins) -> bool:
    """Return whether the published criterion joins two neighbouring returns.

    Args:
        xyz, ranges: points and ranges by cell of the range image.
        i, j: the two cells.
        before, after: the cells beyond j and beyond i, None beyond the image border.
        max_step: largest range difference, metres.
        margins: receives each decision's distance to its threshold, relative to it.
    """

    def exceeds(value, limit):
        margins.append(abs(value - limit) / limit)
        return value > limit

    d1, d2 = max(ranges[i], ranges[j]), min(ranges[i], ranges[j])
    if math.isfinite(max_step) and exceeds(d1 - d2, max_step):
        return False
    # acos would lose half of the digits of a small angle.
    alpha = math.atan2(np.linalg.norm(np.cross(xyz[i], xyz[j])), np.dot(xyz[i], xyz[j]))
    beta = math.degrees(math.atan2(d2 * math.sin(alpha), d1 - d2 * math.cos(alpha)))
    if exceeds(beta, BETA):
        return True
    if not exceeds(beta, GRAZING):
        return False

    def goes_on(a, b, c):
        if c is None or ranges[c] == 0.0:
            return False
        u, v = xyz[b] - xyz[a], xyz[c] - xyz[b]
        norms = np.linalg.norm(u) * np.linalg.norm(v)
        bend = math.degrees(math.acos(min(max(np.dot(u, v) / norms, -1.0), 1.0)))
        return not exceeds(bend, STRAIGHT)

    return any([goes_on(i, j, before), goes_on(j, i, after)])


def reference(xyz, ranges, kind):
    """Return labels from joining neighbours pair by pair, and the smallest decision margin."""
    margins = [1.0]
    beams, columns = ranges.shape
    points = {(r, c): xyz[:, r, c].astype(float) for r in range(beams) for c in range(columns)}
    distance = {cell: float(ranges[cell]) for cell in points}
    group = {cell: {cell} for cell in points if ranges[cell] > 0.0 and kind[cell] > 0}

    def join(i, j, before, after, max_step):
        if (
            i in group
            and j in group
            and kind[i] == kind[j]
            and joined(points, distance, i, j, before, after, max_step, margins)
        ):
            merged = group[i] | group[j]
            for cell in merged:
                group[cell] = merged

    for r, c in points:
        if ranges[r, c] == 0.0:
            continue
        for gap in range(1, COLUMNS + 1):
            j = (r, (c - gap) % columns)
            if ranges[j] > 0.0:
                before, after = (r, (j[1] - 1) % columns), (r, (c + 1) % columns)
                join((r, c), j, before, after, math.inf)
                break
        for gap in range(1, min(ROWS, r) + 1):
            j = (r - gap, c)
            if ranges[j] > 0.0:
                before = (r - gap - 1, c) if r - gap > 0 else None
                after = (r + 1, c) if r + 1 < beams else None
                join((r, c), j, before, after, STEP)
                break
    labels = np.zeros(ranges.shape, np.int32)
    for number, cells in enumerate({id(g): g for g in group.values()}.values(), 1):
        for cell in cells:
            labels[cell] = number
    return labels, min(margins)


def image_of(ranges, elevation_deg, turn=2.0 * np.pi):
    """Return the points of a range image, (3, B, W)."""
    columns = ranges.shape[1]
    e = np.radians(np.asarray(elevation_deg))[:, None]
    a = (np.arange(columns) + 0.5)[None] * turn / columns
    ray = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e) + 0.0 * a])
    return (ray * ranges).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    beams=st.integers(1, 5),
    columns=st.integers(8, 14),
    missing=st.sampled_from([0.0, 0.2, 0.6]),
    spread=st.sampled_from([0.1, 0.6, 2.0]),
    sector_deg=st.sampled_from([4.0, 40.0, 360.0]),
)
def test_joins_are_those_of_the_criterion(seed, beams, columns, missing, spread, sector_deg):
    rng = np.random.default_rng(seed)
    walls = 8.0 + 4.0 * np.cumsum(rng.random((1, columns)) < 0.2, axis=1)
    slant = rng.choice([0.0, 0.3, 2.0]) * np.arange(columns)
    ranges = walls + slant + rng.normal(0.0, spread, (beams, columns))
    ranges = np.clip(ranges, 2.0, 80.0)
    ranges[rng.random((beams, columns)) < missing] = 0.0
    elevation = 10.0 - np.cumsum(rng.uniform(0.2, 6.0, beams))
    xyz = image_of(ranges, elevation, math.radians(sector_deg))
    ranges = np.linalg.norm(xyz, axis=0).astype(np.float32)
    kind = rng.choice(np.array([0, 1, 1, 1, 2], np.uint8), (beams, columns))
    labels, count = cluster(xyz, ranges, kind, max_step=STEP)
    expected, margin = reference(xyz, ranges, kind)
    # Single precision may decide differently only close to a threshold.
    assume(margin > 1e-3)
    assert same_partition(labels, expected)
    assert count == len(np.unique(expected[expected > 0]))
    np.testing.assert_array_equal(np.unique(labels[labels > 0]), np.arange(1, count + 1))


def labels_of(cloud):
    """Return each point's label; points at the known ground height are not clustered."""
    image = range_image(cloud, cloud.ring)
    kind = ((image.range > 0) & (image.xyz[2] > -1.75)).astype(np.uint8)
    labels, _ = cluster(image.xyz, image.range, kind)
    return np.where(image.cell < 0, 0, labels.reshape(-1)[image.cell])


def main_label(labels):
    """Return the most frequent label and its share of the labelled points."""
    counts = np.bincount(labels[labels > 0])
    return counts.argmax(), counts.max() / counts.sum()


def test_cars_side_by_side_and_one_behind_another_stay_apart(make_sweep, on_box):
    cars = [
        (8.0, 12.0, -0.25 - 1.8, -0.25, 0.0, 1.5),
        (8.0, 12.0, 0.25, 0.25 + 1.8, 0.0, 1.5),
        (13.0, 17.0, 0.25, 0.25 + 1.8, 0.0, 2.6),
    ]
    cloud = make_sweep(elevation_deg=np.linspace(8, -25, 64), columns=1800, boxes=cars, noise=0.01)
    labels = labels_of(cloud)
    found = [main_label(labels[on_box(cloud, car, margin=0.05)]) for car in cars]
    assert len({label for label, _ in found}) == 3
    # A roof edge seen at a grazing angle may be joined to the object behind it.
    assert min(share for _, share in found) > 0.9


def test_a_wall_along_the_road_is_one_object_however_grazing(make_sweep, on_box):
    wall = (-30.0, 42.0, 4.0, 5.0, 0.0, 4.0)
    cloud = make_sweep(elevation_deg=np.linspace(8, -25, 64), columns=1800, boxes=[wall])
    labels = labels_of(cloud)
    on_wall = on_box(cloud, wall) & (cloud.z > -1.7)
    label, share = main_label(labels[on_wall])
    assert share > 0.97
    # A single angle threshold would cut off its far end, seen at less than 9 degrees.
    assert np.mean(labels[on_wall & (cloud.x > 25.0)] == label) > 0.8


def test_an_object_across_the_first_column_is_one(make_sweep, on_box):
    car = (8.0, 12.0, -1.0, 1.0, 0.0, 1.5)
    cloud = make_sweep(boxes=[car], columns=1800, elevation_deg=np.linspace(8, -25, 64))
    assert cloud.y[on_box(cloud, car)].min() < -0.9
    assert cloud.y[on_box(cloud, car)].max() > 0.9
    front = on_box(cloud, car) & (cloud.x < 8.02) & (cloud.z > -1.7)
    assert len(np.unique(labels_of(cloud)[front])) == 1


def test_more_objects_than_16_bits_can_number():
    columns = 2048
    ranges = np.where((np.arange(64)[:, None] + np.arange(columns)) % 2, 5.0, 50.0)
    xyz = image_of(ranges, np.linspace(10.0, -20.0, 64))
    labels, count = cluster(xyz, ranges.astype(np.float32), np.ones((64, columns), np.uint8))
    assert count == 64 * columns > 65535
    assert len(np.unique(labels)) == count


def test_empty_cells_belong_to_nothing_whatever_their_kind():
    ranges = np.zeros((4, 40), np.float32)
    labels, count = cluster(np.zeros((3, 4, 40), np.float32), ranges, np.ones((4, 40), np.uint8))
    assert count == 0
    assert not labels.any()
