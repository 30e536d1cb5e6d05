"""The docs: generated pages are what the code says, the site builds, and asks for nothing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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


@pytest.mark.parametrize('name', ['parameters', 'topics'])
def test_generated_pages_are_what_the_code_says(
    make_docs: ModuleType, ros_domain: int, name: str
) -> None:
    pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')
    # To renew them: python tools/make_docs.py
    written = (ROOT / 'docs' / f'{name}.md').read_text(encoding='utf-8')
    assert written == getattr(make_docs, f'{name}_page')()


def test_the_site_builds_without_a_warning_and_asks_no_other_server(tmp_path: Path) -> None:
    pytest.importorskip('mkdocs', reason="MkDocs is not installed; pip install '.[docs]'")
    build = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob('*.html'))
    assert len(pages) > 10
    for page in pages:
        html = page.read_text(encoding='utf-8')
        fetched = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"', html)
        fetched += re.findall(
            r'<link[^>]+href="([^"]+)"', re.sub(r'<link rel="canonical"[^>]*>', '', html)
        )
        assert not [address for address in fetched if '//' in address], page


def test_commands_in_the_docs_exist() -> None:
    from drive_segment_ros import cli

    known = {
        (c.name or c.callback.__name__.replace('_', '-')) for c in cli.app.registered_commands
    }
    pages = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
    for page in pages:
        used = set(re.findall(r'(?:^|`)drive-segment ([a-z-]+)', page.read_text(), re.MULTILINE))
        assert used <= known, f'{page}: {used - known}'
