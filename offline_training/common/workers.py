"""Workers on this machine: this process, or loky's processes, which are noticed when they die.

What a worker logs travels with its answer, so that it is told by the command that asked.
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
# Loky takes 300 MB that a job leaves for a leak and ends the process, and what it keeps between
# jobs, an open bag or a loaded network, with it.
_NO_LIMIT = str(1 << 60)


class WorkerDiedError(DriveSegmentError):
    """The processes that were given a job ended without an answer."""


class EngineError(DriveSegmentError):
    """Nobody is there any more to work on jobs."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a worker says of a job.

    Attributes:
        value: the result, None where there is none.
        error: why there is none.
        log: what was logged: logger, level, text.
    """

    value: Any = None
    error: DriveSegmentError | None = None
    log: tuple[tuple[str, int, str], ...] = ()


class Call(Protocol):
    """A job that was handed out."""

    def answer(self) -> Answer:
        """Wait for the job.

        Raises:
            WorkerDiedError: if the process that worked on it ended.
            EngineError: if there is nobody to work on it.
        """

    def wait(self) -> None:
        """Wait until it is done, or its process ended."""

    def cancel(self) -> None:
        """Do not begin it, if it has not begun."""


class Workers(Protocol):
    """Where jobs are worked on."""

    @property
    def parallel(self) -> int:
        """Jobs that run at a time."""

    def submit(self, function: Callable[[Any], Any], job: Any) -> Call:
        """Hand out a job."""


class InThisProcess:
    """Works on each job when its result is asked for."""

    parallel = 1

    def submit(self, function: Callable[[Any], Any], job: Any) -> Call:
        """Hand out a job."""
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
            warm_up: what each does then.
        """
        self.parallel = count
        self._imports, self._warm_up = tuple(imports), warm_up
        self._executor = self._start()

    def submit(self, function: Callable[[Any], Any], job: Any) -> Call:
        """Hand out a job; where a process died before, to new ones."""
        from loky.process_executor import BrokenProcessPool

        try:
            return _LocalCall(self._executor.submit(answer, function, job))
        except BrokenProcessPool:
            self._executor.shutdown(kill_workers=True)
            self._executor = self._start()
        return _LocalCall(self._executor.submit(answer, function, job))

    def close(self) -> None:
        """End the processes, whatever they do."""
        self._executor.shutdown(kill_workers=True)

    def _start(self) -> Any:
        from loky import ProcessPoolExecutor

        executor = ProcessPoolExecutor(
            self.parallel,
            initializer=_begin,
            initargs=(os.getpid(), self._imports, self._warm_up),
            env={'LOKY_MAX_MEMORY_LEAK_SIZE': _NO_LIMIT},
        )
        executor.submit(os.getpid)  # which starts all of them
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
    """Takes down what this package logs."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.taken: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(('drive_segment_ros', 'offline_training')):
            self.taken.append((record.name, record.levelno, record.getMessage()))


def _begin(parent: int, imports: Sequence[str], warm_up: Callable[[], object] | None) -> None:
    """Make a process a worker: it leaves Ctrl-C to its parent, and the other cores to others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    prepare_process()
    for module in imports:
        importlib.import_module(module)
    if warm_up is not None:
        warm_up()


def prepare_process() -> None:
    """Have a process that works on jobs, one at a time, use one core and keep its memory."""
    import cv2

    keep_freed_memory()
    cv2.setNumThreads(1)


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, however that was."""
    while os.getppid() == parent:
        time.sleep(_PARENT_LOOKED_AT_S)
    os._exit(1)
