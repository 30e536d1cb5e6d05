"""Jobs come back in order, few at a time, and failures are named."""

from __future__ import annotations

import functools
import importlib.util
import math
import multiprocessing
import os
import pickle

import pytest

from drive_segment_ros.errors import DependencyError, DriveSegmentError
from offline_training.common.worker_pool import in_order, worker_pool


@pytest.mark.parametrize('workers', [1, 2])
def test_results_come_in_order_and_jobs_are_taken_as_needed(workers):
    # Workers can import the standard library only: every other job takes long.
    wanted = [30_000 * (job % 2) + job for job in range(12)]
    taken = []

    def jobs():
        for job in wanted:
            taken.append(job)
            yield job

    with worker_pool(workers) as (executor, parallel):
        assert parallel == workers
        for done, result in enumerate(in_order(executor, math.factorial, jobs(), 3)):
            assert result == math.factorial(wanted[done])
            assert len(taken) <= done + 3
    assert len(taken) == 12


def test_a_killed_worker_is_an_error_that_says_what_to_do():
    with (
        worker_pool(2) as (executor, _),
        pytest.raises(DriveSegmentError, match='use fewer --workers'),
    ):
        list(in_order(executor, os._exit, range(3), 2))


def test_another_worker_takes_the_place_of_one_that_died():
    with worker_pool(2) as (executor, _):
        for _ in range(3):
            with pytest.raises(DriveSegmentError, match='worker process was ended'):
                list(in_order(executor, os._exit, [1, 1], 2))
            numbers = list(range(20))
            assert list(in_order(executor, math.factorial, numbers, 4)) == [
                math.factorial(number) for number in numbers
            ]


def test_a_worker_that_cannot_get_ready_is_an_error_too():
    with (
        worker_pool(2, initializer=functools.partial(os._exit, 1)) as (executor, _),
        pytest.raises(DriveSegmentError, match='worker process was ended'),
    ):
        list(in_order(executor, math.factorial, range(3), 2))


# The server that forks workers ends where it cannot: then nothing answers.
@pytest.mark.parametrize(
    ('error', 'told'),
    [(OSError('no more processes'), 'no more processes'), (EOFError(), 'no answer')],
)
def test_a_worker_that_cannot_be_started_is_an_error_too(monkeypatch, error, told):
    def start(process):
        raise error

    monkeypatch.setattr(multiprocessing.context.ForkServerProcess, 'start', start)
    with (
        worker_pool(2) as (executor, _),
        pytest.raises(DriveSegmentError, match=f'could not be started: {told}'),
    ):
        list(in_order(executor, math.factorial, range(3), 2))


def test_what_a_job_raises_and_what_cannot_be_sent_is_told():
    with worker_pool(2) as (executor, _):
        with pytest.raises(ValueError, match='negative'):
            list(in_order(executor, math.factorial, [3, -1], 2))
        with pytest.raises((AttributeError, pickle.PicklingError)):
            list(in_order(executor, lambda job: job, [1], 2))
        with pytest.raises(DriveSegmentError, match='a worker cannot answer'):
            list(in_order(executor, eval, ['lambda: 1'], 2))
        assert list(in_order(executor, math.factorial, [3], 2)) == [6]


def test_a_scheduler_needs_dask():
    installed = importlib.util.find_spec('distributed') is not None
    error = DriveSegmentError if installed else DependencyError
    message = 'no dask scheduler answers at' if installed else 'pip install distributed'
    with pytest.raises(error, match=message), worker_pool(scheduler='tcp://127.0.0.1:1'):
        pass
