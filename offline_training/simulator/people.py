"""Pedestrians, cyclists and bicycles, each at the origin, facing x."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from offline_training.simulator.materials import Colour, Palette, Pattern, grey, varied
from offline_training.simulator.meshes import Mesh, Solid, Tube, ball, merge

_CLOTH: tuple[Colour, ...] = (
    (0.03, 0.04, 0.09),
    (0.30, 0.04, 0.04),
    (0.45, 0.42, 0.36),
    (0.05, 0.12, 0.06),
    (0.02, 0.02, 0.02),
    (0.10, 0.16, 0.35),
    (0.55, 0.45, 0.08),
    (0.30, 0.30, 0.30),
)
_SKIN: tuple[Colour, ...] = ((0.55, 0.33, 0.24), (0.30, 0.16, 0.10), (0.12, 0.06, 0.04))


def pedestrian(palette: Palette, rng: np.random.Generator) -> Mesh:
    """Build a walking person in a fixed pose."""
    height = float(rng.uniform(1.52, 1.92))
    k = height / 1.75
    trousers, shirt = _cloth(palette, rng), _cloth(palette, rng)
    skin = palette(Pattern.PLAIN, _SKIN[rng.integers(3)], infrared=0.45)
    stride = float(rng.uniform(0.12, 0.3))
    parts: list[Solid] = []
    for side in (-1, 1):
        hip, knee = (0.0, 0.10 * side, 0.88), (0.10 + 0.2 * stride * side, 0.10 * side, 0.48)
        foot = (side * stride, 0.11 * side, 0.06)
        parts += [
            Tube(hip, knee, (0.095, 0.07), trousers),
            Tube(knee, foot, (0.07, 0.05), trousers),
            ball((foot[0] + 0.06, foot[1], 0.05), (0.14, 0.06, 0.055), _shoe(palette), 4, 8),
        ]
        shoulder, elbow = (
            (0.0, 0.22 * side, 1.42),
            (-0.06 - 0.5 * stride * side, 0.27 * side, 1.14),
        )
        hand = (0.06 - 0.9 * stride * side, 0.25 * side, 0.90)
        parts += [
            Tube(shoulder, elbow, (0.06, 0.05), shirt),
            Tube(elbow, hand, (0.05, 0.04), shirt if rng.random() < 0.6 else skin),
            ball(hand, (0.05, 0.04, 0.06), skin, 4, 6),
        ]
    parts += [_torso(0.86, 1.48).painted(shirt), _head(1.62).painted(skin, _hair(palette, rng))]
    return merge(parts).scaled(k, k, k)


def cyclist(palette: Palette, rng: np.random.Generator) -> Mesh:
    """Build a bicycle with its rider."""
    trousers, shirt = _cloth(palette, rng), _cloth(palette, rng)
    skin = palette(Pattern.PLAIN, _SKIN[rng.integers(3)], infrared=0.45)
    parts: list[Solid] = [bicycle(palette, rng)]
    for side in (-1, 1):
        pedal = (0.05 + 0.12 * side, 0.12 * side, 0.30 + 0.10 * side)
        knee = (0.22, 0.13 * side, 0.68 + 0.06 * side)
        parts += [
            Tube((-0.22, 0.09 * side, 0.98), knee, (0.09, 0.065), trousers),
            Tube(knee, pedal, (0.065, 0.045), trousers),
            Tube((0.10, 0.20 * side, 1.45), (0.42, 0.24 * side, 1.08), (0.055, 0.04), shirt),
        ]
    back = Tube((-0.22, 0, 0.95), (0.10, 0, 1.52), (0.17, 0.19), shirt, 10)
    parts += [back, _head(1.68).painted(skin, _hair(palette, rng)).moved(x=0.2)]
    return merge(parts)


def bicycle(palette: Palette, rng: np.random.Generator) -> Mesh:
    """Build a bicycle standing upright."""
    frame = palette(Pattern.PLAIN, varied(rng, (0.3, 0.1, 0.1), 0.9), infrared=0.35)
    tyre = palette(Pattern.PLAIN, grey(0.02), infrared=0.08)
    chrome = palette(Pattern.PLAIN, grey(0.45), infrared=0.5)
    return _bicycle_shape().painted(frame, tyre, chrome)


@functools.cache
def _bicycle_shape() -> Mesh:
    """Return the shape of all bicycles; materials: 0 frame, 1 tyres and saddle, 2 spokes."""
    frame, tyre, chrome = range(3)
    parts: list[Solid] = []
    for x in (-0.52, 0.52):
        angle = 2 * np.pi * np.arange(15) / 14
        rim = np.column_stack([x + 0.34 * np.cos(angle), 0 * angle, 0.34 + 0.34 * np.sin(angle)])
        parts += [
            Tube(a, b, (0.025, 0.025), tyre, 5, caps=False) for a, b in itertools.pairwise(rim)
        ]
        parts += [
            Tube((x, 0, 0.34), rim[i], (0.006, 0.006), chrome, 3, caps=False)
            for i in range(0, 14, 2)
        ]
    joints = {
        'rear': (-0.52, 0, 0.34), 'front': (0.52, 0, 0.34), 'crank': (-0.05, 0, 0.30),
        'seat': (-0.22, 0, 0.90), 'head': (0.36, 0, 0.86),
    }  # fmt: skip
    for a, b in (
        ('rear', 'crank'), ('rear', 'seat'), ('crank', 'seat'), ('crank', 'head'),
        ('seat', 'head'), ('head', 'front'),
    ):  # fmt: skip
        parts.append(Tube(joints[a], joints[b], (0.022, 0.022), frame, 6, caps=False))
    parts.append(Tube((0.36, 0, 0.86), (0.38, 0, 1.05), (0.02, 0.02), frame, 6))
    parts.append(Tube((0.40, -0.27, 1.06), (0.40, 0.27, 1.06), (0.018, 0.018), tyre, 6))
    parts.append(ball((-0.24, 0, 0.94), (0.14, 0.08, 0.05), tyre, 4, 8))
    return merge(parts)


@functools.cache
def _torso(low: float, high: float) -> Mesh:
    """Return a torso of material 0 between two heights, metres."""
    waist = (low + high) / 2
    body: list[Solid] = [
        Tube((0, 0, low), (0, 0, waist), (0.17, 0.16), 0, 10),
        Tube((0, 0, waist), (0, 0, high), (0.16, 0.22), 0, 10),
        ball((0, 0, high), (0.21, 0.21, 0.07), 0, 4, 10),
    ]
    return merge(body).scaled(0.72, 1.0, 1.0)


@functools.cache
def _head(height: float) -> Mesh:
    """Return neck and head with the head's centre at `height`; materials: 0 skin, 1 hair."""
    skin, hair = range(2)
    parts: list[Solid] = [
        Tube((0, 0, height - 0.18), (0, 0, height - 0.08), (0.055, 0.055), skin, 7),
        ball((0.01, 0, height), (0.10, 0.085, 0.125), skin, 7, 10),
        ball((-0.02, 0, height + 0.03), (0.105, 0.095, 0.115), hair, 7, 10),
    ]
    return merge(parts)


def _hair(palette: Palette, rng: np.random.Generator) -> int:
    tint = ((0.02, 0.015, 0.01), (0.12, 0.06, 0.03), (0.30, 0.22, 0.10))[rng.integers(3)]
    return palette(Pattern.PLAIN, tint, infrared=0.3)


def _cloth(palette: Palette, rng: np.random.Generator) -> int:
    return palette(Pattern.PLAIN, varied(rng, _CLOTH[rng.integers(len(_CLOTH))]), infrared=0.4)


def _shoe(palette: Palette) -> int:
    return palette(Pattern.PLAIN, grey(0.03), infrared=0.15)
