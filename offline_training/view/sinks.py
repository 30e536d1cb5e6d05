"""The destination of a recording: a file, or Rerun's viewer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import OutputError

Sink = Callable[[Any], object]
_INSTEAD = 'show it in a browser with --web, or write it with --save'


def file_sink(file: Path) -> Sink:
    """Return a function that writes a Rerun stream to a file.

    Raises:
        OutputError: if the file is not an .rrd, or its folder does not exist; from the function,
            if the file cannot be created.
    """
    if file.suffix != '.rrd':
        raise OutputError(f'{file}: the name of a Rerun recording must end in .rrd')
    if not file.parent.is_dir():
        raise OutputError(f'{file.parent} is not a folder; create it first')

    def save(stream: Any) -> None:
        try:
            stream.save(file)
        except RuntimeError as err:
            raise OutputError(f'cannot write {file}: {str(err).splitlines()[0]}') from err

    return save


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
    """Wait until all data of a stream have been written or sent.

    Raises:
        OutputError: if that fails.
    """
    try:
        stream.flush()
    except RuntimeError as err:
        raise OutputError(f'the recording is lost: {err}; {_INSTEAD}') from err
