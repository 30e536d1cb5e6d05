"""Ground truths of different datasets are scored in a common label space."""

from __future__ import annotations

import importlib.resources
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from drive_segment_ros.errors import DatasetError
from offline_training.bags.published.sets.semantic_kitti_classes import CLASSES as KITTI
from offline_training.evaluation import label_spaces
from offline_training.evaluation.evaluate import evaluate
from offline_training.evaluation.ground_truth import LAYOUTS, GroundTruth, LabelledImage
from offline_training.evaluation.label_space import in_space, space_names
from offline_training.simulator.materials import CLASSES as SIMULATOR

FILES = {
    file.name: yaml.safe_load(file.read_text())
    for file in importlib.resources.files(label_spaces).iterdir()
    if file.name.endswith('.yaml')
}
SPACES = FILES.pop('spaces.yaml')


def truth(names) -> GroundTruth:
    image = LabelledImage(Path('image.png'), Path('label.png'))
    return GroundTruth([image], list(names), np.arange(256).astype(np.uint8))


def mapped(names, space: str) -> dict[str, str | None]:
    found = in_space(truth(names), space)
    numbers = found.images[0].number_of_id[: len(list(names))]
    return {
        name: None if number == 255 else found.classes[number]
        for name, number in zip(names, numbers, strict=True)
    }


@pytest.mark.parametrize('file', FILES)
def test_every_class_of_a_set_is_one_of_each_space_or_none(file: str) -> None:
    assert [len(classes) for classes in SPACES.values()] == [19, 12]
    for name, targets in FILES[file].items():
        assert len(targets) == len(SPACES), name
        for target, classes in zip(targets, SPACES.values(), strict=True):
            assert target is None or target in classes, name
    for column, space in enumerate(SPACES):
        expected = {name: targets[column] for name, targets in FILES[file].items()}
        assert mapped(FILES[file], space) == expected


def test_sets_read_here_are_known_whole() -> None:
    assert list(FILES['simulator.yaml']) == list(SIMULATOR)
    assert list(FILES['semantic_kitti.yaml']) == list(KITTI.values())
    assert len(FILES['nuscenes_lidarseg.yaml']) == 32
    assert len(FILES['pandaset.yaml']) == 42
    assert len(FILES['waymo.yaml']) == 23
    assert space_names() == ['own', 'cityscapes-19', 'common-12']


def test_cityscapes_19_are_those_of_its_benchmark(tmp_path: Path) -> None:
    name = tmp_path / 'a'
    cv2.imwrite(f'{name}_leftImg8bit.png', np.zeros((4, 256), np.uint8))
    cv2.imwrite(f'{name}_gtFine_labelIds.png', np.arange(256, dtype=np.uint8)[None].repeat(4, 0))
    nineteen, all_27 = (
        LAYOUTS[layout](tmp_path, tmp_path) for layout in ('cityscapes', 'cityscapes-27')
    )
    found = in_space(all_27, 'cityscapes-19')
    assert found.classes == nineteen.classes
    assert (found.images[0].number_of_id == nineteen.number_of_id).all()
    assert in_space(all_27, 'own') is all_27


def test_names_are_known_however_they_are_written() -> None:
    names = ['Regular_Vehicle', 'PEDESTRIAN', 'box-truck']
    assert list(mapped(names, 'common-12').values()) == ['car', 'person', 'large vehicle']


def test_what_belongs_to_no_set_or_to_two_that_disagree_is_refused() -> None:
    with pytest.raises(DatasetError, match=r'no known set \(nearest .*no unicorn\); .* own'):
        in_space(truth([*SIMULATOR, 'unicorn']), 'common-12')
    # Several sets have these names, with the same meaning.
    assert mapped(['road', 'car'], 'cityscapes-19') == {'road': 'road', 'car': 'car'}
    # PandaSet and the simulator both map ground to terrain.
    assert mapped(['ground'], 'common-12') == {'ground': 'terrain'}
    with pytest.raises(DatasetError, match='no label space'):
        in_space(truth(['road']), 'cityscapes-20')


def test_a_name_that_two_sets_mean_differently_is_refused(monkeypatch) -> None:
    tables = {'one': {'van': ['car', 'car']}, 'two': {'van': ['truck', 'large vehicle']}}
    monkeypatch.setattr('offline_training.evaluation.label_space._tables', lambda: tables)
    with pytest.raises(DatasetError, match='may be those of one or two, which map them'):
        in_space(truth(['van']), 'common-12')


def test_drives_of_two_sets_are_scored_together(tmp_path: Path) -> None:
    sets = {
        'one': ['road', 'truck_bus', *[n for n in SIMULATOR if n not in ('road', 'truck_bus')]]
    }
    sets['two'] = ['moving-truck', *[n for n in KITTI.values() if n != 'moving-truck']]
    for drive, names in sets.items():
        (tmp_path / f'data/{drive}/front/image').mkdir(parents=True)
        (tmp_path / f'truth/{drive}/front').mkdir(parents=True)
        (tmp_path / f'truth/{drive}/front/classes.json').write_text(json.dumps({'classes': names}))
        number = names.index('truck_bus' if drive == 'one' else 'moving-truck')
        cv2.imwrite(
            str(tmp_path / f'truth/{drive}/front/5.png'), np.full((8, 12), number, np.uint8)
        )
        _drive(tmp_path / 'data' / drive)
        (tmp_path / f'label/{drive}/front/image').mkdir(parents=True)
        cv2.imwrite(
            str(tmp_path / f'label/{drive}/front/image/5.png'), np.full((8, 12), 3, np.uint8)
        )
    folders = tmp_path / 'label', tmp_path / 'data', tmp_path / 'truth'
    result = evaluate(*folders, label_space='common-12')
    assert (result['label_space'], result['images'], result['k']) == ('common-12', 2, 4)
    assert result['strict']['per_class'] == {'large vehicle': 100.0}
    with pytest.raises(DatasetError, match='has other classes than'):
        evaluate(*folders)


def _drive(path: Path) -> None:
    from drive_segment_ros.dataset.frame import Frame, SweepRecord, encode_png
    from drive_segment_ros.dataset.writer import DriveWriter

    shutil.rmtree(path)
    with DriveWriter(path, {'cameras': {'front': {}}}) as writer:
        proposals = {'id': np.array([1], np.uint16), 'kind': np.array([0], np.uint8)}
        proposals['points'] = np.array([30], np.int32)
        picture = encode_png(np.zeros((8, 12, 3), np.uint8))
        segment = np.ones((8, 12), np.uint16)
        writer.add(Frame('front', 5, picture, '.png', segment, SweepRecord(5, proposals), {}))
