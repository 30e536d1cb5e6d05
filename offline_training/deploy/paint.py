"""A picture of the segmentation node's output: the overlay and the painted cloud."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import BagError, DatasetError
from drive_segment_ros.frame.paint import Mask, PaintedSweep
from drive_segment_ros.frame.paint import paint as paint_sweep
from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.inference.segmenter import load
from drive_segment_ros.perception.legend import LegendEntry, count_labels, legend, with_legend
from drive_segment_ros.perception.masks import colour_table, overlay
from drive_segment_ros.perception.overlay import draw_points
from drive_segment_ros.perception.resizing import resize_image
from drive_segment_ros.ros.image_size import image_size
from drive_segment_ros.ros.images import decode_image
from drive_segment_ros.ros.joined_bags import Bags, open_drive
from offline_training.bags import sensors
from offline_training.bags.bag_rig import find_rig
from offline_training.common.files import write_atomic

_HEIGHT, _WIDTH = 540, 960
# Viewpoint of the cloud: metres behind and above the camera, and pitch.
_BEHIND, _ABOVE, _DOWN_DEG = 9.0, 5.0, 17.0
_FOCAL = 0.9 * _WIDTH
_BACKGROUND, _UNSEEN = 24, (56, 56, 56)
_UNSEEN_NAME = 'not in the image'


def paint(
    model: Path,
    bags: Bags,
    output: Path,
    number: int,
    camera: str = '',
    lidar: str = '',
    calibration: Path | None = None,
) -> dict[str, Any]:
    """Draw an image with its mask, and the painted sweep beside it.

    Args:
        model: an exported model.
        bags: with a camera and a LiDAR; several are parts of one drive.
        output: a .png or .jpg file to write.
        number: index of the pair of image and sweep, from 0.
        camera, lidar: to use, if there are several.
        calibration: a file that takes precedence over the bags' calibration.

    Returns:
        `picture` (path), `stamp_ns` of the image, `points` painted, `motion` (its kind).

    Raises:
        DriveSegmentError: if the model, the bags or the pair cannot be used.
    """
    if output.suffix not in ('.png', '.jpg'):
        raise DatasetError(f'{output}: the name of a picture must end in .png or .jpg')
    segmenter = load(model)
    params = GeometryParameters()
    with open_drive(bags) as reader:
        chosen = [sensors.choose_camera(reader, camera).name]
        rig = find_rig(reader, params, chosen, lidar, calibration=calibration)
        pair = next(itertools.islice(rig.pairs(rig.stream()), number, None), None)
    if pair is None:
        raise BagError(f'{reader} has fewer than {number + 1} pairs of image and sweep')
    message = pair.image.content.message
    picture = decode_image(message)
    label, confidence = segmenter.segment(picture)
    shape = image_size(message) or picture.shape[:2]
    mask = Mask(message.header, label, confidence, shape)
    image = dataclasses.replace(pair.image, content=mask)
    painted = paint_sweep(dataclasses.replace(pair, image=image), params)
    table = colour_table([item.color for item in segmenter.classes])
    left = resize_image(overlay(picture, label, table, 0.5), _HEIGHT, _WIDTH)
    right = draw_cloud(painted, pair.T_camera_lidar, table)
    entries = legend(count_labels(label), segmenter.classes)
    entries.append(LegendEntry(_UNSEEN_NAME, _UNSEEN, 0.0))
    both = with_legend(np.concatenate([left, right], axis=1), entries)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88] if output.suffix == '.jpg' else []
    _, data = cv2.imencode(output.suffix, both, quality)
    write_atomic(output, data.tobytes())
    return {
        'picture': str(output),
        'stamp_ns': pair.image.stamp_ns,
        'points': len(painted.index),
        'motion': painted.moved,
    }


def draw_cloud(
    painted: PaintedSweep, T_camera_lidar: NDArray[np.float64], table: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Draw a painted sweep as seen from behind and above the camera.

    Points outside the camera's view are dark grey.

    Args:
        painted: the sweep.
        T_camera_lidar: (4, 4).
        table: (256, 3) uint8 BGR, a colour for each label.
    """
    cloud = painted.cloud
    colours = np.full((len(cloud), 3), _UNSEEN, np.uint8)
    colours[painted.index] = table[painted.label]
    xyz = np.stack([cloud.x, cloud.y, cloud.z], axis=1).astype(np.float64)
    x, y, z = (xyz @ T_camera_lidar[:3, :3].T + T_camera_lidar[:3, 3]).T
    # Optical axes: x right, y down, z forward. The viewpoint is pitched by a rotation about x.
    y, z = y + _ABOVE, z + _BEHIND
    c, s = np.cos(np.radians(_DOWN_DEG)), np.sin(np.radians(_DOWN_DEG))
    y, z = c * y - s * z, s * y + c * z
    ahead = np.flatnonzero(np.isfinite(z) & (z > 1.0))
    # Painted points over grey ones, and near points over far ones.
    seen = np.zeros(len(cloud), np.bool_)
    seen[painted.index] = True
    order = ahead[np.lexsort((-z[ahead], seen[ahead]))]
    u = _FOCAL * x[order] / z[order] + _WIDTH / 2
    v = _FOCAL * y[order] / z[order] + _HEIGHT / 2
    inside = (u > -1) & (u < _WIDTH) & (v > -1) & (v < _HEIGHT)
    canvas = np.full((_HEIGHT, _WIDTH, 3), _BACKGROUND, np.uint8)
    draw_points(canvas, u[inside], v[inside], colours[order[inside]])
    return canvas
