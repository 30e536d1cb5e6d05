"""Sample frames through all stages, from the camera's image to the student's answer."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.label_sets import PSEUDO_CLASSES_FOLDER
from drive_segment_ros.dataset.reader import Drive, FrameRecord
from drive_segment_ros.errors import DatasetError, DriveSegmentError, ModelError
from drive_segment_ros.perception.overlay import draw_segments
from drive_segment_ros.perception.overlay import palette as proposal_palette
from drive_segment_ros.perception.resizing import resize_image, resize_labels
from offline_training.common.classes import (
    CLASSES_FILE,
    ClassName,
    default_classes,
    load_classes,
    palette,
)
from offline_training.common.image_files import read_image
from offline_training.deploy.segment_job import draw
from offline_training.evaluation.drive_truth import joined, load_drive_truth
from offline_training.evaluation.prediction import Prediction, Predictor
from offline_training.evaluation.predictors import load_predictor
from offline_training.report.lidar_view import lidar_views
from offline_training.report.sources import DriveSource, Sources
from offline_training.training.frame_images import FrameImages

WIDTH = 640
FRAMES_PER_DRIVE = 6
_LIVE_PICTURES = 4
# At this quality a picture of 640 px takes 20 to 50 kB.
_QUALITY = 70


@dataclasses.dataclass(frozen=True)
class Stage:
    """One picture of a frame.

    Attributes:
        name: of the stage.
        picture: a data URI, empty where there is none.
        note: what the colours mean, or why there is no picture.
    """

    name: str
    picture: str
    note: str


@dataclasses.dataclass(frozen=True)
class SampleFrame:
    """One frame in all its stages.

    Attributes:
        drive: its name and its camera's.
        role: of the drive, empty if not known.
        instant: which image it is, for people.
        stages: in the order of the method.
    """

    drive: str
    role: str
    instant: str
    stages: list[Stage]


def data_uri(picture: NDArray[np.uint8]) -> str:
    """Return a BGR picture as WebP in a data URI."""
    data = cv2.imencode('.webp', picture, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
    return 'data:image/webp;base64,' + base64.b64encode(data.tobytes()).decode()


def sample_frames(sources: Sources) -> list[SampleFrame]:
    """Draw evenly spaced frames of every drive; without a dataset, of the run's cache."""
    networks = _Networks(sources.run)
    frames = [
        sample for source in sources.drives for sample in _of_drive(source, networks, sources)
    ]
    return frames or list(_of_cache(sources.run, networks))


def live_pictures(folder: Path | None) -> list[str]:
    """Return some of the pictures a live run has left, in order of time."""
    files = sorted(folder.iterdir()) if folder else []
    pictures = (read_image(files[i]) for i in spread(len(files), _LIVE_PICTURES))
    return [data_uri(_resized(picture)) for picture in pictures]


def spread(count: int, wanted: int) -> list[int]:
    """Return up to `wanted` indices, evenly spread over `count`, first and last included."""
    return sorted({round(x) for x in np.linspace(0, count - 1, min(wanted, count)).tolist()})


class _Networks:
    """Teacher and student of a run, those there are."""

    def __init__(self, run: Path | None) -> None:
        self._predictors: dict[str, Predictor | None] = {}
        for name, path in (('Teacher', run and run / 'teacher'), ('Student', run)):
            try:
                self._predictors[name] = load_predictor(path) if path else None
            except ModelError:
                self._predictors[name] = None

    def stages(self, image: NDArray[np.uint8]) -> Iterator[Stage]:
        """Yield what each says of an image."""
        for name, predictor in self._predictors.items():
            if predictor is None:
                yield Stage(name, '', 'not trained')
                continue
            overlay = draw(image, predictor.predict(image), palette(predictor.classes)).overlay
            yield Stage(name, data_uri(overlay), 'from the image alone')


def _of_drive(source: DriveSource, networks: _Networks, sources: Sources) -> Iterator[SampleFrame]:
    classes = _classes(sources)
    for drive in source.drives:
        chosen = [f for frames in drive.cameras.values() for f in _spread(frames)]
        lidar, lidar_note = _lidar(source, drive, chosen)
        truth = _Truth(source, drive, classes)
        for frame in chosen:
            segment = frame.segment()
            image = resize_image(frame.image(), _height(frame), WIDTH)
            stages = [
                Stage('Image', data_uri(image), ''),
                Stage(
                    'LiDAR in the image',
                    data_uri(lidar[frame.image_path]) if frame.image_path in lidar else '',
                    lidar_note,
                ),
                Stage(
                    'Proposals',
                    data_uri(_resized(_proposals(frame, segment))),
                    'one colour an object; undimmed: none',
                ),
                _pseudo_label(frame, image, classes),
                *networks.stages(image),
                truth.stage(frame, image),
            ]
            instant = f'stamp {frame.stamp_ns / 1e9:.3f} s'
            yield SampleFrame(f'{drive.name}/{frame.camera}', source.role, instant, stages)


def _spread(frames: list[FrameRecord]) -> list[FrameRecord]:
    return [frames[index] for index in spread(len(frames), FRAMES_PER_DRIVE)]


def _of_cache(run: Path | None, networks: _Networks) -> Iterator[SampleFrame]:
    """Yield frames of the images a run keeps at network size; nothing else of them is known."""
    if run is None:
        return
    images = FrameImages.kept(run / 'cache/images')
    for index in spread(len(images), FRAMES_PER_DRIVE):
        image = _resized(np.ascontiguousarray(images[index][..., ::-1]))
        unknown = 'the dataset is not at hand; name it with --dataset'
        stages = [Stage('Image', data_uri(image), 'at the size the network was given')]
        stages += [Stage(n, '', unknown) for n in ('LiDAR in the image', 'Proposals')]
        stages += [Stage('Pseudo-labels', '', unknown), *networks.stages(image)]
        yield SampleFrame('training images', '', f'number {index}', stages)


def _lidar(
    source: DriveSource, drive: Drive, frames: list[FrameRecord]
) -> tuple[dict[Path, NDArray[np.uint8]], str]:
    if not source.bags:
        return {}, 'the bag is not at hand; a dataset holds no points'
    try:
        return lidar_views(source.bags, drive, frames, WIDTH), 'red is near, blue is far'
    except (DriveSegmentError, KeyError, TypeError) as err:
        return {}, f'the bag does not give the sweeps: {err}'


def _proposals(frame: FrameRecord, segment: NDArray[np.uint16]) -> NDArray[np.uint8]:
    proposals = frame.proposals()
    kind = np.zeros(int(max(segment.max(), proposals['id'].max(initial=0))) + 1, np.uint8)
    kind[proposals['id']] = proposals['kind']
    return draw_segments(frame.image(), segment, proposal_palette(kind))


def _pseudo_label(frame: FrameRecord, image: NDArray[np.uint8], classes: list[ClassName]) -> Stage:
    if not frame.pseudo_label_path.is_file():
        return Stage('Pseudo-labels', '', 'none: this drive was not labelled')
    return Stage(
        'Pseudo-labels',
        data_uri(_overlay(image, frame.pseudo_label(), classes)),
        'one colour a pseudo-class; dark: unknown',
    )


def _overlay(
    image: NDArray[np.uint8], label: NDArray[np.uint8], classes: list[ClassName]
) -> NDArray[np.uint8]:
    sized = resize_labels(label, *image.shape[:2])
    return draw(image, Prediction(sized, np.full_like(sized, 255)), palette(classes)).overlay


class _Truth:
    """The labels of a drive's images, in the colours of the pseudo-classes of the same name."""

    def __init__(self, source: DriveSource, drive: Drive, classes: list[ClassName]) -> None:
        self._labels = {}
        if source.truth is None:
            return
        try:
            found = joined(load_drive_truth(drive, source.truth))
        except DatasetError:
            return
        self._labels = {item.image_path: item for item in found.images}
        self._truth = found
        colour = {item.name: item.color for item in classes}
        self._classes = [
            ClassName(name, colour.get(name, item.color))
            for name, item in zip(found.classes, default_classes(len(found.classes)), strict=True)
        ]

    def stage(self, frame: FrameRecord, image: NDArray[np.uint8]) -> Stage:
        item = self._labels.get(frame.image_path)
        if item is None:
            return Stage('Truth', '', 'none for this frame')
        picture = _overlay(image, self._truth.label(item), self._classes)
        return Stage('Truth', data_uri(picture), 'for comparison only; nothing learned from it')


def _classes(sources: Sources) -> list[ClassName]:
    """Return names and colours: the run's, else the dataset's, else none."""
    places = [sources.run, sources.dataset and sources.dataset / PSEUDO_CLASSES_FOLDER]
    for folder in places:
        if folder and (folder / CLASSES_FILE).is_file():
            return load_classes(folder / CLASSES_FILE)
    return []


def _height(frame: FrameRecord) -> int:
    rows, columns = frame.image().shape[:2]
    return round(rows * WIDTH / columns)


def _resized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = picture.shape[:2]
    return resize_image(picture, round(rows * WIDTH / columns), WIDTH)
