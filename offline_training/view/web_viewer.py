"""Rerun's viewer for browsers, served so that it asks nobody else for anything.

By itself its page fetches a font, sends statistics of its use and looks for newer versions. Here
it comes with a policy by which a browser lets it talk to this machine alone.
"""

from __future__ import annotations

import http.client
import http.server
import threading
import urllib.parse
import webbrowser
from typing import Any, cast

from drive_segment_ros.errors import OutputError
from offline_training.view.recording import rerun

_HOST = '127.0.0.1'
# Of the machine's memory, for what a browser that is opened late is still told.
_MEMORY = '50%'
_HEADERS = ('Content-Type', 'Content-Length', 'Content-Encoding')


class WebViewer:
    """Serves a recording, and the viewer for it, to browsers on this machine.

    Attributes:
        address: of the page, once there is a recording.
    """

    def __init__(self, port: int, open_browser: bool) -> None:
        """Prepare.

        Args:
            port: of the page; the two after it are taken too.
            open_browser: whether to open the page.
        """
        self.address = ''
        self._port = port
        self._open_browser = open_browser
        self._server: _Server | None = None

    def __call__(self, stream: Any) -> None:
        """Serve what is going to be added to a stream of Rerun's.

        Raises:
            OutputError: if a port is taken.
        """
        page, data, viewer = (self._port + k for k in range(3))
        try:
            self._server = _Server((_HOST, page), viewer, data)
            source = stream.serve_grpc(
                grpc_port=data,
                server_memory_limit=_MEMORY,
                cors_allow_origin=[f'http://{_HOST}:{page}'],
            )
            rerun().serve_web_viewer(web_port=viewer, open_browser=False)
        except (OSError, RuntimeError) as err:
            raise OutputError(
                f'cannot serve on ports {page} to {viewer}: {err}; choose others by --port'
            ) from err
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f'http://{_HOST}:{page}/?url={urllib.parse.quote(source, safe="")}'

    def wait(self) -> None:
        """Open the page if wanted, and serve until interrupted."""
        if self._open_browser:
            webbrowser.open(self.address)
        threading.Event().wait()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], viewer: int, data: int) -> None:
        super().__init__(address, _Handler)
        self.viewer = viewer
        here = f"'self' http://{_HOST}:{data} blob: data:"
        self.policy = (
            f"default-src {here} 'unsafe-inline' 'unsafe-eval'; connect-src {here}; "
            f'worker-src {here}'
        )


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what Rerun's own server has, and the policy."""

    def do_GET(self) -> None:
        server = cast('_Server', self.server)
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
        self.send_response(answer.status)
        for name in _HEADERS:
            if (value := answer.getheader(name)) is not None:
                self.send_header(name, value)
        self.send_header('Content-Security-Policy', server.policy)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
