"""Workers on this machine: this process, or loky's processes, whose death is detected.

A worker's log records are returned with its answer and logged by the main process.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.memory import keep_freed_memory

_ENDED = 'the process was ended from outside, most likely for lack of memory; use fewer --workers'
_PARENT_LOOKED_AT_S = 0.5
# Loky would consider 300 MB kept between jobs, such as an open bag or a loaded network, a leak,
# and end the process.
_NO_LIMIT = str(1 << 60)


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
    """Processes of this machine.

    Attributes:
        parallel: their number.
    """

    def __init__(
        self,
        count: int,
        imports: Sequence[str] = (),
        warm_up: Callable[[], object] | None = None,
    ) -> None:
        """Start them.

        Args:
            count: their number.
            imports: modules each imports before its first job.
            warm_up: a function that each calls then.
        """
        self.parallel = count
        self._imports, self._warm_up = tuple(imports), warm_up
        self._executor = self._start()

    def submit(self, function: Callable[[Any], Any], job: Any) -> Call:
        """Submit a job; to new processes if one has died."""
        from loky.process_executor import BrokenProcessPool

        try:
            return _LocalCall(self._executor.submit(answer, function, job))
        except BrokenProcessPool:
            self._executor.shutdown(kill_workers=True)
            self._executor = self._start()
        return _LocalCall(self._executor.submit(answer, function, job))

    def close(self) -> None:
        """End the processes immediately."""
        self._executor.shutdown(kill_workers=True)

    def _start(self) -> Any:
        from loky import ProcessPoolExecutor

        executor = ProcessPoolExecutor(
            self.parallel,
            initializer=_begin,
            initargs=(os.getpid(), self._imports, self._warm_up),
            env={'LOKY_MAX_MEMORY_LEAK_SIZE': _NO_LIMIT},
        )
        executor.submit(os.getpid)  # starts all of them
        return executor


class _LocalCall:
    def __init__(self, future: Any) -> None:
        self._future = future

    def answer(self) -> Answer:
        from loky.process_executor import BrokenProcessPool

        try:
            found: Answer = self._future.result()
        except BrokenProcessPool as err:
            raise WorkerDiedError(_ENDED) from err
        return found

    def wait(self) -> None:
        from loky import wait

        wait([self._future])

    def cancel(self) -> None:
        self._future.cancel()


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


def _begin(parent: int, imports: Sequence[str], warm_up: Callable[[], object] | None) -> None:
    """Set up a worker process: Ctrl-C is left to its parent, and it uses one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    prepare_process()
    for module in imports:
        importlib.import_module(module)
    if warm_up is not None:
        warm_up()


def prepare_process() -> None:
    """Limit a worker process to one core, and keep freed memory in it."""
    import cv2

    keep_freed_memory()
    cv2.setNumThreads(1)


def _end_with(parent: int) -> None:
    """End this process when its parent has ended in any way."""
    while os.getppid() == parent:
        time.sleep(_PARENT_LOOKED_AT_S)
    os._exit(1)
