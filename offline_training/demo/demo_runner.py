"""Runs the commands of a demo: prints each as a user would type it, and saves time and result."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import DriveSegmentError
from offline_training.common.files import write_json


@dataclasses.dataclass
class Started:
    """A command that runs in the background.

    Attributes:
        answer: its JSON output, empty until it has been stopped.
    """

    answer: dict[str, Any] = dataclasses.field(default_factory=dict)


class DemoRunner:
    """Runs `drive-segment` commands, and appends each to the steps in `demo.json`."""

    def __init__(self, program: Sequence[str], file: Path, record: dict[str, Any]) -> None:
        """Write `demo.json` for the first time.

        Args:
            program: command line that starts `drive-segment`.
            file: path of `demo.json`.
            record: the entries of `demo.json` other than `steps`.
        """
        self._record = {**record, 'steps': []}
        self._file = file
        self._program = list(program)
        # Isolated from other ROS systems on this machine and network.
        self._environment = {
            'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA',
            **os.environ,
            # Prefer the commands of this installation.
            'PATH': os.pathsep.join((str(Path(sys.executable).parent), os.environ['PATH'])),
        }
        self._began = time.monotonic()
        write_json(file, self._record)

    def __call__(self, title: str, *arguments: object) -> dict[str, Any]:
        """Run a command and return its JSON output; empty without the option `--json`.

        Args:
            title: printed before the command.
            arguments: of `drive-segment`.

        Raises:
            DriveSegmentError: if it fails; the command has printed the reason already.
        """
        words = self._show(title, arguments)
        began = time.monotonic()
        with tempfile.TemporaryFile('w+') as output:
            with self._start(words, output) as process:
                try:
                    status = process.wait()
                except KeyboardInterrupt:  # the command itself may not have received it
                    process.send_signal(signal.SIGINT)
                    raise
            answer = _answer(words, status, output)
        self._note(title, words, time.monotonic() - began, answer)
        return answer

    @contextlib.contextmanager
    def beside(self, title: str, *arguments: object) -> Iterator[Started]:
        """Run a command during the `with` block, then interrupt it by SIGINT.

        Args:
            title, arguments: as of `__call__`.

        Raises:
            DriveSegmentError: if it fails.
        """
        words = self._show(title, arguments)
        began = time.monotonic()
        started = Started()
        with tempfile.TemporaryFile('w+') as output:
            process = self._start(words, output)
            try:
                yield started
            finally:
                # These commands run until interrupted: an early end is reported below.
                process.send_signal(signal.SIGINT)
                status = process.wait()
            started.answer = _answer(words, status, output)
        self._note(title, words, time.monotonic() - began, started.answer)

    def _show(self, title: str, arguments: Sequence[object]) -> list[str]:
        words = [str(argument) for argument in arguments]
        elapsed = time.monotonic() - self._began
        say(f'\n# {title} (at {elapsed:.0f} s)\n$ {_typed(words)}')
        return words

    def _start(self, words: Sequence[str], output: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._program, *words], stdout=output, text=True, env=self._environment
        )

    def _note(
        self, title: str, words: Sequence[str], seconds: float, answer: dict[str, Any]
    ) -> None:
        step = {'title': title, 'command': _typed(words), 'seconds': round(seconds, 1)}
        self._record['steps'].append({**step, 'result': answer})
        write_json(self._file, self._record)


def say(text: str) -> None:
    """Print to standard error, because standard output is for `--json`."""
    print(text, file=sys.stderr, flush=True)


def _typed(words: Sequence[str]) -> str:
    return shlex.join(['drive-segment', *words])


def _answer(words: Sequence[str], status: int, output: Any) -> dict[str, Any]:
    if status != 0:
        raise DriveSegmentError(f'demo: `drive-segment {words[0]}` failed, see above')
    output.seek(0)
    text = output.read()
    if '--json' in words:
        return json.loads(text)
    if text.strip():
        say(text.rstrip())
    return {}
