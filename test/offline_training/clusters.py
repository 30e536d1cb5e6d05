"""A dask cluster of real processes: a scheduler, and workers that may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_WAITED_S = 180.0
REPOSITORY = Path(__file__).resolve().parents[2]
# What tests have workers do.
JOBS = [Path(__file__).parent / 'common']


class Cluster:
    """A scheduler and its workers, all on the loopback.

    Attributes:
        address: the scheduler's.
        scheduler: its process.
        workers: the processes that keep a worker each, and start it anew when it dies.
    """

    def __init__(self, folder: Path, workers: int = 2, environment: dict[str, str] | None = None):
        self._folder = folder
        self._environment = environment or {}
        self.workers: list[subprocess.Popen[bytes]] = []
        file = folder / 'scheduler.json'
        self.scheduler = self._start(
            'dask_scheduler', '--port', '0', '--scheduler-file', str(file)
        )
        try:
            self._wait_for(file.exists)
            self._wait_for(lambda: file.read_text().rstrip().endswith('}'))
            self.address = json.loads(file.read_text())['address']
            for _ in range(workers):
                self.add_worker()
            self.wait_for_workers(workers)
        except BaseException:
            self.close()
            raise

    def add_worker(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start another worker."""
        folder = self._folder / f'worker_{len(self.workers)}'
        options = (*options, '--local-directory', str(folder))
        if '--nthreads' not in options:
            options = (*options, '--nthreads', '1')
        worker = self._start('dask_worker', self.address, *options, **environment)
        self.workers.append(worker)
        return worker

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many have come."""
        from distributed import Client

        if count == 0:
            return
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=_WAITED_S)

    def close(self) -> None:
        """End all of it, and wait until it has ended."""
        processes = [*self.workers, self.scheduler]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, module: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, '-m', f'distributed.cli.{module}', *options]
        command += ['--host', '127.0.0.1', '--no-dashboard']
        paths = [str(REPOSITORY), *map(str, JOBS), os.environ.get('PYTHONPATH', '')]
        log = (self._folder / f'{module}_{len(self.workers)}.log').open('wb')
        with log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={
                    **os.environ,
                    'PYTHONPATH': os.pathsep.join(filter(None, paths)),
                    **self._environment,
                    **environment,
                },
            )

    @staticmethod
    def _wait_for(happens) -> None:
        until = time.monotonic() + _WAITED_S
        while not happens():
            assert time.monotonic() < until, 'the cluster did not start'
            time.sleep(0.02)
