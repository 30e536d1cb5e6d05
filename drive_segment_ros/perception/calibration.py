"""The calibration file: extrinsics and cameras of a vehicle, as YAML.

    transforms:
    - {parent: base_link, child: lidar, translation: [x, y, z], rotation: [qx, qy, qz, qw]}
    cameras:
      /camera/front: {width: 1920, height: 1080, K: ..., D: ..., ...}

`rotation` is a quaternion, or the three rows of the rotation matrix, which is what is saved
because it can be read back exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import CalibrationError
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.transforms import TransformTree, transform_matrix
from drive_segment_ros.storage import expanded, is_remote, location, write_whole
from drive_segment_ros.text_files import dump_yaml, read_yaml


def save_calibration(
    path: str | Path, tree: TransformTree, cameras: Mapping[str, CameraModel]
) -> None:
    """Write a calibration file.

    Args:
        path: file to write, replaced if it exists.
        tree: static transforms.
        cameras: by topic or frame.

    Raises:
        CalibrationError: if the file cannot be written.
    """
    content = {
        'transforms': [
            {
                'parent': parent,
                'child': child,
                'translation': T[:3, 3].tolist(),
                'rotation': T[:3, :3].tolist(),
            }
            for parent, child, T in tree.links
        ],
        'cameras': {name: camera.to_dict() for name, camera in cameras.items()},
    }
    text = dump_yaml(content, sort_keys=False, default_flow_style=None, width=100)
    try:
        place = location(path)
        if is_remote(place):
            write_whole(place, text.encode())
        else:
            place.write_text(text, encoding='utf-8')
    except OSError as err:
        raise CalibrationError(f'cannot write calibration {path}: {err.strerror}') from err


def load_calibration(path: str | Path) -> tuple[TransformTree, dict[str, CameraModel]]:
    """Read a calibration file; `~` is the home folder.

    Returns:
        The tree of static transforms, and the cameras by topic or frame.

    Raises:
        CalibrationError: if the file is missing, is not YAML, or an entry is invalid.
    """
    try:
        content = read_yaml(expanded(path))
    except OSError as err:
        raise CalibrationError(f'cannot read calibration {path}: {err.strerror}') from err
    except ValueError as err:
        raise CalibrationError(f'calibration {path} is not valid YAML: {err}') from err
    if not isinstance(content, dict) or not content.keys() & {'transforms', 'cameras'}:
        raise CalibrationError(
            f'calibration {path} has neither transforms nor cameras; '
            'drive-segment inspect --calibration writes one from a bag'
        )
    tree = TransformTree()
    cameras: dict[str, CameraModel] = {}
    try:
        for link in content.get('transforms') or []:
            tree.set(str(link['parent']), str(link['child']), _transform(link))
        for name, values in (content.get('cameras') or {}).items():
            cameras[str(name)] = CameraModel.from_dict(values)
    except CalibrationError as err:
        raise CalibrationError(f'calibration {path}: {err}') from err
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as err:
        raise CalibrationError(
            f'calibration {path}: an entry is malformed ({err!r}); a transform has '
            'parent, child, translation [x, y, z] and rotation [qx, qy, qz, qw]'
        ) from err
    return tree, cameras


def _transform(link: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the (4, 4) transform of one entry."""
    translation = np.array(link['translation'], np.float64).reshape(3)
    rotation = np.array(link['rotation'], np.float64)
    if rotation.shape == (4,):
        return transform_matrix(translation, rotation)
    T = np.eye(4)
    T[:3, :3] = rotation.reshape(3, 3)
    T[:3, 3] = translation
    # Written so that NaN fails.
    turns = np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-6
    if not (turns and np.linalg.det(rotation) > 0 and np.isfinite(translation).all()):
        raise CalibrationError(
            f'transform from {link["child"]!r} to {link["parent"]!r} is not a rotation and '
            'translation'
        )
    return T
