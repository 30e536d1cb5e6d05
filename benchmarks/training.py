"""Time of the preparation of training, and of training steps with data in memory or larger.

Preparation runs in one or two processes, reads 1920 x 1080 JPEGs and runs an untrained `tiny`
teacher. Training reads prepared frames at network size. To make them larger than memory, a control
group limits it; where that is not possible, the data are continuously dropped from the page cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from frames import CAMERA, DRIVE, made_up_frames
from memory_limit import memory_limit
from numpy.typing import NDArray

from drive_segment_ros.dataset.frame import encode_png
from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.whole_files import write_whole

HEIGHT, WIDTH, CLASSES = 288, 512, 30
# Bytes: what the training of `tiny` needs, and some page cache.
LIMIT = 1_900_000_000
SET_FRAMES, STEPS, WARM_UP_STEPS, ROUNDS = 4000, 40, 5, 3


def run(quick: bool = False) -> dict[str, Any]:
    """Time preparation and training.

    Args:
        quick: few frames and steps; all data fit in memory.

    Returns:
        `results` as `drive-segment bench` prints them: seconds per frame of each preparation, and
        seconds per step of each training with the largest fraction spent waiting for data.
    """
    # In the working directory, because the system's temporary folder may be in memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix='.bench_training_') as name:
        folder = Path(name)
        results = _preparations(folder, 16 if quick else 96)
        results += _trainings(
            folder, 40 if quick else SET_FRAMES, 8 if quick else STEPS, 1 if quick else ROUNDS
        )
    return {'results': results}


def _preparations(folder: Path, count: int) -> list[dict[str, Any]]:
    _write_drive(folder / 'drive', count)
    results: list[dict[str, Any]] = []
    alone: dict[str, float] = {}
    for name, cores, processes in (('1_core', 1, 1), ('2_cores', 2, 1), ('2_processes', 2, 2)):
        arguments = (str(folder / 'drive'), str(folder / name))
        times = _child('prepare', *arguments, cores=cores, processes=processes)
        for stage, seconds in times.items():
            alone.setdefault(stage, seconds)
            results.append(
                _result(f'training.{stage}.{name}', seconds / count, count, seconds / alone[stage])
            )
            results[-1]['frames_per_second'] = count / seconds
    return results


def _trainings(folder: Path, count: int, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Train alternately with data in memory and larger, so that other load affects both."""
    _write_set(folder / 'set', count)
    arguments = (str(folder / 'set'), str(count), str(steps))
    answers: dict[str, list[dict[str, Any]]] = {'fits': [], 'does_not_fit': []}
    for _ in range(rounds):
        answers['fits'].append(_child('train', *arguments, 'fits'))
        with memory_limit(LIMIT) as enter:
            mode = 'limited' if enter else 'emptied'
            answers['does_not_fit'].append(_child('train', *arguments, mode, enter=enter))
    step_s = {name: [answer['step_s'] for answer in of_name] for name, of_name in answers.items()}
    fits_s = float(np.median(step_s['fits']))
    results = []
    for name, of_name in answers.items():
        seconds = float(np.median(step_s[name]))
        results.append(
            {
                **_result(f'training.steps.{name}', seconds, steps * rounds, seconds / fits_s),
                **of_name[0],
                'step_s': step_s[name],
                'data_wait_fraction': max(answer['data_wait_fraction'] for answer in of_name),
            }
        )
    return results


def _child(
    *arguments: str, cores: int = 2, processes: int = 1, enter: Any = None
) -> dict[str, Any]:
    """Run this file with arguments; return the JSON object on the last line of its output.

    Args:
        arguments: of the program, see the end of this file.
        cores: number of CPU cores it may use.
        processes: number of processes of a distributed job.
        enter: called in the child before the program starts, see `memory_limit`.
    """
    program = [sys.executable]
    if processes > 1:
        program += ['-m', 'torch.distributed.run', '--standalone', '--local-addr', '127.0.0.1']
        program += ['--nproc-per-node', str(processes)]
    own = sorted(os.sched_getaffinity(0))[:cores]

    def begin() -> None:
        os.sched_setaffinity(0, own)
        if enter is not None:
            enter()

    done = subprocess.run(
        [*program, __file__, *arguments],
        stdout=subprocess.PIPE,
        preexec_fn=begin,
        check=True,
        text=True,
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join(sys.path),
            'OMP_NUM_THREADS': str(len(own) // processes),
            'GLOO_SOCKET_IFNAME': 'lo',  # By default the host's name, which need not resolve.
        },
    )
    return json.loads(done.stdout.splitlines()[-1])


def _write_drive(folder: Path, count: int) -> None:
    with DriveWriter(folder, DRIVE) as writer:
        for frame in made_up_frames(count, 1920, 1080):
            writer.add(frame)
    for record in Drive(folder).frames:
        label = (record.segment() % CLASSES).astype(np.uint8)
        write_whole(record.pseudo_label_path, encode_png(label), synced=False)


def _prepare(drive: Path, folder: Path) -> None:
    """Prepare a drive, and print the time of each stage (in the child process)."""
    import torch

    from offline_training.networks.segmenter import Segmenter, configuration
    from offline_training.training.checkpoints import MODEL_FILE, save_model
    from offline_training.training.distillation import DistillationParameters
    from offline_training.training.preparation import (
        prepare_answers,
        prepare_images,
        prepare_labels,
    )
    from offline_training.training.processes import distributed_rank, first_alone, process_group

    size = (HEIGHT, WIDTH)
    with process_group():
        torch.manual_seed(0)
        network = Segmenter(configuration('tiny', CLASSES, *size))
        first_alone(lambda: save_model(folder / 'teacher' / MODEL_FILE, network, {}))
        frames = Drive(drive).cameras[CAMERA]
        # Warm up before the measurement.
        prepare_images(folder / 'warm_up', frames[:16], *size)
        began = time.perf_counter()
        images = prepare_images(folder / 'images', frames, *size)
        images_s = time.perf_counter() - began
        prepare_labels(
            folder / 'labels', lambda k: frames[k].pseudo_label(), len(frames), CLASSES, size, 0.25
        )
        labels_s = time.perf_counter() - began - images_s
        how = DistillationParameters()
        prepare_answers(folder / 'answers', frames, images, folder / 'teacher', how, 0.25)
        answers_s = time.perf_counter() - began - images_s - labels_s
        if distributed_rank()[0] == 0:
            print(json.dumps({'images': images_s, 'labels': labels_s, 'answers': answers_s}))


@dataclasses.dataclass(frozen=True)
class _MadeUp:
    """A synthetic frame: a picture rolled by a multiple of 7 rows."""

    picture: NDArray[np.uint8]
    number: int

    def image(self) -> NDArray[np.uint8]:
        return np.roll(self.picture, 7 * self.number, axis=0)


def _write_set(folder: Path, count: int) -> None:
    """Write images and soft targets of synthetic frames, as the preparation of training does."""
    from offline_training.training.frame_images import FrameImages
    from offline_training.training.frame_targets import FrameTargets, RegionTargets

    random = np.random.default_rng(0)
    picture = random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    frames: Sequence[Any] = [_MadeUp(picture, number) for number in range(count)]
    FrameImages.write(folder / 'images', frames, HEIGHT, WIDTH)
    regions = (np.arange(HEIGHT)[:, None] // 12 * 43 + np.arange(WIDTH) // 12).astype(np.int32)
    probability = random.dirichlet(np.full(CLASSES, 0.1), int(regions.max()) + 1)
    weight = probability.max(axis=1).astype(np.float32)

    def targets(chosen: range) -> Iterable[RegionTargets]:
        for number in chosen:
            rolled = np.roll(probability, number, axis=0)
            yield RegionTargets(regions, rolled.astype(np.float16), np.roll(weight, number))

    FrameTargets.write(folder / 'targets', count, targets)


def _train(folder: Path, count: int, steps: int, mode: str) -> None:
    """Train some steps, and print their time (in the child process).

    Args:
        folder: of the prepared set.
        count: number of frames in it.
        steps: number of steps.
        mode: `fits` reads the set into the page cache first, `emptied` drops it from there all
            the time, `limited` does neither.
    """
    import torch

    from offline_training.networks.segmenter import Segmenter, configuration
    from offline_training.training.frame_images import FrameImages
    from offline_training.training.frame_targets import FrameTargets
    from offline_training.training.training import Progress, fit
    from offline_training.training.training_parameters import TrainingParameters

    files = sorted(folder.rglob('*.npy'))
    _empty(files)
    if mode == 'fits':
        for file in files:
            file.read_bytes()
    elif mode == 'emptied':
        threading.Thread(target=_keep_empty, args=(files,), daemon=True).start()
    reached: list[tuple[float, float]] = []

    def show(progress: Progress) -> None:
        reached.append((time.perf_counter(), progress.data_wait_fraction))
        if len(reached) == WARM_UP_STEPS:
            read.append(_bytes_read())
        if len(reached) == steps:
            raise _EnoughError

    read: list[int] = []
    torch.manual_seed(0)
    network = Segmenter(configuration('tiny', CLASSES, HEIGHT, WIDTH))
    images = FrameImages.open(folder / 'images', count)
    targets = FrameTargets(folder / 'targets', count, 0.25)
    parameters = TrainingParameters(epochs=1000, precision='fp32', checkpoint_s=1e9)
    with contextlib.suppress(_EnoughError):
        fit(network, images, targets, parameters, folder, {}, show)
    counted = steps - WARM_UP_STEPS
    answer = {
        'step_s': (reached[-1][0] - reached[WARM_UP_STEPS - 1][0]) / counted,
        'data_wait_fraction': reached[-1][1],
        'megabytes_read_a_step': (_bytes_read() - read[0]) / counted / 1e6,
        'set_megabytes': sum(file.stat().st_size for file in files) / 1e6,
        'memory': mode,
    }
    print(json.dumps(answer))


class _EnoughError(Exception):
    """Raised to stop training after the last step that is measured."""


def _bytes_read() -> int:
    """Return the number of bytes that this process has read from the disk."""
    text = Path('/proc/self/io').read_text()
    return int(dict(line.split(': ') for line in text.splitlines())['read_bytes'])


def _empty(files: Sequence[Path]) -> None:
    """Drop files from the page cache."""
    for path in files:
        with path.open('rb') as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _keep_empty(files: Sequence[Path]) -> None:
    while True:
        _empty(files)
        time.sleep(0.2)


def _result(name: str, seconds: float, runs: int, ratio: float) -> dict[str, Any]:
    return {
        'name': name,
        'median_s': seconds,
        'p95_s': seconds,
        'runs': runs,
        'peer': False,
        'ratio': ratio,
    }


if __name__ == '__main__':
    if sys.argv[1] == 'prepare':
        _prepare(*map(Path, sys.argv[2:]))
    else:
        _train(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
