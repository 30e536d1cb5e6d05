"""Worker: the latest items win, errors are reported, its thread survives, closing is bounded."""

from __future__ import annotations

import threading
import time

import pytest

from drive_segment_ros.worker import Worker


class Gate:
    """A work function that blocks until `open` is set, then records its item."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, item: int) -> None:
        self.entered.release()
        assert self.open.wait(60)
        self.items.append(item)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.mark.parametrize(('size', 'kept'), [(1, [0, 9]), (3, [0, 7, 8, 9])])
def test_latest_wins_and_drops_are_counted(gate, size, kept):
    worker = Worker(gate, size=size)
    assert worker.submit(0)
    assert gate.entered.acquire(timeout=60)
    accepted = [worker.submit(k) for k in range(1, 10)]
    assert accepted == [True] * size + [False] * (9 - size)
    assert worker.waiting == size
    gate.open.set()
    assert worker.wait_idle(60)
    assert gate.items == kept
    assert worker.done == len(kept)
    assert worker.done + worker.dropped == 10
    assert worker.close(60.0)


def test_work_runs_on_another_thread():
    threads = []
    worker = Worker(lambda _: threads.append(threading.current_thread().name), name='lidar')
    worker.submit(1)
    assert worker.close(60.0, drain=True)
    assert threads == ['lidar']


def test_errors_are_told_and_the_thread_goes_on():
    errors, results = [], []

    def work(item: int) -> None:
        results.append(10 // item)

    def tell(error: Exception) -> None:
        errors.append(error)
        raise RuntimeError('even this does not stop it')

    worker = Worker(work, size=3, on_error=tell)
    for item in (0, 5, 2):
        worker.submit(item)
    assert worker.close(60.0, drain=True)
    assert results == [2, 5]
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert (worker.done, worker.failed) == (3, 1)


def open_once_closing(gate, worker: Worker, drain: bool) -> None:
    while not worker._closing or (worker.dropped < 2 and not drain):
        time.sleep(0.001)
    gate.open.set()


def test_close_drops_or_drains(gate):
    for drain, kept in ((False, [0]), (True, [0, 1, 2])):
        gate.items.clear()
        gate.open.clear()
        worker = Worker(gate, size=5)
        worker.submit(0)
        assert gate.entered.acquire(timeout=60)
        worker.submit(1)
        worker.submit(2)
        threading.Thread(target=open_once_closing, args=(gate, worker, drain), daemon=True).start()
        assert worker.close(60.0, drain=drain)
        assert gate.items == kept
        assert worker.done + worker.dropped == 3
        assert not worker.submit(3)


def test_close_gives_up_on_a_function_that_hangs(gate):
    worker = Worker(gate)
    worker.submit(0)
    assert gate.entered.acquire(timeout=60)
    worker.submit(1)
    assert not worker.close(timeout_s=0.05, drain=True)
    assert worker.dropped == 2


def test_what_is_given_up_is_told_once_and_knows_it(gate):
    dropped: list[int] = []
    wanted: list[bool] = []

    def work(item: int) -> None:
        gate(item)
        wanted.append(worker.commit())
        raise ValueError('nobody hears of it')

    errors: list[Exception] = []
    worker = Worker(work, on_error=errors.append, on_drop=dropped.append)
    worker.submit(0)
    assert gate.entered.acquire(timeout=60)
    worker.submit(1)
    assert worker.pending == 2
    worker.close(timeout_s=0.01)
    worker.submit(2)
    assert (dropped, worker.pending) == ([1, 0, 2], 0)
    gate.open.set()
    assert worker.close(60.0)
    assert (wanted, errors, dropped, worker.pending) == ([False], [], [1, 0, 2], 0)


def test_finished_item_is_freed_while_idle():
    import weakref

    class Big:
        pass

    worker = Worker(lambda _: None)
    item = Big()
    alive = weakref.ref(item)
    worker.submit(item)
    del item
    assert worker.wait_idle(60)
    assert alive() is None
    worker.close()
