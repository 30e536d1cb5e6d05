"""Prepared images and targets do not depend on the number of processes."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.perception.resizing import resize_image
from offline_training.networks.segmenter import Segmenter, configuration
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.pseudo_classes import label
from offline_training.training import preparation
from offline_training.training.checkpoints import MODEL_FILE, load_model, save_model
from offline_training.training.distillation import (
    DistillationParameters,
    soft_targets,
    teacher_probability,
)
from offline_training.training.preparation import (
    prepare_answers,
    prepare_images,
    prepare_labels,
)

pytestmark = pytest.mark.usefixtures('small_network')

FRAMES, SIZE = 20, (64, 112)

_SCRIPT = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from test_preparation import prepare
from offline_training.training.processes import process_group
torch.set_num_threads(1)
with process_group():
    prepare(*map(Path, sys.argv[2:]))
"""


def prepare(dataset, teacher, folder):
    """Prepare and return the images, the teacher's targets, and the student's."""
    frames = Dataset(dataset).drives[0].frames
    images = prepare_images(folder / 'images', frames, *SIZE)
    labels = prepare_labels(
        folder / 'teacher', lambda k: frames[k].pseudo_label(), len(frames), 4, SIZE, 0.25
    )
    answers = prepare_answers(
        folder / 'student', frames, images, teacher, DistillationParameters(), 0.25
    )
    return images, labels, answers


@pytest.fixture
def made(tmp_path, paint_drive):
    """A folder with a labelled dataset, an untrained teacher, and what one process prepares."""
    paint_drive(tmp_path / 'dataset', FRAMES)
    label(
        [tmp_path / 'dataset'],
        LabelParameters(4, 'descriptor', restarts=3),
        lambda description: iter,
    )
    torch.manual_seed(0)
    save_model(
        tmp_path / 'run/teacher' / MODEL_FILE, Segmenter(configuration('tiny', 4, *SIZE)), {}
    )
    prepare(tmp_path / 'dataset', tmp_path / 'run/teacher', tmp_path / 'one')
    return tmp_path


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_two_processes_prepare_the_same_bytes_as_one(made, in_two_processes):
    (made / 'script.py').write_text(_SCRIPT)

    in_two_processes(
        *(str(made / 'script.py'), str(Path(__file__).parent)),
        *(str(made / 'dataset'), str(made / 'run/teacher'), str(made / 'two')),
    )

    assert hashes(made / 'two') == hashes(made / 'one')
    # Three shards, each of one file of images and five files of targets for either network.
    assert len(hashes(made / 'one')) == 3 * (1 + 5 + 5)


def test_shards_that_are_there_are_not_made_again(made, monkeypatch):
    removed = made / 'one/student/00001'
    before = hashes(made / 'one')
    times = {path: path.stat().st_mtime_ns for path in (made / 'one').rglob('*.npy')}
    shutil.rmtree(removed)
    asked = []
    answer = preparation.teacher_probability
    monkeypatch.setattr(
        preparation,
        'teacher_probability',
        lambda network, image: asked.append(image) or answer(network, image),
    )

    prepare(made / 'dataset', made / 'run/teacher', made / 'one')

    assert len(asked) == 8
    assert hashes(made / 'one') == before
    kept = [path for path in times if removed not in path.parents]
    assert all(path.stat().st_mtime_ns == times[path] for path in kept)


def test_what_is_prepared_is_what_the_frames_hold(made):
    frames = Dataset(made / 'dataset').drives[0].frames
    images, labels, answers = prepare(made / 'dataset', made / 'run/teacher', made / 'one')

    teacher, _ = load_model(made / 'run/teacher')

    assert (len(images), len(labels), len(answers)) == (FRAMES, FRAMES, FRAMES)
    for index in (0, 7, 8, 19):
        assert (images[index] == resize_image(frames[index].image(), *SIZE)[..., ::-1]).all()
        target = labels[index]
        known = frames[index].pseudo_label() != 255
        assert (target.weight[target.regions] > 0)[known].all()
        assert not target.weight[target.regions][~known].any()
        answer = target.probability[target.regions].argmax(axis=-1)
        assert (answer == frames[index].pseudo_label())[known].all()
        expected = soft_targets(
            teacher_probability(teacher, images[index]),
            images[index],
            frames[index].segment(),
            frames[index].pseudo_label(),
            DistillationParameters(),
        )
        assert (answers[index].regions == expected.regions).all()
        assert (answers[index].probability == expected.probability).all()
        assert answers[index].weight[expected.regions].min() > 0.0


class WideFrame:
    """A frame of 40 x 120 px: red with class and segment 1, but for a blue band at each end."""

    def __init__(self) -> None:
        self._red = np.zeros((40, 120), bool)
        self._red[:, 30:70] = True

    def image(self):
        return np.where(self._red[..., None], [0, 0, 255], [255, 0, 0]).astype(np.uint8)

    def segment(self):
        return self._red.astype(np.uint16) + np.uint16(1)

    def pseudo_label(self):
        # Stored at another size than the image.
        return self._red[::2, ::2].astype(np.uint8)


@pytest.mark.parametrize('size', [(32, 64), (32, 96)])
def test_images_and_targets_of_another_aspect_ratio_keep_fitting_together(tmp_path, size):
    frame = WideFrame()
    torch.manual_seed(0)
    save_model(tmp_path / 'teacher' / MODEL_FILE, Segmenter(configuration('tiny', 2, *size)), {})

    images = prepare_images(tmp_path / 'images', [frame], *size)
    labels = prepare_labels(tmp_path / 'labels', lambda _: frame.pseudo_label(), 1, 2, size, 0.0)
    answers = prepare_answers(
        *(tmp_path / 'answers', [frame], images, tmp_path / 'teacher'),
        *(DistillationParameters(pseudo_label_share=1.0), 0.0),
    )

    red = images[0][..., 0] > 127
    for target in (labels[0], answers[0]):
        learned = target.probability[target.regions].argmax(axis=2) == 1
        assert np.mean(learned != red) <= 2 / size[1]  # one column at each edge
    # As wide as it is high in the frame, and so in what is learned.
    assert red.any(axis=1).sum() == pytest.approx(red.any(axis=0).sum(), abs=2)
