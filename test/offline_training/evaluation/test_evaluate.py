import dataclasses
import json

import cv2
import numpy as np
import pytest

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.errors import DatasetError, ParameterError
from offline_training.evaluation.baseline import ColourClusters
from offline_training.evaluation.evaluate import evaluate
from offline_training.pseudo_labels.model import ClassModel


def put(path, values, shape=(40, 60)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.broadcast_to(np.array(values, np.uint8), shape))


@pytest.fixture
def set_of(tmp_path):
    """Return a function that writes images, truths and label images, each of a single value."""

    def write(names, truths, labels):
        for name, truth, label in zip(names, truths, labels, strict=True):
            put(tmp_path / f'image/{name}.png', 9, (40, 60, 3))
            put(tmp_path / f'truth/{name}.png', truth)
            put(tmp_path / f'label/{name}.png', label)
        (tmp_path / 'truth/classes.json').write_text('{"classes": ["road", "car"]}')
        return tmp_path / 'label', tmp_path / 'image', tmp_path / 'truth'

    return write


def test_the_matching_learned_on_other_images_is_the_one_applied(set_of, tmp_path):
    # Pseudo-class 0 is road on the first two images and car on the last.
    folders = set_of('abc', [0, 0, 1], [0, 0, 0])

    own = evaluate(*folders, frames='2:')
    other = evaluate(*folders, frames='2:', match_frames=':2', output=tmp_path / 'scores')

    assert own['strict']['accuracy'] == 100.0
    assert own['matching_learned_on'] == 'scored images'
    assert other['strict']['accuracy'] == 0.0
    assert other['images'] == 1
    assert other['matching_learned_on'] == ':2'
    kept = json.loads((tmp_path / 'scores/confusion.json').read_text())
    assert kept['one_to_one'] == ['road']
    assert evaluate(*folders, match_frames='')['matching_learned_on'] == 'all labelled images'


def test_label_images_are_found_in_folders_as_the_images_are(set_of):
    folders = set_of(['x/0', 'y/0', 'a.b'], [0, 1, 1], [0, 1, 1])

    scores = evaluate(*folders)

    assert scores['images'] == 3
    assert scores['strict']['accuracy'] == 100.0


def test_one_label_image_is_not_taken_for_two_images(set_of, tmp_path):
    folders = set_of(['x/0', 'y/0'], [0, 1], [0, 1])
    (tmp_path / 'label/x/0.png').rename(tmp_path / 'label/0.png')
    (tmp_path / 'label/y/0.png').unlink()

    with pytest.raises(DatasetError, match=r'label/0\.png is the label of both .*x/0.* and .*y/0'):
        evaluate(*folders)


def test_a_label_image_of_another_folder_is_not_taken(set_of, tmp_path):
    folders = set_of(['x/0', 'y/0'], [0, 1], [0, 1])
    (tmp_path / 'label/y/0.png').unlink()

    with pytest.raises(DatasetError, match=r'has no label image for 0\.png'):
        evaluate(*folders)


def test_a_truth_of_another_shape_is_refused_and_of_another_size_is_not(set_of, tmp_path):
    folders = set_of('a', [0], [0])
    put(tmp_path / 'truth/a.png', 0, (20, 30))
    assert evaluate(*folders)['strict']['accuracy'] == 100.0

    put(tmp_path / 'truth/a.png', 0, (60, 40))

    with pytest.raises(DatasetError, match=r'is 40x60, but its image .* is 60x40'):
        evaluate(*folders)


def test_a_truth_without_a_label_is_no_score_of_zero(set_of):
    with pytest.raises(DatasetError, match='no pixel of the 1 labelled images has a label'):
        evaluate(*set_of('a', [255], [0]))


def test_label_images_cannot_be_looked_at_closer(set_of):
    with pytest.raises(ParameterError, match='omit --zoom'):
        evaluate(*set_of('a', [0], [0]), zoom=2)


def test_answers_are_scored_merged_to_as_many_classes_as_there_are_too(paint_drive, tmp_path):
    drive = paint_drive(tmp_path / 'set', 2)
    truth = tmp_path / 'truth'
    truth.mkdir()
    (truth / 'classes.json').write_text('{"classes": ["road", "sky", "car", "tree"]}')
    # Two pseudo-classes per object, in even and odd columns, and merges that join them.
    twice = np.arange(8).reshape(4, 2)
    for frame in Dataset(drive.dataset).drives[0].frames:
        true = drive.truth[frame.stamp_ns]
        cv2.imwrite(str(truth / f'{frame.stamp_ns}.png'), true)
        for labels, offset in (('', 0), ('other', 1)):
            file = frame.with_labels(labels).pseudo_label_path
            file.parent.mkdir(parents=True, exist_ok=True)
            right = (np.arange(true.shape[1]) + offset) % 2
            cv2.imwrite(str(file), twice[true, right].astype(np.uint8))
    model = ClassModel.without_objects(np.arange(2))
    for folder in ('pseudo_classes', 'label_sets/other'):
        merges = twice if folder == 'pseudo_classes' else twice[:0]
        dataclasses.replace(model, merges=merges).save(drive.dataset / folder / 'clusters.npz')

    scores = evaluate(drive.dataset, drive.dataset, truth)
    other = evaluate(drive.dataset, drive.dataset, truth, labels='other')

    assert scores['merged']['k'] == 4
    assert scores['merged']['strict']['miou'] == 100.0
    assert scores['strict']['accuracy'] == other['strict']['accuracy'] == 50.0
    assert 'merged' not in other
    with pytest.raises(DatasetError, match='no pseudo-label'):
        evaluate(drive.dataset, drive.dataset, truth, labels='third')


def test_an_image_is_scored_as_it_is_stored_and_not_rotated(tmp_path):
    # Pseudo-class 0 is dark, pseudo-class 1 is bright.
    centres = np.zeros((2, 6), np.float32)
    centres[1, 0] = 100.0
    none = np.zeros(6, np.float32)
    ColourClusters(none, none + 1.0, centres, 60).save(tmp_path / 'baseline/baseline.npz')
    truth = np.zeros((40, 60), np.uint8)
    truth[:10] = 1
    _, jpeg = cv2.imencode('.jpg', np.repeat(255 * truth[..., None], 3, axis=2))
    # Upside down, by the only entry of its EXIF.
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0'
    marker = b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif
    (tmp_path / 'image').mkdir()
    (tmp_path / 'image/a.jpg').write_bytes(jpeg[:2].tobytes() + marker + jpeg[2:].tobytes())
    put(tmp_path / 'truth/a.png', truth)

    scores = evaluate(tmp_path / 'baseline', tmp_path / 'image', tmp_path / 'truth')

    assert scores['strict']['accuracy'] > 95.0


def test_a_class_may_have_any_name(set_of, tmp_path):
    folders = set_of('ab', [0, 1], [0, 1])
    (tmp_path / 'truth/classes.json').write_text('{"classes": ["$x_$", "car"]}')

    scores = evaluate(*folders, output=tmp_path / 'scores')

    assert scores['strict']['per_class']['$x_$'] == 100.0
    assert (tmp_path / 'scores/confusion.png').is_file()
