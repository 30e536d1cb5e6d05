"""LiDAR points in the images of the report, compared with the true distances of a simulation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.parameters import from_flat
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.report.lidar_view import distance_colours, lidar_views
from offline_training.simulator import SimulatorParameters, simulate

WIDTH = 320
PARAMETERS = {
    'seed': 4,
    'duration_s': 0.8,
    'lidar.model': 'vlp32',
    'camera.width': WIDTH,
    'camera.height': 180,
}


def test_points_have_the_colour_of_the_true_distance(tmp_path: Path) -> None:
    summary = simulate(tmp_path / 'drive', from_flat(SimulatorParameters, PARAMETERS))
    bag = Path(summary.bag)
    extract([bag], tmp_path / 'data', FrameParameters(), ExtractOptions(workers=1))
    (drive,) = Dataset(tmp_path / 'data').drives
    chosen = drive.frames[2:4]
    views = lidar_views(bag, drive, chosen, WIDTH)
    assert set(views) == {frame.image_path for frame in chosen}
    for frame in chosen:
        view = views[frame.image_path].astype(int)
        file = Path(summary.truth) / f'front/distance/{frame.stamp_ns}.png'
        distance = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) / 256.0
        painted = np.abs(view - frame.image().astype(int)).max(axis=2) > 60
        painted &= distance > 0
        assert painted.sum() > 1000
        expected = distance_colours(distance[painted]).astype(int)
        # A dot covers its neighbours, too, and the true distance is along the ray, unlike depth.
        alike = np.abs(view[painted] - expected).max(axis=1) < 80
        assert alike.mean() > 0.75
    # Without T_base_lidar, points are not motion-compensated.
    drive.info['lidar']['T_base_lidar'] = None
    still = lidar_views(bag, drive, chosen, WIDTH)
    assert all((still[path] != view).any() for path, view in views.items())
