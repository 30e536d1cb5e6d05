"""Workers of a dask.distributed cluster: checked before the first job, not modified."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
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
# Longest time without any worker, for example while all of them are restarted.
_WITHOUT_WORKERS_S = 60.0
_LOOKED_AT_S = 1.0
# Results depend on these packages to the bit: client and workers need the same versions.
_LIBRARIES = ('numpy', 'numba', 'opencv-contrib-python-headless', 'scipy')
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclasses.dataclass(frozen=True)
class _WorkersAnswer(Answer):
    """A worker's answer to a job.

    Attributes:
        no_room: whether the worker's disk is full; another worker may succeed.
        worker: its address.
    """

    no_room: bool = False
    worker: str = ''


@contextlib.contextmanager
def cluster_workers(address: str) -> Iterator[ClusterWorkers]:
    """Connect to a scheduler; only this client's jobs are cancelled at the end.

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
    # dask logs many lines about what is reported here in one.
    for name in ('distributed', 'distributed.client', 'distributed.core', 'distributed.comm'):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        _log.info('dashboard of %s: %s', address, client.dashboard_link)
        yield ClusterWorkers(client, address)
    finally:
        # Closing fails if the scheduler no longer exists.
        client.close(timeout=_LOOKED_AT_S)


class ClusterWorkers:
    """Workers of a cluster.

    Attributes:
        parallel: their number when the work began.
    """

    def __init__(self, client: Any, address: str) -> None:
        """Check the workers.

        Raises:
            DriveSegmentError: if there is none, or they run other versions, or several jobs at a
                time.
        """
        self._client = client
        self._address = address
        threads = self._threads()
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
        """Submit a job."""
        return _ClusterCall(self, function, job)

    def send(self, function: Callable[[Any], Any], job: Any, not_to: set[str]) -> Any:
        """Return the future of a job.

        Args:
            function, job: the job.
            not_to: workers whose disks are full.

        Raises:
            EngineError: if the scheduler no longer answers.
        """
        options: dict[str, Any] = {}
        if not_to:
            others = self._threads().keys() - not_to
            options = {'workers': sorted(others), 'allow_other_workers': False}
        try:
            return self._client.submit(_work, function, job, versions(), pure=False, **options)
        except Exception as err:  # of several kinds
            raise self._gone() from err

    def others(self, workers: set[str]) -> bool:
        """Return whether there are other workers."""
        return bool(self._threads().keys() - workers)

    def answer(self, future: Any) -> _WorkersAnswer:
        """Wait for a future.

        Raises:
            WorkerDiedError: if the workers that processed it died.
            EngineError: if the scheduler or all workers no longer answer.
        """
        from distributed import KilledWorker

        self.wait(future)
        try:
            found: _WorkersAnswer = future.result(timeout=_CONNECT_S)
        except KilledWorker as err:
            raise WorkerDiedError(
                f'{err.allowed_failures + 1} workers ended while processing it, most likely for '
                'lack of memory; give them more'
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
            EngineError: if the scheduler or all workers no longer answer.
        """
        alone_since = time.monotonic()
        looked_at = time.monotonic()
        while not future.done():
            if self._client.status != 'running':
                raise self._gone()
            now = time.monotonic()
            if now - looked_at > _LOOKED_AT_S:
                looked_at = now
                if self._threads():
                    alone_since = now
                elif now - alone_since > _WITHOUT_WORKERS_S:
                    raise EngineError(
                        f'the scheduler at {self._address} has had no worker for '
                        f'{_WITHOUT_WORKERS_S:.0f} s'
                    )
            time.sleep(0.01)

    def _threads(self) -> dict[str, int]:
        """Return the threads of each worker, by address."""
        try:
            threads: dict[str, int] = self._client.nthreads()
        except Exception as err:  # of several kinds
            raise self._gone() from err
        return threads

    def _ask(self, function: Callable[[], Any]) -> dict[str, Any]:
        """Return what each worker answers, by address."""
        try:
            answers: dict[str, Any] = self._client.run(function, on_error='return')
        except Exception as err:  # of several kinds
            raise self._gone() from err
        return answers

    def _gone(self) -> EngineError:
        return EngineError(
            f'the scheduler at {self._address} no longer answers; finished work is kept'
        )


class _ClusterCall:
    """A job of a cluster; if its worker's disk is full, it is given to another."""

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
        with contextlib.suppress(Exception):  # the scheduler may no longer exist
            self._future.cancel()


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of all packages that results depend on, by name."""
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
        of_workers: each worker's, by address; an error if it lacks the package.

    Raises:
        DriveSegmentError: if a worker has other versions.
    """
    for worker, theirs in sorted(of_workers.items()):
        if not isinstance(theirs, dict):
            raise DriveSegmentError(
                f'worker {worker} cannot run drive_segment_ros {own["drive_segment_ros"]}: '
                f'{" ".join(str(theirs).split())}; install the same there'
            )
        for name, version in own.items():
            if theirs.get(name) != version:
                raise DriveSegmentError(
                    f'worker {worker} has {name} {theirs.get(name)}, the client {version}; '
                    'install the same there, or results would differ'
                )


def _work(function: Callable[[Any], Any], job: Any, wanted: dict[str, str]) -> _WorkersAnswer:
    """Do a job on a worker, which may have been started after the check of versions."""
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
    """Return whether an error is due to a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False
