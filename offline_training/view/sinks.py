"""Where a recording is shown: a file, Rerun's own viewer, or its viewer in a browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import OutputError
from offline_training.view.recording import rerun

# Of the machine's memory, for what a browser that is opened late is still told.
_MEMORY = '50%'
Sink = Callable[[Any], object]


def file_sink(file: Path) -> Sink:
    """Return what writes a recording to a file.

    Raises:
        OutputError: if it is no .rrd, or its folder is not there.
    """
    if file.suffix != '.rrd':
        raise OutputError(f'{file}: a recording of Rerun ends in .rrd')
    if not file.parent.is_dir():
        raise OutputError(f'{file.parent} is no folder; make it first')
    return lambda stream: stream.save(file)


def viewer_sink() -> Sink:
    """Return what opens Rerun's viewer, and shows a recording there."""
    return lambda stream: stream.spawn()


class WebSink:
    """Serves a recording, and the viewer for it, to a browser on this machine.

    Attributes:
        address: of the page, once the recording is served.
    """

    def __init__(self, port: int, open_browser: bool = True) -> None:
        self.address = ''
        self._port = port
        self._open_browser = open_browser

    def __call__(self, stream: Any) -> None:
        """Serve a recording."""
        data = stream.serve_grpc(grpc_port=self._port + 1, server_memory_limit=_MEMORY)
        self.address = f'http://127.0.0.1:{self._port}?url={data}'
        rerun().serve_web_viewer(
            web_port=self._port, open_browser=self._open_browser, connect_to=data
        )

    def wait(self) -> None:
        """Serve until interrupted."""
        while True:
            time.sleep(3600.0)
