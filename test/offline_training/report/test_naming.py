"""The naming page: use by keyboard, what it saves, and which requests it refuses."""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drive_segment_ros.errors import DatasetError, ParameterError
from offline_training.common.classes import default_classes, load_classes, save_classes
from offline_training.report.naming import naming_server, write_gallery_page


@pytest.fixture
def run(run_folder: Path, demo_folder: Path, tmp_path: Path) -> Path:
    """Return a run with the gallery of its pseudo-classes, which are not named yet."""
    run = tmp_path / 'a run'
    shutil.copytree(run_folder, run)
    shutil.copytree(demo_folder / 'dataset/pseudo_classes', run / 'pseudo_classes')
    save_classes(run / 'classes.yaml', default_classes(2))
    return run


@pytest.fixture
def address(run: Path) -> Iterator[str]:
    with naming_server(run, None, '127.0.0.1', 0, lambda text: None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'127.0.0.1:{server.server_address[1]}'
        server.shutdown()
        thread.join()


def names_in(run: Path) -> list[str]:
    return [item.name for item in load_classes(run / 'classes.yaml')]


def test_names_are_given_by_keyboard_alone(browser: Any, address: str, run: Path) -> None:
    page = browser.new_page(viewport={'width': 390, 'height': 800})
    complaints: list[str] = []
    page.on('console', lambda message: complaints.append(message.text))
    page.goto(f'http://{address}/')
    assert page.locator('#told').inner_text() == '0 of 2 named'
    for _ in range(9):
        page.keyboard.press('Tab')
        if page.evaluate('document.activeElement.className') == 'name':
            break
    page.keyboard.type('road <b>')
    page.keyboard.press('Enter')
    page.keyboard.type('road <b>')
    assert page.locator('.merged').last.inner_text() == 'one with 0'
    assert 'not saved' in page.locator('#told').inner_text()
    page.keyboard.press('Control+s')
    page.get_by_text('saved: 2 classes named, 1 different names').wait_for()
    assert names_in(run) == ['road <b>', 'road <b>']
    classes = load_classes(run / 'classes.yaml')
    assert classes[0].color == classes[1].color

    page.goto(f'http://{address}/')
    assert page.locator('input.name').first.input_value() == 'road <b>'
    assert page.locator('datalist option').first.get_attribute('value') == 'road <b>'
    page.locator('input.name').first.fill('')
    page.get_by_role('button', name='Save to classes.yaml').click()
    page.get_by_text('saved: 1 classes named').wait_for()
    assert names_in(run) == ['pseudo_class_00', 'road <b>']
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    assert complaints == []
    page.close()


@pytest.mark.parametrize(
    ('token', 'body', 'status'),
    [
        ('', '{"0": "car"}', 403),
        ('wrong', '{"0": "car"}', 403),
        ('é', '{"0": "car"}', 403),
        (None, '{"7": "car"}', 400),
        (None, '{"0": "\\u0007"}', 400),
        (None, '[1]', 400),
        (None, '{', 400),
        (None, '[' * 90_000, 400),
        (None, 'x' * 200_000, 400),
    ],
)
def test_what_does_not_come_from_the_page_is_not_saved(
    token: str | None, body: str, status: int, address: str, run: Path
) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    if token is None:
        connection.request('GET', '/')
        page = connection.getresponse().read().decode()
        token = page.split('data-token="')[1].split('"')[0]
    connection.request('POST', '/names', body, {'X-Token': token})
    answer = connection.getresponse()
    assert answer.status == status
    assert '\n' not in answer.read().decode()
    assert names_in(run) == ['pseudo_class_00', 'pseudo_class_01']


def test_a_strangers_name_for_this_machine_gets_no_page(address: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request('GET', '/', headers={'Host': 'stranger.example:7860'})
    assert connection.getresponse().status == 403


def test_the_gallery_is_a_page_with_names_to_download(
    browser: Any, demo_folder: Path, tmp_path: Path
) -> None:
    file = write_gallery_page(demo_folder / 'dataset')
    page = browser.new_page()
    requests: list[str] = []
    page.on('request', lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    assert page.locator('.card img').count() == 2
    page.locator('input.name').last.fill('a: "car"')
    with page.expect_download() as download:
        page.get_by_role('button', name='Download names.yaml').click()
    names = yaml.safe_load(Path(download.value.path()).read_text())
    assert names == {0: 'road', 1: 'a: "car"'}
    assert [url for url in requests if not url.startswith(('data:', 'blob:'))] == [file.as_uri()]
    page.close()


def test_what_cannot_be_named_is_said(run_folder: Path, run: Path, address: str) -> None:
    def silent(text: str) -> None:
        return

    with pytest.raises(DatasetError, match='name the labelled dataset with --dataset'):
        naming_server(run_folder, None, '127.0.0.1', 0, silent)
    with pytest.raises(ParameterError, match='another --host or --port'):
        naming_server(run, None, '127.0.0.1', int(address.rpartition(':')[2]), silent)


@pytest.mark.parametrize(
    'text', ['[]', '{"class_statistics": 5}', '{"class_statistics": [{}]}', '{"class']
)
def test_damaged_statistics_are_one_line(run: Path, text: str) -> None:
    (run / 'pseudo_classes/statistics.json').write_text(text)

    with pytest.raises(DatasetError, match=r'statistics'):
        naming_server(run, None, '127.0.0.1', 0, lambda text: None)
