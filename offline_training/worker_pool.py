"""Spread independent jobs over processes or a cluster, and take the results in order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from drive_segment_ros.errors import DependencyError, DriveSegmentError
from drive_segment_ros.memory import keep_freed_memory

Job = TypeVar('Job')
Result = TypeVar('Result')


def begin_to_import(preload: Sequence[str]) -> None:
    """Have modules that a later `worker_pool` will preload imported in the background already."""
    _forkserver(preload)
    forkserver.ensure_running()


@contextlib.contextmanager
def worker_pool(
    workers: int = 0,
    scheduler: str = '',
    preload: Sequence[str] = (),
    initializer: Callable[[], None] | None = None,
) -> Iterator[tuple[Executor, int]]:
    """Start workers.

    Args:
        workers: processes on this machine; 1 works in this process, 0 takes one per core.
        scheduler: address of a dask.distributed scheduler, whose workers are used instead.
        preload: modules every worker will need, imported once for all of them.
        initializer: what every worker does before its first job.

    Yields:
        The executor, and how many jobs it runs at a time.

    Raises:
        DependencyError: if a scheduler is given and dask.distributed is not installed.
        DriveSegmentError: if the scheduler does not answer.
    """
    if scheduler:
        with _dask_client(scheduler) as client:
            if initializer is not None:
                client.run(initializer)
            yield client.get_executor(), max(1, sum(client.ncores().values()))
        return
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        if initializer is not None:
            initializer()
        yield _InThisProcess(), 1
        return
    context = _forkserver(preload)
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_be_a_worker, initargs=(initializer,)
    )
    try:
        # The processes start while the caller is still getting the jobs ready.
        for _ in range(workers):
            pool.submit(os.getpid)
        yield pool, workers
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(
    executor: Executor, function: Callable[[Job], Result], jobs: Iterable[Job], in_flight: int
) -> Iterator[Result]:
    """Yield `function(job)` for each job, in the jobs' order.

    No more than `in_flight` jobs and results exist at a time, however many there are to come.

    Raises:
        DriveSegmentError: if a worker process dies.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(executor.submit(function, job))
            if len(waiting) >= in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as err:
        raise DriveSegmentError(
            'a worker process was ended from outside, most likely for lack of memory; '
            'use fewer --workers'
        ) from err


def _forkserver(preload: Sequence[str]) -> BaseContext:
    """Return a way to fork workers from a process that has nothing but the imports.

    It has no threads or locks to inherit.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(list(preload))
    return context


class _InThisProcess(Executor):
    """Runs each job at once, where it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as err:
            future.set_exception(err)
        return future


def _be_a_worker(initializer: Callable[[], None] | None) -> None:
    """Leave Ctrl+C to the parent, and the other cores to the other workers; get ready."""
    import cv2

    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    if initializer is not None:
        initializer()


def _dask_client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as err:
        raise DependencyError(
            '--scheduler needs dask.distributed: pip install distributed'
        ) from err
    try:
        return Client(address, timeout='10s')
    except (OSError, ValueError) as err:
        reason = ' '.join(str(err).split())
        raise DriveSegmentError(f'no dask scheduler answers at {address}: {reason}') from err
