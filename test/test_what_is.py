"""Errors about a path of the wrong kind say what it is, and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.what_is import not_wanted, what_is

THINGS = {
    'model': ('model/model.json', 'an exported model'),
    'model/model.onnx': ('model/model.onnx', 'the graph of an exported model'),
    'run': ('run/student/model.safetensors', 'a run'),
    'begun': ('begun/run.json', 'a run'),
    'set': ('set/monday/drive.json', 'a dataset'),
    'set/monday': ('set/monday/drive.json', 'one drive of a dataset'),
    'bag': ('bag/bag_0.mcap', 'a bag'),
    'images': ('images/1.jpg', 'a folder of images'),
    'images/1.jpg': ('images/1.jpg', 'an image'),
    'demo': ('demo/demo.json', "a demo's folder"),
    'notes': ('notes/thesis.tex', 'a folder with other content'),
    'notes/thesis.tex': ('notes/thesis.tex', 'a file of another kind'),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for file, _ in THINGS.values():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('{}')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken').symlink_to('nothing')
    return tmp_path


@pytest.mark.parametrize('name', THINGS)
def test_things_are_called_what_they_are(name: str) -> None:
    assert what_is(Path(name)).startswith(THINGS[name][1])


def test_what_is_not_there_does_not_exist() -> None:
    assert not_wanted(Path('no'), 'a run', 'train one') == 'no does not exist; train one'
    assert 'an empty folder, not a run' in not_wanted(Path('empty'), 'a run', 'train one')
    assert 'a broken link' in not_wanted(Path('broken'), 'a run', 'train one')


@pytest.mark.parametrize(
    ('command', 'expected'),
    [
        ('segment model/model.onnx images -o o', 'model/model.onnx is the graph of an exported'),
        ('segment nope images -o o', 'nope does not exist; give a run'),
        ('segment bag images -o o', 'bag is a bag, not a model; give a run'),
        ('segment set images -o o', 'set is a dataset, not a model'),
        ('web images/1.jpg', 'images/1.jpg is an image, not a model'),
        ('export model -o o', 'model is an exported model, not a trained model; give a run'),
        ('export nope -o o', 'nope does not exist; give a run'),
        ('export begun -o o', 'begun has no trained model yet; continue by `train --resume`'),
        ('paint run bag -o o.png', 'run is a run, not an exported model'),
        ('paint model/model.onnx bag -o o.png', 'model/model.onnx is the graph of an exported'),
        ('build-engine nope', 'nope does not exist'),
        ('label run', 'run is a run, not a dataset'),
        ('label set/monday', 'set/monday is a single drive; give its parent folder'),
        ('train bag -o o', 'bag is a bag, not a dataset'),
        ('baseline nope -o o', 'nope does not exist'),
        ('repair images', 'images is a folder of images, not a dataset'),
        ('report set', "set is a dataset, not a run or a demo's folder"),
        ('inspect model', 'model is an exported model, not a bag'),
        ('extract images/1.jpg -o o', 'images/1.jpg is an image, not a bag'),
        ('extract empty -o o', 'empty is an empty folder, not a bag'),
        ('play set', 'set is a dataset, not a bag'),
    ],
)
def test_a_command_says_what_it_was_given(command: str, expected: str) -> None:
    result = CliRunner().invoke(cli.app, command.split())
    assert result.exit_code == 1
    assert expected in result.stderr
    assert result.stderr.strip().count('\n') == 0
    assert not Path('o').exists()
