"""A Dask cluster of real processes: a scheduler, and workers that tests may kill."""

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
# Folders of modules with jobs that tests send to workers; they are on the workers' path.
JOBS = [Path(__file__).parent / 'common']


class Cluster:
    """A Dask scheduler and its workers, all on the loopback interface.

    Attributes:
        address: address of the scheduler.
        scheduler: the process of the scheduler.
        workers: the nanny processes, each of which restarts its worker when that dies.
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
        """Start another worker; return its nanny process."""
        folder = self._folder / f'worker_{len(self.workers)}'
        options = (*options, '--local-directory', str(folder))
        if '--nthreads' not in options:
            options = (*options, '--nthreads', '1')
        worker = self._start('dask_worker', self.address, *options, **environment)
        self.workers.append(worker)
        return worker

    def wait_for_workers(self, count: int) -> None:
        """Wait until `count` workers have registered with the scheduler."""
        from distributed import Client

        if count == 0:
            return
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=_WAITED_S)

    def close(self) -> None:
        """Terminate the workers and the scheduler, and wait until they have exited."""
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
