"""A sweep is read and segmented once."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest
from small_rig import MS, START, read_cloud

from drive_segment_ros.errors import CloudError
from drive_segment_ros.frame import sweep as module
from drive_segment_ros.frame.example_scene import example_cloud
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.frame.sweep import Sweep

PARAMS = FrameParameters()


def wall() -> Sweep:
    return Sweep(START, 'lidar', functools.partial(example_cloud, START, 'lidar', PARAMS))


def test_whatever_is_asked_how_often_is_found_once(monkeypatch):
    counts: dict[str, int] = {}
    for name in ('spinning_beams', 'find_proposals', 'describe_proposals'):
        real = getattr(module, name)

        def counted(*args, name=name, real=real):
            counts[name] = counts.get(name, 0) + 1
            return real(*args)

        monkeypatch.setattr(module, name, counted)
    seen = wall()
    for _ in range(3):
        segments = seen.segments(PARAMS.proposals, None)
        record = seen.record(PARAMS.proposals, None)
    assert counts == {'spinning_beams': 1, 'find_proposals': 1, 'describe_proposals': 1}
    assert record.stamp_ns == START
    # Every label with points, and sky, which has none.
    assert set(record.proposals['id']) == set(segments.label[segments.label > 0]) | {3}
    assert record.proposals['points'].sum() == np.count_nonzero(segments.label)


def test_what_cannot_be_read_is_not_tried_again():
    calls = []

    def read():
        calls.append(1)
        return read_cloud(START, 0.1).__class__(START, 'lidar', *(np.empty(0, np.float32),) * 3)

    empty = Sweep(START, 'lidar', read)
    for _ in range(2):
        with pytest.raises(CloudError, match='no points'):
            empty.segments(PARAMS.proposals, None)
    assert len(calls) == 1


def test_it_spans_from_its_first_point_to_its_last():
    seen = Sweep(START, 'lidar', functools.partial(read_cloud, START, 0.064))
    assert seen.span_ns() == (START, START + 63 * MS)


def test_it_travels_without_what_was_found():
    seen = wall()
    small = len(pickle.dumps(seen))
    seen.record(PARAMS.proposals, None)
    again = pickle.loads(pickle.dumps(seen))
    assert len(pickle.dumps(seen)) == small
    np.testing.assert_array_equal(
        again.segments(PARAMS.proposals, None).label, seen.segments(PARAMS.proposals, None).label
    )
