"""The frame stream: pairing, camera offsets, waiting, clock jumps and drops."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_rig import (
    MS,
    START,
    drive,
    image,
    model,
    parameters,
    place,
    pose,
    run,
    setup,
    sweep,
    told,
)

from drive_segment_ros.frame.events import CameraInfo, Image, Pose
from drive_segment_ros.frame.reasons import IMAGE_REASONS, SWEEP_REASONS
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.frame.sweep import Sweep

RIG = ('front', 'left', 'right')


def stream(cameras=('front',), events=None, **sync) -> FrameStream:
    made = FrameStream(parameters(**{'camera_offset': '-0.05', **sync}), cameras)
    for event in setup(cameras) if events is None else events:
        assert not made.push(event)
    return made


def test_every_image_finds_the_sweep_nearest_to_it():
    """Images 50 ms after the stamp of a sweep pair with it if camera_offset is -0.05 s."""
    made = stream()
    pairs = run(drive(), made)
    assert [p.image.stamp_ns - p.sweep.stamp_ns for p in pairs] == [50 * MS] * 12
    assert [p.image.stamp_ns for p in pairs] == sorted(p.image.stamp_ns for p in pairs)
    assert pairs[0].offset_s == pytest.approx(-0.05)
    assert not made.cameras['front'].drops


def test_the_offset_is_found_where_the_lidar_looks_where_the_camera_looks():
    """`auto` gives -0.05 s: the image centre is scanned half a revolution after the stamp."""
    pairs = run(drive(), stream(camera_offset='auto'))
    assert len(pairs) == 12
    assert pairs[0].camera_offset_s == pytest.approx(-0.05, abs=0.004)


@pytest.mark.parametrize('offset', ['-0.05', 'auto'])
def test_images_stamped_late_are_paired_and_moved_as_if_stamped_right(offset):
    """A delay of 80 ms, which would pair each with the next sweep, is subtracted."""
    late = [
        dataclasses.replace(event, stamp_ns=event.stamp_ns + 80 * MS)
        if isinstance(event, Image)
        else event
        for event in drive()
    ]
    right = run(drive(), stream(camera_offset=offset))
    corrected = run(late, stream(camera_offset=offset, camera_delay_s=0.08))
    assert len(right) == len(corrected) == 12
    for one, other in zip(right, corrected, strict=True):
        assert other.image.stamp_ns == one.image.stamp_ns + 80 * MS
        assert other.instant_ns == one.instant_ns == one.image.stamp_ns
        assert other.sweep.stamp_ns == one.sweep.stamp_ns
        assert (other.offset_s, other.camera_offset_s) == (one.offset_s, one.camera_offset_s)
        assert other.trajectory.pose(one.instant_ns) == pytest.approx(
            one.trajectory.pose(one.instant_ns)
        )


def test_of_a_camera_in_whose_view_sweeps_begin_the_offset_is_no_mean_of_begin_and_end():
    """The offset is about 0 or -0.1 s: the view is scanned at the start and end of a sweep."""
    behind = (-0.5, 0.5, 0.5, -0.5)  # looks along the LiDAR's negative x axis
    made = FrameStream(parameters(camera_offset='auto'), ('back',))
    events = [place('base_link', 'lidar'), place('lidar', 'back', behind)]
    events += [CameraInfo('back', model('back')), *drive(('back',), image_lag=0)]
    pairs = run(events, made)
    assert len(pairs) == 12
    assert abs(pairs[0].camera_offset_s) < 0.004 or abs(pairs[0].camera_offset_s + 0.1) < 0.004


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(['auto', '-0.05']))
def test_the_order_of_arrival_within_the_waiting_time_changes_nothing(chance, offset):
    """With messages lost, repeated or late by less than wait_s, pairs equal those in order."""
    events = drive(RIG, sweeps=14)
    lost = {START + 300 * MS, START + 450 * MS, START + 851 * MS}
    events = [e for e in events if isinstance(e, Pose) or e.stamp_ns not in lost]
    events += [e for e in events if e.stamp_ns in (START + 200 * MS, START + 651 * MS)]
    expected = told(run(sorted(events, key=stamp), stream(RIG, camera_offset=offset)))
    late = {id(e): chance.uniform(0.0, 199.0) * MS for e in events}
    shuffled = sorted(events, key=lambda e: (e.stamp_ns + late[id(e)], chance.random()))
    made = stream(RIG, camera_offset=offset)
    assert told(run(shuffled, made)) == expected
    assert sum(len(found) for found in expected.values()) > 30
    for camera in made.cameras.values():
        assert camera.clock.received == camera.pairs + sum(camera.drops.values())


def stamp(event) -> int:
    return event.stamp_ns


def test_three_cameras_pair_as_each_would_alone():
    """A camera's frames do not depend on the other cameras of the rig."""
    events = drive(RIG)
    together = told(run(events, stream(RIG)))
    for name in RIG:
        alone = [e for e in events if not isinstance(e, Image) or e.camera == name]
        assert told(run(alone, stream((name,))))[name] == together[name]


def test_a_sweep_is_shared_by_the_cameras_that_see_it():
    """Pairs of all cameras hold the same sweep object, so that it is processed once."""
    pairs = run(drive(RIG), stream(RIG))
    assert len(pairs) == 36
    assert len({id(p.sweep) for p in pairs}) == 12


def test_a_camera_that_dies_costs_its_own_frames_only():
    """If a camera stops, the others continue without delay and few sweeps are kept for it."""
    events = [
        e
        for e in drive(RIG, sweeps=60)
        if not (isinstance(e, Image) and e.camera == 'left' and e.stamp_ns > START + 1000 * MS)
    ]
    made = stream(RIG)
    pairs, most = [], 0
    for event in events:
        pairs += made.push(event)
        most = max(most, made.sweeps_pending)
    newest = max(p.image.stamp_ns for p in pairs if p.image.camera == 'right')
    assert newest > events[-1].stamp_ns - 600 * MS
    assert most < 40
    pairs += made.finish()
    counts = {name: sum(p.image.camera == name for p in pairs) for name in RIG}
    assert counts == {'front': 60, 'left': 10, 'right': 60}


def test_a_camera_without_calibration_costs_its_own_frames_only():
    """Its images are dropped as `bad_calibration`, with an error that names camera_info."""
    problems: list[tuple[str, str]] = []
    made = FrameStream(
        parameters(camera_offset='-0.05'),
        ('front', 'left'),
        on_error=lambda reason, text: problems.append((reason, text)),
    )
    for event in setup(('front',)):
        made.push(event)
    pairs = run(drive(('front', 'left'), sweeps=40), made)
    assert len(pairs) == 40
    assert made.cameras['left'].drops == {'bad_calibration': 40}
    assert problems[0][0] == 'bad_calibration'
    assert 'camera_info' in problems[0][1]


def test_calibration_that_comes_late_loses_nothing_within_two_seconds():
    """All images are paired if transforms and camera_info arrive after 1.5 s."""
    made = stream(events=[])
    events = drive(sweeps=30)
    late = [place('base_link', 'lidar'), *setup(('front',))]
    at = next(k for k, e in enumerate(events) if e.stamp_ns > START + 1500 * MS)
    pairs = run([*events[:at], *late, *events[at:]], made)
    assert len(pairs) == 30


def test_a_pair_waits_for_the_odometry_that_covers_it():
    """Without poses no pair is given; with late poses the frames equal those of timely ones."""
    events = drive(sweeps=12)
    poses = [e for e in events if isinstance(e, Pose)]
    others = [e for e in events if not isinstance(e, Pose)]
    made = stream()
    early = [pair for event in others for pair in made.push(event)]
    assert not early
    pairs = [pair for event in poses for pair in made.push(event)] + made.finish()
    assert told(pairs) == told(run(events, stream()))


def test_odometry_that_ends_is_waited_for_two_seconds_and_then_no_more():
    """After odometry is considered silent, frames come at once and without vehicle motion."""
    events = [
        e for e in drive(sweeps=50) if not isinstance(e, Pose) or e.stamp_ns < START + 1000 * MS
    ]
    made = stream()
    pairs = [pair for event in events for pair in made.push(event)]
    # Once odometry is considered silent, pairs no longer wait for it.
    assert pairs[-1].image.stamp_ns >= events[-1].stamp_ns - 500 * MS
    short, soon = stream(), START + 2500 * MS
    early = [pair for event in events if event.stamp_ns < soon for pair in short.push(event)]
    assert 5 <= len(early) <= 11
    assert len(pairs) + len(made.finish()) == 50
    without = [found for found in told(pairs)['front'] if found[3] == ('MotionError',)]
    assert len(without) > 10


def test_without_odometry_to_come_nothing_is_waited_for():
    """If no odometry is expected, pairs are given without waiting for it."""
    made = FrameStream(parameters(camera_offset='-0.05'), expects_motion=lambda: False)
    for event in setup(('front',)):
        made.push(event)
    events = [e for e in drive(sweeps=20) if not isinstance(e, Pose)]
    pairs = [pair for event in events for pair in made.push(event)]
    assert len(pairs) >= 16


def test_a_bag_that_begins_again_pairs_as_before():
    """If a bag restarts and all stamps jump back, both passes give the same 30 frames."""
    events = drive(sweeps=30)
    made = stream()
    pairs = run([*events, *events], made)
    assert len(pairs) == 60
    assert told(pairs[:30]) == told(pairs[30:])
    assert made.sweep_clock.jumps == 1


def test_a_clock_that_is_set_right_pairs_soon_after():
    """The LiDAR clock is 5 s ahead and then corrected: its stamps jump back, pairing resumes."""
    made = stream()
    ahead = 5000 * MS
    wrong = [
        dataclasses.replace(e, stamp_ns=e.stamp_ns)
        if not isinstance(e, Sweep)
        else sweep(e.stamp_ns + ahead)
        for e in drive(sweeps=20)
    ]
    right = [e for e in drive(sweeps=90) if e.stamp_ns >= START + 2000 * MS]
    pairs = run([*wrong, *right], made)
    assert len(pairs) >= 40
    assert all(abs(p.offset_s + 0.05) < 0.02 for p in pairs)


def test_messages_without_a_stamp_and_repeated_ones_are_counted():
    """They are dropped as `zero_stamp` and `duplicate`."""
    made = stream()
    again = [image(START + 950 * MS), sweep(START + 900 * MS)]
    events = [image(0), sweep(0), *drive(), *again]
    assert len(run(events, made)) == 12
    assert made.cameras['front'].drops == {'zero_stamp': 1, 'duplicate': 1}
    assert made.sweep_drops == {'zero_stamp': 1, 'duplicate': 1}


def test_an_image_of_between_two_sweeps_gives_way_to_one_that_is_nearer():
    """With two images per sweep, the farther one is dropped as `sweep_taken`."""
    events = drive(sweeps=10)
    events += [image(e.stamp_ns + 40 * MS) for e in events if isinstance(e, Image)]
    made = stream(max_offset_s=0.045)
    pairs = run(sorted(events, key=stamp), made)
    assert len(pairs) == 10
    assert all(p.image.stamp_ns % (100 * MS) == 50 * MS for p in pairs)
    assert made.cameras['front'].drops == {'sweep_taken': 10}


def test_what_waits_is_bounded():
    """Without sweeps, the oldest images above the queue size are dropped as `queue_full`."""
    made = stream(queue=5)
    for k in range(40):
        made.push(image(START + k * MS))
    assert made.cameras['front'].pending <= 5
    assert made.cameras['front'].drops['queue_full'] >= 30
    assert set(made.cameras['front'].drops) <= set(IMAGE_REASONS)


def test_a_sweep_that_cannot_be_read_loses_its_own_frames():
    """Its image is dropped as `bad_cloud`, and the error is reported."""
    from drive_segment_ros.errors import CloudError

    def broken():
        raise CloudError('torn')

    problems: list[tuple[str, str]] = []
    made = FrameStream(
        parameters(camera_offset='-0.05'), on_error=lambda *told: problems.append(told)
    )
    events = drive(sweeps=10)
    events = [
        Sweep(e.stamp_ns, 'lidar', broken)
        if isinstance(e, Sweep) and e.stamp_ns == START + 300 * MS
        else e
        for e in events
    ]
    pairs = run([*setup(('front',)), *events], made)
    assert len(pairs) == 9
    assert made.cameras['front'].drops == {'bad_cloud': 1}
    assert problems == [('bad_cloud', 'torn')]


def test_where_nothing_comes_any_more_what_waits_is_decided():
    """`expire` decides waiting images when no message has arrived for some seconds."""
    made = stream()
    pairs = [pair for k, event in enumerate(drive()) for pair in made.push(event, k * 0.02)]
    assert len(pairs) < 12
    assert not made.expire(2.0)
    assert len(pairs) + len(made.expire(10.0)) == 12


def test_what_is_stopped_is_counted():
    """`stop` drops all waiting images and counts them under the given reason."""
    made = stream()
    pairs = [pair for event in drive() for pair in made.push(event)]
    made.stop('stopped')
    assert made.cameras['front'].drops == {'stopped': 12 - len(pairs)}
    assert not made.finish()


def test_a_calibration_that_changes_holds_from_then_on():
    """Pairs after a new camera_info use it, pairs before use the former one."""
    made = stream()
    events = drive(sweeps=20)
    other = dataclasses.replace(model('front'), K=model('front').K + np.diag([1.0, 0.0, 0.0]))
    pairs = run([*events[:60], CameraInfo('front', other), *events[60:]], made)
    assert pairs[0].camera.K[0, 0] == 60.0
    assert pairs[-1].camera.K[0, 0] == 61.0


def assert_counted(made: FrameStream, paired: Counter[str]) -> None:
    """Check that each image of each camera is in a pair, dropped or waiting."""
    for name, camera in made.cameras.items():
        known = paired[name] + sum(camera.drops.values()) + camera.pending
        assert camera.clock.received == known


def test_random_rigs_never_lose_count():
    """For random stamps, every image is either paired, dropped or waiting."""
    chance = random.Random(3)
    dropped = Counter()
    for number in range(40):
        calibrated = RIG if number % 2 else RIG[:1]
        offset = chance.choice(['auto', '-0.05'])
        made = stream(RIG, setup(calibrated), queue=8, camera_offset=offset)
        paired = Counter()
        duration_ms = chance.choice([600, 6000])
        for _ in range(300):
            at = START + chance.randrange(duration_ms) * MS
            kind = chance.choice([image, sweep, pose])
            event = image(at, chance.choice(RIG)) if kind is image else kind(at)
            paired.update(pair.image.camera for pair in made.push(event))
            assert_counted(made, paired)
        paired.update(pair.image.camera for pair in made.finish())
        assert_counted(made, paired)
        assert not any(camera.pending for camera in made.cameras.values())
        assert all(paired[name] == made.cameras[name].pairs for name in calibrated)
        assert set(made.sweep_drops) <= set(SWEEP_REASONS)
        for camera in made.cameras.values():
            dropped += camera.drops
    assert set(dropped) <= set(IMAGE_REASONS)
    assert dropped['bad_calibration']
