"""The gallery as one page with a field for the name of each class, as a file or served."""

from __future__ import annotations

import http.server
import re
import secrets
import webbrowser
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.label_sets import classes_folder
from drive_segment_ros.errors import DatasetError, DriveSegmentError, ParameterError
from drive_segment_ros.inference.model import class_name
from drive_segment_ros.text_files import parse_json
from offline_training.common.classes import (
    CLASSES_FILE,
    ClassName,
    default_classes,
    load_classes,
)
from offline_training.common.files import write_atomic
from offline_training.evaluation.label_space import classes_in
from offline_training.evaluation.name import classes_to_name, name_all
from offline_training.pseudo_labels.gallery import GALLERY_PAGE
from offline_training.report.class_gallery import Gallery, gallery, gallery_folder
from offline_training.report.page import page

# Largest request, bytes: far more than the names of all classes.
_LARGEST_POST = 100_000
# Addresses that are reachable from this machine only.
_HERE = ('127.0.0.1', '::1')


def write_gallery_page(dataset: Path, labels: str = '') -> Path:
    """Write the pseudo-classes as one page, on which they can be named and the names downloaded.

    Args:
        dataset: labelled.
        labels: name of the set of pseudo-labels; empty for the default set.

    Returns:
        Its file.
    """
    folder = classes_folder(dataset, labels)
    classes = load_classes(folder / CLASSES_FILE)
    shown = _gallery(folder, classes, folder)
    target = folder / GALLERY_PAGE
    write_atomic(target, naming_page(dataset.name, shown, classes).encode(errors='replace'))
    return target


def naming_page(
    title: str, shown: Gallery, classes: Sequence[ClassName], run: str = '', token: str = ''
) -> str:
    """Return the page.

    Args:
        title: of the page.
        shown: the classes.
        classes: their names.
        run: where the names are saved; empty offers them as a download.
        token: that authenticates the page to its server.
    """
    own = {item.name for item in default_classes(len(classes))}
    given = [item.name for item in classes if item.name not in own]
    known = list(dict.fromkeys([*given, *classes_in('cityscapes-19')]))
    return page(
        'naming.html.j2',
        ('naming.js', 'zoom.js'),
        own=bool(run),
        title=f'Pseudo-classes of {title}',
        gallery=shown,
        known=known,
        named=sum(entry.name not in own for entry in shown.entries),
        run=run,
        token=token,
    )


def serve_naming(
    run: Path,
    dataset: Path | None,
    host: str,
    port: int,
    open_browser: bool,
    say: Callable[[str], None],
) -> None:
    """Serve the page until interrupted; names go to the run's `classes.yaml`.

    Args:
        run: as `train` wrote it.
        dataset: whose gallery to show where the run has none.
        host: address to listen on.
        port: to listen on.
        open_browser: whether to open the page here.
        say: called with the page's address, and with each saved file.

    Raises:
        ModelError: if there is no run.
        DatasetError: if there is no gallery.
        ParameterError: if the port cannot be used.
    """
    with naming_server(run, dataset, host, port, say) as server:
        url = f'http://{host}:{server.server_address[1]}/'
        say(f'name the pseudo-classes of {run} on {url}; Ctrl-C ends')
        if open_browser:
            webbrowser.open(url)
        server.serve_forever()


def naming_server(
    run: Path, dataset: Path | None, host: str, port: int, say: Callable[[str], None]
) -> http.server.ThreadingHTTPServer:
    """Return a server of the page that is not started yet; see `serve_naming`."""
    classes_to_name(run)  # raises an error with the reason
    folder = gallery_folder(run, dataset)
    _gallery(folder, classes_to_name(run), run)
    shown_to = secrets.token_urlsafe()

    def html() -> str:
        classes = classes_to_name(run)
        shown = _gallery(folder, classes, run)
        return naming_page(run.resolve().name, shown, classes, str(run), shown_to)

    def save(content: Any) -> str:
        names = {int(number): class_name(name) for number, name in content.items()}
        classes = name_all(run, names)
        different = len({classes[number].name for number in names})
        told = f'saved: {len(names)} classes named, {different} different names'
        say(told)
        return told

    class Handler(_Handler):
        page_html = staticmethod(html)
        save_names = staticmethod(save)
        token = shown_to

    try:
        return http.server.ThreadingHTTPServer((host, port), Handler)
    except OSError as err:
        raise ParameterError(
            f'cannot serve on {host}:{port} ({err}); choose another --host or --port'
        ) from err


class _Handler(http.server.BaseHTTPRequestHandler):
    """Handles the browser's requests: the page, and names to save."""

    page_html: Callable[[], str]
    save_names: Callable[[Any], str]
    token = ''

    def do_GET(self) -> None:
        """Send the page."""
        if not self._by_own_name():
            self._answer(HTTPStatus.FORBIDDEN, 'open the page at the address that was printed')
            return
        if self.path != '/':
            self._answer(HTTPStatus.NOT_FOUND, 'not found')
            return
        try:
            self._answer(HTTPStatus.OK, self.page_html(), 'text/html')
        except DriveSegmentError as err:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(err))

    def do_POST(self) -> None:
        """Save names sent by the page; other pages do not have the token."""
        digits = self.headers.get('Content-Length') or ''
        length = int(digits) if re.fullmatch('[0-9]{1,9}', digits) else 0
        told = self.headers.get('X-Token') or ''
        if self.path != '/names' or not secrets.compare_digest(told.encode(), self.token.encode()):
            self._answer(HTTPStatus.FORBIDDEN, 'the request is not from this page; reload it')
            return
        if not 0 < length <= _LARGEST_POST:
            self._answer(HTTPStatus.BAD_REQUEST, 'too many names')
            return
        try:
            self._answer(HTTPStatus.OK, self.save_names(parse_json(self.rfile.read(length))))
        except (DriveSegmentError, ValueError, AttributeError) as err:
            self._answer(HTTPStatus.BAD_REQUEST, f'not saved: {err}')

    def _by_own_name(self) -> bool:
        """Whether the request's host is this machine (against DNS rebinding)."""
        asked = (self.headers.get('Host') or '').rpartition(':')[0]
        address: Any = self.server.server_address
        listens = str(address[0])
        return listens not in _HERE or asked in (*_HERE, 'localhost')

    def _answer(self, status: HTTPStatus, text: str, kind: str = 'text/plain') -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header('Content-Type', f'{kind}; charset=utf-8')
        self.send_header('Content-Length', str(len(data)))
        self.send_header('Cache-Control', 'no-store')
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests."""


def _gallery(folder: Path | None, classes: Sequence[ClassName], where: Path) -> Gallery:
    try:
        shown = gallery(folder, classes)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as err:
        raise DatasetError(
            f'{folder} has damaged statistics ({err!r}); run `drive-segment label` again'
        ) from err
    if shown is None:
        raise DatasetError(
            f'{where} has no pictures of its pseudo-classes; name the labelled dataset with '
            '--dataset'
        )
    return shown
