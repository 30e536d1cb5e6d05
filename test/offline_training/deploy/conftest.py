"""The small drive of the tests of bags, for what is made of drives here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def make_bag(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a bag; `write_bag` of the tests of bags says what it takes."""
    file = Path(__file__).parents[1] / 'bags/conftest.py'
    spec = importlib.util.spec_from_file_location('small_drive', file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def make(name: str = 'drive', **options: Any) -> Path:
        bag: Path = module.write_bag(tmp_path / name, **options)
        return bag

    return make
