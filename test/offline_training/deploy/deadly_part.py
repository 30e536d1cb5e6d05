"""Images that end the process that reads them, as those that need too much memory do."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True)
class DeadlyPart:
    count: int = 1

    def __str__(self) -> str:
        return 'deadly.png'

    def images(self, skipped: list[str], wanted: Callable[[str], bool]) -> Iterator:
        os._exit(1)
