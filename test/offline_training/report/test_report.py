"""The content of the report: it shows what exists and lists what is missing."""

from __future__ import annotations

import html
import html.parser
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.errors import DatasetError
from offline_training.common.classes import ClassName
from offline_training.evaluation.predictors import load_predictor
from offline_training.report.lidar_view import distance_colours
from offline_training.report.pictures import joined_keys, masked, spread
from offline_training.report.report import write_report
from offline_training.report.sources import Beside, find_sources


class Page(html.parser.HTMLParser):
    """A parsed page: text by section, images, links; fails if an element is not closed."""

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
        if tag not in ('img', 'input', 'meta', 'link', 'path', 'option'):
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
    written = write_report(find_sources(path, Beside(**parts)), output)
    assert written['bytes'] == output.stat().st_size
    return Page(output), written


def test_a_demo_shows_every_part(demo_folder: Path, tmp_path: Path) -> None:
    page, written = report_of(demo_folder, tmp_path / 'report.html')
    assert written['missing'] == []
    assert written['frames'] == 6
    head = page.sections['']
    assert 'Trained on 3 frames of drive street, camera front' in head
    assert 'Held out: 3 frames of drive avenue, camera front' in head
    assert '41.2 % mIoU of the student, 21.5 % of image-only clustering' in head
    frames = page.section('Frames')
    assert all(
        stage in frames
        for stage in ('Objects found', 'Pseudo-labels', 'Teacher', 'Student', 'Truth')
    )
    scores = page.section('Scores')
    assert all(value in scores for value in ('41.2', '55.5', '21.5', '80.0', '2 pseudo-classes'))
    assert 'None of the 3 scored frames was used in training' in scores
    confusion = page.section('Confusion matrix')
    assert re.search(r'0 road \(50\.0 %\)\s+90\s+10', confusion)
    assert 'true class' in confusion
    assert 'student, training: 1' in page.section('Training')
    recording = page.section('Recording')
    assert re.search(r'street\s+learned from\s+3\s+50\.0\s+50\.0\s+50\.0', recording)
    assert '3 frames of 5 images' in recording
    assert '2 images dropped (no sweep): no sweep is within' in recording
    assert 'time offset 39.4 ms' in recording
    assert 'set camera_offset' in recording
    live = page.section('Live')
    assert '8 masks published' in live
    assert 'median 42 ms' in live
    assert '3 images dropped (bad image): it cannot be read.' in live
    assert 'drive-segment extract x' in page.section('Steps')
    assert '"training.epochs": 7' in page.section('Configuration')


def test_every_picture_is_in_the_page_and_every_link_within_it(
    demo_folder: Path, tmp_path: Path
) -> None:
    page, _ = report_of(demo_folder, tmp_path / 'report.html')
    # Held-out frames: image, student, objects, teacher, and one truth; training frames: also
    # pseudo-labels; then two gallery images, and the empty one that shows enlarged images.
    assert len(page.pictures) == 3 * 4 + 1 + 3 * 5 + 2 + 1
    assert all(picture.startswith('data:') for picture in page.pictures)
    assert all(link.startswith(('#', 'data:')) for link in page.links)
    headings = {link[1:] for link in page.links if link.startswith('#')}
    assert headings == page.sections.keys() - {''}
    assert all(heading[0].isalpha() for heading in headings)


def test_frames_that_were_not_learned_from_are_told_by_the_runs_own_word(
    demo_folder: Path, run_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / 'run'
    shutil.copytree(run_folder, run)
    (run / 'run.json').write_text(json.dumps({'parameters': {'frames': '1:2', 'cameras': []}}))
    dataset = demo_folder / 'dataset'
    page, written = report_of(run, tmp_path / 'r.html', datasets=[dataset])
    assert written['frames'] == 3
    assert 'Trained on 1 frame of drive street' in page.sections['']
    text = ' '.join(page.section('Frames').split())
    shown = re.findall(r'(held out|learned from) street, front, (\d)', text)
    assert shown == [('held out', '0'), ('held out', '2'), ('learned from', '1')]

    (run / 'run.json').write_text(json.dumps({'parameters': {'cameras': ['rear']}}))
    page, _ = report_of(run, tmp_path / 'r.html', datasets=[dataset])
    assert 'learned from street' not in ' '.join(page.section('Frames').split())
    assert 'was not labelled' not in page.section('Frames')

    # Of another program: it says nothing about the frames.
    for odd in ({'parameters': {'cameras': 5, 'frames': [1]}}, {'parameters': 3}):
        (run / 'run.json').write_text(json.dumps(odd))
        page, _ = report_of(run, tmp_path / 'r.html', datasets=[dataset])
        assert 'learned from street' in ' '.join(page.section('Frames').split())

    (run / 'run.json').write_text(json.dumps({'labels': 'another_set'}))
    page, _ = report_of(run, tmp_path / 'r.html', datasets=[dataset])
    assert 'was not labelled' in page.section('Frames')


def test_without_truth_it_says_how_often_the_student_repeats_the_lidar(
    demo_folder: Path, run_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / 'run'
    shutil.copytree(run_folder, run)
    (run / 'run.json').write_text(json.dumps({'parameters': {'frames': ':1'}}))
    for file in (demo_folder / 'dataset').rglob('pseudo_label/*.png'):
        cv2.imwrite(str(file), np.zeros((48, 64), np.uint8))
    page, _ = report_of(run, tmp_path / 'r.html', datasets=[demo_folder / 'dataset'])
    (share,) = re.findall(r'pseudo-label of ([\d.]+) % of', page.sections[''])
    answers = [load_predictor(run).predict(image) for image in images_of(demo_folder)[1:]]
    expected = 100 * np.mean([(answer.label == 0).mean() for answer in answers])
    assert float(share) == pytest.approx(expected, abs=5)


def images_of(demo_folder: Path) -> list[np.ndarray]:
    files = sorted((demo_folder / 'dataset').rglob('image/*.png'))
    return [cv2.imread(str(file)) for file in files]


def test_scores_of_frames_that_were_learned_from_are_named_so(
    demo_folder: Path, tmp_path: Path
) -> None:
    file = demo_folder / 'scores/confusion.json'
    content = json.loads(file.read_text())
    names = [name.replace('avenue', 'street') for name in content['images'][:2]]
    file.write_text(json.dumps({**content, 'images': [*names, 'else/front/image/1.png']}))
    page, _ = report_of(demo_folder, tmp_path / 'report.html')
    assert '2 of the 3 scored frames were used in training' in page.section('Scores')
    del content['images']
    file.write_text(json.dumps(content))
    page, _ = report_of(demo_folder, tmp_path / 'report.html')
    assert 'is not known' in page.section('Scores')


def test_an_experiment_brings_its_bound(demo_folder, run_folder, tmp_path):
    part = {
        'scored_frames': {
            'strict': {'miou': 33.25, 'accuracy': 50.0},
            'many_to_one': {'miou': 44.0, 'accuracy': 60.0},
        }
    }
    bound = {
        'mean': {
            'scored_frames': {**part['scored_frames'], 'strict': {'miou': 66.5, 'accuracy': 1.0}}
        }
    }
    results = {
        'experiment': {'drive': 'street', 'images_scored': 7},
        'scores': {'student': {'seeds': [1, 2], 'mean': part}, 'truth_bound': bound},
    }
    run = tmp_path / 'experiment/seed_0/run'
    shutil.copytree(run_folder, run)
    (tmp_path / 'experiment/results.json').write_text(json.dumps(results))
    page, _ = report_of(run, tmp_path / 'r.html', scores=demo_folder / 'scores')
    scores = page.section('Scores')
    assert 'Experiment on 7 held-out frames of street, mean of 2 seeds' in scores
    assert re.search(r'trained on ground truth\s+66\.5', scores)
    assert '66.5 % of the same network trained on ground truth' in page.sections['']


def test_names_of_classes_are_text(demo_folder: Path, tmp_path: Path) -> None:
    page, _ = report_of(demo_folder, tmp_path / 'report.html')
    classes = page.section('Pseudo-classes')
    assert '1: car <b>' in classes
    assert '75.0 % of labelled pixels' in classes
    assert '5 segments of 3 tracks; object 75 %, ground 25 %; top 1.5 m above' in classes


def test_a_class_without_a_pixel_is_named_and_not_shown(demo_folder: Path, tmp_path: Path) -> None:
    file = demo_folder / 'dataset/pseudo_classes/statistics.json'
    content = json.loads(file.read_text())
    content['class_statistics'][1]['pixels'] = 0
    file.write_text(json.dumps(content))
    page, _ = report_of(demo_folder, tmp_path / 'report.html')
    classes = page.section('Pseudo-classes')
    assert '1: car <b>' not in classes
    assert 'Never predicted, and without labelled pixels: 1.' in classes


def test_every_colour_of_a_mask_is_in_the_legend() -> None:
    image = np.zeros((8, 12, 3), np.uint8)
    label = np.zeros((8, 12), np.uint8)
    label[:, 4:8], label[:, 8:] = 2, 255
    names = [
        ClassName('road', (1, 2, 3)),
        ClassName('gone', (4, 5, 6)),
        ClassName('car', (7, 8, 9)),
    ]
    stage = masked('Student', '', image, label, names)
    assert [key.name for key in joined_keys([stage, stage])] == ['car', 'road', 'unknown']


def test_a_run_alone_shows_its_cache_and_says_what_is_missing(
    run_folder: Path, tmp_path: Path
) -> None:
    page, written = report_of(run_folder, tmp_path / 'report.html')
    assert written['frames'] == 2
    assert len(page.pictures) == 2 * 3 + 1
    assert {'Scores', 'Pseudo-classes', 'Live'} <= set(written['missing'])
    assert f'drive-segment evaluate {run_folder} DATASET' in page.section('Scores')
    assert 'drive-segment label DATASET' in page.section('Pseudo-classes')


def test_a_run_with_its_dataset(run_folder: Path, demo_folder: Path, tmp_path: Path) -> None:
    dataset, scores = demo_folder / 'dataset', demo_folder / 'scores'
    held_out = demo_folder / 'held'
    page, written = report_of(
        run_folder, tmp_path / 'r.html', datasets=[dataset], held_out=[held_out], scores=scores
    )
    assert written['missing'] == ['Live', 'Steps and timings']
    assert 'the bag is needed' in page.section('Frames')
    assert 'held out avenue, front' in re.sub(r'\s+', ' ', page.section('Frames'))
    page, _ = report_of(run_folder, tmp_path / 'r.html', datasets=[dataset])
    assert 'All frames below are training frames' in page.sections['']


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
        sources = find_sources(run_folder, Beside([dataset], bags=bags, join=join))
        assert {d.name: d.bags for d in sources.drives} == {'other': (), 'street': bags}
    with pytest.raises(DatasetError, match='no folder named as one of the 2 drives'):
        find_sources(run_folder, Beside([dataset], truth=bag))
    sources = find_sources(run_folder, Beside([dataset], truth=tmp_path))
    assert {d.name: d.truth for d in sources.drives} == {'other': None, 'street': bag}


def test_a_class_without_pixels_in_one_protocol_has_a_dash(demo_folder, tmp_path):
    file = demo_folder / 'scores/scores.json'
    scores = json.loads(file.read_text())
    gone = next(iter(scores['strict']['per_class']))
    del scores['many_to_one']['per_class'][gone]
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
    """Return JSON data with every leaf replaced by `ATTACK`."""
    if isinstance(value, dict):
        return {f'{key}': poisoned(inner) for key, inner in value.items()}
    return [poisoned(inner) for inner in value] if isinstance(value, list) else ATTACK


@pytest.fixture
def poisoned_folder(demo_folder: Path) -> Path:
    """Return an untrusted demo folder: the texts that the page shows are replaced by markup."""
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
                entry['kinds'] = {ATTACK: 3}
            content[ATTACK] = content['features'] = ATTACK
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
    assert f'clustered by {ATTACK}' in page.sections['']
    assert ATTACK in page.section('Steps')
    assert 'is invalid' in page.section('Recording')


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
    assert 'is invalid' in page.section(section)
    assert section in written['missing']
    assert '8 masks published' in page.section('Live')
