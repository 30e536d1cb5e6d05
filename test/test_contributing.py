"""CONTRIBUTING.md, hooks and workflows: named files exist, called tools are installed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
# Folders of the files that the guide names without a folder.
FOLDERS = (
    '.',
    'drive_segment_ros/perception',
    'drive_segment_ros/inference',
    'offline_training/bags',
    'test',
    'test/offline_training',
)


def test_files_that_the_guide_names_are_there():
    text = (ROOT / 'CONTRIBUTING.md').read_text()
    named = {
        name
        for name in re.findall(r'`([\w./-]+(?:\.py|\.md|/[\w]+|/))`', text)
        if '<' not in name and not name.startswith('.venv')
    }
    assert len(named) > 15
    missing = {name for name in named if not any((ROOT / f / name).exists() for f in FOLDERS)}
    assert not missing
    names = {'_RING_FIELDS': 'perception/clouds.py', 'lens_of': 'perception/distortion.py'}
    names |= {'BACKENDS': 'inference/segmenter.py'}
    for name, file in names.items():
        assert f'`{name}`' in text
        assert name in (ROOT / 'drive_segment_ros' / file).read_text()


def test_hooks_call_what_the_set_up_installs():
    hooks = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos'][0]['hooks']
    described = (ROOT / 'setup.py').read_text()
    for hook in hooks:
        tool = hook['entry'].split()[0].removeprefix('.venv/bin/')
        assert tool == 'python' or f"'{tool}'" in described, hook


def test_scripts_that_images_and_workflows_call_are_there():
    files = [
        *ROOT.glob('docker/*'),
        *ROOT.glob('.github/workflows/*'),
        *ROOT.glob('.devcontainer/*'),
    ]
    called = {
        script
        for file in files
        for script in re.findall(
            r'(?<![\w/])(?:tools/\w+\.sh|\.ci/run|docker/\w+\.Dockerfile)', file.read_text()
        )
    }
    assert {'tools/install.sh', 'tools/setup.sh', 'tools/build_wheel.sh', '.ci/run'} <= called
    assert all((ROOT / script).is_file() for script in called)
    json.loads((ROOT / '.devcontainer/devcontainer.json').read_text())
