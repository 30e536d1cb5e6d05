"""The report in a browser: on a phone, by keyboard, and without network requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from offline_training.report.report import write_report
from offline_training.report.sources import find_sources

PHONE = {'width': 360, 'height': 740}


@pytest.fixture
def report(demo_folder: Path, tmp_path: Path) -> str:
    output = tmp_path / 'report.html'
    write_report(find_sources(demo_folder), output)
    return output.as_uri()


def shown(page: Any) -> list[bool]:
    return page.locator('.frame').evaluate_all('all => all.map(e => e.checkVisibility())')


def test_a_phone_shows_it_without_scrolling_sideways(browser: Any, report: str) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(report)
    assert page.evaluate('document.documentElement.scrollWidth') <= PHONE['width']
    sizes = page.locator('p, td, dd, figcaption').evaluate_all(
        'all => all.map(e => parseFloat(getComputedStyle(e).fontSize))'
    )
    assert min(sizes) >= 12
    page.close()


def test_it_asks_for_nothing_and_says_nothing(browser: Any, report: str) -> None:
    page = browser.new_page()
    requests, complaints = [], []
    page.on('request', lambda request: requests.append(request.url))
    page.on('console', lambda message: complaints.append(message.text))
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.goto(report)
    page.wait_for_load_state('networkidle')
    assert [url for url in requests if not url.startswith('data:')] == [report]
    assert complaints == []
    page.close()


def test_the_slider_is_reached_and_moved_by_keys(browser: Any, report: str) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(report)
    assert shown(page) == [True] + 5 * [False]
    assert 'held out' in page.locator('#frame-title').inner_text()
    for _ in range(20):
        page.keyboard.press('Tab')
        if page.evaluate('document.activeElement.id') == 'frame':
            break
    page.keyboard.press('ArrowRight')
    page.keyboard.press('ArrowRight')
    assert shown(page) == [False, False, True, False, False, False]
    assert '3 of 6' in page.locator('#frame-title').inner_text()
    page.keyboard.press('End')
    assert shown(page)[-1]
    assert 'learned from' in page.locator('#frame').get_attribute('aria-valuetext')
    page.close()


def test_every_control_and_scrolling_table_can_have_the_focus(browser: Any, report: str) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(report)
    wanted = page.locator('a, input, summary, .scroll').count()
    reached = set()
    for _ in range(wanted + 40):  # more, as pictures and commands get the focus, too
        page.keyboard.press('Tab')
        reached.add(
            page.evaluate(
                '[...document.querySelectorAll("a, input, summary, .scroll")]'
                '.indexOf(document.activeElement)'
            )
        )
    assert set(range(wanted)) <= reached
    page.close()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_stands_out_from_its_ground(browser: Any, report: str, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(report)
    text, ground = (
        page.evaluate(f'getComputedStyle(document.body).{name}')
        for name in ('color', 'backgroundColor')
    )
    text_light, ground_light = (
        sum(map(int, colour[4:-1].split(','))) for colour in (text, ground)
    )
    assert abs(text_light - ground_light) > 500
    assert (ground_light > text_light) == (scheme == 'light')
    page.close()


def test_a_picture_grows_by_keys_and_goes_to_its_neighbour(browser: Any, report: str) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(report)
    page.locator('.frame:visible .zoom').first.focus()
    page.keyboard.press('Enter')
    large = page.locator('#enlarged-picture')
    assert large.get_attribute('alt') == 'Camera image'
    assert large.bounding_box()['width'] > 0.8 * PHONE['width']
    page.keyboard.press('ArrowRight')
    assert large.get_attribute('alt') == 'Truth'
    assert page.locator('#enlarged-title').inner_text() == 'Truth'
    page.keyboard.press('Escape')
    assert not large.is_visible()
    assert page.evaluate('document.activeElement.className') == 'zoom'
    page.locator('.frame:visible .zoom').last.click()
    assert large.get_attribute('alt') == '4. Teacher'
    page.close()


def test_columns_of_figures_align_with_their_headings(browser: Any, report: str) -> None:
    page = browser.new_page()
    page.goto(report)
    wrong = page.evaluate("""() => [...document.querySelectorAll('table:not(.matrix)')].flatMap(
        table => [...table.rows].slice(1).flatMap(row => [...row.cells].map((cell, index) => [
            getComputedStyle(cell).textAlign,
            getComputedStyle(table.rows[0].cells[index]).textAlign,
        ]))).filter(([one, other]) => one !== other)""")
    assert wrong == []
    heads = page.locator('[aria-label="Synchronisation by drive"] thead th')
    sides = heads.evaluate_all('all => all.map(e => getComputedStyle(e).textAlign)')
    assert sides == ['left', 'left', *(4 * ['right']), 'left', 'right']
    page.close()


def test_without_script_the_first_frame_is_shown(browser: Any, report: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report)
    assert page.locator('.frame:visible').count() == 1
    context.close()


def test_markup_that_slipped_through_would_still_not_run(
    browser: Any, demo_folder: Path, tmp_path: Path
) -> None:
    """The content security policy alone blocks injected scripts, but not the page's own script."""
    output = tmp_path / 'report.html'
    write_report(find_sources(demo_folder), output)
    attack = '<img src="data:," onerror="document.title=1"><script>document.title=2</script>'
    output.write_text(output.read_text().replace('<main>', f'<main>{attack}'))
    page = browser.new_page()
    refused: list[str] = []
    page.on('console', lambda message: refused.append(message.text))
    page.goto(output.as_uri())
    page.wait_for_load_state('networkidle')
    assert page.title() == 'drive_segment_ros: a demo'
    assert len([text for text in refused if 'Content Security Policy' in text]) == 2
    assert shown(page)[:2] == [True, False]
    assert page.locator('#frame-title').inner_text() != ''
    page.close()
