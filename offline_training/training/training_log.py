"""The log of a training: a progress bar, TensorBoard logs, a picture of the loss."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from drive_segment_ros.progress import bars_with_state
from offline_training.common.files import write_atomic
from offline_training.training.training import Progress


class TrainingLog:
    """Logs one network's training; a context manager that does nothing unless enabled."""

    def __init__(self, folder: Path, name: str, enabled: bool) -> None:
        self._folder = folder
        self._name = name
        self._enabled = enabled
        self._open = contextlib.ExitStack()
        self._writer: Any = None

    def __enter__(self) -> TrainingLog:
        if self._enabled:
            # TensorBoard's writer takes seconds to import.
            from torch.utils.tensorboard import SummaryWriter

            self._bar = self._open.enter_context(_training_bar(self._name))
            self._make_writer = SummaryWriter
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def show(self, progress: Progress) -> None:
        """Log one step."""
        self._bar(progress)
        if self._writer is None:
            # Discard steps logged before an interruption that are repeated.
            folder = str(self._folder / 'tensorboard')
            self._writer = self._make_writer(folder, purge_step=progress.step)
            self._open.callback(self._writer.close)
        for name in ('loss', 'learning_rate', 'images_per_second', 'data_wait_fraction'):
            self._writer.add_scalar(name, getattr(progress, name), progress.step)
        if progress.held_out is not None and progress.held_out[0] == progress.step:
            _, loss, right = progress.held_out
            self._writer.add_scalar('held_out_loss', loss, progress.step)
            self._writer.add_scalar('held_out_right', right, progress.step)

    def draw(self, losses: list[float]) -> None:
        """Write `loss.png`: the loss of every step and its running mean."""
        if not self._enabled:
            return
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), layout='constrained')
        axes = figure.subplots()
        axes.plot(losses, color='0.75', linewidth=0.8, label='each step')
        window = max(len(losses) // 50, 1)
        mean = np.convolve(losses, np.full(window, 1.0 / window), 'valid')
        axes.plot(np.arange(len(mean)) + window // 2, mean, label=f'mean of {window} steps')
        axes.set(xlabel='step', ylabel='cross-entropy', title=self._name)
        axes.legend()
        picture = io.BytesIO()
        figure.savefig(picture, format='png', dpi=120)
        write_atomic(self._folder / 'loss.png', picture.getvalue())


@contextlib.contextmanager
def _training_bar(description: str) -> Iterator[Callable[[Progress], None]]:
    """Show a progress bar: loss, learning rate, images/s, share of time waiting, time left."""
    with bars_with_state('{task.fields[state]}') as shown:
        task = shown.add_task(description, total=None, state='')

        def show(progress: Progress) -> None:
            state = (
                f'loss {progress.loss:.3f}  rate {progress.learning_rate:.1e}  '
                f'{progress.images_per_second:.1f} images/s  '
                f'waiting {100 * progress.data_wait_fraction:.0f} %'
            )
            shown.update(task, completed=progress.step, total=progress.steps, state=state)

        yield show
