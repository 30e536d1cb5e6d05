"""The web page: what its buttons give, where it listens, and that it asks nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drive_segment_ros.errors import ModelError, ParameterError
from offline_training.deploy.try_model import ClassShare, ModelTrial
from offline_training.deploy.web import legend, look, make_page, serve

pytest.importorskip('gradio', reason="Gradio is not installed; pip install '.[web]'")

# What the page's policy must not let happen, whatever its own scripts do.
ASK_ANOTHER = """() => new Promise(answer => {
    document.addEventListener('securitypolicyviolation', () => answer('refused'));
    fetch('http://127.0.0.2:9/').then(() => answer('asked'), () => {});
    setTimeout(() => answer('asked'), 2000);
})"""


@pytest.fixture(scope='module')
def address(run_folder: Path) -> Iterator[str]:
    page = make_page(ModelTrial(run_folder))
    _, url, _ = page.launch(
        server_name='127.0.0.1', prevent_thread_lock=True, quiet=True, share=False, **look()
    )
    yield url
    page.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / 'street.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (48, 64, 3)))
    return path


def test_an_image_through_the_interface_for_programs(
    address: str, picture: Path, tmp_path: Path
) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, download_files=tmp_path)
    pseudo, named, classes = client.predict(handle_file(str(picture)), api_name='/image')
    assert cv2.imread(pseudo).shape == cv2.imread(named).shape == (48, 64, 3)
    assert 'pseudo-classes' in classes


def test_an_image_in_a_browser_and_no_request_to_others(
    address: str, picture: Path, browser: Any
) -> None:
    page = browser.new_page()
    requests: list[str] = []
    page.on('request', lambda request: requests.append(request.url))
    page.goto(address)
    page.locator('input[type=file]').first.set_input_files(str(picture))
    page.get_by_role('button', name='Segment').first.click()
    page.get_by_text('pseudo-classes', exact=True).wait_for()
    page.wait_for_load_state('networkidle')
    assert page.evaluate(ASK_ANOTHER) == 'refused'
    own = (address, address.replace('http', 'ws'), 'data:', 'blob:')
    assert [url for url in requests if not url.startswith(own)] == []
    page.close()


def test_names_in_the_legend_are_text() -> None:
    assert '<b>' not in legend([ClassShare('a <b>', (1, 2, 3), 0.5, [0])])


def test_no_model_and_a_port_in_use_are_named(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='is an empty folder, not a model'):
        serve(tmp_path, '127.0.0.1', 7860, open_browser=False)
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ParameterError, match='another --host or --port'):
            serve(run_folder, '127.0.0.1', port, open_browser=False)


def test_both_buttons_wait_for_the_one_model(run_folder: Path) -> None:
    page = make_page(ModelTrial(run_folder))
    buttons = [fn for fn in page.fns.values() if fn.api_name in ('image', 'video')]
    assert [(fn.concurrency_id, fn.concurrency_limit) for fn in buttons] == 2 * [('model', 1)]


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_uploads_are_limited_in_bytes_and_pixels(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, download_files=tmp_path)
    bomb = tmp_path / 'bomb.png'
    cv2.imwrite(str(bomb), np.zeros((10_100, 10_000), np.uint8))
    with pytest.raises(Exception, match='10000 x 10100 px, above the limit'):
        client.predict(handle_file(str(bomb)), api_name='/image')
    large = tmp_path / 'large.png'
    with large.open('wb') as file:
        file.truncate(look()['max_file_size'] + 1)
    with pytest.raises(Exception, match=r'(?i)size|413|large'):
        client.predict(handle_file(str(large)), api_name='/image')
