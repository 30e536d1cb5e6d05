"""Computes results ahead of their use on several threads, and returns them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar('A')
B = TypeVar('B')


def ahead(function: Callable[[A], B], items: Iterable[A], threads: int) -> Iterator[B]:
    """Yield a function's results in the order of its arguments, as `map` does.

    The consumer's thread draws the arguments, up to twice as many ahead of the results as there
    are threads. Close the iterator to end early.

    Args:
        function: mostly native code, which lets other threads run.
        items: its arguments.
        threads: that work.

    Raises:
        Exception: what the function raises, in its place in the order.
    """
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix='ahead') as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
