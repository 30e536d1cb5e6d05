"""`ModelTrial` on images and videos: colours by name or number, and the share of each class."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from drive_segment_ros.errors import ImageError
from offline_training.deploy.try_model import Look, ModelTrial


def test_an_image_comes_back_by_name_or_by_number(run_folder: Path) -> None:
    trial = ModelTrial(run_folder)
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    named, numbered = trial.image(image), trial.image(image, Look(by_name=False))
    assert trial.named
    assert named.picture.shape == image.shape
    # Colours by name differ from those by number.
    assert (named.picture != numbered.picture).any()
    assert sum(item.share for item in named.classes) == pytest.approx(1.0)
    assert {item.name for item in named.classes} <= {'road', 'car <b>'}
    assert {item.name for item in numbered.classes} <= {'pseudo_class_00', 'pseudo_class_01'}


def test_opacity_and_confidence_threshold_are_those_asked_for(run_folder: Path) -> None:
    trial = ModelTrial(run_folder)
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    assert (trial.image(image, Look(opacity=0.0)).picture == image).all()
    seen = trial.image(image, Look(threshold=1.0))
    assert seen.classes[-1].name == 'unknown'
    bgr = np.ascontiguousarray(image[..., ::-1])
    sure = trial.predict(bgr).confidence == 255
    assert seen.classes[-1].share == pytest.approx(1 - sure.mean())


def test_a_video_comes_back_with_as_many_frames_at_its_rate(
    run_folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / 'drive.avi'
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*'MJPG'), 5.0, (64, 48))
    for value in range(4):
        writer.write(np.full((48, 64, 3), 60 * value, np.uint8))
    writer.release()
    told: list[tuple[int, int]] = []
    trial = ModelTrial(run_folder)
    path, classes = trial.video(source, tmp_path, progress=lambda *how_far: told.append(how_far))
    video = cv2.VideoCapture(str(path))
    frames = [image.shape for good, image in (video.read() for _ in range(9)) if good]
    assert frames == 4 * [(48, 64, 3)]
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(5.0)
    assert told == [(number, 4) for number in (1, 2, 3, 4)]
    assert sum(item.share for item in classes) == pytest.approx(1.0)


def test_what_is_no_video_is_refused(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / 'notes.mp4').write_text('not a readable video')
    with pytest.raises(ImageError, match=r'notes\.mp4 is not a readable video'):
        ModelTrial(run_folder).video(tmp_path / 'notes.mp4', tmp_path)


def test_an_exported_model_needs_nothing_that_learning_needs(
    model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip('openvino', reason='openvino is not installed')
    cv2.imwrite(str(tmp_path / 'one.png'), np.zeros((8, 12, 3), np.uint8))
    code = (
        'import sys\n'
        'from pathlib import Path\n'
        "for name in ('torch', 'onnx', 'safetensors', 'transformers', 'sklearn'):\n"
        '    sys.modules[name] = None\n'
        'from offline_training.deploy.segment import segment\n'
        'from offline_training.deploy.try_model import ModelTrial\n'
        'model, images, output = map(Path, sys.argv[1:])\n'
        'ModelTrial(model)\n'
        "print(segment(model, [images], output)['images'])\n"
    )
    arguments = [str(model_folder), str(tmp_path / 'one.png'), str(tmp_path / 'out')]
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout == '1\n', done.stderr
