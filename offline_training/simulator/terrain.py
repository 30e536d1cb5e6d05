"""The terrain: maps a flat street plan to curved streets on gentle hills.

The town is planned in flat coordinates (plan), where streets are straight; the world differs from
the plan by smooth waves sideways and upwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offline_training.simulator.meshes import Mesh


class Terrain:
    """Maps plan coordinates to the world."""

    def __init__(self, rng: np.random.Generator) -> None:
        # Bends of up to 9 degrees and slopes of up to 4 %: visible, and drivable at town speed.
        self._bend = rng.uniform(2.0, 5.0, 2)
        self._bend_wave = 2 * np.pi / rng.uniform(180.0, 260.0, 2)
        self._bend_phase = rng.uniform(0, 2 * np.pi, 2)
        self._hill = rng.uniform(0.2, 0.6, 3)
        angle = rng.uniform(0, 2 * np.pi, 3)
        wave = 2 * np.pi / rng.uniform(120.0, 260.0, 3)
        self._hill_wave = np.stack([np.cos(angle), np.sin(angle)]) * wave
        self._hill_phase = rng.uniform(0, 2 * np.pi, 3)

    def to_world(self, plan: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 2) plan positions, or (..., 3) with a height, to (..., 3) world positions."""
        plan = np.asarray(plan, np.float64)
        x, y = plan[..., 0], plan[..., 1]
        (ax, ay), (wx, wy), (px, py) = self._bend, self._bend_wave, self._bend_phase
        waves = np.sin(plan[..., :2] @ self._hill_wave + self._hill_phase)
        z = waves @ self._hill
        if plan.shape[-1] == 3:
            z = z + plan[..., 2]
        world = np.empty((*x.shape, 3))
        world[..., 0] = x + ax * np.sin(wx * y + px)
        world[..., 1] = y + ay * np.sin(wy * x + py)
        world[..., 2] = z
        return world

    def poses(self, plan: ArrayLike, yaw: ArrayLike) -> NDArray[np.float64]:
        """Stand something on the ground.

        Args:
            plan: (..., 2) or (..., 3) plan positions.
            yaw: (...) headings in the plan.

        Returns:
            (..., 6) x, y, z, yaw, pitch, roll in the world (REP-103: positive pitch is nose down).
        """
        plan = np.asarray(plan, np.float64)
        yaw = np.asarray(yaw, np.float64)
        ahead, left = np.zeros((2, *plan.shape))
        ahead[..., 0], ahead[..., 1] = 0.5 * np.cos(yaw), 0.5 * np.sin(yaw)
        left[..., 0], left[..., 1] = -ahead[..., 1], ahead[..., 0]
        around = np.stack([plan, plan + ahead, plan - ahead, plan + left, plan - left])
        here, front, back, port, starboard = self.to_world(around)
        forward, side = front - back, port - starboard
        poses = np.empty((*yaw.shape, 6))
        poses[..., :3] = here
        poses[..., 3] = np.arctan2(forward[..., 1], forward[..., 0])
        poses[..., 4] = -np.arctan2(forward[..., 2], np.hypot(forward[..., 0], forward[..., 1]))
        poses[..., 5] = np.arctan2(side[..., 2], np.hypot(side[..., 0], side[..., 1]))
        return poses

    def drape(self, mesh: Mesh) -> Mesh:
        """Bend a mesh made in plan coordinates onto the ground, vertex by vertex."""
        return dataclasses.replace(mesh, vertices=self.to_world(mesh.vertices))

    def stand(self, meshes: Sequence[Mesh], places: ArrayLike) -> list[Mesh]:
        """Stand rigid meshes upright.

        Args:
            meshes: N of them.
            places: (N, 4) x and y in the plan, height above the ground, yaw.
        """
        # One at a time for matrix products, which round rows differently when they are many:
        # a town does not change with the number of things in it.
        plan = np.asarray(places, np.float64)[:, None]
        poses = self.poses(plan[..., :3], plan[..., 3])[:, 0, :4].tolist()
        return [mesh.moved(*pose) for mesh, pose in zip(meshes, poses, strict=True)]
