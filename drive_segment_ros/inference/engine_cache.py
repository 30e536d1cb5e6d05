"""TensorRT engines cached on disk, keyed by everything they depend on.

Building takes minutes, and an engine for another TensorRT, GPU or model cannot be used: with a
cache keyed by path, a node fails after the next upgrade (autoware_universe issues 10309, 10320).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from drive_segment_ros.errors import ModelError
from drive_segment_ros.whole_files import write_whole

log = logging.getLogger(__name__)
T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class EngineKey:
    """Everything an engine depends on.

    Attributes:
        onnx_sha256: of the graph.
        tensorrt: version of the library.
        gpu: name and compute capability.
        precision: that it computes in: `fp32`, `tf32`, `fp16` or `int8`.
        input_size: (H, W), px.
    """

    onnx_sha256: str
    tensorrt: str
    gpu: str
    precision: str
    input_size: tuple[int, int]

    @property
    def file_name(self) -> str:
        """A unique file name."""
        digest = hashlib.sha256(json.dumps(dataclasses.astuple(self)).encode()).hexdigest()
        return f'{self.onnx_sha256[:12]}-{self.precision}-{digest[:16]}.engine'


def engine_folder() -> Path:
    """Return the default folder of engines, by the XDG base directories.

    Raises:
        ModelError: if there is no home folder, and XDG_CACHE_HOME is not set.
    """
    try:
        cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    except RuntimeError as err:
        raise ModelError('there is no home folder for engines; set XDG_CACHE_HOME') from err
    return Path(cache) / 'drive_segment_ros' / 'engines'


def cached_engine(
    folder: Path, key: EngineKey, build: Callable[[], bytes], load: Callable[[bytes], T | None]
) -> T:
    """Load an engine from the cache; build it if there is none or if it cannot be loaded.

    Args:
        folder: of the cache; if it cannot be written, the next start builds again.
        key: of the engine.
        build: returns a serialized engine; takes minutes.
        load: returns the engine, or None if it is not for this library or GPU.

    Raises:
        ModelError: if building fails, or if not even a freshly built engine loads.
    """
    path = folder / key.file_name
    kept = _read(path)
    if kept is not None:
        engine = load(kept)
        if engine is not None:
            return engine
        log.warning('%s cannot be loaded; building it again', path)
    log.info('building %s; this takes minutes, but only once', path)
    plan = build()
    try:
        write_whole(path, plan)
    except OSError as err:
        log.warning('cannot save the engine in %s: %s; the next start builds it again', path, err)
    engine = load(plan)
    if engine is None:
        raise ModelError(f'TensorRT cannot load the engine it built for {key.gpu}; see its log')
    return engine


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
