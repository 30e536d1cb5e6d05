"""Pairing of images and sweeps by stamp, and the report if nothing pairs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_rig import MS, START, image, parameters, setup, sweep

from drive_segment_ros.errors import ParameterError
from drive_segment_ros.frame.pairing_report import pairing_report
from drive_segment_ros.frame.parameters import SyncParameters
from drive_segment_ros.frame.stream import FrameStream


def stream(cameras=('front',), **sync) -> FrameStream:
    made = FrameStream(
        parameters(**{'camera_offset': '0.0', **sync}), cameras, expects_motion=lambda: False
    )
    for event in setup(cameras):
        made.push(event)
    return made


def play(made: FrameStream, events: list[tuple[str, int]]) -> list[tuple[int, int]]:
    """Push events ('sweep' or camera name, ms) in order; return (image, sweep) pairs in ms."""
    pairs = []
    for name, ms in events:
        stamp = START + ms * MS
        pairs += made.push(sweep(stamp) if name == 'sweep' else image(stamp, name))
    pairs += made.finish()
    return [((p.image.stamp_ns - START) // MS, (p.sweep.stamp_ns - START) // MS) for p in pairs]


@pytest.mark.parametrize(
    'order',
    [
        [('front', 60), ('front', 100), ('sweep', 100)],
        [('front', 60), ('sweep', 100), ('front', 100)],
        [('sweep', 100), ('front', 60), ('front', 100)],
    ],
)
def test_nearest_image_wins_the_sweep_whatever_the_order_of_arrival(order):
    made = stream()
    assert play(made, order) == [(100, 100)]
    assert made.cameras['front'].drops == {'sweep_taken': 1}


def test_equal_stamps_pair_at_zero_tolerance():
    events = [('front', 0), ('sweep', 0), ('front', 100), ('sweep', 101)]
    assert play(stream(max_offset_s=0.0), events) == [(0, 0)]


@pytest.mark.parametrize('image_ms', [40, 160])
def test_the_largest_offset_is_inclusive(image_ms):
    assert play(stream(), [('front', image_ms), ('sweep', 100)]) == [(image_ms, 100)]


@pytest.mark.parametrize(
    ('events', 'words'),
    [
        ([], 'nothing has arrived'),
        ([('sweep', 0)], 'no image'),
        ([('front', 0)], 'no sweep; check the point cloud topic'),
        ([('front', 0), ('sweep', 120_000)], 'front is 120.000 s behind the newest sweep stamp'),
        ([('front', 80), ('sweep', 0)], 'raise max_offset_s or set camera_offset'),
        ([('front', 0), ('sweep', 0)], '1 of 1 images paired'),
        ([('front', -START // MS)], 'header.stamp'),
    ],
)
def test_report_says_why_nothing_pairs(events, words):
    made = stream()
    play(made, events)
    assert words in pairing_report(made)
    assert '\n' not in pairing_report(made)


def test_report_names_the_camera_that_is_silent():
    made = stream(('front', 'left'))
    play(made, [('front', 0), ('sweep', 0)])
    assert 'no image from left' in pairing_report(made)


@pytest.mark.parametrize('offset', ['soon', '0,05', '', 'nan', '-inf', '1e300'])
def test_camera_offset_that_is_no_number_is_refused(offset):
    with pytest.raises(ParameterError, match="give seconds or 'auto'"):
        SyncParameters(camera_offset=offset)


# Stamps in ms of a periodic stream with jitter and, from the fifth message on, losses.
_streams = st.builds(
    lambda start, period, steps: [
        start + period * k + jitter for k, (jitter, lost) in enumerate(steps) if k < 4 or not lost
    ],
    st.integers(0, 200),
    st.sampled_from([33, 50, 100]),
    st.lists(st.tuples(st.integers(-4, 4), st.booleans()), max_size=25),
)


@settings(max_examples=100, deadline=None)
@given(_streams, _streams)
def test_pairs_are_within_reach_unique_and_none_is_missed(images, sweeps):
    in_order = sorted(
        [('front', t) for t in images] + [('sweep', t) for t in sweeps], key=lambda e: e[1]
    )
    pairs = play(stream(), in_order)
    paired_images, paired_sweeps = {i for i, _ in pairs}, {s for _, s in pairs}
    assert len(paired_images) == len(paired_sweeps) == len(pairs)
    assert all(abs(i - s) <= 60 for i, s in pairs)
    for image_ms in set(images) - paired_images:
        assert all(abs(image_ms - s) > 60 for s in set(sweeps) - paired_sweeps)
    # An image with the same stamp as a sweep always pairs with it.
    assert {(t, t) for t in set(images) & set(sweeps)} <= set(pairs)
