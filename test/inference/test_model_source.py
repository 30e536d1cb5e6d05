"""Models from a web server and a hub, both on localhost, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from drive_segment_ros.errors import DependencyError, ModelError, StorageError
from drive_segment_ros.inference.model import read_model
from drive_segment_ros.inference.model_source import model_location
from drive_segment_ros.text_files import read_json

COMMIT = '0123456789abcdef0123456789abcdef01234567'


class Hub(BaseHTTPRequestHandler):
    """Minimal hub that serves files at `/OWNER/NAME/resolve/REVISION/FILE`."""

    def __init__(self, folder: Path, asked: list[str], *args) -> None:
        self._folder, self._asked = folder, asked
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._asked.append(self.path)
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        repository, _, rest = self.path.strip('/').partition('/resolve/')
        revision, _, name = rest.partition('/')
        file = self._folder / name
        if repository != 'owner/town':
            self._refuse('RepoNotFound')
        elif revision not in ('main', 'v1', COMMIT):
            self._refuse('RevisionNotFound')
        elif not file.is_file():
            self._refuse('EntryNotFound')
        else:
            data = file.read_bytes()
            self.send_response(200)
            self.send_header('X-Repo-Commit', COMMIT)
            self.send_header('ETag', f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header('X-Error-Code', code)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *args) -> None:
        pass


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


def served(handler) -> Iterator[str]:
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


@pytest.fixture
def web(model_folder: Path) -> Iterator[str]:
    pytest.importorskip('aiohttp', reason="aiohttp is not installed; pip install '.[hub]'")
    yield from served(partial(Quiet, directory=str(model_folder.parent)))


@pytest.fixture
def hub(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    pytest.importorskip('huggingface_hub')
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    asked: list[str] = []
    for address in served(partial(Hub, model_folder, asked)):
        monkeypatch.setenv('HF_ENDPOINT', address)
        yield asked


def test_a_path_and_object_storage_are_left_to_others(tmp_path):
    assert model_location(str(tmp_path)) == tmp_path
    assert model_location(tmp_path) is tmp_path
    assert str(model_location('memory://models/town')) == 'memory://models/town'


def test_a_model_of_a_web_server_is_the_same(web, model_folder):
    fetched = model_location(f'{web}/{model_folder.name}/')
    assert read_model(fetched).sha256 == read_model(model_folder).sha256
    assert {file.name for file in fetched.iterdir()} == {'model.json', 'model.onnx'}


def test_a_model_of_a_hub_is_the_same_and_is_kept(hub, model_folder):
    # A file that is no part of a model is not fetched.
    (model_folder / 'weights.pkl').write_bytes(b'no')
    fetched = model_location('hf://owner/town')
    assert read_model(fetched).sha256 == read_model(model_folder).sha256
    assert sorted(path.rpartition('/')[2] for path in hub) == ['model.json', 'model.onnx']
    # The graph is fetched from the commit of the description.
    assert hub[-1] == f'/owner/town/resolve/{COMMIT}/model.onnx'
    assert model_location('hf://owner/town@v1') == fetched
    assert len(hub) == 2


@pytest.mark.parametrize('letters', [12, 64])
def test_a_pinned_model_is_taken_only_if_it_is_that_one(web, model_folder, letters):
    address = f'{web}/{model_folder.name}'
    digest = read_model(model_folder).sha256
    assert read_model(model_location(f'{address}#sha256={digest[:letters]}')).sha256 == digest
    with pytest.raises(ModelError, match='is not the model that was pinned'):
        model_location(f'{address}#sha256={"0" * letters}')
    with pytest.raises(ModelError, match='12 to 64 hexadecimal'):
        model_location(f'{address}#sha256=abc')


@pytest.mark.parametrize('text', ['s3://models/town', '/models/town', 'town'])
def test_only_hubs_and_web_servers_pin_a_hash(text):
    with pytest.raises(ModelError, match='only addresses of hf://, http:// and https:// pin'):
        model_location(f'{text}#sha256={"0" * 64}')


def test_a_graph_that_was_changed_on_the_way_is_refused(web, model_folder):
    with (model_folder / 'model.onnx').open('ab') as file:
        file.write(b'x')
    with pytest.raises(ModelError, match=r'is not the file model\.json describes'):
        read_model(model_location(f'{web}/{model_folder.name}'))


def test_only_a_graph_beside_the_description_is_fetched(web, model_folder):
    text = (model_folder / 'model.json').read_text()
    for name in ('model.pkl', '../model.onnx', '/etc/model.onnx'):
        (model_folder / 'model.json').write_text(text.replace('model.onnx', name))
        with pytest.raises(ModelError, match=r'no \.onnx file'):
            model_location(f'{web}/{model_folder.name}')


def test_what_is_not_there_is_named(web, hub, model_folder):
    with pytest.raises(ModelError, match=r'nothing/model\.json is not there'):
        model_location(f'{web}/nothing')
    with pytest.raises(StorageError, match='cannot read hf://owner/village'):
        model_location('hf://owner/village')
    with pytest.raises(StorageError, match='cannot read hf://owner/town@v2'):
        model_location('hf://owner/town@v2')
    with pytest.raises(StorageError, match='is not a repository'):
        model_location('hf://town')
    shutil.move(model_folder / 'model.json', model_folder / 'other.json')
    with pytest.raises(ModelError, match='holds no exported model'):
        model_location('hf://owner/town')


def test_a_server_that_is_not_there_ends_in_one_line(monkeypatch, tmp_path):
    pytest.importorskip('aiohttp')
    with pytest.raises(StorageError, match=r'cannot read http://127\.0\.0\.1:9/x') as told:
        model_location('http://127.0.0.1:9/x')
    assert '\n' not in str(told.value)


def test_what_is_not_installed_is_named(monkeypatch):
    for package, address in (('huggingface_hub', 'hf://owner/town'), ('fsspec', 'http://h/town')):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, f'{package}.registry', None)
        with pytest.raises(DependencyError, match=r"needs .*pip install '\.\[hub\]'"):
            model_location(address)


def test_the_description_is_read_as_data(web, model_folder):
    assert read_json(model_folder / 'model.json')['format'] == 1
    (model_folder / 'model.json').write_text('{"onnx": []}')
    with pytest.raises(ModelError, match='is damaged'):
        model_location(f'{web}/{model_folder.name}')
