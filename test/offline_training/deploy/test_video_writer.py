"""Videos of any size of picture, and disks that are full."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from drive_segment_ros.errors import OutputError
from offline_training.deploy.video_writer import VideoWriter

pytest.importorskip('av', reason="PyAV is not installed; pip install '.[video]'")


@pytest.mark.parametrize('suffix', ['mp4', 'webm'])
def test_a_disk_that_is_full_at_the_end_is_one_line(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f'a.{suffix}'
    file.symlink_to('/dev/full')

    with pytest.raises(OutputError, match='No space left'), VideoWriter(file, 10.0) as video:
        video.add(np.zeros((48, 64, 3), np.uint8))


def test_a_picture_may_be_a_pixel_wide(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / 'a.mp4', 10.0) as video:
        video.add(np.zeros((48, 1, 3), np.uint8))

    assert cv2.VideoCapture(str(tmp_path / 'a.mp4')).read()[1].shape == (48, 2, 3)
