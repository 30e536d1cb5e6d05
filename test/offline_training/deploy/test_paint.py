"""`paint`: an image of the overlay and the painted cloud of the segmentation node."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.frame.paint import PaintedSweep
from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.masks import colour_table
from offline_training.deploy.paint import draw_cloud


def test_the_command_draws_overlay_and_cloud(real_bag, model_folder, tmp_path):
    file = tmp_path / 'masks.png'
    arguments = ['paint', model_folder, real_bag, '-o', file, '--frame', 3, '--json']
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    report = json.loads(result.stdout)
    picture = cv2.imread(str(file))
    assert picture.shape[1] == 1920
    assert report['points'] > 5000
    # The classes of the model are blue, green and red; the cloud has only these and greys.
    colours = {tuple(colour) for colour in picture[:540, 960:].reshape(-1, 3)[::7].tolist()}
    assert colours & {(255, 0, 0), (0, 255, 0), (0, 0, 255)}
    assert {c for c in colours if len(set(c)) > 1} <= {(255, 0, 0), (0, 255, 0), (0, 0, 255)}
    below = {tuple(colour) for colour in picture[540:].reshape(-1, 3).tolist()}
    # Except for the background, all colours of the cloud are in the legend.
    assert colours - {(24, 24, 24)} <= below


def test_one_camera_of_joined_bags_is_painted(real_drive, model_folder, tmp_path):
    parts = [real_drive / 'bag', real_drive.with_name('pandaset_002_sides') / 'bag']
    if not parts[1].is_dir():
        pytest.skip(f'no {parts[1]}')
    arguments = ['paint', model_folder, *parts, '--join', '-o', tmp_path / 'masks.png', '--json']
    several = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert several.exit_code == 1
    assert 'has 3 cameras: back, front, front_left; choose one with --camera' in several.stderr
    # The first image was taken before the first pose.
    arguments += ['--camera', 'front_left', '--frame', 1]
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    report = json.loads(result.stdout)
    assert report['points'] > 5000
    assert report['motion'] != 'none'


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['-o', 'x.gif'], 'must end in .png or .jpg'),
        (['-o', 'x.png', '--frame', '900'], 'fewer than 901 pairs'),
    ],
)
def test_mistakes_are_one_line(real_bag, model_folder, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, ['paint', str(model_folder), str(real_bag), *options])
    assert result.exit_code == 1
    assert words in result.stderr


def test_near_points_cover_far_ones_and_painted_ones_grey_ones():
    # Points on one ray of the viewpoint, which is 9 m behind the camera and 5 m above it.
    steps = np.float32([6.0, 3.0, 1.0])
    eye = np.float32([0.0, -5.0, -9.0])
    x, y, z = (eye + steps[:, None] * (np.float32([0.0, 2.0, 6.0]))).T.copy()
    cloud = PointCloud(0, 'lidar', x, y, z)
    painted = PaintedSweep(
        cloud,
        np.int32([0, 1]),
        np.uint8([0, 1]),
        np.uint8([255, 255]),
        'none',
    )
    picture = draw_cloud(painted, np.eye(4), colour_table([(255, 0, 0), (0, 255, 0)]))
    drawn = picture[(picture != 24).any(axis=2)]
    assert len(drawn)
    assert (drawn == (0, 255, 0)).all()
