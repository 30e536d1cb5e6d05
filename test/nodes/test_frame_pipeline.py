"""FramePipeline with a stub as its work: order, drops, closing, errors and counts."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.errors import CloudError
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.nodes import frame_pipeline
from drive_segment_ros.nodes.frame_pipeline import FramePipeline, Outcome, PipelineParameters

_spec = importlib.util.spec_from_file_location(
    'small_rig_of_nodes', Path(__file__).parents[1] / 'frame' / 'small_rig.py'
)
small_rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_rig)
START, MS = small_rig.START, small_rig.MS
PERIOD = 100 * MS


class Rig:
    """A pipeline whose work only appends the stamp of the image to `frames`."""

    def __init__(self, cameras=('front',), known=True, **parameters) -> None:
        self.frames: list[int] = []
        self.unwanted: set[int] = set()
        self.refuse: dict[int, Exception] = {}
        self.errors: list[tuple[str, str]] = []
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        stream = FrameStream(
            small_rig.parameters(wait_s=0.0, camera_offset='0.0' if known else 'auto'),
            cameras,
            expects_motion=lambda: False,
            on_error=lambda *error: self.errors.append(error),
        )
        self.pipeline = FramePipeline(
            stream,
            PipelineParameters(**parameters),
            self.work,
            lambda *error: self.errors.append(error),
        )
        for event in small_rig.setup(cameras) if known else []:
            self.pipeline.push(event)

    def work(self, pair: Pair) -> Outcome:
        self.entered.set()
        assert self.gate.wait(60.0)
        stamp = pair.image.stamp_ns
        if stamp in self.refuse:
            raise self.refuse[stamp]

        def hand_on() -> bool:
            if stamp in self.unwanted:
                return False
            self.frames.append(stamp)
            return True

        return Outcome(hand_on, moved=True)

    def send(self, index: int, *cameras: str) -> int:
        stamp = START + index * PERIOD
        for name in cameras or ('front',):
            self.pipeline.push(small_rig.image(stamp, name))
        self.pipeline.push(small_rig.sweep(stamp))
        return stamp

    def wait(self, condition, limit_s: float = 60.0) -> bool:
        deadline = time.monotonic() + limit_s
        # Do not evaluate the condition again: it may no longer hold.
        while not (held := condition()) and time.monotonic() < deadline:
            time.sleep(0.002)
        return bool(held)


@pytest.fixture
def rig(request):
    rig = Rig(**getattr(request, 'param', {}))
    yield rig
    rig.gate.set()
    rig.pipeline.close()


def test_pairs_are_worked_on_in_order_and_counted(rig):
    rig.unwanted = {START + PERIOD}
    stamps = [rig.send(i) for i in range(3)]
    assert rig.wait(lambda: rig.pipeline.summary()['frames'] == 2)
    summary = rig.pipeline.summary()
    assert rig.frames == [stamps[0], stamps[2]]
    assert (summary['pairs'], summary['unwanted'], summary['frames_with_motion']) == (3, 1, 2)
    assert summary['dropped'] == {}


def test_bad_pairs_are_counted_and_named_and_the_next_one_is_worked_on(rig):
    stamps = [START + i * PERIOD for i in range(3)]
    rig.refuse = {stamps[0]: CloudError('no x'), stamps[1]: ZeroDivisionError('oops')}
    for i in range(3):
        rig.send(i)
    assert rig.wait(lambda: rig.frames)
    assert rig.frames == stamps[2:]
    assert rig.pipeline.summary()['dropped'] == {'bad_cloud': 1, 'error': 1}
    assert rig.errors == [('bad_cloud', 'no x'), ('error', 'unexpected ZeroDivisionError: oops')]


def test_a_defect_in_reading_a_sweep_costs_its_own_frame(rig):
    """An unexpected error while reading a sweep does not block the pairs behind it."""

    def torn():
        raise ZeroDivisionError('oops')

    rig.pipeline.push(small_rig.image(START))
    sweep = small_rig.sweep(START)
    sweep._read = torn
    rig.pipeline.push(sweep)
    last = rig.send(1)
    assert rig.wait(lambda: rig.frames == [last]), rig.errors
    assert rig.pipeline.summary()['dropped'] == {'error': 1}
    assert rig.errors == [('error', 'unexpected ZeroDivisionError: oops')]


@pytest.mark.parametrize('rig', [{'queue': 2}], indirect=True)
def test_when_work_is_slow_the_oldest_gives_way_and_every_image_is_accounted_for(rig):
    rig.gate.clear()
    for i in range(8):
        rig.send(i)
    rig.gate.set()

    def accounted() -> int:
        summary = rig.pipeline.summary()
        return summary['frames'] + summary['dropped'].get('worker_busy', 0)

    assert rig.wait(lambda: accounted() == 8)
    assert 2 <= len(rig.frames) <= 3
    assert rig.frames[-1] == START + 7 * PERIOD


@pytest.mark.parametrize(
    'rig', [{'cameras': ('front', 'left', 'right'), 'queue': 3}], indirect=True
)
def test_the_queue_has_room_for_each_camera(rig):
    rig.gate.clear()
    for i in range(3):
        rig.send(i, 'front', 'left', 'right')
    assert rig.pipeline.summary()['dropped'] == {}
    rig.gate.set()
    assert rig.wait(lambda: len(rig.frames) == 9)


def test_close_counts_what_it_leaves():
    rig = Rig(known=False)
    for i in range(4):
        rig.send(i)
    rig.pipeline.close()
    assert rig.pipeline.summary()['dropped'] == {'stopped': 4}
    assert not rig.frames


def accounts(pipeline: FramePipeline) -> tuple[int, int]:
    """Return the number of images and of sweeps in the final counts; check that none waits."""
    summary = pipeline.summary()
    sweeps = summary['sweeps']
    assert (summary['waiting'], sweeps['waiting']) == (0, 0)
    images = summary['frames'] + summary['unwanted'] + sum(summary['dropped'].values())
    return images, sweeps['used'] + sum(sweeps['dropped'].values())


def test_a_pair_in_hand_when_the_pipeline_closes_is_in_one_count_and_not_handed_on(
    rig, monkeypatch
):
    monkeypatch.setattr(frame_pipeline, '_CLOSE_S', 0.01)
    rig.gate.clear()
    for i in range(2):
        rig.send(i)
    assert rig.wait(rig.entered.is_set)
    rig.pipeline.close()
    assert rig.pipeline.summary()['dropped'] == {'stopped': 2}
    rig.gate.set()
    rig.pipeline._worker._thread.join(60.0)
    rig.send(2)
    assert rig.pipeline.summary()['dropped'] == {'stopped': 3}
    assert accounts(rig.pipeline) == (3, 3)
    assert rig.frames == []


STEPS = st.lists(
    st.one_of(
        # Stamps in periods, in any order, repeated or far back; -1 is a missing stamp.
        st.tuples(st.sampled_from(['front', 'left', 'sweep']), st.integers(-1, 20)),
        st.tuples(st.just('pair'), st.integers(0, 20)),
        st.tuples(st.sampled_from(['expire', 'info', 'block', 'unblock', 'close']), st.just(0)),
    ),
    max_size=40,
)
OUTCOMES = st.lists(
    st.sampled_from(['frame', 'unwanted', CloudError('no x'), ZeroDivisionError('oops')]),
    min_size=21,
    max_size=21,
)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS, outcomes=OUTCOMES, known=st.booleans(), queue=st.integers(1, 3))
def test_every_image_and_every_sweep_ends_in_exactly_one_count(steps, outcomes, known, queue):
    rig = Rig(('front', 'left'), known, queue=queue)
    for index, outcome in enumerate(outcomes):
        stamp = START + index * PERIOD
        if outcome == 'unwanted':
            rig.unwanted.add(stamp)
        elif outcome != 'frame':
            rig.refuse[stamp] = outcome
    images = sweeps = 0
    push = rig.pipeline.push
    try:
        for step, index in steps:
            stamp = 0 if index < 0 else START + index * PERIOD
            if step in ('front', 'left', 'pair'):
                push(small_rig.image(stamp, 'front' if step == 'pair' else step))
                images += 1
            if step in ('sweep', 'pair'):
                push(small_rig.sweep(stamp))
                sweeps += 1
            if step == 'expire':
                rig.pipeline.expire()
            elif step == 'info':
                for event in small_rig.setup(('front', 'left')):
                    push(event)
            elif step == 'close':
                rig.gate.set()
                rig.pipeline.close()
            elif step in ('block', 'unblock'):
                (rig.gate.set if step == 'unblock' else rig.gate.clear)()
    finally:
        rig.gate.set()
        rig.pipeline.close()
    received = rig.pipeline.summary()['received']
    assert (received.get('image', 0), received.get('points', 0)) == (images, sweeps)
    assert accounts(rig.pipeline) == (images, sweeps)


def test_what_waits_is_decided_in_silence_but_not_by_a_process_that_was_held_up(rig, monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr(frame_pipeline, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    rig.pipeline._pairs._clock = lambda: now[0]

    def pass_time(*steps_s: float) -> None:
        for step_s in steps_s:
            now[0] += step_s
            rig.pipeline.expire()

    rig.pipeline.push(small_rig.image(START))
    pass_time(5.0)
    # The sweep arrived while the process was held up, and is pushed only now.
    rig.pipeline.push(small_rig.sweep(START))
    assert rig.pipeline.summary()['dropped'] == {}
    pass_time(*[0.1] * 25)
    assert rig.wait(lambda: rig.frames == [START])
    rig.pipeline.push(small_rig.image(START + PERIOD))
    pass_time(*[0.1] * 25)
    assert rig.pipeline.summary()['dropped'] == {'no_sweep': 1}


def test_clocks_of_cameras_are_told_apart():
    rig = Rig(('front', 'left'))
    for i in range(3):
        # The clock of the left camera is constantly one minute ahead.
        rig.pipeline.push(small_rig.image(START + i * PERIOD, 'front'))
        rig.pipeline.push(small_rig.image(START + i * PERIOD + 60_000 * MS, 'left'))
    assert rig.pipeline.clock_steps.problem == ''
    rig.pipeline.push(small_rig.image(START + 3 * PERIOD, 'left'))
    assert 'left images jumped back by 59.9 s' in rig.pipeline.clock_steps.problem
    assert 'front' not in rig.pipeline.clock_steps.problem
    rig.pipeline.close()


def test_messages_from_several_threads_lose_nothing():
    cameras = ('front', 'left', 'right')
    rig = Rig(cameras, queue=1000)
    count = 200

    def feed(make):
        for k in range(count):
            rig.pipeline.push(make(START + k * PERIOD))

    makes = [small_rig.sweep, *(lambda t, n=n: small_rig.image(t, n) for n in cameras)]
    threads = [threading.Thread(target=feed, args=(make,)) for make in makes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Threads may drift apart and buffers are limited: images may be dropped, but are counted.
    rig.pipeline.close()
    assert accounts(rig.pipeline) == (3 * count, count)
