"""Class statistics add up over drives; medians of many segments are estimated from a sample."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from drive_segment_ros.dataset.reader import FrameRecord
from offline_training.pseudo_labels import class_statistics
from offline_training.pseudo_labels.class_statistics import ClassCounts
from offline_training.pseudo_labels.gallery import exhibits, largest_exhibits
from offline_training.pseudo_labels.segment_table import DESCRIBED, SegmentTable
from offline_training.pseudo_labels.stuff_classes import NO_STUFF

CLASSES = 5


def drive(seed: int, count: int, median: float = 5.0) -> tuple[SegmentTable, np.ndarray]:
    """Return a table of `count` random segments, and their classes, 0 to 3.

    The median is that of all lengths, metres.
    """
    random = np.random.default_rng(seed)
    table = SegmentTable(
        frame=np.sort(random.integers(0, 9, count)),
        id=np.arange(count),
        kind=random.integers(0, 3, count).astype(np.uint8),
        stuff=np.full(count, NO_STUFF),
        pixels=random.integers(1, 10**6, count),
        track=random.integers(0, count // 4, count),
        moved=np.empty(0, np.int8),
        matches=np.empty((0, 2), np.int64),
        in_sweep=np.empty((0, 2), np.int64),
        features={},
        described={n: random.normal(median, 2, count).astype(np.float32) for n in DESCRIBED},
    )
    table = dataclasses.replace(table, moved=(table.track % 3 - 1).astype(np.int8))
    return table, random.integers(0, 4, count)


def test_figures_of_drives_add_up():
    one, other = drive(0, 300), drive(1, 500)
    counts = [ClassCounts.of(*d, CLASSES, [0, n]) for n, d in enumerate((one, other))]

    entries = (counts[0] + counts[1]).statistics()

    assert entries == (counts[1] + counts[0]).statistics()
    for number, entry in enumerate(entries):
        rows = [label == number for _, label in (one, other)]
        tables = one[0], other[0]
        assert entry['segments'] == sum(int(r.sum()) for r in rows)
        pairs = list(zip(tables, rows, strict=True))
        assert entry['objects'] == sum(len(np.unique(t.track[r])) for t, r in pairs)
        for name, least in (('pixels_observed', 0), ('pixels_moved', 1)):
            seen = [t.pixels[r & (t.moved >= least)].sum() for t, r in pairs]
            assert entry[name] == sum(map(int, seen))
        assert entry['pixels'] == sum(int(t.pixels[r].sum()) for t, r in pairs)
        assert entry['kinds']['ground'] == sum(int((t.kind[r] == 1).sum()) for t, r in pairs)
        if entry['segments']:
            ranges = np.concatenate([t.described['range'][r] for t, r in pairs])
            assert entry['range_m'] == pytest.approx(np.median(ranges), abs=0.006)
        else:
            assert 'range_m' not in entry


def test_a_class_is_of_things_if_a_twelfth_of_its_pixels_moved():
    table, label = drive(0, 300)
    moved = np.select([label == 0, label == 1, label == 2], [0, 1, 0], -1).astype(np.int8)
    first = np.flatnonzero(label == 2)[0]
    pixels = np.where(label == 2, 100, table.pixels)
    moved[first], pixels[first] = 1, 100 * np.count_nonzero(label == 2) // 8

    def things(pixels):
        seen = dataclasses.replace(table, moved=moved, pixels=pixels)
        return ClassCounts.of(seen, label, CLASSES, [0, 0]).things()

    assert things(pixels) == [False, True, True, False, False]
    pixels[first] //= 2
    assert things(pixels) == [False, True, False, False, False]


def test_medians_of_many_are_of_a_sample_of_all_drives(monkeypatch):
    monkeypatch.setattr(class_statistics, 'MOST_MEASURED', 400)
    drives = [drive(seed, 3000, median) for seed, median in enumerate((5.0, 25.0, 25.0))]
    a, b, c = (ClassCounts.of(*one, CLASSES, [0, seed]) for seed, one in enumerate(drives))

    total = a + b + c

    assert np.bincount(total.measured).tolist() == [400] * 4
    assert total.statistics() == (c + (b + a)).statistics()
    for number, entry in enumerate(total.statistics()[:4]):
        heights = [table.described['height_max'][label == number] for table, label in drives]
        # About 23.7 m; 5 m or 25 m in a single drive.
        assert entry['height_max_m'] == pytest.approx(np.median(np.concatenate(heights)), abs=0.8)


def test_the_gallery_shows_the_largest_of_all_drives_an_object_once():
    shown: dict = {}
    pixels, drives = [], [drive(seed, 200) for seed in range(3)]
    for number, (table, label) in enumerate(drives):
        folder = Path(f'drive_{number}')
        frames = [FrameRecord(folder, 'front', k, k, {}, *[folder] * 4) for k in range(9)]
        found = exhibits(table, label, frames)
        rows = np.flatnonzero(label == 2)
        best = {t: table.pixels[rows][table.track[rows] == t].max() for t in table.track[rows]}
        pixels += best.values()
        shown = largest_exhibits(shown, found)

    assert [one.pixels for one in shown[2]] == sorted(map(int, pixels), reverse=True)[:8]
    assert len({(one.frame.drive, one.id) for one in shown[2]}) == 8
