"""`extract`, `label` and `train` run with the ground truth unreadable, so they never use it.

The folder of the truth has mode 000. Root could still read it by two capabilities, which are
dropped for the commands; the kernel then denies access from Python, OpenCV and worker processes.
An audit hook catches code that tries to read the truth and ignores the error.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
# From linux/prctl.h and linux/capability.h.
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
TOUCHED_THE_TRUTH = 99
# Python imports this as `sitecustomize` at start. The first argument of these events is the path.
WATCH = f"""
import os, sys

def watch(event, arguments):
    if event in ('open', 'os.listdir', 'os.scandir'):
        if os.environ['TRUTH'] in os.path.abspath(os.fsdecode(str(arguments[0]))):
            os.write(2, f'{{event}} {{arguments[0]}}'.encode())
            os._exit({TOUCHED_THE_TRUTH})

sys.addaudithook(watch)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def forgo_capabilities() -> None:
    """Drop the capabilities by which root ignores file modes; for `preexec_fn`."""
    if os.geteuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                os._exit(125)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Path]:
    """The bag of a short simulated drive, whose truth is unreadable."""
    bag = tmp_path / 'bag'
    command = ('simulate', '-o', bag, '--duration', 0.6, '--size', '128x72', '--lidar', 'vlp16')
    start(command, os.environ).check_returncode()
    truth = tmp_path / 'bag_truth'
    assert list((truth / 'front/semantic').glob('*.png'))
    truth.chmod(0)
    yield bag
    truth.chmod(0o700)


@pytest.fixture
def run(tmp_path: Path, drive: Path) -> Run:
    """Return a function that runs a command with the audit hook and without read access."""
    hook = tmp_path / 'hook'
    hook.mkdir()
    (hook / 'sitecustomize.py').write_text(WATCH)
    watched = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(hook), str(REPOSITORY)]),
        'TRUTH': str(tmp_path / 'bag_truth'),
        # One thread, as for all small networks: see test/offline_training/conftest.py.
        'OMP_NUM_THREADS': '1',
    }

    def run_command(*command: object) -> subprocess.CompletedProcess[str]:
        return start(command, watched, forgo_capabilities)

    done = subprocess.run(
        ['ls', str(tmp_path / 'bag_truth')], capture_output=True, preexec_fn=forgo_capabilities
    )
    if done.returncode != 2:
        pytest.skip('this system reads what nobody may read: modes do not hold here')
    return run_command


def start(
    command: Iterable[object],
    environment: Mapping[str, str],
    first: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a subcommand in a new process, which calls `first` before it starts."""
    arguments = [sys.executable, '-m', 'drive_segment_ros.cli', *map(str, command)]
    return subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        env=environment,
        cwd=REPOSITORY,
        preexec_fn=first,
        timeout=300,
    )


def test_extract_label_and_train_run_with_the_truth_unreadable(
    run: Run, drive: Path, tmp_path: Path
) -> None:
    dataset, folder = tmp_path / 'dataset', tmp_path / 'run'
    label = ('label', dataset, '--classes', 4, '--features', 'descriptor', '--frames', ':4')
    small = ('--set', 'width=64', '--set', 'training.precision=fp32')
    train = ('train', dataset, '-o', folder, '--frames', ':4', '--epochs', 1, *small)

    for command in (('extract', drive, '-o', dataset), label, train):
        done = run(*command, '--json')
        assert done.returncode == 0, f'{command[0]}: {done.stderr}'

    report = json.loads(done.stdout)
    assert (Path(report['student']) / 'model.safetensors').stat().st_size > 0


def test_what_reads_the_truth_fails_there(run: Run, drive: Path, tmp_path: Path) -> None:
    """A command that reads the truth fails; else the test above would prove nothing."""
    (tmp_path / 'images').mkdir()
    truth = tmp_path / 'bag_truth'
    evaluate = ('evaluate', tmp_path, tmp_path / 'images')
    evaluate = (*evaluate, '--ground-truth', truth / 'front/semantic')

    refused = run(*evaluate)
    assert refused.returncode == 1
    assert 'Permission denied' in refused.stderr

    truth.chmod(0o700)
    assert run(*evaluate).returncode == TOUCHED_THE_TRUTH
