"""The destination of a recording: a file, or Rerun's viewer."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import OutputError

Sink = Callable[[Any], object]
_INSTEAD = 'show it in a browser with --web, or write it with --save'


@contextlib.contextmanager
def file_sink(file: Path) -> Iterator[Sink]:
    """Yield a function that writes a Rerun stream to a file, which appears when all is written.

    Raises:
        OutputError: if the file is not an .rrd, cannot be created or not be written completely;
            an existing one is kept then.
    """
    if file.suffix != '.rrd':
        raise OutputError(f'{file}: the name of a Rerun recording must end in .rrd')
    if not file.parent.is_dir():
        raise OutputError(f'{file.parent} is not a folder; create it first')
    if file.is_dir():
        raise OutputError(f'cannot write {file}: it is a folder')
    partial = file.with_name(f'.{file.name}.{os.getpid()}')
    copies: list[StreamFile] = []
    try:
        yield lambda stream: copies.append(StreamFile(stream, partial))
        try:
            for copy in copies:
                copy.finish()
            partial.replace(file)
        except OSError as err:
            raise OutputError(f'cannot write {file}: {err.strerror}') from err
    finally:
        partial.unlink(missing_ok=True)


class StreamFile:
    """A Rerun stream, copied to a file through a pipe.

    Rerun itself waits for ever where a disk is full.
    """

    def __init__(self, stream: Any, file: Path) -> None:
        """Receive all data added to a stream from now on.

        Args:
            stream: a `rerun.RecordingStream`.
            file: replaced if there is one.

        Raises:
            OutputError: if it cannot be created.
        """
        self._stream = stream
        self._error: OSError | None = None
        try:
            self._file = file.open('wb')
        except OSError as err:
            raise OutputError(f'cannot write to {file.parent}: {err.strerror}') from err
        self._source, target = os.pipe()
        try:
            stream.save(f'/dev/fd/{target}')
        except RuntimeError as err:
            raise OutputError(f'cannot write {file}: {str(err).splitlines()[0]}') from err
        finally:
            os.close(target)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Write the rest, and sync the file to the disk.

        Raises:
            OSError: if anything could not be written.
        """
        self._stream.disconnect()  # flushes it, completes it and closes the pipe
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        with open(self._source, 'rb', buffering=0) as source:
            try:
                with self._file:
                    shutil.copyfileobj(source, self._file)
                    self._file.flush()
                    os.fsync(self._file.fileno())
            except OSError as err:
                self._error = err
            # Rerun would wait for a reader.
            while source.read(1 << 20):
                pass


def viewer_sink(stream: Any) -> None:
    """Open Rerun's viewer and send a stream to it.

    Raises:
        OutputError: if the viewer cannot be started, or there is no display.
    """
    displays = ('DISPLAY', 'WAYLAND_DISPLAY')
    if sys.platform == 'linux' and not any(os.environ.get(name) for name in displays):
        raise OutputError(f'there is no display on this machine; {_INSTEAD}')
    try:
        stream.spawn(hide_welcome_screen=True)
    except RuntimeError as err:
        raise OutputError(f'{str(err).splitlines()[0]} {_INSTEAD}') from err


def all_sent(stream: Any) -> None:
    """Wait until all data of a stream have been sent to a viewer.

    Raises:
        OutputError: if that fails.
    """
    try:
        stream.flush()
    except RuntimeError as err:
        raise OutputError(f'the recording is lost: {err}; {_INSTEAD}') from err
