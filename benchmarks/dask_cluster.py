"""Starts a dask cluster of separate processes on this machine."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WAITED_S = 60


def has_dask() -> bool:
    """Return whether dask.distributed is installed."""
    return importlib.util.find_spec('distributed') is not None


@contextmanager
def dask_cluster(workers: int) -> Iterator[str]:
    """Start a scheduler and single-threaded workers; yield the scheduler's address."""
    from distributed import Client

    with tempfile.TemporaryDirectory() as name:
        file, options = f'{name}/scheduler.json', ['--host', '127.0.0.1', '--no-dashboard']
        commands = [
            ['dask_scheduler', '--port', '0', '--scheduler-file', file],
            ['dask_worker', '--scheduler-file', file, '--local-directory', f'{name}/dask'],
        ]
        commands[1] += ['--nthreads', '1', '--nworkers', str(workers)]
        processes = [
            subprocess.Popen(
                [sys.executable, '-m', f'distributed.cli.{module}', *rest, *options],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=Path(name),
            )
            for module, *rest in commands
        ]
        try:
            with Client(scheduler_file=file, timeout=_WAITED_S, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=_WAITED_S)
                address = client.scheduler.address
            yield address
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                process.wait()
