"""Command lines of the docs: each is accepted by the parser as it stands."""

from __future__ import annotations

from pathlib import Path

import typer
from doc_commands import command_lines

from drive_segment_ros import cli

ROOT = Path(__file__).resolve().parents[2]


def test_commands_and_options_on_all_pages_exist(monkeypatch):
    # Download no model.
    monkeypatch.setattr('drive_segment_ros.inference.model_source.model_location', Path)
    commands = typer.main.get_command(cli.app).commands
    count = 0
    for page in [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]:
        for name, arguments in command_lines(page):
            assert name in commands, f'{page.name}: no command {name}'
            try:
                commands[name].make_context(name, list(arguments))
            except Exception as err:
                raise AssertionError(f'{page.name}: {name} {" ".join(arguments)}: {err}') from err
            count += 1
    assert count > 50
