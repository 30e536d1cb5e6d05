"""Handles Ctrl-C and SIGTERM: a command ends within a second and prints what is kept."""

from __future__ import annotations

import multiprocessing.process
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

import typer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Time for cleaning up. Everything a command writes may be interrupted at any moment.
_GRACE_S = 0.5


class Interruption:
    """Ends the `with` block on a signal; a context manager.

    The signal raises KeyboardInterrupt, and any exception that ends the block after it counts as
    the interruption, as compilers and libraries wrap it in their own. If the block does not end,
    in native code or because the exception was caught, the process is ended.
    """

    def __init__(self, kept: str = '') -> None:
        """Prepare.

        Args:
            kept: the message: what is kept and how to continue.
        """
        self._kept = kept
        self._number = 0
        self._said = threading.Lock()
        self._ended = threading.Event()
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    self._handlers[number] = signal.signal(number, self._interrupt)
            # Python's handlers wait for native code; the wake-up pipe does not.
            self._read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and (self._number or kind is KeyboardInterrupt):
            # A second one must not end the process otherwise, for Python gives handlers back
            # while it ends. The watch goes on: threads and libraries may keep it from its end.
            for number in self._handlers:
                signal.signal(number, signal.SIG_IGN)
            self._say()
            raise typer.Exit(128 + (self._number or signal.SIGINT)) from None
        self._ended.set()
        if self._handlers:
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._write)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._number:  # a second one must not disturb the shutdown
            self._number = number
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while received := os.read(self._read, 1):
            if received[0] in _SIGNALS:
                if not self._ended.wait(_GRACE_S):
                    self._say()
                    for child in multiprocessing.process.active_children():
                        child.terminate()
                    os._exit(128 + received[0])
                break
        os.close(self._read)

    def _say(self) -> None:
        if self._said.acquire(blocking=False):
            cursor = '\x1b[?25h' if sys.stderr.isatty() else ''  # a progress bar hides it
            kept = f'; {self._kept}' if self._kept else ''
            typer.echo(f'{cursor}drive-segment: interrupted{kept}', err=True)
