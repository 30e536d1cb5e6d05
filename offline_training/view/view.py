"""Shows a dataset, a bag or a run in Rerun's viewer."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.label_sets import PSEUDO_CLASSES_FOLDER
from drive_segment_ros.dataset.reader import Dataset, Drive, FrameRecord
from drive_segment_ros.errors import DatasetError, DriveSegmentError, ModelError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.inference.model import DESCRIPTION_FILE
from drive_segment_ros.parameters import from_flat
from drive_segment_ros.progress import several_at_a_time
from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.joined_bags import open_drive
from drive_segment_ros.what_is import not_wanted
from offline_training.bags import sensors
from offline_training.common.classes import CLASSES_FILE, ClassName, load_classes
from offline_training.common.frame_selection import select_frames
from offline_training.evaluation.image_sources import is_bag
from offline_training.evaluation.predictors import Predictor, is_model, load_predictor
from offline_training.training.frame_images import FrameImages
from offline_training.view.blueprint import blueprint
from offline_training.view.dataset_view import add_dataset_drive
from offline_training.view.drive_view import DriveView, add_images
from offline_training.view.frame_view import add_pixels
from offline_training.view.recording import NUMBERS, ViewRecording

_log = logging.getLogger(__name__)

_ADVICE = 'give a dataset, a bag or a run'
Advance = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class ViewOptions:
    """Options of `view`.

    Attributes:
        open_sink: connects Rerun's stream to its destination; called before data are added.
        model: for the masks; None for recorded masks.
        bags: the bags that a dataset's drive was extracted from, to show its clouds, too.
        drive: name of a dataset's drive; empty for the first.
        cameras: names of the cameras; empty for all.
        frames: range of each camera's frames in a dataset, FIRST:LAST.
        progress: wraps an iterable of the images to show a progress bar.
    """

    open_sink: Callable[[Any], object]
    model: Path | None = None
    bags: Sequence[Path] = ()
    drive: str = ''
    cameras: Sequence[str] = ()
    frames: str = ''
    progress: Callable[[Iterable], Iterable] = iter

    def predictor(self) -> Predictor | None:
        """Load the model, if one is given."""
        return None if self.model is None else load_predictor(self.model)

    @contextlib.contextmanager
    def begun(self, made: ViewRecording, count: int) -> Iterator[Callable[[int], None]]:
        """Connect a recording to its destination, and send the viewer's layout at the end.

        Args:
            made: the recording.
            count: number of its images.

        Yields:
            A function to call with the number of images done.
        """
        self.open_sink(made.stream)
        with several_at_a_time(self.progress(range(count))) as advance:
            yield advance
        made.finish()
        made.stream.send_blueprint(blueprint(made))


def view(sources: Sequence[Path], options: ViewOptions) -> ViewRecording:
    """Show a dataset, a bag or a run in Rerun.

    Args:
        sources: a dataset, a run, or a bag; several bags are the parts of one drive.
        options: further inputs, the selection and the destination.

    Returns:
        The recording, which has been sent to its destination.

    Raises:
        DependencyError: if Rerun is not installed.
        DriveSegmentError: if a source is of another kind or cannot be read.
    """
    source = sources[0]
    if is_bag(source):
        _refuse(options, 'a bag', '--bag', '--drive', '--frames')
        return view_bag(sources, options)
    if len(sources) > 1:
        raise DriveSegmentError(f'{sources[1]} cannot be joined to {source}, which is no bag')
    if is_model(source):
        _refuse(options, 'a run', '--bag', '--drive', '--frames', '--camera', '--model')
        return view_run(source, options)
    return view_dataset(source, options)


def view_bag(bags: Sequence[Path], options: ViewOptions) -> ViewRecording:
    """Show a drive, processed as by `extract`; only its images if there is no usable LiDAR."""
    predictor = options.predictor()
    classes = [] if predictor is None else predictor.classes
    with open_drive(bags) as reader:
        made = ViewRecording(reader.path.name, classes)
        with options.begun(made, _images(reader, options)) as advance:
            drive = DriveView(made, FrameParameters(), classes, predictor)
            try:
                drive.add(reader, options.cameras, advance)
            except DriveSegmentError as err:
                if made.layers:
                    raise
                _log.warning('only images are shown: %s', err)
                add_images(made, reader, options.cameras, predictor, advance)
    return made


def view_dataset(source: Path, options: ViewOptions) -> ViewRecording:
    """Show a drive of a dataset; with its clouds if its bags are given."""
    drive, frames = _drive(source, options)
    predictor = options.predictor()
    classes = _classes(source) if predictor is None else predictor.classes
    made = ViewRecording(drive.name, classes)
    if not options.bags:
        cameras = sorted({frame.camera for frame in frames})
        calibrations = {name: DriveCalibration.of(drive, name) for name in cameras}
        with options.begun(made, len(frames)) as advance:
            add_dataset_drive(made, frames, calibrations, predictor, advance)
        return made
    if 'parameters' not in drive.info:
        raise DatasetError(f'{drive.path / "drive.json"} has no parameters; extract it again')
    params = from_flat(FrameParameters, drive.info['parameters'])
    known = {(frame.camera, frame.stamp_ns): frame for frame in frames}
    with (
        open_drive(options.bags) as reader,
        options.begun(made, _images(reader, options)) as advance,
    ):
        view_of = DriveView(made, params, classes, predictor, known)
        view_of.add(reader, options.cameras, advance)
    return made


def view_run(run: Path, options: ViewOptions) -> ViewRecording:
    """Show the images in a run's cache with the masks of its teacher and student."""
    images = FrameImages.kept(run / 'cache/images')
    if (run / DESCRIPTION_FILE).is_file() or not len(images):
        raise ModelError(
            f'{run} has no images in its cache; use drive-segment view BAG --model {run}'
        )
    stages = {'student': run}
    if is_model(run / 'teacher'):
        stages = {'teacher': run / 'teacher', **stages}
    predictors = {name: load_predictor(path) for name, path in stages.items()}
    made = ViewRecording(run.resolve().name, predictors['student'].classes, NUMBERS)
    with options.begun(made, len(images)) as advance:
        for number in range(len(images)):
            picture = np.ascontiguousarray(images[number][..., ::-1])
            for name, predictor in predictors.items():
                add_pixels(made, name, number, picture, None, predictor)
            advance(1)
    return made


def _refuse(options: ViewOptions, what: str, *names: str) -> None:
    """Refuse options that have no effect on a kind of source."""
    given = {
        '--bag': options.bags,
        '--camera': options.cameras,
        '--drive': options.drive,
        '--frames': options.frames,
        '--model': options.model,
    }
    for name in names:
        if given[name]:
            raise DriveSegmentError(f'{name} has no effect on {what}; leave it out')


def _drive(source: Path, options: ViewOptions) -> tuple[Drive, list[FrameRecord]]:
    """Return the selected drive of a dataset, and its selected frames."""
    try:
        dataset = Dataset(source)
    except DatasetError as err:
        if (source / 'drive.json').is_file():
            raise
        raise DatasetError(not_wanted(source, 'something that can be shown', _ADVICE)) from err
    names = [drive.name for drive in dataset.drives]
    if options.drive and options.drive not in names:
        raise DatasetError(f'{source} has no drive {options.drive}; it has {", ".join(names)}')
    chosen = options.drive or names[0]
    if len(names) > 1 and not options.drive:
        _log.warning(
            '%s has %d drives, %s is shown; choose another with --drive from %s',
            source,
            len(names),
            chosen,
            ', '.join(names),
        )
    dataset.drives = [drive for drive in dataset.drives if drive.name == chosen]
    selected = select_frames(dataset, options.frames, options.cameras)
    return dataset.drives[0], [frame for frames in selected for frame in frames]


def _classes(dataset: Path) -> list[ClassName]:
    """Return the classes of a dataset's pseudo-labels, none before `label`."""
    file = dataset / PSEUDO_CLASSES_FOLDER / CLASSES_FILE
    return load_classes(file) if file.is_file() else []


def _images(reader: BagReader, options: ViewOptions) -> int:
    return sum(topic.count for topic in sensors.choose_cameras(reader, options.cameras))
