"""Finds the blocks of pages that a test runs, marked by comments that readers do not see.

    <!-- run -->                     the next block is run in bash, as it stands
    <!-- run first: COMMAND -->      the same, after COMMAND, which a reader has run already
    <!-- run; COMMAND += OPTIONS --> the same, with options added to lines `drive-segment COMMAND`
    <!-- prints -->                  the next block is the output of the block before; numbers
                                     and spacing may differ, `...` stands for any lines

Blocks of a page are run in order, in one folder.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

_BLOCK = re.compile(
    r'<!-- (?P<marker>run|prints)(?P<rest>[^\n]*?) -->\n+```(?:sh|text)\n(?P<text>.*?)^```',
    re.MULTILINE | re.DOTALL,
)


@dataclasses.dataclass
class TypedBlock:
    """A block of a page to run.

    Attributes:
        page: file of the page.
        line: line number of the marker.
        first: command to run before.
        text: commands of the block, with options added.
        prints: expected output; None if it is not checked.
    """

    page: Path
    line: int
    first: str
    text: str
    prints: str | None = None


def typed_blocks(page: Path) -> list[TypedBlock]:
    """Return the marked blocks of a page, in order."""
    content = page.read_text(encoding='utf-8')
    blocks: list[TypedBlock] = []
    for found in _BLOCK.finditer(content):
        if found['marker'] == 'prints':
            blocks[-1].prints = found['text']
            continue
        first, added = _options(found['rest'])
        text = _with_options(found['text'], added)
        line = content.count('\n', 0, found.start()) + 1
        blocks.append(TypedBlock(page, line, first, text))
    return blocks


def _with_options(text: str, added: dict[str, str]) -> str:
    """Append the options of each command to its lines in a block, in front of a comment."""
    return re.sub(
        r'^((?:\./)?drive-segment (\S+)(?:\\\n|[^\n#])*)',
        lambda line: line[1].rstrip() + ' ' + added.get(line[2], '') + ' ',
        text,
        flags=re.MULTILINE,
    )


def _options(rest: str) -> tuple[str, dict[str, str]]:
    """Parse what follows `run` in a marker: the command to run first, and options by command."""
    first, added = '', {}
    for part in filter(None, (one.strip() for one in rest.split(';'))):
        if part.startswith('first:'):
            first = part.removeprefix('first:').strip()
        else:
            command, _, options = part.partition('+=')
            added[command.strip()] = options.strip()
    return first, added


def unlike(printed: str, expected: str) -> str:
    """Return the first expected line that is not in its place in the output; empty if none."""
    lines = iter(_plain(printed))
    anywhere = True
    for wanted in _plain(expected):
        if wanted == '...':
            anywhere = True
            continue
        # `in` advances the iterator to just behind the line found.
        found = wanted in lines if anywhere else next(lines, '') == wanted
        if not found:
            return wanted
        anywhere = False
    return ''


def _plain(text: str) -> list[str]:
    """Return the lines that are not empty; numbers, which vary by machine, are `#`."""
    lines = (' '.join(re.sub(r'\d[\d.,]*', '#', line).split()) for line in text.splitlines())
    return [line for line in lines if line]
