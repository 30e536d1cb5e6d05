"""Pseudo-classes found again keep number and name; each label set has its own files."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.errors import DatasetError
from offline_training.common.classes import ClassName, load_classes, save_classes
from offline_training.pseudo_labels.assignment import LabelParameters
from offline_training.pseudo_labels.earlier_classes import (
    EarlierClasses,
    keep_numbers,
    load_earlier,
)
from offline_training.pseudo_labels.fit import fit
from offline_training.pseudo_labels.merging import groups_of
from offline_training.pseudo_labels.pseudo_classes import label
from offline_training.pseudo_labels.sampling import Sample
from offline_training.pseudo_labels.stuff_classes import RAISED, ROAD, SKY

FOUR = LabelParameters(classes=4, features='descriptor', restarts=3)


def quiet(description):
    return iter


def kinds(*centres, each=40, seed=0):
    """Return `each` objects around every centre in feature space, one segment each."""
    random = np.random.default_rng(seed)
    look = np.repeat(np.array(centres, np.float32), each, axis=0)
    look += random.normal(0, 0.05, look.shape).astype(np.float32)
    return Sample({'size': look}, np.full(len(look), 100), np.arange(len(look)))


def found_in(sample, stuff, classes, seed=0):
    parameters = LabelParameters(classes, 'descriptor', restarts=5, seed=seed)
    return fit(sample, stuff, parameters)[0]


def numbers(model, sample):
    """Return the pseudo-class of each kind, which all its 40 objects share."""
    share = model.share_of(model.scaling.apply(sample.features))
    found = model.number[model.objects][share.argmax(axis=1)].reshape(-1, 40)
    assert (found == found[:, :1]).all()
    return found[:, 0].tolist()


CAR, WALL, TREE, SIGN = [0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]


def earlier_of(sample, stuff, classes):
    model = found_in(sample, stuff, classes)
    names = [ClassName(f'kind {k}', (k, k, k)) for k in range(classes)]
    return EarlierClasses('earlier', model, names)


def test_classes_found_again_keep_their_numbers_and_a_new_kind_is_appended():
    before, now = kinds(CAR, WALL, TREE), kinds(SIGN, TREE, CAR, WALL, seed=1)
    earlier = earlier_of(before, {ROAD, SKY}, 5)

    model, names = keep_numbers(found_in(now, {ROAD, SKY}, 6, seed=3), earlier, now)

    car, wall, tree = numbers(earlier.model, before)
    assert numbers(model, now) == [5, tree, car, wall]
    assert model.number[:2].tolist() == [0, 1]
    assert names[:5] == earlier.names
    assert names[5].name == 'pseudo_class_05'


def test_stuff_is_known_by_its_kind_and_new_stuff_is_appended():
    before, now = kinds(CAR, WALL), kinds(CAR, WALL, seed=1)
    earlier = earlier_of(before, {ROAD, SKY}, 4)

    model, names = keep_numbers(found_in(now, {ROAD, RAISED, SKY}, 5), earlier, now)

    assert model.number[:3].tolist() == [0, 4, 1]
    assert numbers(model, now) == numbers(earlier.model, before)
    assert len(names) == 5


def test_a_kind_that_is_gone_keeps_its_number_and_is_the_first_to_be_merged():
    before, now = kinds(CAR, WALL, TREE), kinds(CAR, WALL, seed=1)
    earlier = earlier_of(before, {ROAD}, 4)

    model, names = keep_numbers(found_in(now, {ROAD}, 3), earlier, now)

    tree = numbers(earlier.model, before)[2]
    assert numbers(model, now) == numbers(earlier.model, before)[:2]
    assert names == earlier.names
    assert model.merges[0, 1] == tree
    # After one more labelling, the missing class is still the first to be merged.
    again, _ = keep_numbers(found_in(now, {ROAD}, 3), EarlierClasses('again', model, names), now)
    assert (again.merges[0] == model.merges[0]).all()
    assert len(np.unique(groups_of(4, again.merges, 2))) == 2


def test_classes_of_other_features_are_refused():
    before = kinds([0.0, 0.0, 1.0], [4.0, 0.0, 0.0])
    now = kinds(CAR, WALL)

    with pytest.raises(DatasetError, match='other features'):
        keep_numbers(found_in(now, {ROAD}, 3), earlier_of(before, {ROAD}, 3), now)


def test_a_dataset_labelled_like_itself_keeps_names_that_a_person_gave(painted_drive):
    dataset = painted_drive.dataset
    label([dataset], FOUR, quiet)
    before = [frame.pseudo_label() for frame in Dataset(dataset).drives[0].frames]
    file = dataset / 'pseudo_classes/classes.yaml'
    given = [
        dataclasses.replace(one, name=f'name {k}') for k, one in enumerate(load_classes(file))
    ]
    save_classes(file, given)

    report = label([dataset], dataclasses.replace(FOUR, seed=5), quiet, like=dataset)

    assert report['new_classes'] == 0
    assert [one.name for one in load_classes(file)] == [one.name for one in given]
    after = [frame.pseudo_label() for frame in Dataset(dataset).drives[0].frames]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_a_second_set_leaves_the_first_as_it_was(painted_drive):
    dataset = painted_drive.dataset
    label([dataset], FOUR, quiet)
    before = {p: p.read_bytes() for p in dataset.rglob('*') if p.is_file()}

    label([dataset], dataclasses.replace(FOUR, classes=6), quiet, labels='finer', like=dataset)

    assert {p: p.read_bytes() for p in before} == before
    frames = Dataset(dataset).drives[0].frames
    labels = [frame.with_labels('finer').pseudo_label() for frame in frames]
    assert labels[0].shape == frames[0].pseudo_label().shape
    assert {p.name for p in (dataset / 'label_sets/finer').iterdir()} == {
        *('classes.yaml', 'clusters.npz', 'gallery', 'pseudo_label', 'segments'),
        'statistics.json',
    }
    assert load_earlier(dataset / 'label_sets/finer').names[:4] == load_classes(
        dataset / 'pseudo_classes/classes.yaml'
    )


@pytest.mark.parametrize('name', ['a/b', '..', 'a b'])
def test_a_set_is_named_as_a_folder_may_be(painted_drive, name):
    with pytest.raises(DatasetError, match='not a valid name of a label set'):
        label([painted_drive.dataset], FOUR, quiet, labels=name)


def test_what_holds_no_classes_is_one_line(painted_drive, tmp_path):
    with pytest.raises(DatasetError, match='give a dataset that was labelled'):
        load_earlier(tmp_path)
    label([painted_drive.dataset], FOUR, quiet)
    shutil.copy(painted_drive.dataset / 'pseudo_classes/clusters.npz', tmp_path)
    save_classes(tmp_path / 'classes.yaml', [ClassName('only', (0, 0, 0))])
    with pytest.raises(DatasetError, match='belong to different labellings'):
        load_earlier(tmp_path)
