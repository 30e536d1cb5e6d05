"""Segments drives and videos to recordings: a bag of masks, or videos of overlays.

Workers write the masks to a folder beside the output; then one process reads the input again, in
order, and combines both. Outputs get their final name when they are complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import ImageError, OutputError
from drive_segment_ros.outputs import is_taken
from drive_segment_ros.progress import several_at_a_time
from offline_training.common.files import absolute
from offline_training.deploy.mask_bag import write_mask_bag
from offline_training.deploy.mask_files import MaskFiles
from offline_training.deploy.mask_video import videos_of, write_mask_video
from offline_training.deploy.segment import folders_of, segment
from offline_training.deploy.segment_job import MASKS, PICTURES, RECORD_FILE
from offline_training.deploy.video_writer import VIDEO_SUFFIXES
from offline_training.evaluation.image_sources import is_bag
from offline_training.evaluation.predictors import load_predictor

Shown = Callable[[str], Callable[[Iterable], Iterable]]
_METADATA = 'metadata.yaml'


def segment_to_bag(
    model: Path,
    bags: Sequence[Path],
    output: Path,
    merge: bool = False,
    zoom: int = 1,
    shown: Shown = lambda task: iter,
    **options: Any,
) -> dict[str, Any]:
    """Write a drive's masks as a bag, see `write_mask_bag`.

    Args:
        model: see `load_predictor`.
        bags: of one drive.
        output: the bag to write; an existing bag is replaced.
        merge: whether the drive's own messages are also copied.
        zoom: see `NetworkPredictor`.
        shown: returns a function that shows the progress of a task.
        options: `resume`, `workers`, `scheduler`, see `segment`.

    Returns:
        As `segment`; and `masks`, `clouds`: the numbers written.

    Raises:
        ImageError: if an input is not a bag.
        OutputError: if `output` exists and is not a bag, or is one of the inputs.
        DriveSegmentError: as of `segment` and `write_mask_bag`.
    """
    for bag in bags:
        if bag.exists() and not is_bag(bag):
            raise ImageError(
                f'{bag} is not a bag; --to bag takes bags only, --to video other inputs too'
            )
    _refuse_input(bags, output)
    _check_is_bag(output)
    work, target = _masks_folder(bags, output, options), absolute(output)
    report = segment(
        model, bags, work, zoom, shown('segmenting'), join=True, kinds=MASKS, **options
    )
    written = work / target.name
    shutil.rmtree(written, ignore_errors=True)  # of a run that was interrupted
    classes, total = load_predictor(model, zoom).classes, report['images'] + report['kept']
    with several_at_a_time(shown('writing the bag')(range(total))) as advance:
        masks = MaskFiles(work, Path())
        count = write_mask_bag(bags, masks, classes, written, merge, advance)
    if target.exists():
        shutil.rmtree(target)
    os.replace(written, target)
    shutil.rmtree(work)
    return {**report, **count, 'output': str(output)}


def segment_to_video(
    model: Path,
    inputs: Sequence[Path],
    output: Path,
    join: bool = False,
    zoom: int = 1,
    shown: Shown = lambda task: iter,
    **options: Any,
) -> dict[str, Any]:
    """Write an overlay with its legend for each image, as videos.

    Args:
        model: see `load_predictor`.
        inputs: images, folders, videos or bags.
        output: a video, .mp4 or .webm, of inputs that make one; else a folder, with a video of
            each camera of each input.
        join: whether all bags among the inputs are parts of one drive.
        zoom: see `NetworkPredictor`.
        shown: returns a function that shows the progress of a task.
        options: `resume`, `workers`, `scheduler`, see `segment`.

    Returns:
        As `segment`; and `videos`: the number of frames of each, by path.

    Raises:
        OutputError: if inputs that make several videos are to be one, one cannot be written, or
            it is one of the inputs.
        DriveSegmentError: as of `segment`.
    """
    _refuse_input(inputs, output)
    joined = [source for source in inputs if join and is_bag(source)]
    sources = [source for source in inputs if source not in joined[1:]]
    work = _masks_folder(inputs, output, options)
    streams = [
        (stream, MaskFiles(work, folder))
        for source, folder in zip(sources, folders_of(sources), strict=True)
        for stream in videos_of(joined if source in joined else source, folder, (work, output))
    ]
    is_file = output.suffix.lower() in VIDEO_SUFFIXES
    if is_file and len(streams) > 1:
        names = ', '.join(stream.name for stream, _ in streams)
        raise OutputError(
            f'{output} is one video; the inputs give {len(streams)}: {names}; give a folder'
        )
    report = segment(model, inputs, work, zoom, shown('segmenting'), join, kinds=MASKS, **options)
    classes, total = load_predictor(model, zoom).classes, report['images'] + report['kept']
    videos: dict[str, int] = {}
    with several_at_a_time(shown('writing videos')(range(total))) as advance:
        for stream, masks in streams:
            target = output if is_file else output / f'{stream.name}.mp4'
            written = work / f'written{target.suffix}'
            frames = write_mask_video(stream, masks, classes, written, advance)
            if frames == 0:
                report['failed'][str(target)] = 'none of its images could be segmented'
                continue
            videos[str(target)] = frames
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(written, target)
    shutil.rmtree(work)
    return {**report, 'videos': videos, 'output': str(output)}


def _refuse_input(inputs: Sequence[Path], output: Path) -> None:
    """Check that the output is not an input, or the folder of one."""
    for source in inputs:
        if absolute(source).resolve().is_relative_to(absolute(output).resolve()):
            raise OutputError(f'{output} is or contains an input; choose another output')


def _masks_folder(inputs: Sequence[Path], output: Path, options: dict[str, Any]) -> Path:
    """Return the folder of masks until an output is complete; earlier masks in it are removed."""
    whole = absolute(output)  # `.` has no name
    work = whole.with_name(f'{whole.name}.masks')
    _refuse_input(inputs, work)
    if is_taken(work):
        # Pictures are a result of `segment`, which has the same record.
        pictures = any((work / kind).exists() for kind in PICTURES if kind not in MASKS)
        if pictures or not (work / RECORD_FILE).is_file():
            raise OutputError(f'{work} exists and is not a folder of masks; choose another output')
        if not options.get('resume'):
            shutil.rmtree(work)
    return work


def _check_is_bag(output: Path) -> None:
    """Check that the output to be replaced is a bag and nothing else."""
    if not is_taken(output):
        return
    names = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if _METADATA not in names or not all(n == _METADATA or n.endswith('.mcap') for n in names):
        raise OutputError(f'{output} is not only a bag and is not replaced; choose another output')
