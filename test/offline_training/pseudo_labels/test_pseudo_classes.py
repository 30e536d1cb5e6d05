import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest
from tables import classes_of, table_of

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.errors import DatasetError, ParameterError
from offline_training.common.classes import load_classes
from offline_training.pseudo_labels.assignment import LabelParameters, track_means
from offline_training.pseudo_labels.fit import object_weight
from offline_training.pseudo_labels.label_drive import between_classes
from offline_training.pseudo_labels.pseudo_classes import label
from offline_training.pseudo_labels.segment_table import SegmentTable
from offline_training.pseudo_labels.stuff_classes import NO_STUFF, SKY
from offline_training.pseudo_labels.sweep_tracks import same_in_sweep, unique_tracks
from offline_training.training.training_frames import labelled_frames

FOUR = LabelParameters(classes=4, features='descriptor', restarts=3)


def quiet(description):
    return iter


def labels_of(dataset):
    return [frame.pseudo_label() for frame in Dataset(dataset).drives[0].frames]


def test_label_gives_each_thing_a_class_of_its_own(painted_drive):
    report = label([painted_drive.dataset], FOUR, quiet)

    assert report['segments'] == 36
    assert report['features'] == 'descriptor'
    assert 0.8 < report['labelled_fraction'] < 1.0
    class_of_thing = {}
    for frame in Dataset(painted_drive.dataset).drives[0].frames:
        pseudo, truth = frame.pseudo_label(), painted_drive.truth[frame.stamp_ns]
        seen = np.where(frame.segment() == 0, 255, truth).astype(np.uint8)
        assert ((pseudo == 255) == ((seen == 255) | between_classes(seen))).all()
        for thing in np.unique(truth):
            found = np.unique(pseudo[(truth == thing) & (pseudo != 255)])
            assert len(found) == 1
            assert class_of_thing.setdefault(int(thing), found[0]) == found[0]
    assert len(set(class_of_thing.values())) == 4


def test_label_is_repeatable_and_follows_its_seed(painted_drive):
    label([painted_drive.dataset], LabelParameters(6, 'descriptor', restarts=1), quiet)
    first = labels_of(painted_drive.dataset)
    label([painted_drive.dataset], LabelParameters(6, 'descriptor', restarts=1), quiet)
    again = labels_of(painted_drive.dataset)
    label([painted_drive.dataset], LabelParameters(6, 'descriptor', restarts=1, seed=7), quiet)
    other = labels_of(painted_drive.dataset)

    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_an_area_that_is_not_learned_from_has_no_class_of_its_own(painted_drive):
    table = table_of(painted_drive.dataset)
    learned = table.stuff != SKY

    found = classes_of(table, learned, FOUR)

    assert set(found.label[learned]) == {0, 1, 2, 3}
    assert (found.label[~learned] > 0).all()


def test_label_leaves_names_galleries_and_statistics(painted_drive):
    label([painted_drive.dataset], dataclasses.replace(FOUR, classes=6), quiet)
    label([painted_drive.dataset], FOUR, quiet)
    folder = painted_drive.dataset / 'pseudo_classes'

    assert len(load_classes(folder / 'classes.yaml')) == 4
    galleries = sorted((folder / 'gallery').iterdir())
    assert [path.name for path in galleries] == [f'class_{n:02d}.jpg' for n in range(4)]
    assert all(cv2.imread(str(path)).any() for path in galleries)
    statistics = json.loads((folder / 'statistics.json').read_text())['class_statistics']
    sky = next(entry for entry in statistics if entry['kinds']['sky'])
    car = next(entry for entry in statistics if entry.get('height_max_m') == 1.5)
    assert sky['objects'] == 1
    assert sky['segments'] == 6
    assert car['objects'] == 2
    assert car['segments'] == 12
    assert sum(entry['pixels'] for entry in statistics) == sum(
        int((frame.segment() > 0).sum())
        for frame in Dataset(painted_drive.dataset).drives[0].frames
    )


@pytest.mark.parametrize('follow', [True, False])
def test_label_learns_from_the_chosen_frames_only(painted_drive, tmp_path, follow):
    shutil.copytree(painted_drive.dataset, tmp_path / 'copy')
    for frame in Dataset(tmp_path / 'copy').drives[0].frames[3:]:
        cv2.imwrite(str(frame.image_path), 255 - frame.image())
    chosen = LabelParameters(classes=4, features='descriptor', frames=':3', follow_tracks=follow)

    reports = [label([path], chosen, quiet) for path in (painted_drive.dataset, tmp_path / 'copy')]

    assert reports[0]['inertia'] == reports[1]['inertia']
    for a, b in zip(
        labels_of(painted_drive.dataset)[:3], labels_of(tmp_path / 'copy')[:3], strict=True
    ):
        assert (a == b).all()


def test_a_track_keeps_its_class_through_time(painted_drive):
    table = table_of(painted_drive.dataset)
    weight = np.sqrt(table.pixels)
    means = track_means(table.features['colour'], table.track, weight)

    for track in np.unique(table.track):
        rows = table.track == track
        assert (means[rows] == means[rows][0]).all()
        assert means[rows][0] == pytest.approx(
            np.average(table.features['colour'][rows], axis=0, weights=weight[rows]), rel=1e-4
        )


def of_others(matches, looks, pixels, track, follow_tracks=True):
    """Return the class that each further segment is assigned: 0 or 1.

    Two classes are learned from nine segments, five of look 0 and four of look 1. The further
    segments, rows 9 and on, are not learned from.
    """
    count = 9 + len(looks)
    look = np.array([0.0] * 5 + [1.0] * 4 + looks, np.float32)
    table = SegmentTable(
        frame=np.arange(count),
        id=np.ones(count, np.int64),
        kind=np.zeros(count, np.uint8),
        stuff=np.full(count, NO_STUFF),
        pixels=np.array([100] * 9 + pixels),
        track=np.array([*range(9), *track]),
        moved=np.full(count, -1, np.int8),
        matches=np.array(matches, np.int64).reshape(-1, 2),
        in_sweep=np.empty((0, 2), np.int64),
        features={'size': look[:, None] + np.linspace(0, 0.01, count, dtype=np.float32)[:, None]},
        described={},
    )
    parameters = LabelParameters(
        2, 'descriptor', fine_clusters=0, restarts=3, follow_tracks=follow_tracks
    )
    found = classes_of(table, np.arange(count) < 9, parameters).label
    assert len(set(found[:5])) == len(set(found[5:9])) == 1
    return [int(label == found[5]) for label in found[9:]]


def test_a_segment_takes_its_class_from_all_views_of_what_it_shows():
    unsure = {'looks': [0.45], 'pixels': [100], 'track': [9]}
    three = [(9, 5), (9, 6), (9, 7)]

    assert of_others([], **unsure) == [0]
    assert of_others(three, **unsure) == [1]
    assert of_others(three, **unsure, follow_tracks=False) == [0]


def test_views_vote_too_for_a_look_far_off_counts_once():
    strange = {'looks': [-3.0], 'pixels': [900], 'track': [9]}

    assert of_others([(9, 5), (9, 6), (9, 7)], **strange) == [1]


def test_a_track_speaks_for_what_was_found_in_no_other_frame():
    odd = {'looks': [0.9, -0.5], 'pixels': [1600, 10000], 'track': [9, 9]}

    assert of_others([], **odd) == [0, 0]
    assert of_others([(9, 5)], **odd) == [1, 0]


def test_what_is_learned_from_looks_as_it_did_then_whatever_its_track_shows_later():
    assert of_others([], looks=[1.0], pixels=[10**8], track=[0]) == [0]


def test_pixels_between_two_classes_are_of_neither():
    label = np.full((5, 7), 3, np.uint8)
    label[:, 4:] = 1
    label[4] = 255  # unknown pixels are no class, so there is no border next to them

    between = between_classes(label)

    expected = np.zeros((5, 7), bool)
    expected[:4, 3:5] = True
    assert (between == expected).all()


def test_written_labels_of_two_classes_never_touch(painted_drive):
    label([painted_drive.dataset], FOUR, quiet)

    for written in labels_of(painted_drive.dataset):
        assert len(np.unique(written)) > 3
        assert not between_classes(written).any()


def test_what_is_large_counts_more_but_not_in_proportion():
    weight = object_weight(np.array([0, 0, 1]), np.array([50, 50, 1600]))

    assert weight.mean() == pytest.approx(1.0)
    assert 4 < weight[1] / weight[0] < 16


def test_untracked_segments_are_objects_of_their_sweep_alone():
    sweep = np.array([7, 7, 7, 7, 8, 8])
    proposal = np.array([4, 5, 6, 5, 5, 9])
    track = np.array([5, -1, -1, -1, -1, 5])

    number = unique_tracks(sweep, proposal, track)

    assert number[0] == number[5] == 0
    assert number[1] == number[3]
    assert sorted(set(number)) == [0, 1, 2, 3]


def test_an_object_in_several_images_of_a_sweep_is_paired_with_itself():
    sweep = np.array([7, 7, 7, 8, 7, 7])
    proposal = np.array([4, 5, 4, 4, 4, 5])
    objects = np.array([True, True, True, True, True, False])

    pairs = same_in_sweep(sweep, proposal, objects)

    expected = {(0, 2), (2, 0), (0, 4), (4, 0), (2, 4), (4, 2)}
    assert sorted(map(tuple, pairs.tolist())) == sorted(expected)
    assert same_in_sweep(*np.empty((2, 0), np.int64), np.empty(0, bool)).shape == (0, 2)


def test_frames_that_are_no_slice_are_refused(painted_drive):
    with pytest.raises(ParameterError, match='FIRST:LAST'):
        label([painted_drive.dataset], LabelParameters(frames='3-5', features='descriptor'), quiet)


def test_a_dataset_without_segments_is_refused(painted_drive):
    with pytest.raises(DatasetError, match='have no segment'):
        label([painted_drive.dataset], LabelParameters(frames='6:', features='descriptor'), quiet)


def test_ground_and_sky_are_classes_of_their_own(painted_drive):
    label([painted_drive.dataset], LabelParameters(6, 'descriptor', restarts=1), quiet)
    path = painted_drive.dataset / 'pseudo_classes' / 'statistics.json'
    statistics = json.loads(path.read_text())['class_statistics']

    assert [entry['kinds'] for entry in statistics[:2]] == [
        {'object': 0, 'ground': 6, 'sky': 0},
        {'object': 0, 'ground': 0, 'sky': 6},
    ]
    assert all(entry['kinds']['object'] == entry['segments'] for entry in statistics[2:])


def test_no_labels_with_the_numbers_of_earlier_classes_remain(painted_drive):
    drive = Dataset(painted_drive.dataset).drives[0]
    shutil.copytree(drive.path / 'front', drive.path / 'rear')
    described = {**drive.info, 'cameras': {'front': {}, 'rear': {}}}
    (drive.path / 'drive.json').write_text(json.dumps(described))
    label([painted_drive.dataset], FOUR, quiet)
    front = dataclasses.replace(FOUR, cameras=['front'])

    label([painted_drive.dataset], front, quiet, like=painted_drive.dataset)
    assert len(labelled_frames([painted_drive.dataset])) == 12
    label([painted_drive.dataset], front, quiet)

    with pytest.raises(DatasetError, match='of camera rear has no pseudo-label'):
        labelled_frames([painted_drive.dataset])
    assert len(labelled_frames([painted_drive.dataset], cameras=['front'])) == 6


def test_numbers_kept_are_not_mixed_with_labels_of_other_classes(painted_drive):
    drive = Dataset(painted_drive.dataset).drives[0]
    shutil.copytree(drive.path / 'front', drive.path / 'rear')
    described = {**drive.info, 'cameras': {'front': {}, 'rear': {}}}
    (drive.path / 'drive.json').write_text(json.dumps(described))
    label([painted_drive.dataset], FOUR, quiet, labels='other')
    other = painted_drive.dataset / 'label_sets/other'
    label([painted_drive.dataset], dataclasses.replace(FOUR, classes=6), quiet)
    front = dataclasses.replace(FOUR, cameras=['front'])

    label([painted_drive.dataset], front, quiet, like=other)

    with pytest.raises(DatasetError, match='of camera rear has no pseudo-label'):
        labelled_frames([painted_drive.dataset])
