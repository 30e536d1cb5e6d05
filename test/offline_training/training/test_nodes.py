"""Training on several nodes: same results as on one node, and no node waits for a dead one.

A node is a `torchrun`, or its process alone. Each of the two nodes has its own working directory,
home and temporary folder; they share only the folders of the dataset and the run.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch

from drive_segment_ros.parameters import from_flat
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.pseudo_classes import label
from offline_training.training import processes
from offline_training.training.train import TrainParameters, train

REPOSITORY = Path(__file__).resolve().parents[3]
SETTINGS = {
    'width': 112,
    'training.epochs': 2,
    'training.batch_size': 3,
    'training.precision': 'fp32',
}
# Half of gloo's timeout for a dead process; on a busy machine ending takes a minute.
SOON_S = processes._SILENCE.total_seconds() / 2
# The command with a small network, and optionally slow soft targets.
PROGRAM = """
import sys
import time
import torch
from offline_training.networks import segmenter
from offline_training.training import preparation, shards
shards._VISIBLE_WITHIN_S = 10.0
segmenter.SIZES['tiny'] = {'embedding': 64, 'depth': 2, 'heads': 2}
torch.set_num_threads(1)
slow = float(sys.argv.pop(1))
soft_targets = preparation.soft_targets
def slowly(*arguments):
    time.sleep(slow)
    return soft_targets(*arguments)
preparation.soft_targets = slowly
from drive_segment_ros.cli import main
main()
"""


@dataclasses.dataclass
class Node:
    """A node: its torchrun, or its training process without torchrun."""

    process: subprocess.Popen
    output: Path

    def kill(self) -> None:
        """Kill all processes of the node at once, as in a power failure."""
        for pid in [self.process.pid, *_descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def finish(self, within_s: float) -> int:
        return self.process.wait(within_s)

    @property
    def said(self) -> str:
        return self.output.read_text()


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(c) for c in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except FileNotFoundError:  # the process has exited
        return []
    return children + [below for child in children for below in _descendants(child)]


@pytest.fixture
def nodes(tmp_path, free_port):
    """Return a function that starts a training on two nodes."""
    started: list[Node] = []

    def start(
        first: list[str],
        second: list[str] | None = None,
        slow: float = 0.0,
        torchrun: bool = False,
    ) -> list[Node]:
        port = free_port()
        for number, given in enumerate((first, second or first)):
            own = tmp_path / f'node_{number}_{len(started)}'
            for name in ('home', 'tmp', 'work'):
                (own / name).mkdir(parents=True)
            (own / 'work/program.py').write_text(PROGRAM)
            output = own / 'output'
            program = [sys.executable]
            environment = {
                **os.environ,
                'PYTHONPATH': str(REPOSITORY),
                'HOME': str(own / 'home'),
                'TMPDIR': str(own / 'tmp'),
                'OMP_NUM_THREADS': '1',
                'GLOO_SOCKET_IFNAME': 'lo',
            }
            if torchrun:
                program += ['-m', 'torch.distributed.run', '--nnodes', '2']
                program += ['--node-rank', str(number), '--nproc-per-node', '1']
                program += ['--master-addr', '127.0.0.1', '--master-port', str(port)]
            else:  # Set what torchrun would; it takes seconds to start.
                environment |= {'RANK': str(number), 'WORLD_SIZE': '2', 'LOCAL_RANK': '0'}
                environment |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
            with output.open('w') as file:
                process = subprocess.Popen(
                    [*program, 'program.py', str(slow), 'train', *given],
                    cwd=own / 'work',
                    env=environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            started.append(Node(process, output))
        return started[-2:]

    yield start
    for node in started:
        if node.process.poll() is None:
            node.kill()


@pytest.fixture(scope='module')
def dataset(tmp_path_factory, paint_drive):
    """A dataset of forty labelled frames: five shards of eight."""
    folder = tmp_path_factory.mktemp('nodes') / 'dataset'
    paint_drive(folder, 40)
    label([folder], LabelParameters(4, 'descriptor', restarts=3), lambda description: iter)
    return folder


def arguments(dataset, run, *more):
    settings = [part for key, value in SETTINGS.items() for part in ('--set', f'{key}={value}')]
    return [str(dataset), '-o', str(run), *settings, '--json', *more]


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*.npy'))
    }


def wait_for(condition, within_s=120.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, 'it did not come to that'
        time.sleep(0.05)


@pytest.mark.usefixtures('small_network')
def test_two_nodes_prepare_the_same_bytes_and_train_the_same_networks(dataset, tmp_path, nodes):
    twice = {**SETTINGS, 'training.batch_size': 6}
    one = tmp_path / 'one'
    train([dataset], one, from_flat(TrainParameters, twice))

    run = tmp_path / 'shared/run'
    pair = nodes(arguments(dataset, run), torchrun=True)

    for node in pair:
        assert node.finish(300.0) == 0, node.said
    assert json.loads(pair[0].said.splitlines()[-1])['student'] == str(run / 'student')
    for stage in ('images', 'teacher'):
        assert hashes(one / 'cache' / stage) == hashes(run / 'cache' / stage)
        assert len(list((run / 'cache' / stage).iterdir())) == 5
    for stage in ('teacher', 'student'):
        alone, shared = (
            safetensors.torch.load_file(folder / stage / 'model.safetensors')
            for folder in (one, run)
        )
        for name, tensor in alone.items():
            assert (shared[name] - tensor).abs().max() < 1e-4, (stage, name)


def test_a_node_that_dies_ends_the_other_with_one_line_and_keeps_its_shards(
    dataset, tmp_path, nodes
):
    run = tmp_path / 'run'
    pair = nodes(arguments(dataset, run), slow=0.3, torchrun=True)
    student = run / 'cache/student'
    wait_for(lambda: student.is_dir() and any(p.name[0] != '.' for p in student.iterdir()))

    pair[1].kill()

    assert pair[0].finish(SOON_S) != 0
    (line,) = [row for row in pair[0].said.splitlines() if 'drive-segment: error' in row]
    assert 'another process or its node no longer answers' in line
    assert f'kept in {run}: start all processes again with --resume' in line
    kept = {path: path.stat().st_mtime_ns for path in (run / 'cache').rglob('*.npy')}
    assert len([path for path in kept if path.name == 'images.npy']) == 5
    for node in nodes(arguments(dataset, run, '--resume')):
        assert node.finish(300.0) == 0, node.said
    finished = [path for path in kept if '.partial' not in str(path)]
    assert {path: path.stat().st_mtime_ns for path in finished} == {
        path: kept[path] for path in finished
    }


def test_a_node_that_dies_while_training_ends_the_other_with_one_line(dataset, tmp_path, nodes):
    run = tmp_path / 'run'
    many = ('--epochs', '100000', '--set', 'training.checkpoint_s=0.5')
    pair = nodes(arguments(dataset, run, *many))
    wait_for((run / 'teacher/checkpoint.safetensors').exists)

    pair[1].kill()

    assert pair[0].finish(SOON_S) != 0
    (line,) = [row for row in pair[0].said.splitlines() if 'drive-segment: error' in row]
    assert 'another process or its node no longer answers' in line
    assert '--resume' in line


def test_what_one_node_cannot_read_ends_both_with_one_line(dataset, tmp_path, nodes):
    broken = tmp_path / 'broken'
    shutil.copytree(dataset, broken)
    # Frame 9 is in the second shard, which the second node prepares.
    images = sorted((broken / 'painted/front/image').iterdir())
    images[9].write_bytes(b'no image')

    pair = nodes(arguments(broken, tmp_path / 'run'))

    assert [node.finish(SOON_S) != 0 for node in pair] == [True, True]
    lines = [
        [row for row in node.said.splitlines() if 'drive-segment: error' in row] for node in pair
    ]
    assert [len(said) for said in lines] == [1, 1]
    assert images[9].name in lines[1][0]
    assert 'process 1 failed, see its own message' in lines[0][0]


@pytest.mark.parametrize(
    ('option', 'what'), [(('--seed', '1'), 'parameters'), (('--unlabelled', 'DATA'), 'unlabelled')]
)
def test_nodes_that_were_started_with_different_options_say_so(
    dataset, tmp_path, nodes, option, what
):
    run = tmp_path / 'run'
    other = (str(dataset) if word == 'DATA' else word for word in option)
    pair = nodes(arguments(dataset, run), arguments(dataset, run, *other))

    assert [node.finish(SOON_S) != 0 for node in pair] == [True, True]
    for node in pair:
        (line,) = [row for row in node.said.splitlines() if 'drive-segment: error' in row]
        assert f'process 1 was started with other {what} than the first' in line
    assert not run.exists()


def test_nodes_whose_folders_are_not_one_say_so(dataset, tmp_path, nodes):
    # A relative path, which is another folder on each node.
    pair = nodes(arguments(dataset, Path('run')))

    assert [node.finish(SOON_S) != 0 for node in pair] == [True, True]
    (line,) = [row for row in pair[1].said.splitlines() if 'drive-segment: error' in row]
    assert 'give all nodes one shared folder' in line
