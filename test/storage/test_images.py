"""Images, labels and videos in object storage, read for drawing and scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drive_segment_ros.storage import location, write_files
from offline_training.common.engine import open_engine
from offline_training.common.files import write_json, write_png
from offline_training.evaluation.answers import load_answers
from offline_training.evaluation.ground_truth import load_ground_truth
from offline_training.evaluation.image_sources import image_parts


def images_in(source: Path, skipped: list[str], without: Sequence[Path] = ()) -> Iterator[Any]:
    """Yield the images of a source, each with its name."""
    for part in image_parts(source, without):
        yield from part.images(skipped, lambda name: True)


@pytest.fixture
def images(bucket: Path) -> Path:
    """Return a remote folder with two images, one of them in a subfolder."""
    for name, value in (('a.png', 10), ('night/b.png', 20)):
        write_png(bucket / 'images' / name, np.full((6, 8, 3), value, np.uint8))
    return bucket / 'images'


def test_images_of_a_folder(images: Path) -> None:
    skipped: list[str] = []
    found = {name: image[0, 0, 0] for name, image in images_in(images, skipped)}
    assert found == {'a': 10, 'night/b': 20}
    assert [n for n, _ in images_in(images, skipped, [images / 'night', Path('/x')])] == ['a']
    assert [n for n, _ in images_in(images / 'a.png', skipped)] == ['a']
    assert skipped == []


def test_a_video(bucket: Path, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(
        str(tmp_path / 'v.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 10.0, (64, 48)
    )
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    write_files(bucket, {'v.avi': (tmp_path / 'v.avi').read_bytes()})
    names = [name for name, _ in images_in(bucket / 'v.avi', [])]
    assert names == ['v/000000', 'v/000001', 'v/000002']


@pytest.mark.parametrize('labels_here', [False, True])
def test_truth_and_label_images(
    images: Path, bucket: Path, tmp_path: Path, labels_here: bool, s3_server
) -> None:
    truth = tmp_path / 'truth' if labels_here else bucket / 'truth'
    for name in ('a', 'night/b'):
        write_png(truth / f'{name}.png', np.ones((6, 8), np.uint8))
    write_json(truth / 'classes.json', {'classes': ['road', 'sky']})
    found = load_ground_truth('folder', images, truth)
    assert [item.label_path for item in found.images] == [truth / 'a.png', truth / 'night/b.png']
    assert (found.label(found.images[0]) == 1).all()
    paths = [item.image_path for item in found.images]
    with open_engine(1) as engine:
        answers = load_answers(truth, engine).of(paths)
    assert [answers.predict(path)[0].max() for path in paths] == [1, 1]


def test_labels_of_many_images_are_found_by_few_requests(bucket: Path, s3_server) -> None:
    files = {f'{index}.png': b'' for index in range(40)}
    write_files(bucket / 'images', files)
    write_files(bucket / 'truth', files)
    s3_server.reset()
    assert len(load_ground_truth('folder', bucket / 'images', bucket / 'truth').images) == 40
    assert len(s3_server.asked) < 20


def test_published_layouts(bucket: Path) -> None:
    names = {'rgb_anon/fog/val/x_rgb_anon.png', 'rgb_anon/rain/val/y_rgb_anon.png'}
    write_files(bucket, dict.fromkeys(names, b''))
    labels = {
        n.replace('rgb_anon', 'gt', 1).replace('rgb_anon', 'gt_labelTrainIds') for n in names
    }
    write_files(bucket, dict.fromkeys(labels, b''))
    root = location(str(bucket))
    (item,) = load_ground_truth('acdc-fog', root / 'rgb_anon', root / 'gt').images
    assert item.image_path.name == 'x_rgb_anon.png'
