"""A town shared by the tests that only read it, as it takes seconds to build."""

from __future__ import annotations

import pytest

from offline_training.simulator.world import World


@pytest.fixture(scope='session')
def world() -> World:
    """Return a world one second into its drive; do not advance it."""
    made = World(2)
    made.traffic.advance(1.0)
    return made
