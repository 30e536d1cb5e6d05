"""The matcher as a message filter: each failing of ApproximateTimeSynchronizer, and not here."""

from __future__ import annotations

import itertools
import types

import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image, PointCloud2

from drive_segment_ros.perception.synchronisation import SyncParameters
from drive_segment_ros.ros.synchronizer import ImageSweepSynchronizer


class MockFilter:
    """The part of message_filters.SimpleFilter that a filter downstream relies on."""

    def __init__(self) -> None:
        self.callbacks: list[tuple] = []

    def registerCallback(self, callback, *args):
        self.callbacks.append((callback, args))
        return len(self.callbacks) - 1

    def signalMessage(self, *messages):
        for callback, args in self.callbacks:
            callback(*messages, *args)


@pytest.fixture(params=['mock', 'message_filters'])
def new_filter(request):
    """Make filters of our own kind and of the genuine one, where that is installed."""
    if request.param == 'mock':
        return MockFilter
    genuine = pytest.importorskip(
        'message_filters', reason='message_filters is part of a ROS installation'
    )
    return genuine.SimpleFilter


def image(ms: int) -> Image:
    message = Image()
    message.header.stamp = Time(sec=1 + ms // 1000, nanosec=ms % 1000 * 1_000_000)
    return message


def sweep(ms: int) -> PointCloud2:
    message = PointCloud2()
    message.header.stamp = image(ms).header.stamp
    return message


def ms_of(message) -> int:
    return (message.header.stamp.sec - 1) * 1000 + message.header.stamp.nanosec // 1_000_000


def test_pairs_the_nearest_in_every_order_of_arrival(new_filter):
    for order in itertools.permutations([image(60), image(100), sweep(100)]):
        if ms_of(order[0]) == 100 and isinstance(order[0], Image):
            continue  # images out of order
        images, sweeps, got = new_filter(), new_filter(), []
        synchronizer = ImageSweepSynchronizer(images, sweeps)
        synchronizer.registerCallback(lambda i, s, got=got: got.append((ms_of(i), ms_of(s))))
        for message in order:
            (images if isinstance(message, Image) else sweeps).signalMessage(message)
        synchronizer.flush()
        assert got == [(100, 100)]


def test_equal_stamps_pair_at_zero_tolerance(new_filter):
    images, sweeps, got = new_filter(), new_filter(), []
    synchronizer = ImageSweepSynchronizer(images, sweeps, SyncParameters(max_offset_s=0.0))
    synchronizer.registerCallback(lambda *messages: got.append(messages), 'front', 7)
    images.signalMessage(image(5))
    sweeps.signalMessage(sweep(5))
    assert [rest for _, _, *rest in got] == [['front', 7]]


def test_callback_that_raises_stops_neither_others_nor_later_pairs():
    images, sweeps, got, errors = MockFilter(), MockFilter(), [], []
    synchronizer = ImageSweepSynchronizer(images, sweeps, on_error=errors.append)
    synchronizer.registerCallback(lambda i, s: 1 / 0)
    synchronizer.registerCallback(lambda i, s: got.append(ms_of(i)))
    for k in (0, 100, 200):
        images.signalMessage(image(k))
        sweeps.signalMessage(sweep(k))
    assert got == [0, 100, 200]
    assert [type(error) for error in errors] == [ZeroDivisionError] * 3


def test_no_lock_is_held_while_callbacks_run():
    """A callback that feeds the synchroniser again would hang if one were."""
    images, sweeps, got = MockFilter(), MockFilter(), []

    def again(i, s):
        got.append(ms_of(i))
        if len(got) < 3:
            images.signalMessage(image(100 * len(got)))
            sweeps.signalMessage(sweep(100 * len(got)))

    ImageSweepSynchronizer(images, sweeps).registerCallback(again)
    images.signalMessage(image(0))
    sweeps.signalMessage(sweep(0))
    assert got == [0, 100, 200]


def test_several_cameras_share_a_sweep_each_with_its_offset():
    images, sweeps, got = {'front': MockFilter(), 'left': MockFilter()}, MockFilter(), []
    synchronizer = ImageSweepSynchronizer(images, sweeps)
    synchronizer.matcher.set_offset('left', 0.05)
    synchronizer.registerCallback(lambda i, s: got.append((ms_of(i), ms_of(s))))
    images['front'].signalMessage(image(100))
    images['left'].signalMessage(image(50))
    sweeps.signalMessage(sweep(100))
    assert sorted(got) == [(50, 100), (100, 100)]
    assert 'no image' not in synchronizer.matcher.report()


def test_messages_without_stamp_are_counted_or_take_the_time_of_arrival():
    now = types.SimpleNamespace(now=lambda: types.SimpleNamespace(to_msg=lambda: Time(sec=9)))
    for clock, paired in ((None, 0), (now, 1)):
        images, sweeps = MockFilter(), MockFilter()
        synchronizer = ImageSweepSynchronizer(images, sweeps, arrival_clock=clock)
        images.signalMessage(Image())
        sweeps.signalMessage(PointCloud2())
        assert synchronizer.matcher.pairs == paired
        assert synchronizer.matcher.drops['zero_stamp'] == 1 - paired


def test_it_can_feed_a_filter_downstream(new_filter):
    images, sweeps, got = new_filter(), new_filter(), []
    downstream = new_filter()
    synchronizer = ImageSweepSynchronizer(images, sweeps)
    synchronizer.registerCallback(downstream.signalMessage)
    downstream.registerCallback(lambda i, s: got.append((ms_of(i), ms_of(s))))
    images.signalMessage(image(0))
    sweeps.signalMessage(sweep(0))
    assert got == [(0, 0)]
