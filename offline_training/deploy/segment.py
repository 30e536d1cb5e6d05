"""Segments images, folders, videos and bags with a trained model, and writes pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError, ImageError, OutputError
from drive_segment_ros.outputs import is_taken
from drive_segment_ros.progress import several_at_a_time
from offline_training.common.engine import Engine, open_engine
from offline_training.common.files import absolute
from offline_training.common.workers import WorkerDiedError
from offline_training.deploy.segment_job import (
    PICTURES,
    SegmentJob,
    known_maker,
    made_by,
    segment_part,
)
from offline_training.evaluation.image_part import ImagePart
from offline_training.evaluation.image_sources import image_parts, is_bag, named_apart, unique
from offline_training.evaluation.predictors import (
    PredictorSource,
    enough_workers,
    is_model,
    load_predictor,
    predictor_source,
)


def segment(
    model: Path,
    inputs: Sequence[Path],
    output: Path,
    zoom: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
    join: bool = False,
    resume: bool = False,
    workers: int = 0,
    scheduler: str = '',
    kinds: tuple[str, ...] = PICTURES,
) -> dict[str, Any]:
    """Write `label/`, `color/`, `overlay/` and `confidence/` PNGs for every image of the inputs.

    Args:
        model: see `load_predictor`.
        inputs: images, folders, videos or bags; each of several gets a folder of its name. The
            folders to write are not searched for inputs.
        output: folder.
        zoom: see `NetworkPredictor`.
        progress: wraps an iterable of the images to show its progress.
        join: whether all bags among the inputs are parts of one drive, which gets the name and the
            position of the first.
        resume: skip images whose pictures all exist.
        workers, scheduler: see `open_engine` and `enough_workers`; they do not affect the
            pictures.
        kinds: `PICTURES`; `MASKS` for label and confidence alone, at the network's size, and for
            one image topic of each camera of a bag.

    Returns:
        `images`, `kept` (images whose pictures existed), `skipped` (a line for each unreadable
        one), `failed` (reasons, by name, of inputs that cannot be used at all and of parts that
        crashed their worker processes), `output`.

    Raises:
        ImageError: if an input does not exist, or no image could be read.
        OutputError: if the existing pictures are of another model, zoom or input.
        ModelError: if the model cannot be loaded.
        DatasetError: if a picture cannot be written.
    """
    for source in inputs:
        if not source.exists():
            raise ImageError(f'{source} does not exist')
    # Workers may have another working directory.
    inputs, target = [absolute(source) for source in inputs], absolute(output)
    joined = [source for source in inputs if join and is_bag(source)]
    sources = [source for source in inputs if source not in joined[1:]]
    predictor = _source(model, zoom)
    folders = folders_of(sources)
    given = {
        str(folder): ' '.join(map(str, joined if source in joined else [source]))
        for source, folder in zip(sources, folders, strict=True)
    }
    maker = made_by(predictor, given)
    if resume:
        maker = _resumed(output, maker)
    written = [target / kind for kind in kinds]
    copies = kinds == PICTURES
    failed: dict[str, str] = {}
    parts: dict[Path, Sequence[ImagePart]] = {}
    for source, folder in zip(sources, folders, strict=True):
        with _noted(source, failed):
            bags = joined if source in joined else source
            parts[folder] = image_parts(bags, written, copies)
    total = sum(part.count for of_source in parts.values() for part in of_source)
    with open_engine(enough_workers(workers, total), scheduler) as engine:

        def jobs() -> Iterator[SegmentJob]:
            for folder, of_source in parts.items():
                with _noted(of_source[0], failed):
                    for part in named_apart(of_source, engine):
                        yield SegmentJob(predictor, maker, part, target, folder, resume, kinds)

        report = _run(engine, jobs(), progress(range(total)), failed)
    if report['images'] + report['kept'] == 0:
        reasons = [*failed.values(), *report['skipped'], 'the inputs have none']
        raise ImageError(f'no image could be segmented: {reasons[0]}')
    return {**report, 'output': str(output)}


def _run(
    engine: Engine, jobs: Iterable[SegmentJob], shown: Iterable, failed: dict[str, str]
) -> dict[str, Any]:
    """Run the jobs; those that crash their worker processes are skipped and reported."""
    images = kept = 0
    skipped: dict[str, None] = {}  # without duplicates, as all parts of a bag repeat them
    with several_at_a_time(shown) as advance:
        for outcome in engine.run(segment_part, jobs):
            part, result = outcome.job.part, outcome.result
            if isinstance(outcome.error, WorkerDiedError):
                failed[str(part)] = str(outcome.error)
            elif outcome.error is not None:
                raise outcome.error
            if result is not None:
                images, kept = images + result.images, kept + result.kept
                skipped.update(dict.fromkeys(result.skipped))
                if result.unreadable:
                    failed[str(part)] = result.unreadable
            advance(part.count)
    return {'images': images, 'kept': kept, 'skipped': list(skipped), 'failed': failed}


@contextlib.contextmanager
def _noted(what: object, failed: dict[str, str]) -> Iterator[None]:
    """Record why an input cannot be used; the others continue."""
    try:
        yield
    except (BagError, ImageError, WorkerDiedError) as err:
        failed[str(what)] = str(err)


def _source(model: Path, zoom: int) -> PredictorSource:
    """Return the model after checking that it can be loaded."""
    if not is_model(model):
        load_predictor(model, zoom)  # raises an error if not
    return predictor_source(model, zoom, threads=1)


def _resumed(output: Path, maker: dict[str, Any]) -> dict[str, Any]:
    """Return the maker of existing and new pictures; refuse pictures that this run cannot make."""
    if not any(is_taken(output / kind) for kind in PICTURES):
        return maker
    known = known_maker(output)
    before = known.get('inputs') if isinstance(known, dict) else None
    if not isinstance(before, dict):
        before = {}
    inputs = {**before, **maker['inputs']}
    # Inputs may be added, but a folder must be of the same input as before.
    if known != {**maker, 'inputs': before} or not before.items() <= inputs.items():
        raise OutputError(
            f'{output} has pictures of another model, zoom or input and cannot be resumed; '
            'choose another output, or replace them by --overwrite'
        )
    return {**maker, 'inputs': inputs}


def folders_of(inputs: Sequence[Path]) -> list[Path]:
    """Return the folder of each input's pictures, relative to the output."""
    if len(inputs) == 1:
        return [Path()]
    return [Path(name) for name in unique(source.resolve().name for source in inputs)]
