from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from offline_training.simulator.bodies import Body, Hits
from offline_training.simulator.cameras import Camera
from offline_training.simulator.ego import ego_poses
from offline_training.simulator.materials import CLASSES
from offline_training.simulator.meshes import Mesh, quads
from offline_training.simulator.parameters import CameraParameters
from offline_training.simulator.ray_casting import TriangleScene
from offline_training.simulator.rays import rays_from
from offline_training.simulator.world import World

HEIGHT, WIDTH = 37, 50
WALL, ROD = 1, 2


def view() -> NDArray[np.float32]:
    """Return the rays of a small image along z, whose pixels are 0.1 m wide at 1 m."""
    v, u = np.mgrid[:HEIGHT, :WIDTH] - np.array([HEIGHT // 2, WIDTH // 2])[:, None, None]
    directions = np.stack([0.1 * u, 0.1 * v, np.ones_like(u)], axis=-1).reshape(-1, 3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return rays_from(directions[None].astype(np.float32), np.eye(4)[None])


def sheet(x0: float, x1: float, y0: float, y1: float, z0: float, z1: float) -> Mesh:
    corners = [(x0, y0, z0), (x1, y0, z0), (x1, y1, z1), (x0, y1, z1)]
    return quads([corners], [[(x, y) for x, y, _ in corners]], 0)


@pytest.mark.parametrize('pixel', range(5))
@pytest.mark.parametrize('level', [False, True])
def test_no_rod_of_a_pixels_width_is_overlooked(pixel: int, level: bool) -> None:
    near, far = 0.1 * pixel - 0.04, 0.1 * pixel + 0.04
    span = (-20.0, 20.0, near, far) if level else (near, far, -20.0, 20.0)
    body = Body([sheet(-50, 50, -50, 50, 8.0, 9.0), sheet(*span, 1.0, 1.0)], [WALL, ROD])
    every, image = body.cast(view()), body.cast(view(), (HEIGHT, WIDTH))
    assert (every.instance == ROD).sum() >= 30
    assert_alike(image, every)


def test_pixels_between_lie_on_their_surface_and_the_sky_stays_empty() -> None:
    body = Body([sheet(-50, 0, -50, 50, 3.0, 4.0)], [WALL])
    every, image = body.cast(view()), body.cast(view(), (HEIGHT, WIDTH))
    assert {0, WALL} == set(every.instance.tolist())
    assert_alike(image, every)


def test_plain_image_is_cast_with_less_than_half_its_rays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = []
    meet = TriangleScene.meet

    def counting(scene: TriangleScene, rays: NDArray[np.float32]) -> Any:
        counts.append(len(rays))
        return meet(scene, rays)

    monkeypatch.setattr(TriangleScene, 'meet', counting)
    Body([sheet(-50, 50, -50, 50, 8.0, 9.0)], [WALL]).cast(view(), (HEIGHT, WIDTH))
    assert sum(counts) < 0.5 * HEIGHT * WIDTH


@pytest.mark.parametrize('lens', ['pinhole', 'equidistant'])
def test_town_is_seen_as_if_every_pixel_were_cast(world: World, lens: str) -> None:
    everywhere: dict[str, list[NDArray[Any]]] = {'sparse': [], 'every': []}
    T_world_base = ego_poses(world.traffic, np.array([0.5]))[0]
    for name in ('front', 'back_left', 'back'):
        camera = Camera(name, CameraParameters(model=lens))
        pose = T_world_base @ camera.T_base_camera
        rays = rays_from(camera.directions[None], pose[None])
        sparse = world.cast(rays, np.array([0.5]), (camera.height, camera.width))
        every = world.cast(rays, np.array([0.5]))
        everywhere['sparse'].append(sparse.instance)
        everywhere['every'].append(every.instance)
        seen = np.isfinite(every.distance) & (sparse.instance == every.instance)
        error = np.abs(sparse.distance[seen] / every.distance[seen] - 1)
        assert (error > 1e-3).mean() < 5e-4
        assert (sparse.material == every.material).mean() > 0.9995
    instance, truth = (np.concatenate(everywhere[key]) for key in ('sparse', 'every'))
    assert (instance != truth).mean() < 2e-4
    # Thin objects are not lost.
    pole = world.class_of[truth] == CLASSES.index('pole')
    assert pole.sum() > 1000
    assert (instance != truth)[pole].mean() < 0.01


def assert_alike(image: Hits, every: Hits) -> None:
    np.testing.assert_array_equal(image.instance, every.instance)
    np.testing.assert_allclose(image.distance, every.distance, rtol=1e-5)
    seen = np.isfinite(every.distance)
    np.testing.assert_allclose(image.uv[seen], every.uv[seen], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(image.normal[seen], every.normal[seen], atol=1e-5)
