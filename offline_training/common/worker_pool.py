"""Spread independent jobs over processes or a cluster, and take the results in order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from drive_segment_ros.errors import DependencyError, DriveSegmentError
from drive_segment_ros.memory import keep_freed_memory

Job = TypeVar('Job')
Result = TypeVar('Result')
_ENDED = 'a worker process was ended from outside, most likely for lack of memory'


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
        initializer: what every worker on this machine does before its first job.

    Yields:
        The executor, and how many jobs it runs at a time.

    Raises:
        DependencyError: if a scheduler is given and dask.distributed is not installed.
        DriveSegmentError: if the scheduler does not answer.
    """
    if scheduler:
        with _dask_client(scheduler) as client:
            yield client.get_executor(), max(1, sum(client.ncores().values()))
        return
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        if initializer is not None:
            initializer()
        yield _InThisProcess(), 1
        return
    pool = _WorkerProcesses(workers, _forkserver(preload), initializer)
    try:
        yield pool, workers
    except KeyboardInterrupt:
        pool.stop()  # a job may take long, and nobody wants it any more
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    executor: Executor, function: Callable[[Job], Result], jobs: Iterable[Job], in_flight: int
) -> Iterator[Result]:
    """Yield `function(job)` for each job, in the jobs' order.

    No more than `in_flight` jobs and results exist at a time, however many there are to come.

    Raises:
        DriveSegmentError: if a worker process dies, or cannot be started.
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
        raise DriveSegmentError(f'{err}; use fewer --workers') from err
    finally:
        for future in waiting:
            future.cancel()


def _forkserver(preload: Sequence[str]) -> ForkServerContext:
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


class _WorkerProcesses(Executor):
    """Processes that work on jobs, each behind a pipe and a thread of its own.

    A process may die at any moment, and is noticed: its pipe ends. `ProcessPoolExecutor` has one
    pipe for all results and waits for ever for the rest of one that is cut off.
    """

    def __init__(
        self, count: int, context: ForkServerContext, initializer: Callable[[], None] | None
    ) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Any] | None] = SimpleQueue()
        self._stopped = False
        arguments = (context, initializer)
        self._threads = [
            threading.Thread(target=self._serve, args=arguments, daemon=True) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._jobs.put((future, (fn, args, kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        while cancel_futures and not self._jobs.empty():
            with contextlib.suppress(Empty):
                if (job := self._jobs.get_nowait()) is not None:
                    job[0].cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads if wait else []:
            thread.join()

    def stop(self) -> None:
        """End the processes, whatever they do."""
        self._stopped = True
        for process in multiprocessing.active_children():
            process.terminate()

    def _serve(self, context: ForkServerContext, initializer: Callable[[], None] | None) -> None:
        """Have one process at a time do jobs until there are no more."""
        while self._died(context, initializer) and not self._stopped:
            pass  # The next job may be a smaller one: another process takes it.

    def _died(self, context: ForkServerContext, initializer: Callable[[], None] | None) -> bool:
        """Have a process do jobs; return whether it died of one, rather than did all."""
        here, there = context.Pipe()
        # A daemon: whatever happens here, it does not outlive this process.
        process = context.Process(target=_work, args=(there, initializer), daemon=True)
        with here:
            try:
                process.start()
            # The server that forks ends where it cannot.
            except (EOFError, OSError) as err:
                self._refuse(f'a worker process could not be started: {str(err) or "no answer"}')
                return False
            finally:
                there.close()
            while (job := self._jobs.get()) is not None:
                future, call = job
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    here.send(call)
                    succeeded, value = here.recv()
                except (EOFError, OSError):
                    future.set_exception(BrokenProcessPool(_ENDED))
                    return True
                except Exception as err:  # what cannot be pickled
                    future.set_exception(err)
                else:
                    future.set_result(value) if succeeded else future.set_exception(value)
        process.join()
        return False

    def _refuse(self, reason: str) -> None:
        """Answer jobs, until there are no more, with why they cannot be done."""
        while (job := self._jobs.get()) is not None:
            future, _ = job
            if future.set_running_or_notify_cancel():
                future.set_exception(BrokenProcessPool(reason))


def _work(jobs: Connection, initializer: Callable[[], None] | None) -> None:
    """Do jobs until there are no more: what a worker process runs.

    It leaves Ctrl+C to the parent, and the other cores to the other workers.
    """
    import cv2

    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    if initializer is not None:
        initializer()
    while True:
        try:
            function, arguments, options = jobs.recv()
        except EOFError:
            return
        try:
            answer = True, function(*arguments, **options)
        except Exception as err:
            answer = False, err
        try:
            jobs.send(answer)
        except BrokenPipeError:
            return  # the parent is gone
        except Exception as err:  # what cannot be pickled
            jobs.send((False, DriveSegmentError(f'a worker cannot answer: {err}')))


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
