import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from drive_segment_ros.errors import DatasetError
from offline_training.evaluation.ground_truth import (
    CITYSCAPES_19_IDS,
    LAYOUTS,
    folder_classes,
    load_ground_truth,
    read_label,
)


def put(path, value, shape=(2, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full(shape, value, np.uint8))


def only(found):
    assert len(found.images) == 1
    return np.unique(found.label(found.images[0])).tolist()


def test_folder_pairs_by_stem_and_reads_names(tmp_path):
    put(tmp_path / 'images/a.b.jpg', 9, (2, 3, 3))
    put(tmp_path / 'images/unlabelled.png', 9, (2, 3, 3))
    put(tmp_path / 'truth/a.b.png', 1)
    (tmp_path / 'truth/classes.json').write_text('{"classes": ["road", "car"]}')

    found = load_ground_truth('folder', tmp_path / 'images', tmp_path / 'truth')

    assert only(found) == [1]
    assert found.classes == ['road', 'car']


def test_folder_refuses_ids_beyond_its_classes(tmp_path):
    put(tmp_path / 'images/a.png', 9, (2, 3, 3))
    put(tmp_path / 'truth/a.png', 2)
    (tmp_path / 'truth/classes.json').write_text('{"classes": ["road", "car"]}')
    found = load_ground_truth('folder', tmp_path / 'images', tmp_path / 'truth')

    with pytest.raises(DatasetError, match='id 2, but there are 2 classes'):
        found.label(found.images[0])


@pytest.mark.parametrize(
    ('layout', 'label_id', 'expected', 'name'),
    [
        ('cityscapes', 7, [0], 'road'),
        ('cityscapes', 33, [18], 'bicycle'),
        ('cityscapes', 9, [255], None),
        ('cityscapes-27', 9, [2], 'parking'),
        ('cityscapes-27', 33, [26], 'bicycle'),
        ('cityscapes-27', 4, [255], None),
    ],
)
def test_cityscapes_label_ids(tmp_path, layout, label_id, expected, name):
    put(tmp_path / 'leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png', 9, (2, 3, 3))
    put(tmp_path / 'gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png', label_id)
    put(tmp_path / 'gtFine/val/ulm/ulm_000000_000019_gtFine_instanceIds.png', 1)

    found = load_ground_truth(layout, tmp_path / 'leftImg8bit/val', tmp_path / 'gtFine/val')

    assert only(found) == expected
    if name:
        assert found.classes[expected[0]] == name


def test_cityscapes_has_19_and_27_classes(tmp_path):
    put(tmp_path / 'i/x_leftImg8bit.png', 9, (2, 3, 3))
    put(tmp_path / 'g/x_gtFine_labelIds.png', 7)

    assert len(load_ground_truth('cityscapes', tmp_path / 'i', tmp_path / 'g').classes) == 19
    assert len(load_ground_truth('cityscapes-27', tmp_path / 'i', tmp_path / 'g').classes) == 27
    assert len(CITYSCAPES_19_IDS) == 19


def test_dark_zurich(tmp_path):
    name = 'val/night/GOPR0356/GOPR0356_frame_000321'
    put(tmp_path / f'rgb_anon/{name}_rgb_anon.png', 9, (2, 3, 3))
    put(tmp_path / f'gt/{name}_gt_labelTrainIds.png', 10)
    put(tmp_path / f'gt/{name}_gt_invGray.png', 3)

    found = load_ground_truth('dark-zurich', tmp_path / 'rgb_anon', tmp_path / 'gt')

    assert only(found) == [10]
    assert found.classes[10] == 'sky'


def test_nighttime_driving(tmp_path):
    put(tmp_path / 'leftImg8bit/test/night/0_frame_1_leftImg8bit.png', 9, (2, 3, 3))
    truth = tmp_path / 'gtCoarse_daytime_trainvaltest/test/night'
    put(truth / '0_frame_1_gtCoarse_labelTrainIds.png', 255)

    found = load_ground_truth('nighttime-driving', tmp_path / 'leftImg8bit', truth)

    assert only(found) == [255]


def test_acdc_as_a_whole_and_each_condition(tmp_path):
    for value, condition in enumerate(('fog', 'night', 'rain', 'snow')):
        name = f'{condition}/val/GOPR0475/GOPR0475_frame_00{value}'
        put(tmp_path / f'rgb_anon/{name}_rgb_anon.png', 9, (2, 3, 3))
        put(tmp_path / f'gt/{name}_gt_labelTrainIds.png', value)

    folders = (tmp_path / 'rgb_anon', tmp_path / 'gt')

    assert len(load_ground_truth('acdc', *folders).images) == 4
    assert only(load_ground_truth('acdc-night', *folders)) == [1]
    assert only(load_ground_truth('acdc-snow', *folders)) == [3]
    assert only(load_ground_truth('acdc-fog', folders[0] / 'fog', folders[1])) == [0]


@pytest.mark.parametrize('images', ['night/acdc', 'night/acdc/rgb_anon', 'night/renamed'])
def test_a_condition_is_not_the_name_of_a_folder_above(tmp_path, images):
    name = 'fog/val/GOPR0475/GOPR0475_frame_000001'
    folder = 'rgb_anon/' if images.endswith('acdc') else ''
    put(tmp_path / images / f'{folder}{name}_rgb_anon.png', 9, (2, 3, 3))
    put(tmp_path / f'gt/{name}_gt_labelTrainIds.png', 1)

    assert only(load_ground_truth('acdc-fog', tmp_path / images, tmp_path / 'gt')) == [1]
    with pytest.raises(DatasetError, match='no labelled image'):
        load_ground_truth('acdc-night', tmp_path / images, tmp_path / 'gt')


def test_data_sets_may_be_linked_to(tmp_path):
    put(tmp_path / 'disk/val/ulm/x_leftImg8bit.png', 9, (2, 3, 3))
    put(tmp_path / 'labels/val/ulm/x_gtFine_labelIds.png', 7)
    root = tmp_path / 'cityscapes'
    root.mkdir()
    (root / 'leftImg8bit').symlink_to(tmp_path / 'disk')
    (root / 'gtFine').symlink_to(tmp_path / 'labels')

    assert only(load_ground_truth('cityscapes', root, root)) == [0]


def test_one_label_for_two_images_is_refused(tmp_path):
    put(tmp_path / 'images/a.png', 9, (2, 3, 3))
    put(tmp_path / 'images/a.jpg', 9, (2, 3, 3))
    put(tmp_path / 'truth/a.png', 1)

    with pytest.raises(DatasetError, match=r'is the label of both .*a\.jpg and .*a\.png'):
        load_ground_truth('folder', tmp_path / 'images', tmp_path / 'truth')


@pytest.mark.parametrize('text', ['{"classes": "road"}', '{"classes": [1]}', '["road"]', '{'])
def test_names_of_another_form_are_refused(tmp_path, text):
    put(tmp_path / 'images/a.png', 9, (2, 3, 3))
    put(tmp_path / 'truth/a.png', 1)
    (tmp_path / 'truth/classes.json').write_text(text)

    with pytest.raises(DatasetError, match='must have the form'):
        load_ground_truth('folder', tmp_path / 'images', tmp_path / 'truth')


def test_ids_of_one_bit_are_refused(tmp_path):
    path = tmp_path / 'truth.png'
    cv2.imwrite(str(path), np.eye(8, dtype=np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert path.read_bytes()[24] == 1

    with pytest.raises(DatasetError, match='must be an 8-bit grey image'):
        read_label(path)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_an_empty_folder_is_an_error_that_names_it(tmp_path, layout):
    with pytest.raises(DatasetError, match=f'no labelled image of format {layout}'):
        load_ground_truth(layout, tmp_path, tmp_path)


def test_an_unknown_layout_is_an_error_that_names_the_known(tmp_path):
    with pytest.raises(DatasetError, match='cityscapes-27'):
        load_ground_truth('kitti', tmp_path, tmp_path)


def test_a_coloured_truth_is_refused(tmp_path):
    put(tmp_path / 'images/a.png', 9, (2, 3, 3))
    put(tmp_path / 'truth/a.png', 2, (2, 3, 3))
    found = load_ground_truth('folder', tmp_path / 'images', tmp_path / 'truth')

    with pytest.raises(DatasetError, match='without colours'):
        found.label(found.images[0])


def test_ids_to_ignore_are_unlabelled(tmp_path: Path) -> None:
    """The ids of `ignore` in classes.json, one or several, are read as 255."""
    for folder in ('image', 'truth'):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / '1.png'), np.array([[0, 1, 2, 255]], np.uint8))
    file = tmp_path / 'truth/classes.json'
    for ignored, seen in ((2, [0, 1, 255, 255]), ([0, 2], [255, 1, 255, 255]), (255, None)):
        file.write_text(json.dumps({'classes': ['road', 'car'], 'ignore': ignored}))
        truth = load_ground_truth('folder', tmp_path / 'image', tmp_path / 'truth')
        if seen is None:
            with pytest.raises(DatasetError, match='has id 2, but there are 2 classes'):
                truth.label(truth.images[0])
        else:
            assert truth.label(truth.images[0]).tolist() == [seen]


@pytest.mark.parametrize(
    'content',
    [
        {'classes': ['a'] * 300},
        {'classes': ['a\x1b[2J']},
        {'classes': ['a'], 'ignore': 'b'},
        {'classes': ['a'], 'ignore': [256]},
        {'classes': {'a': 1}},
        ['a'],
    ],
    ids=str,
)
def test_names_by_strangers_are_one_line(content: object, tmp_path: Path) -> None:
    (tmp_path / 'classes.json').write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r'classes\.json must have') as error:
        folder_classes(tmp_path)
    assert '\n' not in str(error.value)
