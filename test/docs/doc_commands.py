"""Extracts the command lines of the docs."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

_MODULE = 'drive_segment_ros.cli'


def command_lines(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield name and arguments of each `drive-segment` command in a page's shell blocks."""
    text = page.read_text(encoding='utf-8')
    for block in re.findall(r'^```sh\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
        for line in block.replace('\\\n', ' ').splitlines():
            # Optional arguments are in brackets.
            words = shlex.split(re.sub(r'\[([^\]]*[A-Z ][^\]]*)\]', r'\1', line), comments=True)
            if not words or words[0] not in ('drive-segment', 'torchrun'):
                continue
            at = next(k for k, w in enumerate(words) if w in ('drive-segment', _MODULE))
            yield words[at + 1], words[at + 2 :]


def options(arguments: list[str], name: str) -> list[str]:
    """Return the values given to an option."""
    return [value for given, value in itertools.pairwise(arguments) if given == name]
