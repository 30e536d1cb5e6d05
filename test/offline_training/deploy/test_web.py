"""The web page: its results, its address, and that it sends no requests to other hosts."""

from __future__ import annotations

import base64
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drive_segment_ros.errors import ModelError, ParameterError
from drive_segment_ros.perception.legend import LegendEntry
from offline_training.deploy.examples import example_images
from offline_training.deploy.try_model import ModelTrial
from offline_training.deploy.web import look, make_page, serve, table_of

pytest.importorskip('gradio', reason="Gradio is not installed; pip install '.[web]'")

# A request to another host, which the page's content security policy must refuse.
ASK_ANOTHER = """() => new Promise(answer => {
    document.addEventListener('securitypolicyviolation', () => answer('refused'));
    fetch('http://127.0.0.2:9/').then(() => answer('asked'), () => {});
    setTimeout(() => answer('asked'), 60000);
})"""


@pytest.fixture(scope='module')
def address(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    examples = example_images(run_folder, None, tmp_path_factory.mktemp('examples'))
    page = make_page(ModelTrial(run_folder), examples)
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


def opened(browser: Any, address: str) -> Any:
    page = browser.new_page()
    page.goto(address)
    page.get_by_role('button', name='Segment', exact=True).first.wait_for()
    return page


def test_images_through_the_interface_for_programs(
    address: str, picture: Path, tmp_path: Path
) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, download_files=tmp_path / 'answers')
    (tmp_path / 'notes.png').write_text('no image')
    files = [handle_file(str(path)) for path in (picture, tmp_path / 'notes.png')]
    pictures, classes, status = client.predict(files, 50, 0, 'name', api_name='/images')
    (data,) = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="street.png,', pictures)
    segmented = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert segmented is not None
    assert segmented.shape == (48, 64, 3)
    assert 'pseudo-classes' in classes
    assert '1 image segmented.' in status
    assert 'notes.png' in status
    assert str(tmp_path) not in status


def test_images_in_a_browser_and_no_request_to_others(
    address: str, picture: Path, browser: Any
) -> None:
    page = browser.new_page()
    requests: list[str] = []
    page.on('request', lambda request: requests.append(request.url))
    page.goto(address)
    page.locator('input[type=file]').first.set_input_files([str(picture), str(picture)])
    page.get_by_role('button', name='Segment', exact=True).first.click()
    page.get_by_text('2 images segmented.').wait_for()
    page.get_by_text('pseudo-classes', exact=True).first.wait_for()
    page.wait_for_timeout(1000)  # Gradio's own heartbeat never ends, so there is no idle network
    assert page.evaluate(ASK_ANOTHER) == 'refused'
    own = (address, address.replace('http', 'ws'), 'data:', 'blob:')
    assert [url for url in requests if not url.startswith(own)] == []
    page.close()


def test_an_example_is_segmented_and_shown_in_another_look(browser: Any, address: str) -> None:
    page = opened(browser, address)
    page.get_by_role('button', name='Thumbnail 1').first.click()
    page.get_by_text('1 image segmented.').wait_for()
    assert page.get_by_text('unknown', exact=True).count() == 0
    page.get_by_role('spinbutton', name='Confidence').fill('100')
    page.keyboard.press('Tab')
    page.get_by_text('unknown', exact=True).wait_for()
    page.close()


def test_a_bad_file_is_one_line(browser: Any, address: str, tmp_path: Path) -> None:
    bad = tmp_path / 'notes.png'
    bad.write_text('no image')
    page = opened(browser, address)
    page.locator('input[type=file]').first.set_input_files(str(bad))
    page.get_by_role('button', name='Segment', exact=True).first.click()
    lines = page.locator('#status p')
    lines.get_by_text('notes.png').wait_for()
    assert lines.count() == 1
    assert page.get_by_text('Error', exact=True).count() == 0
    page.get_by_role('tab', name='Video').click()
    page.locator('input[type=file]').last.set_input_files(str(bad))
    page.get_by_role('button', name='Segment', exact=True).last.click()
    page.get_by_text('notes.png is not a readable video').wait_for()
    assert page.get_by_text('Error', exact=True).count() == 0
    page.close()


def test_names_in_the_legend_are_text() -> None:
    assert '<b>' not in table_of([LegendEntry('a <b>', (1, 2, 3), 0.5, (0,))])


def test_an_image_of_a_single_row_is_shown(run_folder: Path, tmp_path: Path) -> None:
    strip = tmp_path / 'strip.png'
    cv2.imwrite(str(strip), np.zeros((1, 5000, 3), np.uint8))
    page = make_page(ModelTrial(run_folder), [strip])
    segment_images = next(fn.fn for fn in page.fns.values() if fn.api_name == 'images')

    _, _, status, _ = segment_images([str(strip)], 50, 0, 'name')

    assert '1 image segmented' in status


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
    buttons = [fn for fn in page.fns.values() if fn.api_name in ('images', 'video')]
    assert [(fn.concurrency_id, fn.concurrency_limit) for fn in buttons] == 2 * [('model', 1)]


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_uploads_are_limited_in_bytes_and_pixels(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, download_files=tmp_path)
    bomb = tmp_path / 'bomb.png'
    cv2.imwrite(str(bomb), np.zeros((10_100, 10_000), np.uint8))
    how = (50, 0, 'name')
    _, _, status = client.predict([handle_file(str(bomb))], *how, api_name='/images')
    assert 'bomb.png' in status
    assert '10000 x 10100 px, above the limit' in status
    large = tmp_path / 'large.png'
    with large.open('wb') as file:
        file.truncate(look()['max_file_size'] + 1)
    with pytest.raises(Exception, match=r'(?i)size|413|large'):
        client.predict([handle_file(str(large))], *how, api_name='/images')


def test_nothing_advises_to_share_the_page(
    run_folder: Path, capfd: pytest.CaptureFixture[str], free_port: Callable[[], int]
) -> None:
    told: list[str] = []
    stop = threading.Event()
    stop.set()
    serve(run_folder, '127.0.0.1', free_port(), open_browser=False, say=told.append, stop=stop)
    assert capfd.readouterr().out == ''
    (line,) = told
    assert line.startswith(f'try {run_folder} on http://127.0.0.1:')
