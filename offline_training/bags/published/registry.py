"""The published sets that can be imported: every module of `sets` that has a `SET`."""

from __future__ import annotations

import importlib
import pkgutil

from drive_segment_ros.errors import DatasetError
from offline_training.bags.published import sets
from offline_training.bags.published.drive import PublishedSet


def set_names() -> list[str]:
    """Return what the sets are called on the command line, such as `kitti-raw`."""
    return [name for name in _modules() if _importer(name) is not None]


def find_set(name: str) -> PublishedSet:
    """Return a set's importer.

    Raises:
        DatasetError: if there is none of that name.
    """
    importer = _importer(name) if name in _modules() else None
    if importer is None:
        raise DatasetError(f'no importer for {name!r}; choose from {", ".join(set_names())}')
    return importer


def _modules() -> list[str]:
    return sorted(found.name.replace('_', '-') for found in pkgutil.iter_modules(sets.__path__))


def _importer(name: str) -> PublishedSet | None:
    module = importlib.import_module(f'{sets.__name__}.{name.replace("-", "_")}')
    return getattr(module, 'SET', None)
