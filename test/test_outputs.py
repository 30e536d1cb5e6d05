"""No command replaces existing outputs unless `--overwrite` is given."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.outputs import free_name, is_taken

HERE = 'there/before'
# Command -> its arguments, and a file it would write. The inputs do not exist, so a command that
# does not refuse fails on them.
COMMANDS = {
    'inspect': (['no_bag', '--calibration', HERE], HERE),
    'baseline': (['no_dataset', '-o', 'there'], 'there/baseline.npz'),
    'evaluate': (['no_run', 'no', '--ground-truth', 'no', '-o', 'there'], 'there/confusion.png'),
    'segment': (['no_run', 'no_image', '-o', 'there'], 'there/label/1.png'),
    'export': (['no_run', '-o', 'there'], 'there/model.onnx'),
    'paint': (['no_model', 'no_bag', '-o', 'there/a.png'], 'there/a.png'),
    'save-topic': (['topic', '-o', 'there'], 'there/1.jpg'),
    'report': (['there'], 'there/report.html'),
    'label': (['there'], 'there/pseudo_classes/classes.yaml'),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'there/drive/front').mkdir(parents=True)
    (tmp_path / 'there/demo.json').write_text('{}')
    (tmp_path / 'there/drive/drive.json').write_text('{"cameras": {"front": {}}}')
    (tmp_path / 'there/drive/front/frames.jsonl').write_text('')
    return tmp_path


@pytest.mark.parametrize('name', COMMANDS)
def test_what_is_there_stays(name: str, folder: Path) -> None:
    arguments, path = COMMANDS[name]
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b'precious')
    result = CliRunner().invoke(cli.app, [name, *arguments])
    assert result.exit_code == 1, result.output
    assert 'is not overwritten' in result.stderr
    assert file.read_bytes() == b'precious'
    if name in ('save-topic', 'report'):
        return  # with --overwrite they would start to run
    result = CliRunner().invoke(cli.app, [name, *arguments, '--overwrite'])
    assert 'is not overwritten' not in result.output


def test_every_command_that_writes_keeps_the_rule() -> None:
    """Commands with an output have `--overwrite`, except those that always refuse or resume."""
    # `import` has `--overwrite`, too; its own tests make the bags of drives that it refuses.
    refuse_always = {'extract', 'pretrain', 'train', 'ablate', 'simulate', 'demo', 'import'}
    for registered in cli.app.registered_commands:
        assert registered.callback is not None
        options = inspect.signature(registered.callback).parameters
        name = registered.name or registered.callback.__name__.replace('_', '-')
        if 'output' in options and name not in refuse_always:
            assert 'overwrite' in options, name
            assert name in COMMANDS


def test_taken_is_anything_but_an_empty_folder(folder: Path) -> None:
    (folder / 'empty').mkdir()
    (folder / 'link').symlink_to(folder / 'nothing')
    assert [is_taken(folder / name) for name in ('no', 'empty', 'there', 'link')] == [
        *(False, False, True, True)
    ]
    assert free_name(folder / 'there').name == 'there_2'
    assert free_name(folder / 'empty').name == 'empty'
