"""The engine: ordered results, few jobs in flight, errors for failed jobs and lost workers."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import operator
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import engine_jobs
import pytest
from clusters import Cluster

from drive_segment_ros.errors import DependencyError, DriveSegmentError
from offline_training.common import cluster as clusters_of_dask
from offline_training.common.engine import Engine, open_engine
from offline_training.common.workers import EngineError, LocalProcesses, WorkerDiedError

FOLDER = Path(__file__).parent


@pytest.fixture(scope='module')
def dask(tmp_path_factory):
    pytest.importorskip('distributed')
    started = Cluster(tmp_path_factory.mktemp('cluster'))
    yield started
    started.close()


@pytest.fixture(params=['this process', 'two processes', 'a cluster'])
def engine(request):
    if request.param == 'a cluster':
        address = request.getfixturevalue('dask').address
        with open_engine(scheduler=address) as opened:
            yield opened
    else:
        with open_engine(1 if request.param == 'this process' else 2) as opened:
            yield opened


def test_results_come_in_order_and_jobs_are_taken_as_needed(engine):
    # Every second job takes long.
    wanted = [30_000 * (job % 2) + job for job in range(12)]
    taken = []

    def jobs():
        for job in wanted:
            taken.append(job)
            yield job

    for done, outcome in enumerate(engine.run(math.factorial, jobs())):
        assert (outcome.job, outcome.error) == (wanted[done], None)
        assert outcome.result == math.factorial(wanted[done])
        assert len(taken) <= done + 2 * engine.parallel
    assert len(taken) == 12


def test_a_job_that_fails_leaves_the_others(engine):
    outcomes = list(engine.run(engine_jobs.raise_for_odd, range(4)))
    assert [outcome.result for outcome in outcomes] == [0, None, 2, None]
    assert [str(outcome.error) for outcome in outcomes] == ['None', '1 is odd', 'None', '3 is odd']
    with pytest.raises(DriveSegmentError, match='1 is odd'):
        list(engine.map(engine_jobs.raise_for_odd, range(4)))


def test_what_nobody_expected_is_raised_as_it_is(engine):
    with pytest.raises(ValueError, match='negative'):
        list(engine.run(math.factorial, [3, -1]))
    assert list(engine.map(math.factorial, [3])) == [6]


@pytest.mark.parametrize('where', ['two processes', 'a cluster'])
def test_a_job_that_ends_every_process_is_named_and_the_others_are_done(where, request):
    address = request.getfixturevalue('dask').address if where == 'a cluster' else ''
    jobs = [('time.sleep', 0), ('os._exit', 1), *[('math.factorial', n) for n in range(6)]]
    with open_engine(2, address) as engine:
        outcomes = list(engine.run(engine_jobs.call, jobs))
        assert [outcome.job for outcome in outcomes] == jobs
        assert isinstance(outcomes[1].error, WorkerDiedError)
        assert 'lack of memory' in str(outcomes[1].error)
        assert [o.result for o in outcomes[2:]] == [math.factorial(n) for n in range(6)]
        assert not any(o.error for o in [outcomes[0], *outcomes[2:]])
        # The engine still has workers.
        assert list(engine.map(math.factorial, [4])) == [24]


@pytest.mark.parametrize('where', ['two processes', 'a cluster'])
def test_a_worker_killed_once_costs_no_job(where, request, tmp_path):
    address = request.getfixturevalue('dask').address if where == 'a cluster' else ''
    jobs = [str(tmp_path / str(number)) for number in range(6)]
    with open_engine(2, address) as engine:
        outcomes = list(engine.run(engine_jobs.die_the_first_time, jobs))
    assert [(outcome.result, outcome.error) for outcome in outcomes] == [(j, None) for j in jobs]


def test_workers_have_what_the_environment_was_set_to_since_they_can_be_forked(monkeypatch):
    with open_engine(2) as engine:
        assert list(engine.map(os.getenv, ['SET_LATER'])) == [None]
    monkeypatch.setenv('SET_LATER', 'yes')
    with open_engine(2) as engine:
        assert list(engine.map(os.getenv, ['SET_LATER'])) == ['yes']


def test_what_is_at_work_ends_with_the_engine(tmp_path):
    began = time.monotonic()
    with contextlib.suppress(InterruptedError), open_engine(2) as engine:
        jobs = engine.run(engine_jobs.sleep_long, interrupted_when_begun(tmp_path))
        list(jobs)
    pids = [path.name for path in tmp_path.iterdir()]
    assert len(pids) == 2
    assert not any(os.path.exists(f'/proc/{pid}') for pid in pids)
    assert time.monotonic() - began < 50.0


def interrupted_when_begun(folder):
    """Yield two jobs, then raise InterruptedError as soon as both are running."""
    yield from [str(folder)] * 2
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    raise InterruptedError


@pytest.mark.parametrize('after_s', [0.2, 1.5])
def test_an_interruption_while_workers_start_ends_them_without_a_word(after_s, tmp_path):
    (tmp_path / 'slow_to_import.py').write_text('import time\ntime.sleep(30)\n')
    code = (
        'import os, sys\n'
        'from offline_training.common.engine import open_engine\n'
        'try:\n'
        "    with open_engine(2, imports=['slow_to_import']) as engine:\n"
        "        print('begun', flush=True)\n"
        '        list(engine.map(os.getenv, range(2)))\n'
        'except KeyboardInterrupt:\n'
        "    os.write(1, b'interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), os.getcwd()])},
        start_new_session=True,
    )
    assert process.stdout.readline() == b'begun\n'
    time.sleep(after_s)
    # As Ctrl+C in a terminal: to the whole process group.
    os.killpg(process.pid, signal.SIGINT)
    # A surviving worker would keep the pipes open.
    assert process.communicate(timeout=20.0) == (b'interrupted', b'')


def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = (
        'import os, sys, time\n'
        'from offline_training.common.engine import open_engine\n'
        'with open_engine(2) as engine:\n'
        '    pids = set(engine.map(_pid, range(8)))\n'
    )
    code = script.replace('_pid', '__import__("engine_jobs").slow_pid')
    code += '    print(*pids, flush=True)\n    os._exit(9)\n'
    ended = subprocess.run(
        [sys.executable, '-c', code],
        stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(FOLDER), os.getcwd()])},
        check=False,
        timeout=300,
    )
    pids = [int(pid) for pid in ended.stdout.split()]
    assert ended.returncode == 9
    assert pids
    until = time.monotonic() + 60.0
    while any(os.path.exists(f'/proc/{pid}') for pid in pids):
        assert time.monotonic() < until, 'workers outlive their parent'
        time.sleep(0.05)


def test_a_job_that_cannot_be_sent_is_told():
    with open_engine(2) as engine:
        with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
            list(engine.map(math.factorial, [(number for number in range(3))]))
        assert list(engine.map(math.factorial, [3])) == [6]


def test_a_scheduler_needs_dask():
    installed = importlib.util.find_spec('distributed') is not None
    error = DriveSegmentError if installed else DependencyError
    message = 'no dask scheduler answers at' if installed else 'needs dask.distributed'
    with pytest.raises(error, match=message), open_engine(scheduler='tcp://127.0.0.1:1'):
        pass


def test_a_scheduler_that_goes_away_is_one_line(tmp_path):
    started = Cluster(tmp_path)
    try:
        with open_engine(scheduler=started.address) as engine:
            outcomes = engine.run(time.sleep, [0.2] * 12)
            next(outcomes)
            started.scheduler.kill()
            with pytest.raises(EngineError, match='no longer answers; finished work is kept'):
                list(outcomes)
    finally:
        started.close()


def test_a_worker_with_another_version_is_named_before_the_first_job(dask):
    own = clusters_of_dask.versions()
    assert own['drive_segment_ros'] != 'none'
    assert own['numpy'] != 'none'
    with open_engine(scheduler=dask.address):
        pass  # its workers have the versions of the client
    with pytest.raises(DriveSegmentError, match=r'worker tcp://b has numpy 1.0, the client'):
        clusters_of_dask.check_versions(own, {'tcp://a': own, 'tcp://b': {**own, 'numpy': '1.0'}})
    with pytest.raises(DriveSegmentError, match='worker tcp://b cannot run drive_segment'):
        clusters_of_dask.check_versions(own, {'tcp://b': ModuleNotFoundError('no such module')})


def test_a_worker_of_another_version_is_refused(tmp_path):
    """A worker with another package version is refused, joining after or before the client."""
    other = tmp_path / 'other' / 'drive_segment_ros'
    other.mkdir(parents=True)
    # The same package with another version number.
    original = FOLDER.parents[2] / 'drive_segment_ros'
    other.joinpath('__init__.py').write_text(
        f'__path__ = [{str(original)!r}]\n__version__ = "9.9.9"\n'
    )
    started = Cluster(tmp_path, 1)
    try:
        with open_engine(scheduler=started.address) as engine:
            started.workers[0].terminate()
            started.workers[0].wait()
            started.add_worker(
                PYTHONPATH=os.pathsep.join([str(other.parent), str(FOLDER.parents[2])])
            )
            started.wait_for_workers(1)
            outcome = next(engine.run(math.factorial, [3]))
            assert 'has drive_segment_ros 9.9.9, the client' in str(outcome.error)
        with (
            pytest.raises(
                DriveSegmentError, match=r'worker tcp://\S+ has drive_segment_ros 9.9.9'
            ),
            open_engine(scheduler=started.address),
        ):
            pass
    finally:
        started.close()


def test_workers_that_run_several_jobs_at_a_time_are_refused(tmp_path):
    started = Cluster(tmp_path, 0)
    try:
        with (
            pytest.raises(DriveSegmentError, match='has no workers; start some: dask worker'),
            open_engine(scheduler=started.address),
        ):
            pass
        started.add_worker('--nthreads', '2')
        started.wait_for_workers(1)
        with (
            pytest.raises(DriveSegmentError, match=r'runs 2 jobs at a time.*--nthreads 1'),
            open_engine(scheduler=started.address),
        ):
            pass
    finally:
        started.close()


def test_a_job_for_which_a_worker_has_no_room_goes_to_another(dask, tmp_path):
    with open_engine(scheduler=dask.address) as engine:
        # The worker that takes the first job has a full disk from then on.
        jobs = [str(tmp_path / 'full')] * 4
        results = list(engine.map(engine_jobs.refuse_where_first_asked, jobs))
    assert len(set(results)) == 1
    assert (tmp_path / 'full').read_text() not in results


def test_a_disk_that_is_full_everywhere_is_told(dask):
    with open_engine(scheduler=dask.address) as engine:
        outcomes = list(engine.run(engine_jobs.refuse, [0]))
    assert str(outcomes[0].error) == 'no room'


def test_a_client_cancels_only_what_it_asked_for(dask):
    from distributed import Client

    with Client(dask.address, set_as_default=False) as other:
        theirs = [other.submit(operator.add, n, 1, pure=False) for n in range(50)]
        with contextlib.suppress(KeyboardInterrupt), open_engine(scheduler=dask.address) as engine:
            outcomes = engine.run(time.sleep, [0.1] * 20)
            next(outcomes)
            raise KeyboardInterrupt
        assert other.gather(theirs) == list(range(1, 51))


def test_a_lost_job_among_those_of_one_process_is_no_death():
    # The second job is lost with the process that the first one ends.
    jobs = [('os._exit', 1), ('math.factorial', 3), ('math.factorial', 4)]
    with contextlib.closing(LocalProcesses(1)) as workers:
        ended, *others = Engine(workers).run(engine_jobs.call, jobs)
    assert isinstance(ended.error, WorkerDiedError)
    assert [(outcome.result, outcome.error) for outcome in others] == [(6, None), (24, None)]
