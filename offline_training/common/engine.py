"""The one engine: a function mapped over jobs, in this process, on this machine or on a cluster.

Jobs say where data lie (paths, URLs, ranges), and workers read and write them: neither jobs nor
results carry sensor data. Results come in the jobs' order, whoever works on them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from drive_segment_ros.errors import DriveSegmentError
from offline_training.common.workers import (
    Call,
    InThisProcess,
    LocalProcesses,
    WorkerDiedError,
    Workers,
)

Job = TypeVar('Job')
Result = TypeVar('Result')
# Jobs handed out for each worker: one at work, one waiting.
_JOBS_A_WORKER = 2


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """What became of a job.

    Attributes:
        job: the job.
        result: what the function returned; None where it failed.
        error: why it failed, None where it did not. `WorkerDiedError` where every process that
            was given the job ended, the last while nothing else was at work.
    """

    job: Job
    result: Result | None
    error: DriveSegmentError | None = None


class Engine:
    """Maps functions over jobs; made by `open_engine`.

    Attributes:
        parallel: jobs that run at a time.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._told: set[tuple[str, int, str]] = set()

    @property
    def parallel(self) -> int:
        """Jobs that run at a time."""
        return self._workers.parallel

    def run(
        self, function: Callable[[Job], Result], jobs: Iterable[Job]
    ) -> Generator[Outcome[Job, Result]]:
        """Yield what becomes of each job, in the jobs' order; one that fails leaves the others.

        No more than two jobs a worker, and their results, exist at a time.

        Args:
            function: importable by its name, of one job that can be pickled. Its result is small.
            jobs: taken as workers are free.

        Raises:
            EngineError: if there are no workers any more.
        """
        waiting: deque[tuple[Job, Call]] = deque()
        try:
            for job in jobs:
                waiting.append((job, self._workers.submit(function, job)))
                if len(waiting) >= _JOBS_A_WORKER * self.parallel:
                    yield self._outcome(function, waiting)
            while waiting:
                yield self._outcome(function, waiting)
        finally:
            for _, call in waiting:
                call.cancel()

    def map(self, function: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """Yield `function(job)` for each job in order, see `run`.

        Raises:
            DriveSegmentError: the first that a job ends with.
        """
        with contextlib.closing(self.run(function, jobs)) as outcomes:
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                yield outcome.result  # type: ignore[misc]

    def _outcome(
        self, function: Callable[[Job], Result], waiting: deque[tuple[Job, Call]]
    ) -> Outcome[Job, Result]:
        """Return what became of the first job that waits."""
        job, call = waiting.popleft()
        outcome: Outcome[Job, Result] = self._result(job, call)
        if isinstance(outcome.error, WorkerDiedError):
            # It may have died of what another job did beside this one: alone it will be seen.
            for _, other in waiting:
                other.wait()
            outcome = self._result(job, self._workers.submit(function, job))
        return outcome

    def _result(self, job: Job, call: Call) -> Outcome[Job, Result]:
        try:
            answer = call.answer()
        except WorkerDiedError as err:
            return Outcome(job, None, err)
        for name, level, text in answer.log:
            # Each job on a bag says again what is wrong with the bag.
            if (name, level, text) not in self._told:
                self._told.add((name, level, text))
                logging.getLogger(name).log(level, '%s', text)
        return Outcome(job, answer.value, answer.error)


@contextlib.contextmanager
def open_engine(
    workers: int = 0,
    scheduler: str = '',
    imports: Sequence[str] = (),
) -> Iterator[Engine]:
    """Start workers, and end them with the `with` block.

    Args:
        workers: processes on this machine; 1 works in this process, 0 takes one per core.
        scheduler: address of a dask.distributed scheduler, whose workers are used instead.
        imports: modules that every process on this machine has imported before its first job.

    Raises:
        DependencyError: if a scheduler is given and dask.distributed is not installed.
        DriveSegmentError: if the scheduler does not answer, or has no workers, or they run other
            versions or several jobs at a time.
    """
    if scheduler:
        from offline_training.common.cluster import cluster_workers

        with cluster_workers(scheduler) as cluster:
            yield Engine(cluster)
        return
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield Engine(InThisProcess())
        return
    with contextlib.closing(LocalProcesses(workers, imports)) as local:
        yield Engine(local)
