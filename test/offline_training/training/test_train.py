"""Training of a small network from pseudo-labels to student, and the files of the run."""

import json
import os
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.errors import DatasetError, ImageError, ModelError
from drive_segment_ros.parameters import from_flat
from offline_training.common.classes import default_classes, load_classes
from offline_training.common.files import write_atomic
from offline_training.deploy.export import export
from offline_training.deploy.segment import segment
from offline_training.evaluation.evaluate import evaluate
from offline_training.evaluation.name import name_by_hand, name_from_labels
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.pseudo_classes import label
from offline_training.report.class_gallery import gallery, gallery_folder
from offline_training.report.facts import curves
from offline_training.training import train as train_module
from offline_training.training.checkpoints import load_model
from offline_training.training.frame_targets import FrameTargets
from offline_training.training.train import TrainParameters, train
from offline_training.training.unlabelled import fingerprint_of, unlabelled_frames

pytestmark = pytest.mark.usefixtures('small_network')

STAGES = ('teacher', 'student')


def quiet(description):
    return iter


def parameters(**changes) -> TrainParameters:
    small = {'width': 112, 'training.epochs': 2, 'training.batch_size': 3}
    # The same results on every processor.
    small['training.precision'] = 'fp32'
    return from_flat(TrainParameters, {**small, **changes})


@pytest.fixture
def labelled(painted_drive):
    label([painted_drive.dataset], LabelParameters(4, 'descriptor', restarts=3), quiet)
    return painted_drive


def write_truth(drive, folder: Path) -> Path:
    folder.mkdir()
    for stamp, truth in drive.truth.items():
        cv2.imwrite(str(folder / f'{stamp}.png'), truth)
    (folder / 'classes.json').write_text('{"classes": ["road", "sky", "car", "tree"]}')
    return folder


def test_names_of_files_need_not_be_unicode(painted_drive, tmp_path):
    dataset = painted_drive.dataset
    (dataset / 'painted').rename(dataset / os.fsdecode(b'fahrt \xff'))
    label([dataset], LabelParameters(4, 'descriptor', restarts=1), quiet)

    train([dataset], tmp_path / 'run', parameters(**{'training.epochs': 1}))

    folder = dataset / os.fsdecode(b'fahrt \xff') / 'front/image'
    assert fingerprint_of(unlabelled_frames([folder]))
    export(tmp_path / 'run', tmp_path / os.fsdecode(b'model \xff'))
    assert (tmp_path / os.fsdecode(b'model \xff') / 'README.md').is_file()
    with pytest.raises(ModelError, match=r"run \\udcfe' is not valid Unicode"):
        train([dataset], tmp_path / os.fsdecode(b'run \xfe'), parameters())


def test_from_pseudo_labels_to_named_masks(labelled, tmp_path):
    truth = write_truth(labelled, tmp_path / 'truth')
    images = labelled.dataset / 'painted/front/image'
    run = tmp_path / 'run'

    result = train([labelled.dataset], run, parameters(**{'training.epochs': 40}))
    scores = evaluate(run, images, truth, output=tmp_path / 'scores')
    name_from_labels(run, images, truth)
    drawn = segment(run, [images], tmp_path / 'out')

    assert set(result) == {'run', 'seconds', 'teacher', 'student', 'data_wait_fraction'}
    assert scores['strict']['miou'] > 60.0
    assert scores['classes_present'] == 4
    assert scores['k'] == 4
    wanted = {'images': 6, 'kept': 0, 'skipped': [], 'failed': {}}
    assert drawn == {**wanted, 'output': str(tmp_path / 'out')}
    # Names and colours are saved with the model and used in the drawn images.
    classes = load_classes(run / 'classes.yaml')
    road = next(index for index, item in enumerate(classes) if item.name == 'road')
    stamp = next(iter(labelled.truth))
    drawn_label = cv2.imread(str(tmp_path / f'out/label/{stamp}.png'), cv2.IMREAD_UNCHANGED)
    color = cv2.imread(str(tmp_path / f'out/color/{stamp}.png'))
    assert drawn_label.shape == labelled.truth[stamp].shape
    assert drawn_label[-1, 3] == road
    assert tuple(color[-1, 3, ::-1]) == classes[road].color
    for stage in ('teacher', 'student'):
        assert cv2.imread(str(run / stage / 'loss.png')) is not None
        assert list((run / stage / 'tensorboard').glob('events.*'))
    assert cv2.imread(str(tmp_path / 'scores/confusion.png')) is not None
    confusion = json.loads((tmp_path / 'scores/confusion.json').read_text())
    assert np.sum(confusion['pixels']) == 6 * 64 * 112


def test_a_set_of_labels_is_learned_from_and_its_classes_travel_with_the_run(labelled, tmp_path):
    finer = LabelParameters(6, 'descriptor', restarts=3)
    label([labelled.dataset], finer, quiet, labels='finer')
    run = tmp_path / 'run'

    train([labelled.dataset], run, parameters(**{'training.epochs': 1}), labels='finer')
    report = label([labelled.dataset], finer, quiet, labels='third', like=run)

    assert load_model(run)[0].configuration.classes == 6
    own = labelled.dataset / 'label_sets/finer/clusters.npz'
    assert (run / 'clusters.npz').read_bytes() == own.read_bytes()
    assert report['new_classes'] == 0
    with pytest.raises(DatasetError, match=r'--labels fourth` first'):
        train([labelled.dataset], tmp_path / 'other', parameters(), labels='fourth')


def test_a_run_killed_between_files_resumes_to_the_same_student(labelled, tmp_path, monkeypatch):
    whole = train([labelled.dataset], tmp_path / 'whole', parameters())

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr('offline_training.training.preparation.soft_targets', killed)
        with pytest.raises(KeyboardInterrupt):
            train([labelled.dataset], tmp_path / 'run', parameters())
    assert not (tmp_path / 'run/student').exists()
    resumed = train([labelled.dataset], tmp_path / 'run', parameters(), resume=True)

    models = [Path(r['student']) / 'model.safetensors' for r in (whole, resumed)]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_frames_left_out_are_looked_at_and_change_nothing(labelled, tmp_path, monkeypatch):
    how = parameters(frames=':4', **{'training.epochs': 8})
    looked = train([labelled.dataset], tmp_path / 'looked', how)
    curve = curves(tmp_path / 'looked')['teacher']
    with monkeypatch.context() as patch:
        patch.setattr('offline_training.training.train.left_out', lambda *_: [])
        blind = train([labelled.dataset], tmp_path / 'blind', how)

    assert not len(curves(tmp_path / 'blind')['teacher'].held_out)
    steps, losses, right = curve.held_out.T
    assert steps[-1] == len(curve.losses)
    assert losses[-1] < losses[0]
    assert right[-1] > 0.5
    models = [Path(r['student']) / 'model.safetensors' for r in (looked, blind)]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_a_run_keeps_what_its_classes_show(labelled, tmp_path):
    train([labelled.dataset], tmp_path / 'run', parameters(**{'training.epochs': 1}))

    shown = gallery(gallery_folder(tmp_path / 'run', None), default_classes(4))

    assert {entry.number for entry in shown.entries} == {0, 1, 2, 3}
    assert all(entry.picture for entry in shown.entries)
    assert sum(entry.share for entry in shown.entries) == pytest.approx(1.0)


@pytest.mark.parametrize('file', ['classes.yaml', 'run.json'])
def test_a_run_killed_before_it_began_is_resumed(labelled, tmp_path, monkeypatch, file):
    def killed(path, *_):
        if path.name == file:
            raise KeyboardInterrupt
        write_atomic(path, b'')

    run = tmp_path / 'run'
    with monkeypatch.context() as patch:
        for writer in ('save_classes', 'write_json'):
            patch.setattr(f'offline_training.training.run_folder.{writer}', killed)
        with pytest.raises(KeyboardInterrupt):
            train([labelled.dataset], run, parameters())

    train([labelled.dataset], run, parameters(**{'training.epochs': 1}), resume=True)

    assert len(load_classes(run / 'classes.yaml')) == 4


def test_what_a_killed_writer_left_goes_when_the_run_is_resumed(labelled, tmp_path):
    run = Path(train([labelled.dataset], tmp_path / 'run', parameters())['run'])
    (run / 'student/.checkpoint.safetensors.abcd').write_text('half')

    train([labelled.dataset], run, parameters(), resume=True)

    assert not list((run / 'student').glob('.*'))


def test_a_folder_of_something_else_is_not_resumed(labelled, tmp_path):
    (tmp_path / 'run/cache/images').mkdir(parents=True)

    with pytest.raises(ModelError, match=r'has no run\.json'):
        train([labelled.dataset], tmp_path / 'run', parameters(), resume=True)


def test_labels_of_which_nothing_is_known_teach_nobody(labelled, tmp_path):
    for path in labelled.dataset.glob('painted/front/pseudo_label/*.png'):
        cv2.imwrite(str(path), np.full((64, 112), 255, np.uint8))

    with pytest.raises(DatasetError, match='nothing to train on'):
        train([labelled.dataset], tmp_path / 'run', parameters())


def test_a_gpu_that_is_too_small_is_one_line(labelled, tmp_path, monkeypatch):
    full = Mock(side_effect=torch.OutOfMemoryError('CUDA out of memory'))
    monkeypatch.setattr('offline_training.training.train.fit', full)

    with pytest.raises(ModelError, match=r'lower the batch size'):
        train([labelled.dataset], tmp_path / 'run', parameters())


def test_processes_without_a_number_are_told_how_to_start(labelled, tmp_path, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.delenv('RANK', raising=False)

    with pytest.raises(ModelError, match='torchrun'):
        train([labelled.dataset], tmp_path / 'run', parameters())


def test_rounds_teach_one_student_after_the_other(labelled, tmp_path):
    result = train([labelled.dataset], tmp_path / 'run', parameters(rounds=2))

    assert result['student'].endswith('student_2')
    assert (tmp_path / 'run/student/model.safetensors').exists()


def test_things_are_pasted_for_students_only(labelled, tmp_path):
    runs = [tmp_path / 'without', tmp_path / 'always']
    for run, share in zip(runs, (0.0, 1.0), strict=True):
        how = parameters(**{'training.epochs': 1, 'training.augmentation.paste': share})
        train([labelled.dataset], run, how)

    for stage, same in (('teacher', True), ('student', False)):
        one, other = (load_model(run / stage)[0].state_dict() for run in runs)
        assert all(torch.equal(one[name], other[name]) for name in one) == same, stage


def test_another_runs_folder_is_not_overwritten(labelled, tmp_path):
    train([labelled.dataset], tmp_path / 'run', parameters(**{'training.epochs': 1}))

    with pytest.raises(ModelError, match='not empty'):
        train([labelled.dataset], tmp_path / 'run', parameters())
    before = {p: p.read_bytes() for p in (tmp_path / 'run').glob('*.*')}
    with pytest.raises(ModelError, match='other parameters'):
        train([labelled.dataset], tmp_path / 'run', parameters(), resume=True)
    assert {p: p.read_bytes() for p in (tmp_path / 'run').glob('*.*')} == before


def test_a_run_is_not_resumed_with_other_frames_or_labels(labelled, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr('offline_training.training.train.fit', Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train([labelled.dataset], tmp_path / 'run', parameters(frames=':2'))
    label([labelled.dataset], LabelParameters(5, 'descriptor', restarts=3), quiet)

    with pytest.raises(ModelError, match='other parameters'):
        train([labelled.dataset], tmp_path / 'run', parameters(), resume=True)
    with pytest.raises(ModelError, match='other data'):
        train([labelled.dataset], tmp_path / 'run', parameters(frames=':2'), resume=True)


def test_names_outlive_a_resumed_run(labelled, tmp_path):
    train([labelled.dataset], tmp_path / 'run', parameters(**{'training.epochs': 1}))
    names = tmp_path / 'names.yaml'
    names.write_text('0: car\n')
    named = name_by_hand(tmp_path / 'run', names)

    train([labelled.dataset], tmp_path / 'run', parameters(**{'training.epochs': 1}), resume=True)

    assert load_classes(tmp_path / 'run/classes.yaml') == named


def test_a_wrong_size_is_refused_before_anything_is_written(labelled, tmp_path):
    with pytest.raises(ModelError, match='multiple of its patch'):
        train([labelled.dataset], tmp_path / 'run', parameters(width=100))
    assert not (tmp_path / 'run').exists()


def test_a_dataset_whose_labelling_was_killed_is_not_learned_from(labelled, tmp_path, monkeypatch):
    written = []

    def killed(path, image):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)

    with monkeypatch.context() as patch:
        patch.setattr('offline_training.pseudo_labels.label_drive.write_png', killed)
        with pytest.raises(KeyboardInterrupt):
            label([labelled.dataset], LabelParameters(5, 'descriptor', restarts=3), quiet)

    with pytest.raises(ModelError, match=r'cannot read .*classes\.yaml'):
        train([labelled.dataset], tmp_path / 'run', parameters())


def test_the_command_trains_under_torchrun_and_speaks_once(labelled, tmp_path, in_two_processes):
    settings = ('--set', 'width=112', '--set', 'training.batch_size=3', '--epochs', '1')
    answer = in_two_processes(
        *('-m', 'drive_segment_ros.cli', 'train', str(labelled.dataset)),
        *('-o', str(tmp_path / 'run'), *settings, '--json'),
    )

    assert json.loads(answer)['student'] == str(tmp_path / 'run/student')
    assert json.loads((tmp_path / 'run/run.json').read_text())['processes'] == 2


def test_a_dataset_without_pseudo_labels_says_what_to_run(painted_drive, tmp_path):
    with pytest.raises(DatasetError, match='drive-segment label'):
        train([painted_drive.dataset], tmp_path / 'run', parameters())


def test_pseudo_labels_are_scored_as_any_label_images(labelled, tmp_path):
    truth = write_truth(labelled, tmp_path / 'truth')
    painted = labelled.dataset / 'painted/front'

    scores = evaluate(painted / 'pseudo_label', painted / 'image', truth)

    frame = Dataset(labelled.dataset).drives[0].frames[0]
    covered = 100.0 * (frame.pseudo_label() != 255).mean()
    assert scores['ignore_unmatched']['accuracy'] == 100.0
    assert scores['strict']['accuracy'] == pytest.approx(covered, abs=0.5)


@pytest.mark.parametrize('power', [0.0, 0.5])
def test_teacher_and_student_let_rare_classes_count_more_as_asked(
    labelled, tmp_path, monkeypatch, power
):
    alike = {'training.epochs': 1, 'distillation.confidence_power': 0.0}
    chosen = parameters(**alike, **{'training.class_balance': power})
    fit = Mock(side_effect=train_module.fit)
    monkeypatch.setattr(train_module, 'fit', fit)

    train([labelled.dataset], tmp_path / 'run', chosen)

    assert fit.call_count == len(STAGES)
    for call in fit.call_args_list:
        targets = call.args[2]
        weight = np.concatenate([targets[index].weight for index in range(6)])
        known = weight[weight > 0]
        assert (known.max() > 1.5 * known.min()) == (power > 0.0)


def test_a_student_learns_from_images_without_labels_what_its_teacher_says(
    labelled, tmp_path, paint_drive
):
    other = paint_drive(tmp_path / 'other', 2)
    folder = tmp_path / 'images/below'
    folder.mkdir(parents=True)
    for index in range(3):
        cv2.imwrite(str(folder / f'{index}.png'), np.full((70, 120, 3), 60 * index, np.uint8))
    sources = [other.dataset, tmp_path / 'images', folder / '0.png']

    train([labelled.dataset], tmp_path / 'run', parameters(), unlabelled=sources)

    targets = FrameTargets(tmp_path / 'run/cache/student', 6 + 2 + 3 + 1)
    assert len(FrameTargets(tmp_path / 'run/cache/teacher', 6)) == 6
    # Segments of the other drive are regions, but the teacher predicts their classes.
    assert len(np.unique(targets[6].regions)) > 4
    assert 0.0 < targets[6].probability.max() < 1.0
    # The last image is also the first of the folder.
    assert np.array_equal(targets[8].probability, targets[11].probability)
    assert (targets[8].weight > 0.0).any()


def test_a_run_is_not_resumed_with_other_unlabelled_images(labelled, tmp_path):
    images = labelled.dataset / 'painted/front/image'
    how = parameters(**{'training.epochs': 1})
    train([labelled.dataset], tmp_path / 'run', how, unlabelled=[images])

    with pytest.raises(ModelError, match='trained with other unlabelled'):
        train(
            [labelled.dataset],
            tmp_path / 'run',
            how,
            resume=True,
            unlabelled=[*images.iterdir()][:1],
        )
    with pytest.raises(ModelError, match='trained with other unlabelled'):
        train([labelled.dataset], tmp_path / 'run', how, resume=True)


def test_unlabelled_images_that_are_none_are_named(labelled, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'drive.mcap').write_bytes(b'')
    wanted = {
        'missing': 'does not exist',
        'empty': 'has no image',
        'drive.mcap': 'is not an image .* extract bags first',
    }
    for name, message in wanted.items():
        with pytest.raises(ImageError, match=message):
            train([labelled.dataset], tmp_path / 'run', parameters(), unlabelled=[tmp_path / name])
    assert not (tmp_path / 'run').exists()
