"""The engine: maps a function over jobs, in this process, on this machine or on a cluster.

Jobs contain the location of data (paths, URLs, ranges), and workers read and write them: neither
jobs nor results contain sensor data. Results are returned in the order of the jobs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from drive_segment_ros.cores import usable_cores
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
# Jobs submitted per worker: one running, one waiting.
_JOBS_A_WORKER = 2


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """The result of a job.

    Attributes:
        job: the job.
        result: the function's result; None if it failed.
        error: why it failed, else None. `WorkerDiedError` if every process that ran the job ended,
            the last one while no other job was running.
    """

    job: Job
    result: Result | None
    error: DriveSegmentError | None = None


class Engine:
    """Maps functions over jobs; created by `open_engine`.

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
        """Yield the outcome of each job in order; a failure does not affect other jobs.

        At most two jobs per worker, and their results, exist at a time.

        Args:
            function: importable by its name, of one job that can be pickled; with a small result.
            jobs: consumed as workers become free.

        Raises:
            EngineError: if there are no workers left.
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
            DriveSegmentError: of the first job that fails.
        """
        with contextlib.closing(self.run(function, jobs)) as outcomes:
            for outcome in outcomes:
                if outcome.error is not None:
                    raise outcome.error
                yield outcome.result  # type: ignore[misc]

    def _outcome(
        self, function: Callable[[Job], Result], waiting: deque[tuple[Job, Call]]
    ) -> Outcome[Job, Result]:
        """Return the outcome of the first waiting job."""
        job, call = waiting.popleft()
        outcome: Outcome[Job, Result] = self._result(job, call)
        if isinstance(outcome.error, WorkerDiedError):
            # Another job may have caused the death of the process: this one is repeated alone.
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
            # All jobs on a bag repeat the warnings about the bag.
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
    """Start workers, and end them after the `with` block.

    Args:
        workers: processes on this machine; 1 for this process, 0 for one per core.
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
    workers = workers or usable_cores()
    if workers == 1:
        yield Engine(InThisProcess())
        return
    with contextlib.closing(LocalProcesses(workers, imports)) as local:
        yield Engine(local)
