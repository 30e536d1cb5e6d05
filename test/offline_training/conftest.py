"""Fixtures of the offline training tests: a painted drive, an untrained run, small networks."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drive_segment_ros.dataset.frame import Frame, SweepRecord, encode_png
from drive_segment_ros.dataset.writer import DriveWriter

# Makes `clusters.py`, in this folder, importable.
sys.path.insert(0, str(Path(__file__).parent))
# Folders whose tests train small networks.
LEARNING = ('common', 'deploy', 'evaluation', 'networks', 'pretraining', 'pseudo_labels')
LEARNING += ('training',)
# Size of the images of `run_folder`.
RUN_HEIGHT, RUN_WIDTH = 48, 64
REPOSITORY = Path(__file__).resolve().parents[2]
THINGS = ('road', 'sky', 'car', 'tree')
COLOURS = {
    'road': (90, 90, 90),
    'sky': (220, 180, 120),
    'car': (40, 40, 200),
    'tree': (40, 130, 50),
}
KINDS = {'road': 1, 'sky': 2, 'car': 0, 'tree': 0}
HEIGHTS_M = {'road': 0.1, 'sky': np.nan, 'car': 1.5, 'tree': 6.0}
HEIGHT, WIDTH = 64, 112


@pytest.fixture(autouse=True)
def _on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on the CPU, which is bitwise reproducible; tests named *gpu* keep the GPU."""
    if request.path.parent.name in LEARNING and 'gpu' not in request.node.name:
        monkeypatch.setattr('torch.cuda.is_available', lambda: False)
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')


CAMERA = 'front'


@dataclasses.dataclass(frozen=True)
class PaintedDrive:
    """A dataset of one drive, and the true class of each pixel, which is not in the dataset."""

    dataset: Path
    truth: dict[int, np.ndarray]  # stamp -> (H, W) uint8 index into THINGS


def paint(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[str, int]]]:
    """Return a frame's image, truth and segment ids, and (class, track) of each segment."""
    random = np.random.default_rng(index)
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[: HEIGHT // 2] = 1
    segment = np.where(truth == 1, 2, 1).astype(np.uint16)
    things = [('road', 0), ('sky', 1)]
    for number, thing in enumerate(('car', 'tree', 'car', 'tree')):
        left = (5 + 27 * number + index) % (WIDTH - 16)
        top = HEIGHT // 2 - (6 if thing == 'car' else 26)
        box = (slice(top, HEIGHT // 2 + 8), slice(left, left + 14))
        things.append((thing, 2 + number))
        segment[box] = len(things)
        truth[box] = THINGS.index(thing)
    colours = np.array([COLOURS[thing] for thing in THINGS], np.float32)
    image = colours[truth] + random.normal(0, 12, (HEIGHT, WIDTH, 1))
    # A stripe without LiDAR points.
    segment[:, WIDTH // 2 : WIDTH // 2 + 6] = 0
    return np.clip(image, 0, 255).astype(np.uint8), truth, segment, things


def write_drive(dataset: Path, frames: int) -> PaintedDrive:
    """Write a painted drive of `frames` frames, in the format of `extract`."""
    truths = {}
    with DriveWriter(dataset / 'painted', {'cameras': {CAMERA: {}}}) as writer:
        for index in range(frames):
            image, truth, segment, things = paint(index)
            stamp = 1_000_000_000 + index * 100_000_000
            truths[stamp] = truth
            heights = np.array([HEIGHTS_M[thing] for thing, _ in things], np.float32)
            proposals = {
                'id': np.arange(1, len(things) + 1, dtype=np.uint16),
                'kind': np.array([KINDS[thing] for thing, _ in things], np.uint8),
                'points': np.full(len(things), 50, np.int32),
                'height_max': heights,
                'extent_long': heights * 2,
                'track': np.array([track for _, track in things], np.int32),
            }
            sweep = SweepRecord(stamp, proposals)
            writer.add(Frame(CAMERA, stamp, encode_png(image), '.png', segment, sweep, {}))
    return PaintedDrive(dataset, truths)


@pytest.fixture
def make_bag(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a bag, with the options of `write_bag` in bags/conftest.py."""
    file = Path(__file__).parent / 'bags/conftest.py'
    spec = importlib.util.spec_from_file_location('small_drive', file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def make(name: str = 'drive', **options: Any) -> Path:
        bag: Path = module.write_bag(tmp_path / name, **options)
        return bag

    return make


@pytest.fixture(scope='session')
def paint_drive() -> Callable[[Path, int], PaintedDrive]:
    """Return the function that writes a painted drive: `write_drive(dataset, frames)`."""
    return write_drive


@pytest.fixture
def painted_drive(tmp_path: Path) -> PaintedDrive:
    """A painted drive of six frames in `tmp_path/dataset`."""
    return write_drive(tmp_path / 'dataset', 6)


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the small networks of tests in one thread.

    Several threads wait for each other longer than they compute: seconds a step on a busy machine.
    """
    if request.path.parent.name not in LEARNING:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the network size `tiny` smaller, for tests of the code around the network."""
    from offline_training.networks.segmenter import SIZES

    monkeypatch.setitem(SIZES, 'tiny', {'embedding': 64, 'depth': 2, 'heads': 2})


@pytest.fixture
def in_two_processes() -> Callable[..., str]:
    """Return a function that runs a script or `-m module` in two processes and returns stdout."""

    def run(*program: str) -> str:
        torchrun = (sys.executable, '-m', 'torch.distributed.run', '--standalone')
        command = [*torchrun, '--local-addr', '127.0.0.1', '--nproc-per-node', '2', *program]
        environment = {
            **os.environ,
            'PYTHONPATH': str(REPOSITORY),
            'OMP_NUM_THREADS': '1',
            'GLOO_SOCKET_IFNAME': 'lo',  # The host's name need not resolve.
            'PYTHONFAULTHANDLER': '1',  # Says which threads were running then.
        }
        done = _ended(command, environment)
        if done.returncode != 0 and _ABORTED in done.stderr:
            # About one run in a hundred aborts when the process exits; repeat it once.
            warnings.warn(done.stderr, stacklevel=2)
            if '-o' in program:
                shutil.rmtree(program[program.index('-o') + 1], ignore_errors=True)
            done = _ended(command, environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


# Message of the C++ runtime when a thread is still running at process exit.
_ABORTED = 'terminate called without an active exception'


def _ended(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope='session')
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an untrained teacher and student; its cache holds two images."""
    import safetensors.numpy

    from offline_training.common.classes import ClassName, save_classes
    from offline_training.common.files import write_json
    from offline_training.networks.segmenter import Segmenter, configuration
    from offline_training.training.checkpoints import CHECKPOINT_FILE, MODEL_FILE, save_model

    run = tmp_path_factory.mktemp('runs') / 'run'
    network = Segmenter(configuration('tiny', 2, RUN_HEIGHT, RUN_WIDTH))
    for stage in ('teacher', 'student'):
        save_model(run / stage / MODEL_FILE, network, {'stage': stage})
        losses = np.linspace(3.0, 1.0, 500)
        safetensors.numpy.save_file({'losses': losses}, run / stage / CHECKPOINT_FILE)
    write_json(run / 'run.json', {'parameters': {'training.epochs': 7}})
    classes = [ClassName('road', (128, 64, 128)), ClassName('car <b>', (0, 0, 142))]
    save_classes(run / 'classes.yaml', classes)
    (run / 'cache/images/00000').mkdir(parents=True)
    np.save(
        run / 'cache/images/00000/images.npy', np.zeros((2, RUN_HEIGHT, RUN_WIDTH, 3), np.uint8)
    )
    return run
