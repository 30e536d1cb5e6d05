"""Objects in a cloud that has no beams: density clustering in spherical coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DependencyError


def density_clusters(
    points: NDArray[np.float32], *, radius_deg: float = 1.0, min_neighbours: int = 4
) -> NDArray[np.int32]:
    """Cluster points with DBSCAN (Ester et al., KDD 1996; Open3D's implementation).

    A sensor's points thin out with range, so no radius in metres fits near and far. Distances are
    therefore measured in (azimuth, elevation, log range): a degree is the same everywhere, and
    1 % of the range counts like 0.57 degrees.

    Args:
        points: (N, 3) float32, metres, origin at the sensor, third axis up, without ground.
        radius_deg: the neighbourhood, degrees.
        min_neighbours: points that make a neighbourhood dense.

    Returns:
        (N,) int32, 1..count, 0 for noise.

    Raises:
        DependencyError: if Open3D is missing.
    """
    if len(points) == 0:
        return np.empty(0, np.int32)
    try:
        import open3d
    except (ImportError, OSError) as err:
        raise DependencyError(
            f'clouds without beams are clustered with open3d, which cannot be imported ({err}); '
            'pip install open3d, and see drive-segment doctor for the libraries it needs'
        ) from err
    spherical = spherical_coordinates(points)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(spherical))
    labels = np.asarray(
        cloud.cluster_dbscan(np.radians(radius_deg), min_neighbours, print_progress=False)
    )
    return labels.astype(np.int32) + 1


def spherical_coordinates(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return unit-free coordinates in which distance is angle or relative range, (N, 3).

    Azimuth starts in the widest gap between the points, so that the wrap splits no object.
    """
    p = points.astype(np.float64)
    distance = np.maximum(np.linalg.norm(p, axis=1), 1e-3)
    azimuth = np.arctan2(p[:, 1], p[:, 0])
    in_turn = np.sort(azimuth)
    start = in_turn[np.argmax(np.diff(in_turn, prepend=in_turn[-1] - 2.0 * np.pi))]
    azimuth = np.where(azimuth < start, azimuth + 2.0 * np.pi, azimuth) - (start + np.pi)
    elevation = np.arcsin(np.clip(p[:, 2] / distance, -1.0, 1.0))
    return np.stack([azimuth * np.cos(elevation), elevation, np.log(distance)], 1)
