from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offline_training.simulator.cameras import Camera
from offline_training.simulator.ego import ego_poses
from offline_training.simulator.materials import CLASSES, SKY
from offline_training.simulator.parameters import CameraParameters
from offline_training.simulator.shadows import sunlight
from offline_training.simulator.world import World, _into_frame

PARAMETERS = CameraParameters(width=192, height=108)


def exposed(world: World, name: str, time_s: float) -> tuple[NDArray, NDArray, NDArray]:
    T_world_base = ego_poses(world.traffic, np.array([time_s]))[0]
    exposure = Camera(name, PARAMETERS).expose(world, T_world_base, time_s)
    return exposure.rays, exposure.hits.instance, exposure.hits.distance


def test_movers_are_found_as_if_every_ray_asked_every_one(world: World) -> None:
    seen = set()
    for name in ('front', 'back_left', 'back_right', 'back'):
        rays, instance, distance = exposed(world, name, 0.5)
        nearest = world._town.cast(rays, (PARAMETERS.height, PARAMETERS.width))
        start, poses = world.traffic.window(0.5, 0.5)
        everyone = np.arange(len(rays))
        endless = np.full(len(rays), np.inf, np.float32)
        anywhere = np.array([[-np.inf] * 3, [np.inf] * 3])
        for k, mover in enumerate(world._movers):
            track = np.ascontiguousarray(poses[:, k + 1])
            _, local, _ = _into_frame(
                rays, everyone, endless, np.array([0.5]), start, track, anywhere
            )
            hits = mover.body.cast(local)
            closer = (hits.distance < nearest.distance) & (hits.distance < 150.0)
            nearest.distance[closer] = hits.distance[closer]
            nearest.instance[closer] = hits.instance[closer]
        np.testing.assert_array_equal(instance, nearest.instance)
        np.testing.assert_array_equal(distance, nearest.distance)
        seen |= set(instance[instance >= world.first_mover].tolist())
    assert seen, 'the town is empty of traffic: choose another instant'


def test_town_shows_its_classes(world: World) -> None:
    counts = np.zeros(256, int)
    for name in ('front', 'back_left', 'back_right', 'back'):
        counts += np.bincount(world.class_of[exposed(world, name, 0.5)[1]], minlength=256)
    for name in ('road', 'sidewalk', 'building', 'vegetation', 'car', 'sky'):
        assert counts[CLASSES.index(name)] > 100, name
    assert counts[len(CLASSES) :].sum() == 0
    assert world.class_of[0] == SKY


def test_sparse_shadows_are_those_of_every_pixel(world: World) -> None:
    T_world_base = ego_poses(world.traffic, np.array([0.5]))[0]
    camera = Camera('front', PARAMETERS)
    exposure = camera.expose(world, T_world_base, 0.5)
    rays, hits = exposure.rays, exposure.hits
    distance = np.where(hits.instance > 0, hits.distance, 0.0)[:, None]
    points = rays[:, :3] + distance * rays[:, 3:] + (0.004 + 1e-4 * distance) * hits.normal
    facing = (hits.normal @ world.sun > 0) & (hits.instance > 0)
    every = facing & world.sunlit(points.astype(np.float32), 0.5)
    sparse = sunlight(world, rays, hits, (108, 192), 0.5)
    assert 0.03 < every[facing].mean() < 0.97, 'no edge of shadow in view: choose another instant'
    assert (sparse == every)[facing].mean() > 0.995


def test_same_seed_same_town_another_seed_another(world: World) -> None:
    again, other = World(2), World(3)
    again.traffic.advance(1.0)
    other.traffic.advance(1.0)
    poses = world.traffic.window(0.5, 0.5)[1]
    np.testing.assert_array_equal(again.traffic.window(0.5, 0.5)[1], poses)
    assert not np.array_equal(other.traffic.window(0.5, 0.5)[1], poses)
    assert len(other.class_of) != len(world.class_of)
