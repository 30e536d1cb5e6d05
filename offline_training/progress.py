"""Progress of long work on standard error: a bar a task."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from offline_training.training import Progress


def bar(description: str) -> Callable[[Iterable], Iterable]:
    """Return a function that shows how far an iteration has come."""

    def show(items: Any) -> Iterator[Any]:
        with _bar('') as shown:
            yield from shown.track(items, len(items), description=description)

    return show


@contextlib.contextmanager
def training_bar(description: str) -> Iterator[Callable[[Progress], None]]:
    """Show a training: loss, rate, images a second, share of time waiting, time left."""
    with _bar('{task.fields[state]}') as shown:
        task = shown.add_task(description, total=None, state='')

        def show(progress: Progress) -> None:
            state = (
                f'loss {progress.loss:.3f}  rate {progress.learning_rate:.1e}  '
                f'{progress.images_per_second:.1f} images/s  '
                f'waiting {100 * progress.data_wait_fraction:.0f} %'
            )
            shown.update(task, completed=progress.step, total=progress.steps, state=state)

        yield show


def _bar(state: str) -> Bar:
    columns = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()]
    return Bar(*columns, TimeRemainingColumn(), TextColumn(state), console=Console(stderr=True))
