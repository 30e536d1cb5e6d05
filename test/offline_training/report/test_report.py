"""The report's content: what there is is shown, what is missing is said."""

from __future__ import annotations

import html
import html.parser
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.errors import DatasetError
from offline_training.report.frames import spread
from offline_training.report.lidar_view import distance_colours
from offline_training.report.report import write_report
from offline_training.report.sources import find_sources


class Page(html.parser.HTMLParser):
    """A page's text by section, its pictures, and whether its elements are closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.pictures: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self._section = ''
        self.feed(path.read_text(encoding='utf-8'))
        self.close()
        assert not self._open, f'not closed: {self._open}'

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == 'img':
            self.pictures.append(str(values['src']))
        if 'href' in values:
            self.links.append(str(values['href']))
        if tag == 'h2':
            self._section = str(values['id'])
        if tag not in ('img', 'input', 'meta', 'link', 'path'):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.sections[self._section] = self.sections.get(self._section, '') + f' {data}'

    def section(self, heading: str) -> str:
        return next(text for text in self.sections.values() if text.strip().startswith(heading))


def report_of(path: Path, output: Path, **parts: Any) -> tuple[Page, dict]:
    written = write_report(find_sources(path, **parts), output)
    assert written['bytes'] == output.stat().st_size
    return Page(output), written


def test_a_demo_shows_every_part(demo_folder: Path, tmp_path: Path) -> None:
    page, written = report_of(demo_folder, tmp_path / 'report.html')
    assert written['missing'] == []
    assert written['frames'] == 6
    frames = page.section('Frames through all stages')
    assert all(
        stage in frames for stage in ('Proposals', 'Pseudo-labels', 'Teacher', 'Student', 'Truth')
    )
    scores = page.section('Scores')
    assert all(value in scores for value in ('41.2', '47.0', '55.5', 'K = 2', '80.0'))
    assert re.search(r'0 \(50\.0 %\)\s+90\s+10', page.section('Confusion matrix'))
    assert 'student: 1.0' in page.section('Training')
    recording = page.section('Recording')
    assert '50.0 (50.0 to 50.0)' in recording
    assert '3 frames of 5 images' in recording
    assert '2 no_pair' in recording
    assert 'time offset 39.4 ms' in recording
    assert 'set camera_offset' in recording
    assert '41.7' in page.section('Live')
    assert 'drive-segment extract x' in page.section('Steps')
    assert '"training.epochs": 7' in page.section('Configuration')


def test_every_picture_is_in_the_page_and_every_link_within_it(
    demo_folder: Path, tmp_path: Path
) -> None:
    page, _ = report_of(demo_folder, tmp_path / 'report.html')
    # Learned from: five stages a frame; held out: image, proposals, two networks, one truth.
    assert len(page.pictures) == 3 * 5 + 3 * 4 + 1 + 2
    assert all(picture.startswith('data:image/webp;base64,') for picture in page.pictures)
    assert all(link.startswith(('#', 'data:')) for link in page.links)


def test_names_of_classes_are_text(demo_folder: Path, tmp_path: Path) -> None:
    page, _ = report_of(demo_folder, tmp_path / 'report.html')
    assert '1: car <b>' in page.section('Pseudo-classes')


def test_a_run_alone_shows_its_cache_and_says_what_is_missing(
    run_folder: Path, tmp_path: Path
) -> None:
    page, written = report_of(run_folder, tmp_path / 'report.html')
    assert written['frames'] == 2
    assert len(page.pictures) == 2 * 3
    assert {'Scores', 'Pseudo-classes', 'Live'} <= set(written['missing'])
    assert 'drive-segment evaluate' in page.section('Scores')
    assert '--dataset' in page.section('Frames')


def test_a_run_with_its_dataset(run_folder: Path, demo_folder: Path, tmp_path: Path) -> None:
    dataset, scores = demo_folder / 'dataset', demo_folder / 'scores'
    page, written = report_of(run_folder, tmp_path / 'r.html', datasets=[dataset], scores=scores)
    assert written['missing'] == ['Live', 'Steps and timings']
    assert 'the bag is not at hand' in page.section('Frames')


def test_an_unfinished_demo_still_has_a_report(tmp_path: Path) -> None:
    (tmp_path / 'demo.json').write_text('{}')
    _, written = report_of(tmp_path, tmp_path / 'report.html')
    assert 'Training' in written['missing']


@pytest.mark.parametrize(
    ('content', 'message'), [(None, "not a run or a demo's folder"), ('{"steps": [1]}', 'damaged')]
)
def test_what_is_no_run_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content:
        (tmp_path / 'demo.json').write_text(content)
    with pytest.raises(DatasetError, match=message):
        find_sources(tmp_path)


def test_the_command_writes_beside_the_run_and_answers_in_json(
    demo_folder: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(cli.app, ['report', str(demo_folder), '--json'])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)['report'] == str(demo_folder / 'report.html')
    result = CliRunner().invoke(
        cli.app, ['report', str(demo_folder), '--dataset', str(tmp_path / 'none')]
    )
    assert result.exit_code == 1
    assert 'none does not exist' in result.stderr


def test_of_several_drives_only_the_bags_own_shows_its_points(demo_folder, run_folder, tmp_path):
    dataset = demo_folder / 'dataset'
    shutil.copytree(dataset / 'street', dataset / 'other')
    for name in ('street', 'other'):
        file = dataset / name / 'drive.json'
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, 'source': {'bag': name}}))
    bag, sides = tmp_path / 'street', tmp_path / 'sides'
    bag.mkdir()
    sides.mkdir()

    for bags, join in (((bag,), False), ((bag, sides), True)):
        sources = find_sources(run_folder, [dataset], bags, join=join)
        assert {d.name: d.bags for d in sources.drives} == {'other': (), 'street': bags}
    with pytest.raises(DatasetError, match='2 drives; labels are shown of one only'):
        find_sources(run_folder, [dataset], truth=tmp_path)


def test_a_class_without_pixels_in_one_protocol_has_a_dash(demo_folder, tmp_path):
    file = next(demo_folder.rglob('scores.json'))
    scores = json.loads(file.read_text())
    gone = next(iter(scores['strict']['per_class']))
    del scores['ignore_unmatched']['per_class'][gone]
    file.write_text(json.dumps(scores))

    page, _ = report_of(demo_folder, tmp_path / 'report.html')

    assert '–' in page.section('Scores')


def test_frames_are_spread_over_the_drive() -> None:
    assert spread(100, 3) == [0, 50, 99]
    assert spread(2, 6) == [0, 1]
    assert spread(0, 6) == []


def test_near_is_red_and_far_is_blue() -> None:
    near, far = distance_colours(np.array([3.0, 80.0]))
    assert near[2] > near[0]
    assert far[0] > far[2]


def test_a_source_may_be_one_drive_of_its_dataset(demo_folder: Path) -> None:
    file = demo_folder / 'demo.json'
    content = json.loads(file.read_text())
    content['drives'][0]['name'] = 'street'
    content['drives'][1]['name'] = 'another street'
    file.write_text(json.dumps(content))

    named, other = find_sources(demo_folder).drives

    assert [drive.name for drive in named.drives] == ['street']
    assert other.drives == []


ATTACK = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


def poisoned(value: object) -> object:
    """Return JSON with every text replaced, and every number of its leaves as well."""
    if isinstance(value, dict):
        return {f'{key}': poisoned(inner) for key, inner in value.items()}
    return [poisoned(inner) for inner in value] if isinstance(value, list) else ATTACK


@pytest.fixture
def poisoned_folder(demo_folder: Path) -> Path:
    """A demo's folder of a stranger: whatever a page shows of it is markup."""
    file = demo_folder / 'demo.json'
    content = json.loads(file.read_text())
    for step in content['steps']:
        step['title'] = ATTACK
        step['command'] += ATTACK
        step['result'] = poisoned(step['result'])
    content['drives'][0]['role'] = content['drives'][1]['role'] = ATTACK
    content['drives'][0]['role'] = 'learned from'
    file.write_text(json.dumps(content))
    for name in ('dataset/pseudo_classes/statistics.json', 'scores/scores.json'):
        file = demo_folder / name
        content = json.loads(file.read_text())
        if 'class_statistics' in content:
            for entry in content['class_statistics']:
                entry['objects'] = entry['segments'] = ATTACK
            content[ATTACK] = ATTACK
        else:
            content = {**poisoned(content), 'strict': {**content['strict'], 'miou': ATTACK}}
            content['strict']['per_class'][ATTACK] = 12.0
        file.write_text(json.dumps(content))
    return demo_folder


def test_whatever_a_stranger_wrote_is_text(poisoned_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / 'report.html'
    page, _ = report_of(poisoned_folder, output)
    text = output.read_text()
    assert '<img src=x' not in text
    assert text.count('<script') == 1
    assert ATTACK in page.section('Pseudo-classes')
    assert ATTACK in page.section('Steps')
    assert 'makes no sense' in page.section('Recording')


def test_no_script_may_run_but_the_pages_own(demo_folder: Path, tmp_path: Path) -> None:
    report_of(demo_folder, tmp_path / 'report.html')
    text = (tmp_path / 'report.html').read_text()
    (policy,) = re.findall(r'Security-Policy" content="([^"]*)"', text)
    (scripts,) = re.findall(r'script-src ([^;]*)', html.unescape(policy))
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", scripts)


@pytest.mark.parametrize(
    'change',
    [
        {'folders': {'live': '/etc'}},
        {'folders': {'live': '../..'}},
        {'folders': {'run': 7}},
        {'folders': []},
        {'drives': [{'role': 'x', 'dataset': '/etc', 'bag': None, 'truth': None}]},
        {'drives': [{'role': 'x', 'dataset': 'dataset', 'bag': None, 'truth': '../x'}]},
        {'drives': [{'role': [], 'dataset': 'dataset', 'bag': None, 'truth': None}]},
        {'steps': [{'title': 1, 'command': 'a b', 'seconds': 1, 'result': {}}]},
        {'steps': [{'title': 'x', 'command': 'a', 'seconds': 1, 'result': {}}]},
        {'steps': [{'title': 'x', 'command': 'a b', 'seconds': '1', 'result': {}}]},
        {'steps': [{'title': 'x', 'command': 'a b', 'seconds': 1, 'result': []}]},
        {'deep': json.loads('[' * 60 + ']' * 60)},
    ],
    ids=str,
)
def test_a_demo_that_makes_no_sense_or_leads_outside_is_one_line(
    change: dict, demo_folder: Path
) -> None:
    file = demo_folder / 'demo.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DatasetError, match=r'demo\.json is damaged') as error:
        find_sources(demo_folder)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('name', 'content', 'section'),
    [
        ('scores/scores.json', {'strict': 1}, 'Scores'),
        ('scores/confusion.json', {'pixels': 'x'}, 'Confusion matrix'),
        ('dataset/pseudo_classes/statistics.json', {'class_statistics': [1]}, 'Pseudo-classes'),
        ('dataset/pseudo_classes/statistics.json', [1], 'Pseudo-classes'),
    ],
)
def test_a_part_that_makes_no_sense_costs_its_section_only(
    name: str, content: object, section: str, demo_folder: Path, tmp_path: Path
) -> None:
    (demo_folder / name).write_text(json.dumps(content))
    page, written = report_of(demo_folder, tmp_path / 'report.html')
    assert 'makes no sense' in page.section(section)
    assert section in written['missing']
    assert '41.7' in page.section('Live')
