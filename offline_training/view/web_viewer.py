"""Rerun's viewer for browsers, served without requests to other servers.

By default its page fetches a font, sends usage statistics and checks for newer versions. Here it
is served with a policy that restricts the browser to this server, which listens on this machine
only.
"""

from __future__ import annotations

import http.client
import http.server
import shutil
import tempfile
import threading
import webbrowser
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from drive_segment_ros.errors import OutputError
from offline_training.view.recording import rerun
from offline_training.view.sinks import StreamFile

_HOST = '127.0.0.1'
_RECORDING = '/recording.rrd'
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:"
)
_HEADERS = ('Content-Type', 'Content-Length', 'Content-Encoding')


class WebViewer:
    """Serves a recording, and the viewer for it, to browsers on this machine; a context manager.

    Attributes:
        address: of the page.
    """

    def __init__(self, port: int) -> None:
        """Start the servers on two ports.

        Args:
            port: of the page; the next one is used by Rerun's server, which provides the viewer.

        Raises:
            OutputError: if a port is in use.
        """
        self._folder = Path(tempfile.mkdtemp(prefix='drive_segment_'))
        self._file = self._folder / 'recording.rrd'
        self._received: StreamFile | None = None
        try:
            rerun().serve_web_viewer(web_port=port + 1, open_browser=False)
            self._server = _Server((_HOST, port), port + 1, self._file)
        except (OSError, RuntimeError) as err:
            shutil.rmtree(self._folder)
            raise OutputError(
                f'cannot serve on ports {port} and {port + 1}: {err}; choose others with --port'
            ) from err
        here = f'http://{_HOST}:{port}'
        self.address = f'{here}/?url={here}{_RECORDING}'

    def __enter__(self) -> WebViewer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.server_close()
        shutil.rmtree(self._folder)

    def __call__(self, stream: Any) -> None:
        """Receive all data added to a Rerun stream from now on; see `ViewOptions.open_sink`."""
        self._received = StreamFile(stream, self._file)

    def complete(self) -> None:
        """End the stream, whose data are complete.

        Raises:
            OutputError: if they could not be stored.
        """
        try:
            if self._received is not None:
                self._received.finish()
        except OSError as err:
            raise OutputError(f'cannot write to {self._folder}: {err.strerror}') from err

    def serve(self, open_browser: bool) -> None:
        """Serve what has been recorded, until interrupted."""
        if open_browser:
            threading.Timer(0.5, webbrowser.open, [self.address]).start()
        self._server.serve_forever()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], viewer: int, recording: Path) -> None:
        super().__init__(address, _Handler)
        self.viewer = viewer
        self.recording = recording


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves the recording, and forwards other requests to Rerun's server."""

    def do_GET(self) -> None:
        server = cast('_Server', self.server)
        if self.path == _RECORDING:
            size = server.recording.stat().st_size
            self._begin(200, {'Content-Type': 'application/octet-stream', 'Content-Length': size})
            with server.recording.open('rb') as file:
                shutil.copyfileobj(file, self.wfile)
            return
        source = http.client.HTTPConnection(_HOST, server.viewer, timeout=60)
        try:
            source.request('GET', self.path)
            answer = source.getresponse()
            content = answer.read()
        except OSError as err:
            self.send_error(502, str(err))
            return
        finally:
            source.close()
        headers = {name: answer.getheader(name) for name in _HEADERS}
        self._begin(answer.status, {n: value for n, value in headers.items() if value})
        self.wfile.write(content)

    def _begin(self, status: int, headers: dict[str, Any]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header('Content-Security-Policy', _POLICY)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
