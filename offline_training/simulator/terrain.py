"""The terrain: maps a flat street plan to curved streets on gentle hills.

In plan coordinates the ground is flat and streets are straight. The map to world coordinates adds
smooth sine waves to x, y and z.
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
        """Map plan positions to the world.

        Args:
            plan: (..., 2) x and y, or (..., 3) with a height above the ground, metres.

        Returns:
            (..., 3) float64 world positions, metres.
        """
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
        """Return world poses aligned with the slope of the ground.

        Args:
            plan: (..., 2) plan positions, or (..., 3) with a height above the ground, metres.
            yaw: (...) headings in the plan, radians.

        Returns:
            (..., 6) x, y, z, yaw, pitch, roll in the world, metres and radians (REP-103: positive
            pitch is nose down).
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
        """Map each vertex of a mesh from plan coordinates to the world."""
        return dataclasses.replace(mesh, vertices=self.to_world(mesh.vertices))

    def stand(self, meshes: Sequence[Mesh], places: ArrayLike) -> list[Mesh]:
        """Place rigid meshes upright on the ground.

        Args:
            meshes: N meshes, each in its own frame with z = 0 at its base.
            places: (N, 4) plan x and y, height above the ground, yaw in the plan; metres, radians.

        Returns:
            The N meshes in the world; they are not tilted with the slope.
        """
        # With an axis of length 1, because rounding of a matrix product depends on its number of
        # rows: adding an object must not change the others.
        plan = np.asarray(places, np.float64)[:, None]
        poses = self.poses(plan[..., :3], plan[..., 3])[:, 0, :4].tolist()
        return [mesh.moved(*pose) for mesh, pose in zip(meshes, poses, strict=True)]
