"""Commands with URLs give the results of local folders, and errors are one line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.inference.model import read_model
from drive_segment_ros.storage import file_names, location, read_many, read_whole, write_files
from offline_training.evaluation.predictors import load_predictor
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.pseudo_classes import label

SETTINGS = ('width=112', 'training.epochs=2', 'training.batch_size=3', 'training.precision=fp32')
MODELS = ('teacher/model.safetensors', 'student/model.safetensors')


def command(*arguments: object, code: int = 0) -> str:
    """Run a command that must exit with `code`; return stdout, or stderr if `code` is not 0."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def train(dataset: Path, run: Path, *more: str, code: int = 0) -> str:
    settings = [part for setting in SETTINGS for part in ('--set', setting)]
    return command('train', dataset, '-o', run, '--json', *settings, *more, code=code)


def upload(folder: Path, to: Path) -> Path:
    files = [path for path in folder.rglob('*') if path.is_file()]
    write_files(to, {str(path.relative_to(folder)): path.read_bytes() for path in files})
    return to


@pytest.fixture
def labelled(painted_drive) -> Path:
    """A local dataset with pseudo-labels."""
    label([painted_drive.dataset], LabelParameters(4, 'descriptor', restarts=3), lambda _: iter)
    return painted_drive.dataset


@pytest.mark.usefixtures('small_network')
def test_a_run_from_and_to_object_storage_is_the_local_one(
    labelled: Path, tmp_path: Path, bucket: Path
) -> None:
    train(labelled, tmp_path / 'run')
    remote, run = upload(labelled, bucket / 'dataset'), bucket / 'run'
    report = json.loads(train(remote, run))
    assert report['run'] == str(run)
    assert report['student'] == f'{run}/student'
    for name in MODELS:
        assert read_whole(run / name) == (tmp_path / 'run' / name).read_bytes()
    assert 'run.json' in file_names(run)
    with pytest.raises(FileNotFoundError):
        file_names(run / 'cache/images')
    assert 'exists and is not overwritten' in train(remote, run, code=1)

    # A run and its student can be loaded as models by URL.
    local = load_predictor(tmp_path / 'run')
    assert load_predictor(run).classes == load_predictor(run / 'student').classes == local.classes
    exported = bucket / 'model'
    assert json.loads(command('export', run, '-o', exported, '--json'))['model'] == str(exported)
    model = read_model(exported)
    assert model.onnx_path.is_file()
    assert f'{exported} is an exported model, not a run' in command(
        'report', exported, '--json', code=1
    )
    (tmp_path / 'names.yaml').write_text('0: road\n')
    command('name', run, '--names', tmp_path / 'names.yaml')
    assert load_predictor(run).classes[0].name == 'road'
    written = json.loads(command('report', run, '--dataset', remote, '--json'))
    assert written['report'] == f'{run}/report.html'
    assert written['frames'] == 6
    assert 'report.html' in file_names(run)


@pytest.mark.usefixtures('small_network')
def test_a_run_that_was_interrupted_goes_on_from_what_was_uploaded(
    labelled: Path, tmp_path: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = ('--set', 'training.checkpoint_s=0')
    train(labelled, tmp_path / 'run', *often)
    remote, run = upload(labelled, bucket / 'dataset'), bucket / 'run'

    def interrupted(*_: object) -> None:
        until = time.monotonic() + 120.0
        while isinstance(read_many([run / MODELS[0]])[0], OSError) and time.monotonic() < until:
            time.sleep(0.1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr('offline_training.training.train.TrainingRun.train_student', interrupted)
        line = train(remote, run, *often, code=130)
    assert f'kept in {run}; continue by the same command with --resume' in line
    kept = read_whole(run / MODELS[0])
    assert isinstance(read_many([run / MODELS[1]])[0], OSError)
    train(remote, run, *often, '--resume')
    assert read_whole(run / MODELS[0]) == kept
    assert read_whole(run / MODELS[1]) == (tmp_path / 'run' / MODELS[1]).read_bytes()


def test_labels_are_written_where_the_dataset_is(
    painted_drive, bucket: Path, tmp_path: Path
) -> None:
    remote = upload(painted_drive.dataset, bucket / 'dataset')
    settings = ('--classes', 4, '--features', 'descriptor', '--json')
    here = json.loads(command('label', painted_drive.dataset, *settings))
    there = json.loads(command('label', remote, *settings))
    assert there['datasets'] == [str(remote)]
    assert {**there, 'datasets': 0} == {**here, 'datasets': 0}
    labels = painted_drive.dataset / 'painted/front/pseudo_label'
    assert file_names(remote / 'painted/front/pseudo_label') == sorted(
        file.name for file in labels.iterdir()
    )
    for file in labels.iterdir():
        assert read_whole(remote / 'painted/front/pseudo_label' / file.name) == file.read_bytes()


@pytest.mark.parametrize(
    ('arguments', 'line'),
    [
        (('inspect', 's4://x/bag'), 's4://x/bag: there is no protocol s4://; give a local path'),
        (('inspect', 's3://'), 's3:// names no bucket; give s3://BUCKET/FOLDER'),
        (('inspect', '{}none'), '{}none: no such bag; give a bag folder'),
        (('label', '{}none'), '{}none does not exist; give a folder of drives'),
        (
            ('label', 's3://no-such/x'),
            'cannot read s3://no-such/x: there is no such bucket; check',
        ),
        (('export', '{}none', '-o', '{}m'), '{}none does not exist; give a run'),
        (('repair', '{}set'), '{}set is not on this machine and a repair locks'),
        (('ablate', '{}set', '-o', 'x'), '{}set is not on this machine and an experiment'),
        (('simulate', '-o', '{}bag'), '{}bag is not on this machine and a drive is simulated'),
        (('import', 'kitti-raw', 'x', '-o', '{}x'), '{}x is not on this machine and bags are'),
        (('save-topic', '/x', '-o', '{}x'), '{}x is not on this machine and live images'),
        (('demo', '-o', '{}x'), '{}x is not on this machine and the demo works'),
    ],
)
def test_what_is_wrong_with_a_url_is_one_line(
    bucket: Path, arguments: tuple[str, ...], line: str
) -> None:
    more = {'ablate': ('--ground-truth', 'x', '--frames', ':', '--score-frames', ':')}
    given = [argument.format(bucket) for argument in arguments]
    said = command(*given, *more.get(given[0], ()), code=1)
    assert said.startswith(f'drive-segment: error: {line.format(bucket)}')
    assert said.count('\n') == 1


def test_a_run_for_a_bucket_that_is_not_there_does_not_begin(
    labelled: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offline_training.training import train as training

    monkeypatch.setattr(training, 'train', lambda *_: pytest.fail('it began'))
    said = train(labelled, location('s3://no-such/run'), code=1)
    assert 'cannot write s3://no-such/run: there is no such bucket' in said


def test_a_storage_that_refuses_is_named_by_its_url(
    bucket: Path, s3_server, tmp_path: Path
) -> None:
    s3_server.refuse = lambda method, path: True
    said = command('export', f'{bucket}run', '-o', tmp_path / 'model', code=1)
    assert f'{bucket}run: access is denied' in said
    assert said.count('\n') == 1


def test_what_no_one_named_of_a_storage_is_said_of_the_url_given(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import EndpointConnectionError

    def gone(*_: object) -> None:
        raise EndpointConnectionError(endpoint_url='http://127.0.0.1:9')

    monkeypatch.setattr('offline_training.deploy.export.export', gone)
    said = command('export', f'{bucket}run', '-o', tmp_path / 'model', code=1)
    assert said.startswith(f'drive-segment: error: {bucket}run: the server does not answer')
    assert said.count('\n') == 1
