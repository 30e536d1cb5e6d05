"""Marked shell blocks of README and docs run as they stand and print what is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typed_blocks import typed_blocks, unlike

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
TYPED = [page for page in PAGES if typed_blocks(page)]
LIMIT_S = 900
# Why blocks of a page are not run; test_command_lines.py parses their command lines anyway.
NOT_TYPED = {
    'README': 'the demo and the suite are of CI; `web` does not end; ROS; the rest is in own_bag',
    'data_sets': 'published data sets; the importers have tests of their own',
    'evaluating': 'published benchmarks; `ablate` takes hours',
    'first_recording': 'nodes do not end; ROS; the last step is in own_bag',
    'fleet': 'a cluster; tests of the workers start one',
    'index': 'the demo is of CI; `web` does not end',
    'install': 'pip is of CI, which tries the wheel; Docker; ARM',
    'many_cameras': 'several bags; ROS; training is in own_bag',
    'models': 'the network; test_model_source.py has servers of its own',
    'object_storage': 'a bucket; test/storage has a server of its own',
    'own_bag': 'the last step: ROS, and nodes that do not end',
    'recording': 'ROS',
    'reproduce': 'nuScenes; test_reproduce.py types the page in miniature',
    'training': 'hours of training; in own_bag for one epoch',
    'vehicle': 'ROS; nodes do not end',
}


@pytest.fixture
def shell(tmp_path: Path):
    """Return a function that runs text in bash, in a folder with the checkout's command."""
    (tmp_path / 'bin').mkdir()
    command = tmp_path / 'bin/drive-segment'
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m drive_segment_ros.cli "$@"\n')
    command.chmod(0o755)
    checkout = tmp_path / 'checkout'
    checkout.mkdir()
    (checkout / 'drive-segment').symlink_to(command)
    environment = {
        **os.environ,
        'PATH': f'{tmp_path}/bin{os.pathsep}{os.environ["PATH"]}',
        'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}',
        'COLUMNS': '100',
    }

    def type_in(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', text],
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    return type_in


@pytest.mark.parametrize('page', TYPED, ids=lambda page: page.stem)
def test_blocks_of_a_page_do_what_it_says(page: Path, shell) -> None:
    for block in typed_blocks(page):
        for text in filter(None, (block.first, block.text)):
            done = shell(text)
            where = f'{page.name}:{block.line}'
            assert done.returncode == 0, f'{where}: {text}\n{done.stdout}'
        if block.prints is not None:
            missing = unlike(done.stdout, block.prints)
            assert not missing, f'{where}: no line {missing!r} in its place in\n{done.stdout}'


def test_pages_that_a_reader_types_first_are_typed() -> None:
    assert {'README', 'index', 'own_bag'} <= {page.stem for page in TYPED}
    marked = sum(len(typed_blocks(page)) for page in TYPED)
    # Every marker must be followed by a block.
    comments = sum(len(re.findall('<!-- run', page.read_text())) for page in TYPED)
    assert marked == comments


def test_why_a_block_is_not_typed_is_known() -> None:
    blocks = {page: len(re.findall('^```(?:sh|bash)$', page.read_text(), re.M)) for page in PAGES}
    not_typed = {page.stem for page in PAGES if blocks[page] > len(typed_blocks(page))}
    assert not_typed == set(NOT_TYPED)


def test_arguments_of_launch_files_are_declared() -> None:
    shared = (ROOT / 'drive_segment_ros/ros/launch_arguments.py').read_text()
    count = 0
    for page in PAGES:
        text = page.read_text().replace('\\\n', ' ')
        for file, rest in re.findall(r'ros2 launch drive_segment_ros (\S+)([^\n`]*)', text):
            declared = shared + (ROOT / 'launch' / file).read_text()
            for name in re.findall(r'(\w+):=', rest):
                assert f"'{name}'" in declared, f'{page.name}: {file} {name}'
                count += 1
    assert count > 20


def test_options_are_added_and_what_is_printed_is_compared(tmp_path: Path) -> None:
    page = tmp_path / 'page.md'
    page.write_text(
        '<!-- run first: echo a; train += --epochs 1 -->\n```sh\n'
        'drive-segment train x  # and so on\n./drive-segment label y\n```\n'
        '<!-- prints -->\n```text\n12 frames in x\n...\nend\n```\n'
    )
    (block,) = typed_blocks(page)
    assert block.first == 'echo a'
    assert block.text.splitlines() == [
        'drive-segment train x --epochs 1 # and so on',
        './drive-segment label y  ',
    ]
    assert unlike('hello\n7 frames   in x\nmore\nend\n', block.prints) == ''
    assert unlike('7 frames in y\nend\n', block.prints) == '# frames in x'
    assert unlike('7 frames in x\nmore\n', block.prints) == 'end'
    assert unlike('a\nb\nc\n', 'a\nc\n') == 'c'
