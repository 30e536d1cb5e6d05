"""Processes of distributed training on one or several nodes; lost ones are detected."""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from drive_segment_ros.cores import usable_cores
from drive_segment_ros.errors import ModelError

# The longest pause is the writing of a checkpoint; a longer one means that a node is lost.
_SILENCE = datetime.timedelta(minutes=5)
_ROUND_S = 0.5
_MOST_THREADS = 8

Alive = Callable[[], None]
T = TypeVar('T')


class PeerError(ModelError):
    """Another process failed or is gone."""


def distributed_rank() -> tuple[int, int]:
    """Return this process's number and the number of processes; (0, 1) without torchrun."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def training_device() -> torch.device:
    """Return this process's device: its own GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device('cuda', int(os.environ.get('LOCAL_RANK', 0)))
    return torch.device('cpu')


def data_threads() -> int:
    """Return how many threads of this process may read and prepare: its share of the cores."""
    cores = usable_cores() // int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return min(max(cores, 1), _MOST_THREADS)


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes when started by `torchrun`, which sets WORLD_SIZE.

    Raises:
        ModelError: if the environment is incomplete, or this process has no GPU of its own.
        PeerError: if another process is gone while this one waits for it.
    """
    if int(os.environ.get('WORLD_SIZE', 1)) == 1:
        yield
        return
    if 'RANK' not in os.environ:
        raise ModelError(
            'WORLD_SIZE is set but RANK is not; start several processes with torchrun'
        )
    device = training_device()
    if device.type == 'cuda':
        if (device.index or 0) >= torch.cuda.device_count():
            raise ModelError(
                f'process {device.index} of this machine has no GPU of its own; start '
                f'{torch.cuda.device_count()}'
            )
        torch.cuda.set_device(device)
    # Tensors in host memory are exchanged by gloo, those on a GPU by NCCL.
    backend = 'cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo'
    with _connection_told():
        dist.init_process_group(backend, timeout=_SILENCE)
        try:
            yield
        finally:
            dist.destroy_process_group()


def together(work: Callable[[Alive], T]) -> T:
    """Run this process's share of some work, and wait until all processes have finished.

    Args:
        work: takes a function that it must call regularly, and which raises PeerError if another
            process failed.

    Returns:
        The result of `work` in this process.

    Raises:
        PeerError: as soon as another process failed or is gone.
    """
    _, world = distributed_rank()
    if world == 1:
        return work(lambda: None)
    watch = _Watch()
    try:
        result = work(watch.check)
    except BaseException:
        watch.end(_FAILED)
        raise
    watch.end(_DONE)
    watch.check()
    return result


def first_alone(work: Callable[[], None]) -> None:
    """Run `work` in the first process while the others wait; errors as in `together`."""
    rank, _ = distributed_rank()
    together(lambda alive: work() if rank == 0 else None)


def all_of(value: Any) -> list[Any]:
    """Return the values of all processes, in the order of their ranks."""
    _, world = distributed_rank()
    if world == 1:
        return [value]
    values = [None] * world
    dist.all_gather_object(values, value)
    return values


_WORKING, _DONE, _FAILED = 0, 1, 2


class _Watch:
    """Exchanges the states of all processes every half second, on a separate thread.

    All processes take part in an exchange. It fails immediately if a process was killed, whose
    connections are then closed, and after a timeout if a node is lost.
    """

    def __init__(self) -> None:
        self._rank, self._world = distributed_rank()
        self._state = _WORKING
        self._problem = ''
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, name='processes', daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise PeerError if another process failed or is gone."""
        if self._problem:
            raise PeerError(self._problem)

    def end(self, state: int) -> None:
        """Report the end of this process's work; wait for the others unless it failed."""
        self._state = state
        self._ended.set()
        # An interrupted process must end within a second.
        self._thread.join(_ROUND_S if state == _FAILED else None)

    def _ask(self) -> None:
        while True:
            states = torch.zeros(self._world, dtype=torch.int32)
            states[self._rank] = self._state
            try:
                dist.all_reduce(states)
            except RuntimeError:
                self._problem = 'another process or its node no longer answers'
                return
            if (states == _FAILED).any():
                failed = ', '.join(map(str, (states == _FAILED).nonzero()[:, 0].tolist()))
                self._problem = f'process {failed} failed, see its own message'
                return
            if (states == _DONE).all():
                return
            self._ended.wait(_ROUND_S)


@contextlib.contextmanager
def _connection_told() -> Iterator[None]:
    """Convert errors of gloo and NCCL due to a lost connection to PeerError."""
    try:
        yield
    except RuntimeError as err:
        # gloo raises plain RuntimeErrors whose message has the path of its source file.
        if isinstance(err, dist.DistError) or 'gloo' in str(err) or 'NCCL' in str(err):
            raise PeerError('another process or its node no longer answers') from err
        raise
