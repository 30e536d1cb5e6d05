from __future__ import annotations

import builtins

import numpy as np
import pytest

from drive_segment_ros.errors import DependencyError
from drive_segment_ros.perception.density import density_clusters

pytest.importorskip('open3d', reason='open3d is not installed; `pip install open3d`')


def patch(bearing_deg: float, distance: float, size_deg: float = 3.0) -> np.ndarray:
    """Return points 0.2 degrees apart on a patch that faces the sensor."""
    steps = np.radians(np.arange(-size_deg, size_deg + 0.1, 0.2))
    azimuth, elevation = np.meshgrid(steps + np.radians(bearing_deg), steps)
    ray = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        -1,
    )
    return (distance * ray.reshape(-1, 3)).astype(np.float32)


@pytest.mark.parametrize('distance', [2.0, 20.0, 150.0])
def test_a_patch_is_one_cluster_near_and_far(distance):
    labels = density_clusters(patch(10.0, distance))
    assert (labels == 1).all()


@pytest.mark.parametrize('bearing', [0.0, 90.0, 180.0, -90.0])
def test_no_direction_cuts_an_object(bearing):
    labels = density_clusters(patch(bearing, 10.0))
    assert (labels == 1).all()


def test_patches_apart_in_bearing_or_in_depth_are_two():
    patches = [patch(0.0, 10.0), patch(12.0, 10.0), patch(0.0, 14.0, 1.0), patch(180.0, 10.0)]
    labels = density_clusters(np.concatenate(patches))
    parts = np.split(labels, np.cumsum([len(p) for p in patches])[:-1])
    assert all(len(np.unique(part)) == 1 for part in parts)
    assert len({part[0] for part in parts}) == 4
    assert labels.min() == 1


def test_lone_points_are_noise():
    lone = np.array([[5.0, 9.0, 1.0], [-20.0, 3.0, 2.0]], np.float32)
    labels = density_clusters(np.concatenate([patch(0.0, 10.0), lone]))
    assert labels[-2:].tolist() == [0, 0]


def test_nothing_gives_nothing():
    assert density_clusters(np.empty((0, 3), np.float32)).shape == (0,)
    assert density_clusters(np.ones((1, 3), np.float32)).tolist() == [0]


def test_a_missing_library_is_told(monkeypatch):
    real_import = builtins.__import__

    def no_open3d(name, *args, **kwargs):
        if name == 'open3d':
            raise ImportError('libGL.so.1: cannot open shared object file')
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', no_open3d)
    with pytest.raises(DependencyError, match=r'libGL.*pip install open3d'):
        density_clusters(patch(0.0, 10.0))
