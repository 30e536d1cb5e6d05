import threading

import pytest

from offline_training.training.ahead import ahead


def test_results_come_in_order_from_several_threads():
    everyone = threading.Barrier(3, timeout=60.0)

    def work(item):
        if item < 3:
            everyone.wait()  # Fails unless three threads work at a time.
        return item, threading.current_thread().name

    results = list(ahead(work, range(50), 3))

    assert [item for item, _ in results] == list(range(50))
    assert len({name for _, name in results}) == 3


def test_no_more_is_drawn_ahead_than_is_needed():
    drawn = []
    results = ahead(lambda item: item, (drawn.append(item) or item for item in range(100)), 2)

    assert next(results) == 0
    assert len(drawn) == 5
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('ahead')]


def test_an_error_comes_in_its_place():
    def work(item):
        return 1 // (2 - item)

    results = ahead(work, range(5), 2)

    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
