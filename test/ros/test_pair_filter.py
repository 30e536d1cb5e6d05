"""The frame stream as a filter in a chain of message filters."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from drive_segment_ros.frame.events import CameraInfo, Transform
from drive_segment_ros.frame.example_scene import example_camera
from drive_segment_ros.frame.parameters import FrameParameters, SyncParameters
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.ros.events import image_event, sweep_event
from drive_segment_ros.ros.pair_filter import PairFilter
from drive_segment_ros.ros.subscriber import SimpleFilter

SECOND, PERIOD = 1_000_000_000, 100_000_000
PARAMS = FrameParameters(sync=SyncParameters(camera_offset='0.0', wait_s=0.0))
STILL = (0.0, 0.0, 0.0, 1.0)


def message(stamp_ns: int, frame_id: str) -> SimpleNamespace:
    sec, nanosec = divmod(stamp_ns, SECOND)
    stamp = SimpleNamespace(sec=sec, nanosec=nanosec)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp, frame_id=frame_id))


class Chain:
    """An image filter and a sweep filter that feed a pair filter."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Clouds are not read here: a sweep spans its stamp only.
        monkeypatch.setattr(
            'drive_segment_ros.frame.sweep.Sweep.span_ns', lambda self: (self.stamp_ns,) * 2
        )
        self.images, self.sweeps = SimpleFilter(), SimpleFilter()
        stream = FrameStream(PARAMS, ['front'], expects_motion=lambda: False)
        stream.push(Transform('lidar', 'camera', (0.0, 0.0, 0.0), STILL))
        stream.push(CameraInfo('front', example_camera('camera')))
        self.pairs = PairFilter(stream)
        self.images.registerCallback(
            lambda message: self.pairs.push(image_event('front', message, PARAMS))
        )
        self.sweeps.registerCallback(lambda message: self.pairs.push(sweep_event(message, PARAMS)))
        self.stamps: list[int] = []

    def drive(self, first: int, last: int) -> None:
        for k in range(first, last):
            self.sweeps.signalMessage(message(SECOND + k * PERIOD, 'lidar'))
            self.images.signalMessage(message(SECOND + k * PERIOD, 'camera'))


@pytest.fixture
def chain(monkeypatch):
    return Chain(monkeypatch)


def test_it_calls_back_with_pairs_in_order(chain):
    chain.pairs.registerCallback(
        lambda pair, what: chain.stamps.append((pair.offset_s, what)), 'x'
    )
    chain.drive(0, 5)
    assert chain.stamps == [(0.0, 'x')] * len(chain.stamps)
    assert len(chain.stamps) >= 4


def test_a_callback_that_raises_leaves_no_lock_held(chain):
    def fail(pair):
        chain.stamps.append(pair.image.stamp_ns)
        raise ValueError('a defect of others')

    chain.pairs.registerCallback(fail)
    for k in range(5):
        try:
            chain.drive(k, k + 1)
        except ValueError:
            continue
    assert len(chain.stamps) >= 4


def test_a_callback_may_push_and_others_may_while_it_works(chain):
    entered, leave, left = threading.Event(), threading.Event(), []

    def work(pair):
        chain.stamps.append(pair.image.stamp_ns)
        if len(chain.stamps) == 1:
            chain.pairs.expire()
            entered.set()
            left.append(leave.wait(60.0))

    chain.pairs.registerCallback(work)
    thread = threading.Thread(target=chain.drive, args=(0, 3))
    thread.start()
    assert entered.wait(60.0)
    # Does not block while the first callback runs; that thread delivers these pairs too.
    chain.drive(3, 8)
    leave.set()
    thread.join(60.0)
    assert left == [True]
    later = [stamp for stamp in chain.stamps if stamp >= SECOND + 3 * PERIOD]
    assert later == sorted(later)
    assert len(later) >= 4


def test_after_stop_nothing_is_taken(chain):
    chain.pairs.registerCallback(chain.stamps.append)
    chain.drive(0, 3)
    before = len(chain.stamps)
    chain.pairs.stop('stopped')
    chain.drive(3, 9)
    assert len(chain.stamps) == before
    camera = chain.pairs.stream.cameras['front']
    assert camera.clock.received == before + sum(camera.drops.values())
