"""Workers of a dask.distributed cluster: checked before the first job, and left as they were."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib.metadata
import logging
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

import drive_segment_ros
from drive_segment_ros.errors import DependencyError, DriveSegmentError
from offline_training.common.workers import (
    Answer,
    Call,
    EngineError,
    WorkerDiedError,
    answer,
    prepare_process,
)

_log = logging.getLogger(__name__)

_CONNECT_S = 10.0
# How long a cluster may be without any worker, as while all of them are started anew.
_WITHOUT_WORKERS_S = 60.0
_LOOKED_AT_S = 1.0
# What results depend on, to the bit: of these the client and all workers have the same versions.
_LIBRARIES = ('numpy', 'numba', 'opencv-contrib-python-headless', 'scipy')
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclasses.dataclass(frozen=True)
class _WorkersAnswer(Answer):
    """What a worker of a cluster says of a job.

    Attributes:
        no_room: whether the worker's disk is full, which another's may not be.
        worker: its address.
    """

    no_room: bool = False
    worker: str = ''


@contextlib.contextmanager
def cluster_workers(address: str) -> Iterator[ClusterWorkers]:
    """Connect to a scheduler; what this client asked for is cancelled at the end, no more.

    Args:
        address: `tcp://HOST:PORT`, or `tls://` with the certificates that dask's configuration
            names.

    Raises:
        DependencyError: if dask.distributed is not installed.
        DriveSegmentError: if no scheduler answers, or its workers cannot be used.
    """
    try:
        from distributed import Client
    except ImportError as err:
        raise DependencyError(
            "--scheduler needs dask.distributed: pip install '.[cluster]'"
        ) from err
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TypeError, ValueError, RuntimeError) as err:
        reason = ' '.join(str(err).split()) or type(err).__name__
        raise DriveSegmentError(f'no dask scheduler answers at {address}: {reason}') from err
    # It says in many lines what is said here in one.
    for name in ('distributed', 'distributed.client', 'distributed.core', 'distributed.comm'):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        _log.info('dashboard of %s: %s', address, client.dashboard_link)
        yield ClusterWorkers(client, address)
    finally:
        # Of a scheduler that is gone nobody takes leave.
        client.close(timeout=_LOOKED_AT_S)


class ClusterWorkers:
    """Workers of a cluster.

    Attributes:
        parallel: their number when the work began.
    """

    def __init__(self, client: Any, address: str) -> None:
        """Look at the workers.

        Raises:
            DriveSegmentError: if there is none, or they run other versions, or several jobs at a
                time.
        """
        self._client = client
        self._address = address
        threads = client.nthreads()
        if not threads:
            raise DriveSegmentError(
                f'the scheduler at {address} has no workers; start some: '
                f'dask worker {address} --nthreads 1'
            )
        for worker, count in sorted(threads.items()):
            if count != 1:
                raise DriveSegmentError(
                    f'worker {worker} runs {count} jobs at a time in one process; start it with '
                    f'--nthreads 1 and as many --nworkers'
                )
        check_versions(versions(), self._ask(versions))
        self.parallel = len(threads)

    def submit(self, function: Callable[[Any], Any], job: Any) -> Call:
        """Hand out a job."""
        return _ClusterCall(self, function, job)

    def send(self, function: Callable[[Any], Any], job: Any, not_to: set[str]) -> Any:
        """Return the future of a job.

        Args:
            function, job: what to do.
            not_to: workers that have no room for it.

        Raises:
            EngineError: if the scheduler is gone.
        """
        options: dict[str, Any] = {}
        if not_to:
            others = set(self._client.nthreads()) - not_to
            options = {'workers': sorted(others), 'allow_other_workers': False}
        try:
            return self._client.submit(_work, function, job, versions(), pure=False, **options)
        except Exception as err:  # of several kinds
            raise self._gone() from err

    def others(self, workers: set[str]) -> bool:
        """Whether there are workers besides some."""
        return bool(set(self._client.nthreads()) - workers)

    def answer(self, future: Any) -> _WorkersAnswer:
        """Wait for a future.

        Raises:
            WorkerDiedError: if the workers that had it died.
            EngineError: if the scheduler or all workers are gone.
        """
        from distributed import KilledWorker

        self.wait(future)
        try:
            found: _WorkersAnswer = future.result(timeout=_CONNECT_S)
        except KilledWorker as err:
            raise WorkerDiedError(
                f'{err.allowed_failures + 1} workers ended while they had it, most likely for '
                'lack of memory; give workers more'
            ) from err
        except (OSError, TimeoutError) as err:
            raise self._gone() from err
        except Exception as err:
            if type(err).__name__ in ('CancelledError', 'FutureCancelledError'):
                raise self._gone() from err
            raise
        return found

    def wait(self, future: Any) -> None:
        """Wait until a future is done.

        Raises:
            EngineError: if the scheduler or all workers are gone.
        """
        alone_since = time.monotonic()
        looked_at = time.monotonic()
        while not future.done():
            if self._client.status != 'running':
                raise self._gone()
            now = time.monotonic()
            if now - looked_at > _LOOKED_AT_S:
                looked_at = now
                if self._client.nthreads():
                    alone_since = now
                elif now - alone_since > _WITHOUT_WORKERS_S:
                    raise EngineError(
                        f'the scheduler at {self._address} has had no worker for '
                        f'{_WITHOUT_WORKERS_S:.0f} s'
                    )
            time.sleep(0.01)

    def _ask(self, function: Callable[[], Any]) -> dict[str, Any]:
        """Return what each worker answers, by address."""
        try:
            answers: dict[str, Any] = self._client.run(function, on_error='return')
        except Exception as err:  # of several kinds
            raise self._gone() from err
        return answers

    def _gone(self) -> EngineError:
        return EngineError(
            f'the scheduler at {self._address} is gone; what workers have finished is kept'
        )


class _ClusterCall:
    """A job of a cluster; one whose worker has no room on its disk is given to another."""

    def __init__(self, workers: ClusterWorkers, function: Callable[[Any], Any], job: Any) -> None:
        self._workers, self._function, self._job = workers, function, job
        self._future = workers.send(function, job, set())

    def answer(self) -> Answer:
        full: set[str] = set()
        while True:
            found = self._workers.answer(self._future)
            full.add(found.worker)
            if not found.no_room or not self._workers.others(full):
                return found
            _log.warning('%s: %s; another worker takes it', found.worker, found.error)
            self._future = self._workers.send(self._function, self._job, full)

    def wait(self) -> None:
        self._workers.wait(self._future)

    def cancel(self) -> None:
        with contextlib.suppress(Exception):  # of a scheduler that is gone
            self._future.cancel()


def versions() -> dict[str, str]:
    """Return the versions of all that results depend on, by name."""
    found = {
        'Python': platform.python_version(),
        'drive_segment_ros': drive_segment_ros.__version__,
    }
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = 'none'
    return found


def check_versions(own: dict[str, str], of_workers: dict[str, Any]) -> None:
    """Compare versions.

    Args:
        own: the client's, see `versions`.
        of_workers: each worker's, by address; an error where it has no such package.

    Raises:
        DriveSegmentError: if a worker has others.
    """
    for worker, theirs in sorted(of_workers.items()):
        if not isinstance(theirs, dict):
            raise DriveSegmentError(
                f'worker {worker} cannot work for drive_segment_ros {own["drive_segment_ros"]}: '
                f'{" ".join(str(theirs).split())}; install the same there'
            )
        for name, version in own.items():
            if theirs.get(name) != version:
                raise DriveSegmentError(
                    f'worker {worker} has {name} {theirs.get(name)}, here it is {version}; '
                    'install the same there, or results would differ'
                )


def _work(function: Callable[[Any], Any], job: Any, wanted: dict[str, str]) -> _WorkersAnswer:
    """Do a job on a worker, which may have come after the client looked at versions."""
    from distributed import get_worker

    worker = get_worker().address
    try:
        check_versions(wanted, {worker: versions()})
    except DriveSegmentError as err:
        return _WorkersAnswer(error=err, worker=worker)
    prepare_process()
    done = answer(function, job)
    return _WorkersAnswer(done.value, done.error, done.log, _has_no_room(done.error), worker)


def _has_no_room(error: BaseException | None) -> bool:
    """Whether an error comes of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False
