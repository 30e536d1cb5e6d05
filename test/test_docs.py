"""The docs: generated pages are up to date; the site builds and loads nothing external."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location('make_docs', ROOT / 'tools/make_docs.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', ['parameters', 'topics', 'commands'])
def test_generated_pages_are_what_the_code_says(
    make_docs: ModuleType, ros_domain: int, name: str
) -> None:
    pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')
    # To regenerate them: python tools/make_docs.py
    written = (ROOT / 'docs' / f'{name}.md').read_text(encoding='utf-8')
    assert written == getattr(make_docs, f'{name}_page')()


def test_measured_tables_are_what_was_measured(make_docs: ModuleType) -> None:
    # To regenerate them: python tools/make_docs.py
    assert (ROOT / 'docs/results.md').read_text(encoding='utf-8') == make_docs.results_page()
    assert (ROOT / 'docs/speed.md').read_text(encoding='utf-8') == make_docs.speed_page()
    assert (ROOT / 'docs/fleet.md').read_text(encoding='utf-8') == make_docs.fleet_page()
    written = (ROOT / 'docs/reproduce.md').read_text(encoding='utf-8')
    assert written == make_docs.reproduce_page()
    assert (ROOT / 'README.md').read_text(encoding='utf-8') == make_docs.readme()


def test_the_readme_has_the_figures_of_the_docs(make_docs: ModuleType, tmp_path: Path) -> None:
    docs = tmp_path / 'docs'
    (docs / 'measured').mkdir(parents=True)
    (docs / 'measured/machine.txt').write_text('A computer.\n')
    (docs / 'measured/demo.txt').write_text('300 s, report: demo_output/report.html\n')
    result = {'name': 'node.latency', 'median_s': 0.0123, 'p95_s': 0.2, 'runs': 5}
    (docs / 'measured/node.json').write_text(json.dumps({'results': [result]}))
    parts = list(make_docs.measured_tables.SCORES)
    page = '\n'.join(
        f'| {p} | 0 | 1 | 2 | 3 | 4 |\n|  | **mean** | **3{i}.5 / 9** | 7 | 8 | 9 |'
        for i, p in enumerate(parts)
    )
    (docs / 'results.md').write_text(f'{page}\n<!-- segments -->\n<!-- end -->\n')
    names = ('demo', 'results', 'speed')
    markers = ''.join(f'<!-- {name} -->\nold\n<!-- end -->\n' for name in names)
    (tmp_path / 'README.md').write_text(f'# Title\n{markers}')

    written = make_docs.readme(docs)

    assert 'old' not in written
    assert '```text\n300 s, report: demo_output/report.html\n```' in written
    assert '| masks live, camera image to topic | 12.3 | 200 | `bench node` |' in written
    assert '| bound: the same network trained on ground truth | 33.5 / 9 | 7 |' in written
    with pytest.raises(ValueError, match='has no mean of'):
        make_docs.measured_tables.score_summary(page.replace('| student |', '| pupil |'))


def test_tables_of_segments_and_scale_show_the_files(
    make_docs: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / 'measured').mkdir()
    markers = '<!-- segments -->\nold\n<!-- end -->\n<!-- scale -->\nold\n<!-- end -->\n'
    for name in ('results.md', 'fleet.md'):
        (tmp_path / name).write_text(markers)
    segments = {
        'name': 'segments.vlp16.seed1',
        'frames': 40,
        'coverage': 93.84,
        'purity': 95.66,
        'instances': 227,
        'merged': 26,
        'per_class': {'car': {'in_ground': 8.26}},
    }
    cost = {'items': 640, 'median_s': 7.71, 'peak_mib': 699.4, 'cpu_s': 64.0, 'bytes': 1.28e9}
    stages = [{'name': f'scale.{s}', **cost} for s in make_docs.measured_tables.STAGES]
    stages[1]['cpu_exponent_large'] = 0.752
    stages.append({'name': 'scale.extract.cluster', 'client_bytes': 20480.0, 'items': 160})
    for suite, results in (('segments', [segments]), ('scale', stages)):
        (tmp_path / f'measured/{suite}.json').write_text(
            json.dumps({'results': results, 'processor': 'Z80', 'cores': 1})
        )

    results, fleet = make_docs.results_page(tmp_path), make_docs.fleet_page(tmp_path)

    assert '| vlp16.seed1 | 40 | 93.8 | 95.7 | 8.3 | 26 of 227 |' in results
    assert '`docs/measured/segments.json` (Z80, cores: 1).' in results
    assert '| `extract` | 640 | 100 | 0.75 | 699 | 2000 | 20 |' in fleet
    assert '| `extract`, real drive | 640 | 100 |  | 699 | 2000 |  |' in fleet


def test_a_figure_changed_by_hand_is_not_what_was_measured(
    make_docs: ModuleType, tmp_path: Path
) -> None:
    from drive_segment_ros.parameters import to_flat
    from offline_training.evaluation.ablation import AblationParameters

    def figures(miou: float) -> dict[str, Any]:
        kinds = ('strict', 'many_to_one')
        score = {kind: {'miou': miou, 'accuracy': 70.0} for kind in kinds}
        within = {
            'interval': [miou - 2, miou + 3],
            'frequent_miou': miou + 5,
            'frequent_interval': [miou + 4, miou + 6],
        }
        scored = {kind: {**score[kind], **within} for kind in kinds}
        return {'scored_frames': {**scored, 'frequent': 7.0}, 'training_frames': score}

    parts = ('pseudo_labels', 'image_only', 'teacher', 'student', 'truth_bound')
    parts += ('without_superpixels', 'without_segments', 'without_either')
    parts += ('without_pasting',)
    measured = {
        'experiment': {
            'drive': 'street',
            'images_scored': 11,
            'classes_present': 10,
            'features': 'descriptor',
            'version': '0.1.0',
        },
        'parameters': to_flat(AblationParameters(frames=':45', score_frames='45:')),
        'scores': {
            part: {'seeds': [figures(30.0 + i), figures(32.0 + i)], 'mean': figures(31.0 + i)}
            for i, part in enumerate(parts)
        },
        'transfer': {
            'street/left': {
                part: {'seeds': [figures(20.0)], 'mean': figures(20.0)}
                for part in ('image_only', 'teacher', 'student')
            }
        },
    }
    page = tmp_path / 'results.md'
    segments = '<!-- segments -->\n<!-- end -->\n'
    page.write_text(f'<!-- ablate street -->\nkept\n<!-- end -->\n{segments}')
    assert make_docs.results_page(tmp_path) == page.read_text()
    (tmp_path / 'results').mkdir()
    (tmp_path / 'results/street.json').write_text(json.dumps(measured))
    page.write_text(
        f'# Results\n\n<!-- ablate street -->\n<!-- end -->\n\n{segments}What limits it\n'
    )

    written = make_docs.results_page(tmp_path)
    page.write_text(written)

    assert written.startswith('# Results\n\n<!-- ablate street -->\n')
    assert written.endswith('<!-- end -->\n\n<!-- segments -->\n<!-- end -->\nWhat limits it\n')
    assert 'trained on frames :45, scored on 45: (11 labelled images' in written
    assert '| student | 0 | 33.0 / 70.0 | 33.0 / 70.0 | 33.0 / 70.0 | 33.0 / 70.0 |' in written
    assert '|  | **mean** | **34.0 / 70.0** |' in written
    assert re.search(
        r'\| student \| no \| yes \| yes \| 36.0 / 70.0 \|.*\| 35.0, 37.0 \|', written
    )
    assert re.search(r'\| student \| yes \| yes \| no \| 39.0 / 70.0 \|', written)
    assert '| student | 34.0 (32.0 to 37.0) |' in written
    assert 'for the 7 frequent ones' in written
    assert '| street/left: student | 1 | 20.0 | 20.0 | 25.0 | 25.0 |' in written
    assert make_docs.results_page(tmp_path) == written
    page.write_text(written.replace('34.0', '44.0'))
    assert make_docs.results_page(tmp_path) == written


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; return its folder."""
    pytest.importorskip('mkdocs', reason="MkDocs is not installed; pip install '.[docs]'")
    pytest.importorskip('mkdocstrings', reason="mkdocstrings is missing; pip install '.[docs]'")
    folder = tmp_path_factory.mktemp('site')
    build = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_without_a_warning_and_asks_no_other_server(site: Path) -> None:
    pages = list(site.rglob('*.html'))
    assert len(pages) > 10
    for page in pages:
        html = page.read_text(encoding='utf-8')
        fetched = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"', html)
        fetched += re.findall(
            r'<link[^>]+href="([^"]+)"', re.sub(r'<link rel="canonical"[^>]*>', '', html)
        )
        assert not [address for address in fetched if '//' in address], page
        # The theme's script selects headings by `#id`, which must not begin with a digit.
        found = re.findall(r'<h\d[^>]* id="\d', html)
        assert page.name == '404.html' or not found, page


def test_pages_make_no_error_and_fit_a_phone(site: Path, browser: Any) -> None:
    width = 360
    handler = functools.partial(QuietHandler, directory=site)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page(viewport={'width': width, 'height': 800})
        errors: list[str] = []
        page.on('pageerror', lambda error: errors.append(f'{page.url}: {error}'))
        for file in sorted(site.rglob('index.html')):
            address = file.parent.relative_to(site).as_posix()
            page.goto(f'http://127.0.0.1:{server.server_port}/{address}/')
            assert page.evaluate('document.documentElement.scrollWidth') <= width, address
        page.close()
        server.shutdown()
    assert not errors


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without logging."""

    def log_message(self, *_: Any) -> None:
        pass


def test_commands_in_the_docs_exist() -> None:
    from drive_segment_ros import cli

    known = {
        (c.name or c.callback.__name__.replace('_', '-')) for c in cli.app.registered_commands
    }
    pages = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
    for page in pages:
        used = set(
            re.findall(r'(?:^|`)drive-segment ([a-z][a-z-]*)', page.read_text(), re.MULTILINE)
        )
        assert used <= known, f'{page}: {used - known}'
