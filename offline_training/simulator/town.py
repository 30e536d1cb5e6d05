"""Builds the static objects of a town, each with its class and pose."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from offline_training.simulator import buildings, furniture, people, plants, streets, vehicles
from offline_training.simulator.materials import CLASSES, Palette, Pattern, varied
from offline_training.simulator.meshes import Mesh, Solid, merge_each, patch
from offline_training.simulator.street_plan import (
    OUTSKIRTS,
    PARKING_WIDTH,
    Block,
    StreetPlan,
)
from offline_training.simulator.terrain import Terrain

_TREE_KINDS = 9  # number of tree shapes; each tree is one of them, rotated and scaled randomly


@dataclasses.dataclass(frozen=True)
class Side:
    """One edge of a block with a street along it.

    Attributes:
        middle: of the kerb line, plan x and y, metres.
        outward: unit vector towards the street.
        length: of the edge, metres.
        parking: whether there is a parking lane along it.
    """

    middle: tuple[float, float]
    outward: tuple[float, float]
    length: float
    parking: bool

    @property
    def yaw(self) -> float:
        """Yaw of objects whose front (negative y) faces the street, radians.

        Traffic on this side of the street has the opposite heading.
        """
        return float(np.arctan2(self.outward[0], -self.outward[1]))

    def at(self, along: float, inset: float) -> tuple[float, float]:
        """Return a plan position, metres.

        Args:
            along: distance along the kerb from its middle, in the direction of `yaw`, metres.
            inset: distance from the kerb into the block, negative for the street, metres.
        """
        (x, y), (ox, oy) = self.middle, self.outward
        return x - along * oy - inset * ox, y + along * ox - inset * oy


class _Thing(NamedTuple):
    """An object to be built.

    Attributes:
        solids: that it consists of, in its own frame unless `place` is None.
        place: plan x and y, height above the ground (metres), and yaw (radians); None if the
            solids are in world coordinates.
    """

    solids: Sequence[Solid]
    place: tuple[float, float, float, float] | None


class Town:
    """The static objects of a town.

    Attributes:
        objects: meshes in world coordinates; object `i` has the instance id `i + 1`.
        class_of: class index of each object.
    """

    def __init__(
        self, plan: StreetPlan, terrain: Terrain, palette: Palette, rng: np.random.Generator
    ) -> None:
        self.class_of: list[int] = []
        self._things: list[_Thing] = []
        self._terrain, self._palette, self._rng = terrain, palette, rng
        self._trees = [plants.leafy_tree(palette, rng) for _ in range(_TREE_KINDS - 2)]
        self._trees += [plants.conifer(palette, rng) for _ in range(2)]
        self._lay('road', terrain.drape(streets.road_mesh(plan, palette, rng)))
        self._lay('ground', terrain.drape(streets.outskirts_mesh(plan, palette)))
        for block in plan.blocks:
            for name, mesh in streets.block_meshes(block, palette, rng).items():
                self._lay(name, terrain.drape(mesh))
            self._fill_block(block, plan)
        self._skyline(plan)
        self.objects = self._build()

    def _build(self) -> list[Mesh]:
        """Return the meshes of all objects, built in one batch, which is much faster."""
        meshes = merge_each([thing.solids for thing in self._things])
        places = {k: thing.place for k, thing in enumerate(self._things) if thing.place}
        standing = self._terrain.stand([meshes[k] for k in places], list(places.values()))
        for k, mesh in zip(places, standing, strict=True):
            meshes[k] = mesh
        return meshes

    def _lay(self, class_name: str, mesh: Mesh) -> None:
        """Add an object whose mesh is in world coordinates."""
        self._things.append(_Thing([mesh], None))
        self.class_of.append(CLASSES.index(class_name))

    def _stand(
        self,
        class_name: str,
        solids: Sequence[Solid],
        place: tuple[float, float],
        yaw: float,
        z: float = 0.13,
    ) -> None:
        """Add an upright object at a plan position, `z` metres above the ground."""
        self._things.append(_Thing(solids, (*place, z, yaw)))
        self.class_of.append(CLASSES.index(class_name))

    def _stand_all(
        self, parts: furniture.Parts, place: tuple[float, float], yaw: float, z: float = 0.13
    ) -> None:
        for class_name, solids in parts:
            self._stand(class_name, solids, place, yaw, z)

    def _fill_block(self, block: Block, plan: StreetPlan) -> None:
        for side in _sides(block, plan):
            self._furnish_pavement(side, block)
            if side.parking:
                self._park_cars(side)
            if block.style in ('urban', 'suburban'):
                self._build_row(side, block)
            else:
                self._border(side, block)
        if block.style == 'park':
            self._plant(block, 0.014, inset=block.pavement + 3.0)
        elif block.style == 'yard':
            self._yard(block)
        elif block.style == 'suburban':
            self._plant(block, 0.004, inset=block.pavement + 24.0)

    def _furnish_pavement(self, side: Side, block: Block) -> None:
        rng, palette = self._rng, self._palette
        avenue = rng.random() < 0.55
        count = int((side.length - 14) / 4.5)
        for k in range(count):
            along = (k - (count - 1) / 2) * 4.5 + rng.uniform(-0.8, 0.8)
            near, far = side.at(along, 0.55), side.at(along, block.pavement - 0.35)
            if k in (0, count - 1):
                parts = furniture.traffic_sign(palette, rng)
                if rng.random() < 0.4:
                    parts = furniture.traffic_light(palette, rng)
                self._stand_all(parts, near, side.yaw + np.pi)
            elif k % 5 == 2:
                self._stand_all(furniture.street_lamp(palette, rng), near, side.yaw)
            elif avenue and k % 2 == 0:
                self._tree(near)
            else:
                self._small_thing(near, far, side)

    def _small_thing(
        self, near: tuple[float, float], far: tuple[float, float], side: Side
    ) -> None:
        rng, palette = self._rng, self._palette
        yaw = side.yaw
        draw = rng.random()
        if draw < 0.10:
            self._stand_all(furniture.bin_(palette, rng), near, yaw)
        elif draw < 0.16:
            self._stand_all(furniture.cabinet(palette, rng), far, yaw)
        elif draw < 0.26:
            self._stand_all(furniture.bollard(palette, rng), near, yaw)
        elif draw < 0.32:
            self._stand_all(furniture.bench(palette, rng), far, yaw)
        elif draw < 0.40:
            self._stand_all(furniture.traffic_sign(palette, rng), near, yaw + np.pi)
        elif draw < 0.48:
            bike = [people.bicycle(palette, rng)]
            self._stand('two_wheeler', bike, near, yaw + rng.uniform(-0.3, 0.3))
        elif draw < 0.56:
            person = [people.pedestrian(palette, rng)]
            self._stand('person', person, far, rng.uniform(-np.pi, np.pi), 0.15)
        elif draw < 0.59:
            self._stand_all(furniture.bus_shelter(palette, rng), far, yaw)

    def _park_cars(self, side: Side) -> None:
        rng, palette = self._rng, self._palette
        along = -side.length / 2 + 13.0
        while along < side.length / 2 - 13.0:
            place = side.at(along, -PARKING_WIDTH / 2)
            draw = rng.random()
            if draw < 0.68:
                kind = vehicles.VEHICLE_KINDS[rng.choice(6, p=[0.3, 0.25, 0.25, 0.14, 0.06, 0.0])]
                parked = vehicles.make_vehicle(kind, palette, rng)
                along += parked.length / 2 - 2.3
                yaw = side.yaw + np.pi + rng.normal(0, 0.015)
                place = side.at(along, -PARKING_WIDTH / 2 + rng.normal(0, 0.06))
                self._stand(parked.class_name, parked.solids, place, yaw, z=0.0)
                along += parked.length / 2 + rng.uniform(0.7, 1.6) + 2.3
                continue
            if draw < 0.73:
                self._stand_all(furniture.road_barrier(palette, rng), place, side.yaw + 1.4, 0.0)
                for offset in (-1.5, 1.5):
                    spot = side.at(along + offset, -PARKING_WIDTH + 0.3)
                    self._stand_all(furniture.cone(palette, rng), spot, 0.0, 0.0)
            along += 5.5

    def _build_row(self, side: Side, block: Block) -> None:
        rng, palette = self._rng, self._palette
        urban = block.style == 'urban'
        across = min(block.x1 - block.x0, block.y1 - block.y0)
        depth = min(12.0, across / 2 - block.pavement - 2.0)
        front = block.pavement + (0.05 if urban else float(rng.uniform(4.0, 6.5)))
        # Rows along x occupy the corners of the block; rows along y start behind them.
        reserve = front + (0.0 if side.outward[0] == 0 else depth + 2.0)
        along, end = -side.length / 2 + reserve, side.length / 2 - reserve
        while end - along > 7.0:
            lot = min(float(rng.uniform(9.0, 20.0) if urban else rng.uniform(12.0, 17.0)),
                      end - along)  # fmt: skip
            if end - along - lot < 7.0:
                lot = end - along
            lot = min(lot, 24.0)
            middle = along + lot / 2
            along += lot
            if rng.random() < 0.1:
                self._gap(side, middle, lot, block)
                continue
            if urban:
                width = lot - (0.0 if rng.random() < 0.7 else 3.0)
                floors = int(rng.integers(2, 6))
                house = buildings.town_house(width, depth, floors, palette, rng)
                self._stand('building', house, side.at(middle, front), side.yaw)
                continue
            width = lot - float(rng.uniform(3.0, 5.0))
            floors = int(rng.integers(1, 3))
            house = buildings.gabled_house(width, min(depth, 9.5), floors, palette, rng)
            self._stand('building', house, side.at(middle, front), side.yaw)
            self._front_garden(side, middle, lot, block)

    def _gap(self, side: Side, middle: float, lot: float, block: Block) -> None:
        place = side.at(middle, block.pavement + 0.3)
        parts = furniture.fence(lot - 0.4, self._palette, self._rng)
        self._stand_all(parts, place, side.yaw)
        self._tree(side.at(middle, block.pavement + 5.0))

    def _front_garden(self, side: Side, middle: float, lot: float, block: Block) -> None:
        rng, palette = self._rng, self._palette
        inset = block.pavement + 0.5
        for sign in (-1, 1):
            place = side.at(middle + sign * (lot / 4 + 0.4), inset)
            length = lot / 2 - 1.6
            if rng.random() < 0.5:
                self._stand('vegetation', plants.hedge(length, palette, rng), place, side.yaw)
            else:
                self._stand_all(furniture.fence(length, palette, rng), place, side.yaw)
            if rng.random() < 0.5:
                spot = side.at(middle + sign * lot / 3.5, inset + rng.uniform(1.2, 2.2))
                self._stand('vegetation', plants.bush(palette, rng), spot, 0.0)

    def _border(self, side: Side, block: Block) -> None:
        rng, palette = self._rng, self._palette
        length = side.length - 2 * block.pavement - 6.0
        pieces = max(int(length / 8.0), 1)
        hedged = block.style == 'park' and rng.random() < 0.5
        for k in range(pieces):
            if k == pieces // 2:
                continue  # the entrance
            place = side.at((k - (pieces - 1) / 2) * length / pieces, block.pavement + 0.4)
            piece = length / pieces - 0.05
            if hedged:
                self._stand('vegetation', plants.hedge(piece, palette, rng), place, side.yaw)
            else:
                self._stand_all(furniture.fence(piece, palette, rng), place, side.yaw)

    def _yard(self, block: Block) -> None:
        rng, palette = self._rng, self._palette
        width = (block.x1 - block.x0) * 0.5
        middle = ((block.x0 + block.x1) / 2, (block.y0 + block.y1) / 2 - 8.0)
        hall = buildings.warehouse(width, 16.0, palette, rng)
        self._stand('building', hall, middle, 0.0)
        for k in range(3):
            truck = vehicles.make_vehicle('truck', palette, rng)
            place = (middle[0] + (k - 1) * width / 3, middle[1] - 7.5)
            self._stand(truck.class_name, truck.solids, place, rng.normal(np.pi / 2, 0.05))
        self._stand_all(
            furniture.billboard(palette, rng),
            (block.x0 + 12.0, block.y0 + block.pavement + 2),
            0.0,
        )

    def _plant(self, block: Block, density: float, inset: float) -> None:
        rng = self._rng
        x0, x1, y0, y1 = (
            block.x0 + inset, block.x1 - inset, block.y0 + inset, block.y1 - inset,
        )  # fmt: skip
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        for _ in range(int(density * (x1 - x0) * (y1 - y0))):
            place = (float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1)))
            if rng.random() < 0.7:
                self._tree(place)
            else:
                self._stand('vegetation', plants.bush(self._palette, rng), place, 0.0)

    def _tree(self, place: tuple[float, float]) -> None:
        rng = self._rng
        tree = self._trees[rng.integers(len(self._trees))]
        scale = rng.uniform(0.8, 1.2)
        tree = tree.scaled(scale, scale, scale * rng.uniform(0.9, 1.1))
        self._stand('vegetation', [tree], place, float(rng.uniform(-np.pi, np.pi)))

    def _skyline(self, plan: StreetPlan) -> None:
        """Add distant towers and wooded hills around the town."""
        rng = self._rng
        radius = float(np.hypot(plan.xs[-1], plan.ys[-1])) + OUTSKIRTS
        for angle in rng.uniform(0, 2 * np.pi, 14):
            distance = radius + rng.uniform(60, 250)
            tower = buildings.skyscraper(
                float(rng.uniform(14, 26)), float(rng.uniform(18, 70)), self._palette, rng
            )
            x, y = distance * np.cos(angle), distance * np.sin(angle)
            self._stand('building', tower, (float(x), float(y)), float(rng.uniform(0, np.pi)))
        turn = np.linspace(0, 2 * np.pi, 97)
        crest = 25 + 14 * np.sin(3 * turn + rng.uniform(0, 6)) + 9 * np.sin(7 * turn)
        crest[-1] = crest[0]
        rings = []
        for distance, share in ((600.0, -0.2), (680.0, 0.6), (780.0, 1.0)):
            rings.append(
                np.column_stack([distance * np.cos(turn), distance * np.sin(turn), share * crest])
            )
        forest = self._palette(
            Pattern.LEAVES, varied(rng, (0.05, 0.10, 0.04)), (0.09, 0.13, 0.06), infrared=0.5
        )
        self._lay('vegetation', patch(np.stack(rings), forest))


def _sides(block: Block, plan: StreetPlan) -> Iterator[Side]:
    """Yield the edges of a block that have a street along them."""
    middle = np.array([(block.x0 + block.x1) / 2, (block.y0 + block.y1) / 2])
    size = np.array([block.x1 - block.x0, block.y1 - block.y0])
    for axis, lines, halves in ((0, plan.xs, plan.half_x), (1, plan.ys, plan.half_y)):
        for sign in (-1.0, 1.0):
            outward = np.zeros(2)
            outward[axis] = sign
            kerb = middle + outward * size / 2
            nearest = int(np.argmin(np.abs(lines - kerb[axis])))
            if abs(lines[nearest] - kerb[axis]) > halves[nearest] + 0.01:
                continue
            (x, y), (ox, oy) = kerb.tolist(), outward.tolist()
            yield Side((x, y), (ox, oy), float(size[1 - axis]), bool(halves[nearest] > 4.0))
