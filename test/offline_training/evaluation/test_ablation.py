"""A small ablation: what it compares, what it leaves unchanged, and how it is continued."""

import json
import shutil
import subprocess
import sys
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros.cli import app
from offline_training.evaluation import ablation, truth_bound
from offline_training.evaluation.ablation import (
    RESULTS,
    WITHOUT,
    AblationParameters,
)
from offline_training.evaluation.answers import load_answers
from offline_training.evaluation.evaluate import evaluate

pytestmark = pytest.mark.usefixtures('small_network')

SMALL = (
    'label.classes=4',
    'label.features=descriptor',
    'label.restarts=1',
    'train.width=64',
    'train.training.epochs=1',
)


def run_ablate(drive, truth, folder, *more, frames=':4', score_frames='4:', seeds=2):
    arguments = ['ablate', drive.dataset, '-o', folder, '--ground-truth', truth]
    arguments += ['--frames', frames, '--score-frames', score_frames, '--seeds', seeds, '--json']
    for assignment in SMALL:
        arguments += ['--set', assignment]
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, *more)])


@pytest.fixture
def truth(painted_drive, tmp_path):
    folder = tmp_path / 'truth'
    folder.mkdir()
    for stamp, label in painted_drive.truth.items():
        cv2.imwrite(str(folder / f'{stamp}.png'), label)
    (folder / 'classes.json').write_text('{"classes": ["road", "sky", "car", "tree"]}')
    return folder


def weights(stage):
    return (stage / 'model.safetensors').read_bytes()


def test_an_experiment_compares_all_parts_over_all_seeds_and_goes_on(
    painted_drive, truth, tmp_path, monkeypatch
):
    folder = tmp_path / 'experiment'
    images = painted_drive.dataset / 'painted/front/image'

    fit = Mock(side_effect=truth_bound.fit)
    monkeypatch.setattr(truth_bound, 'fit', fit)
    first = run_ablate(painted_drive, truth, folder, seeds=1)
    assert first.exit_code == 0, first.output
    # With one more seed, only the parts of that seed are made.
    made = []
    make = ablation.Experiment._make
    with monkeypatch.context() as patch:
        patch.setattr(
            ablation.Experiment, '_make', lambda *args: made.append(args[1:3]) or make(*args)
        )
        second = run_ablate(painted_drive, truth, folder)
    results = json.loads(second.stdout)

    assert made == [(part, 1) for part in (*RESULTS, *WITHOUT)]
    assert list(results['scores']) == [*RESULTS, *WITHOUT]
    assert results == json.loads((folder / 'results.json').read_text())
    for part, entry in results['scores'].items():
        assert len(entry['seeds']) == 2, part
        figures = [seed['training_frames']['many_to_one']['miou'] for seed in entry['seeds']]
        mean = entry['mean']['training_frames']['many_to_one']['miou']
        assert mean == pytest.approx(sum(figures) / 2, abs=1e-3)
    once = json.loads(first.stdout)['scores']['student']['seeds'][0]
    assert once == results['scores']['student']['seeds'][0]
    within = once['scored_frames']['strict']
    assert within['interval'][0] <= within['miou'] <= within['interval'][1]
    # The scores equal those of `evaluate`.
    scores = evaluate(folder / 'seed_0/run/student', images, truth, frames='4:')
    assert once['scored_frames']['strict']['accuracy'] == scores['strict']['accuracy']
    # A seed has one teacher and a different student for every part of the ablation.
    seed = folder / 'seed_1'
    assert not any((seed / part / 'teacher').exists() for part in WITHOUT)
    students = {weights(seed / part / 'student') for part in (*WITHOUT, 'run')}
    assert len(students) == 5
    # The upper bound is trained with rare classes weighted more.
    true = fit.call_args.args[2]
    counted = np.concatenate([true[index].weight for index in range(len(true))])
    assert counted.max() > 1.1 * counted[counted > 0].min()
    # The dataset is unchanged.
    assert not (painted_drive.dataset / 'pseudo_classes').exists()
    assert not (painted_drive.dataset / 'painted/front/pseudo_label').exists()
    page = (folder / 'results.md').read_text()
    assert '| student | 0 |' in page
    assert '| student | no | yes | yes |' in page
    assert '| student | yes | yes | no |' in page


def test_each_matching_is_learned_on_its_own_frames(painted_drive, truth, tmp_path, monkeypatch):
    # Correct in all frames, but the scored frames use another number for each class.
    answers = tmp_path / 'answers'
    answers.mkdir()
    for index, (stamp, label) in enumerate(painted_drive.truth.items()):
        cv2.imwrite(str(answers / f'{stamp}.png'), label if index < 4 else (label + 1) % 4)
    monkeypatch.setattr(ablation.Experiment, '_make', lambda *a: load_answers(answers, a[-1]))
    parameters = AblationParameters(frames=':4', score_frames='4:')
    experiment = ablation.Experiment(
        [painted_drive.dataset], tmp_path / 'experiment', truth, parameters, lambda _: iter, ''
    )

    student, bound = experiment.score('student', 0), experiment.score('truth_bound', 0)

    assert student['scored_frames']['strict']['accuracy'] == 100.0
    assert student['training_frames']['strict']['accuracy'] == 0.0
    # The upper bound predicts named classes, so no matching is applied.
    assert bound['scored_frames']['strict']['accuracy'] == 0.0


def test_the_bound_learns_the_truth_and_the_others_do_not_see_it(painted_drive, truth, tmp_path):
    long = ('--results-only', '--set', 'train.training.epochs=40')
    told = run_ablate(painted_drive, truth, tmp_path / 'told', *long, seeds=1)
    for file in truth.glob('*.png'):
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[:, ::-1])
    mirrored = run_ablate(painted_drive, truth, tmp_path / 'mirrored', *long, seeds=1)

    assert told.exit_code == mirrored.exit_code == 0
    bound = json.loads(told.stdout)['scores']['truth_bound']['mean']['scored_frames']
    assert bound['strict']['miou'] > 60.0
    # Mirroring the truth changes only the upper bound.
    runs = [tmp_path / name / 'seed_0' for name in ('told', 'mirrored')]
    for stage in ('run/teacher', 'run/student'):
        assert weights(runs[0] / stage) == weights(runs[1] / stage)
    assert weights(runs[0] / 'truth_bound') != weights(runs[1] / 'truth_bound')


def test_what_learns_cannot_reach_the_truth_or_the_bound():
    code = (
        'import sys\n'
        'from offline_training.bags import extract\n'
        'from offline_training.pseudo_labels import pseudo_classes\n'
        'from offline_training.training import train\n'
        'modules = ("ground_truth", "truth_bound", "evaluate", "ablation")\n'
        'print([name for name in sys.modules if name.split(".")[-1] in modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == '[]\n'


@pytest.mark.parametrize(
    ('options', 'frames', 'message'),
    [
        ((), ':5', '1 frames are in the training and the scored frames'),
        (('--set', 'label.seed=3'), ':4', 'label.seed follows from frames, cameras and seeds'),
        (('--drive', 'other'), ':4', 'choose the drive to score on with --drive: painted'),
    ],
)
def test_an_experiment_that_would_mislead_is_refused(
    painted_drive, truth, tmp_path, options, frames, message
):
    result = run_ablate(painted_drive, truth, tmp_path / 'experiment', *options, frames=frames)

    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count('\n') == 1
    assert not (tmp_path / 'experiment').exists()


def test_another_experiments_folder_is_refused(painted_drive, truth, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation.Experiment, '_make', lambda *_: painted_drive.dataset)
    folder = tmp_path / 'experiment'
    run_ablate(painted_drive, truth, folder)  # fails early, but writes its parameters

    other = run_ablate(painted_drive, truth, folder, '--set', 'train.size=small')
    assert 'has an experiment with other parameters' in other.stderr
    segment = next((painted_drive.dataset / 'painted/front/segment').iterdir())
    segment.write_bytes(segment.read_bytes() + b'\0')
    assert 'with other data' in run_ablate(painted_drive, truth, folder).stderr
    shutil.rmtree(folder)
    (folder / 'holiday').mkdir(parents=True)
    assert 'not empty' in run_ablate(painted_drive, truth, folder).stderr


def test_images_that_nothing_was_learned_from_are_scored_by_a_matching_of_their_own(
    painted_drive, truth, tmp_path, paint_drive
):
    other = paint_drive(tmp_path / 'other', 2)
    labels = tmp_path / 'labels'
    labels.mkdir()
    shutil.copy(truth / 'classes.json', labels)
    for stamp, label in other.truth.items():
        cv2.imwrite(str(labels / f'{stamp}.png'), label)
    camera = other.dataset / 'painted/front'
    more = ('--results-only', '--transfer', f'{camera}={labels}')

    result = run_ablate(painted_drive, truth, tmp_path / 'experiment', *more, seeds=1)

    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)['transfer']['painted/front']
    assert list(scores) == ['image_only', 'teacher', 'student']
    student = tmp_path / 'experiment/seed_0/run/student'
    alone = evaluate(student, camera / 'image', labels)
    means = scores['student']['mean']['scored_frames']
    assert means['strict']['miou'] == alone['strict']['miou']
    assert means['many_to_one']['accuracy'] == alone['many_to_one']['accuracy']
    page = (tmp_path / 'experiment/results.md').read_text()
    assert '| painted/front: student | 1 |' in page
    # Another folder of the same name is not taken for it.
    namesake = paint_drive(tmp_path / 'namesake', 1).dataset / 'painted/front'
    for label in labels.glob('*.png'):
        cv2.imwrite(str(label), cv2.imread(str(label), cv2.IMREAD_UNCHANGED)[::-1])
    more = ('--results-only', '--transfer', f'{namesake}={labels}')
    result = run_ablate(painted_drive, truth, tmp_path / 'experiment', *more, seeds=1)
    means = json.loads(result.stdout)['transfer']['painted/front']['student']['mean']
    alone = evaluate(student, namesake / 'image', labels)
    assert means['scored_frames']['strict']['miou'] == alone['strict']['miou']
    wrong = run_ablate(painted_drive, truth, tmp_path / 'two', '--transfer', str(camera))
    assert wrong.exit_code == 1
    assert '--transfer takes IMAGES=LABELS' in wrong.stderr
