"""Rigs of several cameras, and several datasets, in the commands that train and evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros.cli import app
from drive_segment_ros.dataset.frame import Frame, SweepRecord, encode_png
from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.dataset.writer import DriveWriter
from offline_training.common.files import write_png
from offline_training.training.frame_images import FrameImages

HEIGHT, WIDTH = 48, 80
RIG = {'cameras': {'front': {}, 'left': {}}}
# Each object: id in the sweep, kind, BGR colour, (top, bottom, left, right) in each camera.
THINGS = {
    'road': (1, 1, (90, 90, 90), {'front': (24, 48, 0, 80), 'left': (24, 48, 0, 80)}),
    'car': (4, 0, (30, 30, 220), {'front': (14, 34, 10, 30), 'left': (14, 34, 50, 70)}),
    'tree': (5, 0, (40, 160, 40), {'front': (2, 30, 40, 56)}),
    'post': (6, 0, (40, 170, 60), {'left': (2, 30, 20, 36)}),
    'van': (7, 0, (20, 60, 210), {'left': (12, 36, 2, 16)}),
}
NAMES = list(THINGS)
LABEL = ['--features', 'descriptor', '--set', 'restarts=2', '--set', 'fine_clusters=0']


def write_rig(dataset: Path, name: str = 'drive', sweeps: int = 4, first: int = 0) -> Path:
    """Write a drive of two cameras; return the folder of its truth, `<dataset>_truth`."""
    truth_folder = dataset.with_name(f'{dataset.name}_truth')
    with DriveWriter(dataset / name, RIG) as writer:
        for index in range(first, first + sweeps):
            sweep_ns = (index + 1) * 10**8
            proposals = {
                'id': np.array([number for number, *_ in THINGS.values()], np.uint16),
                'kind': np.array([kind for _, kind, *_ in THINGS.values()], np.uint8),
                'raised': np.zeros(len(THINGS), bool),
                'points': np.full(len(THINGS), 30, np.int32),
                'track': np.arange(len(THINGS), dtype=np.int32),
            }
            sweep = SweepRecord(sweep_ns, proposals)
            for camera, shift in (('front', 1), ('left', 2)):
                image, segment, truth = paint(camera, index)
                stamp = sweep_ns + shift
                writer.add(Frame(camera, stamp, encode_png(image), '.png', segment, sweep, {}))
                write_png(truth_folder / camera / f'{stamp}.png', truth)
    (truth_folder / 'classes.json').write_text(json.dumps({'classes': NAMES}))
    return truth_folder


def paint(camera: str, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the image, segments and truth of a camera in one sweep."""
    random = np.random.default_rng(index)
    image = np.full((HEIGHT, WIDTH, 3), (200, 160, 120), np.uint8)
    segment = np.zeros((HEIGHT, WIDTH), np.uint16)
    truth = np.full((HEIGHT, WIDTH), 255, np.uint8)
    for number, (thing, _, colour, places) in enumerate(THINGS.values()):
        if camera in places:
            top, bottom, left, right = places[camera]
            image[top:bottom, left:right] = colour
            segment[top:bottom, left:right] = thing
            truth[top:bottom, left:right] = number
    noise = random.normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), segment, truth


def command(*arguments: object) -> dict:
    """Run a command with `--json`; return its report."""
    result = CliRunner().invoke(app, [*map(str, arguments), '--json'])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 1, result.output
    return ' '.join(result.stderr.split())


def label_of(dataset: Path, camera: str, thing: str, drive: str = 'drive') -> set[int]:
    """Return the pseudo-classes at the centre of an object in all frames of a camera."""
    top, bottom, left, right = THINGS[thing][3][camera]
    (found,) = [d for d in Dataset(dataset).drives if d.name == drive]
    row, column = (top + bottom) // 2, (left + right) // 2
    return {int(frame.pseudo_label()[row, column]) for frame in found.cameras[camera]}


def test_an_object_in_two_cameras_is_one_object(tmp_path):
    write_rig(tmp_path / 'set')
    report = command('label', tmp_path / 'set', '--classes', '4', *LABEL)
    assert [entry['drive'] for entry in report['coverage']] == ['drive/front', 'drive/left']
    assert report['frames'] == 8
    # Four sweeps with three objects in front and four on the left; the car is in both.
    assert report['segments'] == 4 * (3 + 4)
    statistics = json.loads((tmp_path / 'set/pseudo_classes/statistics.json').read_text())
    objects = sum(entry['objects'] for entry in statistics['class_statistics'])
    assert objects == 5
    front, left = (label_of(tmp_path / 'set', camera, 'car') for camera in ('front', 'left'))
    assert len(front) == 1
    assert front == left
    # The van, which only the left camera sees, has a class too.
    assert 255 not in label_of(tmp_path / 'set', 'left', 'van')


def test_cameras_are_chosen_and_frames_are_of_each_camera(tmp_path):
    write_rig(tmp_path / 'set')
    report = command('label', tmp_path / 'set', '--classes', '4', '--camera', 'left', *LABEL)
    assert report['frames'] == 4
    assert not (tmp_path / 'set/drive/front/pseudo_label').exists()
    message = refused('train', tmp_path / 'set', '-o', tmp_path / 'run')
    assert 'of camera front has no pseudo-label' in message
    assert 'or choose cameras with --camera' in message
    message = refused('label', tmp_path / 'set', '--camera', 'rear', '--overwrite')
    assert 'has no camera rear; choose from front, left' in message
    options = ('--overwrite', '--frames', ':1')
    assert command('label', tmp_path / 'set', '--classes', '4', *options, *LABEL)['frames'] == 8


@pytest.mark.usefixtures('small_network')
def test_two_datasets_with_drives_of_one_name_stay_apart(tmp_path):
    write_rig(tmp_path / 'a', first=0)
    write_rig(tmp_path / 'b', first=4)
    sets = (tmp_path / 'a', tmp_path / 'b')
    message = refused('label', tmp_path / 'a', tmp_path / 'a')
    assert 'is given twice' in message
    report = command('label', *sets, '--classes', '4', *LABEL)
    assert report['datasets'] == [str(path) for path in sets]
    assert report['frames'] == 16
    for path in sets:
        assert (path / 'pseudo_classes/classes.yaml').exists()
        assert (path / 'pseudo_classes/gallery/class_00.jpg').exists()
    # Both datasets have the same classes.
    assert label_of(sets[0], 'left', 'car') == label_of(sets[1], 'front', 'car')
    small = ('--epochs', '1', '--set', 'width=80', '--set', 'height=48', '--camera', 'front')
    run = command('train', *sets, '-o', tmp_path / 'run', *small)
    assert Path(run['student']).is_dir()
    assert len(FrameImages.kept(tmp_path / 'run/cache/images')) == 8
    # After separate labelling, a number means different classes in the two datasets.
    command('label', sets[1], '--classes', '5', '--overwrite', *LABEL)
    message = refused('train', *sets, '-o', tmp_path / 'other', *small)
    assert 'were not labelled together' in message
    assert not (tmp_path / 'other').exists()


@pytest.mark.usefixtures('small_network')
def test_of_cameras_of_another_shape_the_centre_is_learned(tmp_path):
    write_rig(tmp_path / 'set')
    for frame in Dataset(tmp_path / 'set').drives[0].cameras['left']:
        cv2.imwrite(str(frame.image_path), frame.image()[:, :48])
    command('label', tmp_path / 'set', '--classes', '4', *LABEL)
    small = ('--epochs', '1', '--set', 'width=80')
    arguments = ('train', tmp_path / 'set', '-o', tmp_path / 'run', *small)
    told = ' '.join(CliRunner().invoke(app, [*map(str, arguments)]).stderr.split())
    assert 'of images of camera left, 48 x 48, the centre is learned' in told
    assert 'camera front' not in told


def test_scores_are_of_each_camera_too(tmp_path):
    truth = write_rig(tmp_path / 'set')
    command('label', tmp_path / 'set', '--classes', '5', *LABEL)
    drive = tmp_path / 'set/drive'
    for images in (tmp_path / 'set', drive):
        scores = command('evaluate', drive, images, '--ground-truth', truth)
        assert scores['images'] == 8
        assert {name: entry['images'] for name, entry in scores['cameras'].items()} == {
            'front': 4, 'left': 4,
        }  # fmt: skip
        assert scores['many_to_one']['accuracy'] > 70.0
    # The folder of one camera gives total scores only, none by camera.
    alone = command(
        *('evaluate', drive / 'left/pseudo_label', drive / 'left/image'),
        *('--ground-truth', truth / 'left'),
    )
    assert 'cameras' not in alone
    told = CliRunner().invoke(
        app, ['evaluate', str(drive), str(drive), '--ground-truth', str(truth)]
    )
    assert 'front' in told.stdout
    assert 'left' in told.stdout


def test_truth_of_several_drives_has_a_folder_for_each(tmp_path):
    for name in ('one', 'two'):
        truth = write_rig(tmp_path / 'set', name)
    command('label', tmp_path / 'set', '--classes', '5', *LABEL)
    both = tmp_path / 'truths'
    both.mkdir()
    (both / 'two').symlink_to(truth)
    scores = command('evaluate', tmp_path / 'set', tmp_path / 'set', '--ground-truth', both)
    assert scores['images'] == 8
    message = refused('evaluate', tmp_path / 'set', tmp_path / 'set', '--ground-truth', truth)
    assert 'has no folder with the name of a drive of' in message


def test_a_baseline_of_two_datasets_and_one_camera(tmp_path):
    truth = write_rig(tmp_path / 'a')
    write_rig(tmp_path / 'b', first=4)
    options = ('-o', tmp_path / 'baseline', '--classes', '6', '--camera', 'left')
    report = command('baseline', tmp_path / 'a', tmp_path / 'b', *options)
    assert report['cameras'] == ['left']
    scores = command('evaluate', tmp_path / 'baseline', tmp_path / 'a', '--ground-truth', truth)
    assert set(scores['cameras']) == {'front', 'left'}


@pytest.mark.usefixtures('small_network')
def test_an_experiment_on_two_datasets_scores_all_cameras_of_one_drive(tmp_path):
    truth = write_rig(tmp_path / 'a')
    write_rig(tmp_path / 'b', first=4)
    sets, experiment = (tmp_path / 'a', tmp_path / 'b'), tmp_path / 'experiment'
    options = ['--ground-truth', truth, '--frames', ':3', '--score-frames', '3:', '--seeds', 1]
    options += ['--results-only', '--set', 'train.width=80', '--set', 'train.training.epochs=1']
    for assignment in ('classes=5', 'features=descriptor', 'restarts=1', 'fine_clusters=0'):
        options += ['--set', f'label.{assignment}']
    command_line = ('ablate', *sets, '-o', experiment, *options)
    message = refused(*command_line)
    assert f'with --drive: {sets[0] / "drive"}, {sets[1] / "drive"}' in message
    results = command(*command_line, '--drive', sets[0] / 'drive')
    # One sweep is scored, with two cameras.
    assert results['experiment']['images_scored'] == 2
    assert results['scores']['pseudo_labels']['mean']['scored_frames']['many_to_one']
    for name in ('dataset', 'dataset_2'):
        assert (experiment / 'seed_0' / name / 'drive/left/pseudo_label').is_dir()
    assert not (sets[0] / 'drive/left/pseudo_label').exists()


def test_a_report_shows_the_frames_of_every_camera_of_every_dataset(run_folder, tmp_path):
    for name in ('a', 'b'):
        write_rig(tmp_path / name, sweeps=1)
    sets = [option for name in ('a', 'b') for option in ('--dataset', tmp_path / name)]
    page = tmp_path / 'report.html'
    assert command('report', run_folder, *sets, '-o', page)['frames'] == 4
    text = page.read_text()
    assert 'drive, front' in text
    assert 'drive, left' in text
