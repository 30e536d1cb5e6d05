"""Workers on this machine: this process, or a pool of processes whose death is detected.

A worker's log records are returned with its answer and logged by the main process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Protocol

from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.memory import keep_freed_memory

_ENDED = 'the process was ended from outside, most likely for lack of memory; use fewer --workers'
_CONTEXT = multiprocessing.get_context('forkserver')


class WorkerDiedError(DriveSegmentError):
    """The processes that ran a job ended without an answer."""


class EngineError(DriveSegmentError):
    """There are no workers left."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A worker's answer to a job.

    Attributes:
        value: the result, None if it failed.
        error: why it failed.
        log: log records: logger, level, text.
    """

    value: Any = None
    error: DriveSegmentError | None = None
    log: tuple[tuple[str, int, str], ...] = ()


class Call(Protocol):
    """A submitted job."""

    def answer(self) -> Answer:
        """Wait for the job.

        Raises:
            WorkerDiedError: if the process that ran it ended.
            EngineError: if there are no workers.
        """

    def wait(self) -> None:
        """Wait until it is done, or its process has ended."""

    def cancel(self) -> None:
        """Cancel it if it has not started."""


class Workers(Protocol):
    """The interface of workers."""

    @property
    def parallel(self) -> int:
        """Jobs that run at a time."""

    def submit(self, function: Callable[[Any], Any], job: Any) -> Call:
        """Submit a job."""


class InThisProcess:
    """Runs each job when its result is requested."""

    parallel = 1

    def submit(self, function: Callable[[Any], Any], job: Any) -> Call:
        """Submit a job."""
        return _Later(function, job)


class _Later:
    def __init__(self, function: Callable[[Any], Any], job: Any) -> None:
        self._function, self._job = function, job

    def answer(self) -> Answer:
        try:
            return Answer(self._function(self._job))
        except DriveSegmentError as err:
            return Answer(error=err)

    def wait(self) -> None:
        pass

    def cancel(self) -> None:
        pass


class LocalProcesses:
    """Processes of this machine, forked from one that has imported what they need.

    Attributes:
        parallel: their number.
    """

    def __init__(self, count: int, imports: Sequence[str] = ()) -> None:
        """Start the process that they are forked from; they start with the first jobs.

        Args:
            count: their number.
            imports: modules each has imported before its first job.
        """
        self.parallel = count
        self._imports = tuple(imports)
        start_fork_server(imports)
        self._start()

    def submit(self, function: Callable[[Any], Any], job: Any) -> Call:
        """Submit a job; to new processes if one has died."""
        try:
            return _LocalCall(self._executor.submit(answer, function, job))
        except BrokenProcessPool:
            self.close()
            self._start()
        return _LocalCall(self._executor.submit(answer, function, job))

    def close(self) -> None:
        """End the processes immediately."""
        self._lifeline.close()
        self._executor.shutdown(cancel_futures=True)

    def _start(self) -> None:
        # Processes end when this one closes its end, or ends itself.
        far_end, self._lifeline = multiprocessing.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self.parallel,
            _CONTEXT,
            initializer=_begin,
            initargs=(dict(os.environ), far_end, self._imports),
        )


class _LocalCall:
    def __init__(self, future: Future[Answer]) -> None:
        self._future = future

    def answer(self) -> Answer:
        try:
            return self._future.result()
        except BrokenProcessPool as err:
            raise WorkerDiedError(_ENDED) from err

    def wait(self) -> None:
        wait([self._future])

    def cancel(self) -> None:
        self._future.cancel()


def start_fork_server(imports: Sequence[str]) -> None:
    """Start the process that others are forked from, if it does not run yet.

    Args:
        imports: modules that it imports meanwhile.
    """
    _CONTEXT.set_forkserver_preload(['offline_training.common.fork_server', __name__, *imports])
    resource_tracker.ensure_running()  # which would take the mask off
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def answer(function: Callable[[Any], Any], job: Any) -> Answer:
    """Do a job in a worker process."""
    notes = _Notes(logging.WARNING)
    root = logging.getLogger()
    root.addHandler(notes)
    try:
        return Answer(function(job), log=tuple(notes.taken))
    except DriveSegmentError as err:
        return Answer(error=err, log=tuple(notes.taken))
    finally:
        root.removeHandler(notes)


class _Notes(logging.Handler):
    """Collects the log records of this package."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.taken: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(('drive_segment_ros', 'offline_training')):
            self.taken.append((record.name, record.levelno, record.getMessage()))


def _begin(environment: dict[str, str], lifeline: Connection, imports: Sequence[str]) -> None:
    """Set up a worker process: Ctrl-C is left to its parent, and it uses one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The process it was forked from is older than what this command has set since.
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    prepare_process()
    for module in imports:
        importlib.import_module(module)


def prepare_process() -> None:
    """Limit a worker process to one core, and keep freed memory in it."""
    import cv2

    keep_freed_memory()
    cv2.setNumThreads(1)


def _end_with(lifeline: Connection) -> None:
    """End this process when the other end of a pipe is closed, or its process has ended."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)
