"""The matcher of images and sweeps: which pairs, which drops, and that nothing goes missing."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.errors import ParameterError
from drive_segment_ros.perception.synchronisation import Matcher, Pair, SyncParameters

MS = 1_000_000
START = 1_557_539_956_000 * MS


def stamps(pairs: list[Pair]) -> list[tuple[int, int]]:
    """Return the (image, sweep) stamps of pairs in ms after the start."""
    return [((p.image_stamp_ns - START) // MS, (p.sweep_stamp_ns - START) // MS) for p in pairs]


def play(matcher: Matcher, events: list[tuple[str, int]]) -> list[Pair]:
    """Feed ('sweep' or a camera's name, ms) in order, then flush."""
    pairs = []
    for name, time in events:
        stamp = START + time * MS
        if name == 'sweep':
            pairs += matcher.add_sweep(stamp, f'sweep {time}')
        else:
            pairs += matcher.add_image(stamp, f'image {time}', name)
    return pairs + matcher.flush()


def accounts(matcher: Matcher) -> None:
    """Check that every image and sweep handed over is somewhere."""
    assert matcher.images == matcher.pairs + sum(matcher.drops.values()) + matcher.pending
    assert matcher.sweeps == (
        matcher.sweeps_used + sum(matcher.sweep_drops.values()) + matcher.sweeps_pending
    )


@pytest.mark.parametrize(
    'order',
    [
        [('camera', 60), ('camera', 100), ('sweep', 100)],
        [('camera', 60), ('sweep', 100), ('camera', 100)],
        [('sweep', 100), ('camera', 60), ('camera', 100)],
    ],
)
def test_nearest_image_wins_the_sweep_whatever_the_order_of_arrival(order):
    matcher = Matcher()
    assert stamps(play(matcher, order)) == [(100, 100)]
    assert matcher.drops == {'sweep_taken': 1}


def test_pair_carries_items_stamps_and_offset():
    (pair,) = play(Matcher(SyncParameters(camera_offset='0.05')), [('left', 40), ('sweep', 100)])
    assert pair.camera == 'left'
    assert (pair.image, pair.sweep) == ('image 40', 'sweep 100')
    assert pair.offset_s == pytest.approx(-0.01, abs=1e-12)


def test_zero_max_offset_pairs_equal_stamps_at_once():
    matcher = Matcher(SyncParameters(max_offset_s=0.0))
    assert matcher.add_sweep(START, 's') == []
    assert len(matcher.add_image(START, 'i')) == 1


@pytest.mark.parametrize(('image', 'paired'), [(40, True), (39, False)])
def test_max_offset_is_inclusive(image, paired):
    pairs = play(Matcher(SyncParameters(max_offset_s=0.06)), [('camera', image), ('sweep', 100)])
    assert bool(pairs) is paired


def test_camera_half_a_period_off_loses_no_image_to_jitter():
    """The stamps of the PandaSet bag: 50 ms apart from both sweeps, but for microseconds."""
    jitter = [0, 40, -35, 25, -60, 55, -10, 30, -45, 20]
    matcher = Matcher()
    for k, micros in enumerate(jitter):
        matcher.add_image(START + (100 * k - 50) * MS + micros * 1000, k)
        matcher.add_sweep(START + 100 * k * MS, k)
    matcher.flush()
    assert matcher.pairs == len(jitter)


def test_regular_streams_pair_on_arrival_not_one_period_later():
    """Once the period is known, nothing nearer can come: the second of a pair decides it."""
    matcher = Matcher()
    for k in range(10):
        matcher.add_image(START + (100 * k - 20) * MS, k)
        late = matcher.add_sweep(START + 100 * k * MS, k)
        if k >= 4:
            assert [(p.image, p.sweep) for p in late] == [(k, k)]


def test_sweep_just_before_the_image_pairs_on_arrival():
    matcher = Matcher()
    for k in range(10):
        matcher.add_sweep(START + 100 * k * MS, k)
        pairs = matcher.add_image(START + (100 * k + 20) * MS, k)
        if k >= 4:
            assert [(p.image, p.sweep) for p in pairs] == [(k, k)]


def test_lost_sweeps_that_hide_the_period_cost_no_image():
    """Three gaps of 400 ms promise none sooner than 200 ms; the next comes after 100."""
    events = [('sweep', 400 * k) for k in range(4)]
    events += [('camera', 1290), ('sweep', 1300), ('camera', 1400)]
    assert stamps(play(Matcher(), events)) == [(1290, 1300)]


def test_image_keeps_its_sweep_if_the_later_one_has_another_as_near():
    events = [('camera', 0), ('sweep', 18), ('camera', 33), ('sweep', 48)]
    assert stamps(play(Matcher(), events)) == [(0, 18), (33, 48)]


def test_fast_camera_gives_each_sweep_its_nearest_image():
    events = [('camera', 33 * k) for k in range(31)] + [('sweep', 100 * k) for k in range(10)]
    pairs = play(Matcher(), sorted(events, key=lambda event: event[1]))
    assert stamps(pairs) == [
        (0, 0), (99, 100), (198, 200), (297, 300), (396, 400), (495, 500), (594, 600), (693, 700),
        (792, 800), (891, 900),
    ]  # fmt: skip


def test_one_sweep_serves_several_cameras_with_their_own_offsets():
    matcher = Matcher(cameras=('front', 'left'))
    matcher.set_offset('left', 0.05)
    events = [('front', 100), ('left', 51), ('sweep', 100), ('front', 200), ('left', 151)]
    pairs = play(matcher, [*events, ('sweep', 200)])
    assert sorted((p.camera, p.image, p.sweep) for p in pairs) == [
        ('front', 'image 100', 'sweep 100'),
        ('front', 'image 200', 'sweep 200'),
        ('left', 'image 151', 'sweep 200'),
        ('left', 'image 51', 'sweep 100'),
    ]


def test_offset_set_late_applies_to_images_that_wait():
    matcher = Matcher(SyncParameters(max_offset_s=0.01))
    matcher.add_image(START, 'i')
    matcher.set_offset('camera', 0.05)
    assert [p.offset_s for p in matcher.add_sweep(START + 50 * MS, 's')] == [0.0]


def test_out_of_order_within_the_window_still_pairs():
    events = [('sweep', 100), ('sweep', 300), ('sweep', 200)]
    events += [('camera', 310), ('camera', 110), ('camera', 210)]
    pairs = play(Matcher(), events)
    assert sorted(stamps(pairs)) == [(110, 100), (210, 200), (310, 300)]


def test_bag_loops_pair_each_round_even_when_one_topic_jumps_first():
    rounds = 3
    events = []
    for _ in range(rounds):
        events += [event for k in range(20) for event in (('camera', 100 * k), ('sweep', 100 * k))]
    # The camera runs one message ahead of the sweeps, so it is in the next round first.
    events.insert(0, events.pop(2))
    for index in range(1, len(events) - 3, 2):
        events[index], events[index + 1] = events[index + 1], events[index]
    matcher = Matcher()
    pairs = play(matcher, events)
    assert len(pairs) == rounds * 20
    assert all(p.offset_s == 0.0 for p in pairs)
    assert matcher.jumps == 2 * (rounds - 1)
    accounts(matcher)


def test_clock_that_steps_back_on_one_topic_only_pairs_again():
    now = [0.0]
    matcher = Matcher(clock=lambda: now[0])
    pairs = 0
    for k in range(100):
        now[0] = 0.1 * k
        # For 3 s the camera's clock is 10 s ahead.
        ahead = 10_000 if k < 30 else 0
        pairs_before = pairs
        pairs += len(matcher.add_image(START + (100 * k + ahead) * MS, k))
        pairs += len(matcher.add_sweep(START + 100 * k * MS, k))
        pairs += len(matcher.expire())
    assert pairs > pairs_before
    assert pairs >= 55
    accounts(matcher)


def test_queues_are_bounded_when_a_topic_is_silent():
    params = SyncParameters(image_queue=5, sweep_queue=7)
    images_only, sweeps_only = Matcher(params), Matcher(params)
    for k in range(1000):
        images_only.add_image(START + 100 * k * MS, k)
        sweeps_only.add_sweep(START + 100 * k * MS, k)
    assert images_only.pending == 5
    assert images_only.drops == {'queue_full': 995}
    assert sweeps_only.sweeps_pending == 7
    assert sweeps_only.sweep_drops == {'unused': 993}


def test_expire_pairs_the_last_image_of_a_drive():
    now = [0.0]
    matcher = Matcher(SyncParameters(max_wait_s=1.0), clock=lambda: now[0])
    matcher.add_sweep(START, 's')
    assert matcher.add_image(START + 20 * MS, 'i') == []
    assert matcher.expire() == []
    now[0] = 1.0
    assert stamps(matcher.expire()) == [(20, 0)]


def test_duplicates_and_zero_stamps_are_counted():
    matcher = Matcher()
    for _ in range(2):
        matcher.add_image(START, 'i')
        matcher.add_sweep(START, 's')
        matcher.add_image(0, 'i')
        matcher.add_sweep(0, 's')
    assert matcher.pairs == 1
    assert matcher.drops == {'duplicate': 1, 'zero_stamp': 2}
    assert matcher.sweep_drops == {'duplicate': 1, 'zero_stamp': 2}
    accounts(matcher)


@pytest.mark.parametrize(
    ('events', 'words'),
    [
        ([], 'nothing has arrived'),
        ([('sweep', 0)], 'no image'),
        ([('camera', 0)], 'no sweep; check the point cloud topic'),
        ([('camera', 0), ('sweep', 120_000)], 'camera is 120.000 s behind the newest sweep stamp'),
        ([('camera', 80), ('sweep', 0)], 'raise max_offset_s or set camera_offset'),
        ([('camera', 0), ('sweep', 0)], '1 of 1 images paired'),
        ([('camera', -START // MS)], 'header.stamp'),
    ],
)
def test_report_says_why_nothing_pairs(events, words):
    matcher = Matcher()
    play(matcher, events)
    assert words in matcher.report()
    assert '\n' not in matcher.report()


def test_report_names_the_camera_that_is_silent():
    matcher = Matcher(cameras=('front', 'left'))
    play(matcher, [('front', 0), ('sweep', 0)])
    assert 'no image from left' in matcher.report()


@pytest.mark.parametrize('offset', ['soon', '0,05', '', 'nan', '-inf', '1e300'])
def test_camera_offset_that_is_no_number_is_refused(offset):
    with pytest.raises(ParameterError, match="give seconds or 'auto'"):
        SyncParameters(camera_offset=offset)


def test_threads_lose_nothing():
    matcher = Matcher(SyncParameters(image_queue=1000, sweep_queue=1000))
    pairs: list[Pair] = []

    def feed(add):
        for k in range(300):
            pairs.extend(add(START + 100 * k * MS, k))

    threads = [threading.Thread(target=feed, args=(add,))
               for add in (matcher.add_image, matcher.add_sweep)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pairs += matcher.flush()
    assert sorted(p.image for p in pairs) == list(range(300))
    assert all(p.image == p.sweep for p in pairs)


# A stream: a start, a period and what each message does to it: jitter, or a message lost once the
# period shows.
_streams = st.builds(
    lambda start, period, steps: [
        start + period * k + jitter for k, (jitter, lost) in enumerate(steps) if k < 4 or not lost
    ],
    st.integers(0, 200),
    st.sampled_from([33, 50, 100]),
    st.lists(st.tuples(st.integers(-4, 4), st.booleans()), max_size=25),
)
_irregular = st.lists(st.integers(0, 900), max_size=14, unique=True).map(sorted)
_any_stream = st.one_of(_streams, _irregular)
_roomy = SyncParameters(image_queue=1000, sweep_queue=1000)


@settings(max_examples=150, deadline=None)
@given(_any_stream, _any_stream, _any_stream, st.integers(0, 120), st.data())
def test_pairs_do_not_depend_on_interleaving(front, left, sweeps, max_offset_ms, data):
    params = SyncParameters(image_queue=1000, sweep_queue=1000, max_offset_s=max_offset_ms / 1000)
    streams = {'front': front, 'left': left, 'sweep': sweeps}
    in_order = sorted(((n, t) for n, ts in streams.items() for t in ts), key=lambda e: e[1])
    offline = play(Matcher(params), in_order)

    names = data.draw(st.permutations([name for name, ts in streams.items() for _ in ts]))
    left_over = {name: iter(ts) for name, ts in streams.items()}
    matcher = Matcher(params)
    live = play(matcher, [(name, next(left_over[name])) for name in names])

    assert sorted(map(repr, live)) == sorted(map(repr, offline))
    accounts(matcher)


@settings(max_examples=150, deadline=None)
@given(_streams, _streams)
def test_pairs_are_within_reach_unique_and_none_is_missed(images, sweeps):
    in_order = sorted(
        [('camera', t) for t in images] + [('sweep', t) for t in sweeps], key=lambda e: e[1]
    )
    matcher = Matcher(_roomy)
    pairs = stamps(play(matcher, in_order))
    paired_images, paired_sweeps = {i for i, _ in pairs}, {s for _, s in pairs}
    assert len(paired_images) == len(paired_sweeps) == len(pairs)
    assert all(abs(i - s) <= 60 for i, s in pairs)
    for image in set(images) - paired_images:
        assert all(abs(image - s) > 60 for s in set(sweeps) - paired_sweeps)
    # An image at the very instant of a sweep is never outdone.
    assert {(t, t) for t in set(images) & set(sweeps)} <= set(pairs)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(['sweep', 'front', 'left']),
            st.one_of(st.integers(0, 5000), st.just(-START // MS)),
        ),
        max_size=60,
    ),
    st.integers(1, 5),
)
def test_every_input_is_accounted_for_at_every_step(events, queue):
    """Any stamps in any order: jumps, duplicates, zeros, full queues."""
    matcher = Matcher(SyncParameters(image_queue=queue, sweep_queue=queue))
    made = 0
    for event in events:
        name, time = event
        stamp = START + time * MS
        made += len(
            matcher.add_sweep(stamp, None)
            if name == 'sweep'
            else matcher.add_image(stamp, None, name)
        )
        accounts(matcher)
        assert matcher.pairs == made
        assert matcher.pending <= 2 * queue
        assert matcher.sweeps_pending <= queue
    matcher.flush()
    accounts(matcher)
    assert matcher.pending == matcher.sweeps_pending == 0
