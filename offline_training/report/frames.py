"""Sample frames: the student's prediction beside the ground truth, and the stages before it."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.errors import DatasetError, DriveSegmentError, ModelError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.colours import class_colours
from drive_segment_ros.perception.legend import LegendEntry
from drive_segment_ros.perception.overlay import draw_segments
from drive_segment_ros.perception.overlay import palette as proposal_palette
from drive_segment_ros.perception.resizing import resize_labels
from offline_training.common.classes import ClassName
from offline_training.evaluation.drive_truth import joined, load_drive_truth
from offline_training.evaluation.ground_truth import GroundTruth
from offline_training.evaluation.prediction import Predictor
from offline_training.evaluation.predictors import load_predictor
from offline_training.report.learned_from import ShownFrame
from offline_training.report.lidar_view import lidar_views
from offline_training.report.pictures import (
    WIDTH,
    Stage,
    data_uri,
    joined_keys,
    masked,
    resized,
    spread,
)
from offline_training.report.sources import HELD_OUT, LEARNED_FROM, Sources
from offline_training.training.frame_images import FrameImages

# Number of frames by role, and the number if all frames have the same role.
FRAMES = {HELD_OUT: 8, LEARNED_FROM: 4}
_ALONE = 8


@dataclasses.dataclass(frozen=True)
class SampleFrame:
    """One frame in all its stages.

    Attributes:
        drive: its name and its camera's.
        role: `HELD_OUT` or `LEARNED_FROM`, empty if not known.
        instant: caption of the image.
        result: image, truth and student.
        origin: pictures of the stages before the student.
        keys: legend of the class colours in all pictures.
        repeated, known: labelled pixels of the pseudo-label predicted equally by the student, and
            all of them.
    """

    drive: str
    role: str
    instant: str
    result: list[Stage]
    origin: list[Stage]
    keys: list[LegendEntry]
    repeated: int = 0
    known: int = 0

    @property
    def pictures(self) -> int:
        """How many there are."""
        return sum(bool(stage.picture) for stage in (*self.result, *self.origin))


def sample_frames(
    sources: Sources, shown: Sequence[ShownFrame], classes: Sequence[ClassName]
) -> list[SampleFrame]:
    """Draw evenly spaced frames, held-out ones first; without a dataset, from the run's cache.

    Args:
        sources: of the report.
        shown: all frames that may be drawn.
        classes: names and colours of the pseudo-classes, empty if there are none.
    """
    networks = _Networks(sources.run)
    samples: dict[Path, SampleFrame] = {}
    chosen = _choose(shown)
    of_drive: defaultdict[Path, list[ShownFrame]] = defaultdict(list)
    for frame in chosen:
        of_drive[frame.drive.path].append(frame)
    for frames in of_drive.values():
        samples |= _of_drive(frames, networks, sources, classes)
    drawn = [samples[frame.record.image_path] for frame in chosen]
    return drawn or _of_cache(sources.run, networks)


def _choose(shown: Sequence[ShownFrame]) -> list[ShownFrame]:
    of_role = {role: [frame for frame in shown if frame.role == role] for role in FRAMES}
    both = all(of_role.values())
    return [
        frames[index]
        for role, frames in of_role.items()
        for index in spread(len(frames), FRAMES[role] if both else _ALONE)
    ]


class _Networks:
    """Teacher and student of a run, if present."""

    def __init__(self, run: Path | None) -> None:
        self._predictors: dict[str, Predictor | None] = {}
        for name, path in (('Student', run), ('Teacher', run and run / 'teacher')):
            try:
                self._predictors[name] = load_predictor(path) if path else None
            except ModelError:
                self._predictors[name] = None

    def stage(self, name: str, image: NDArray[np.uint8]) -> tuple[Stage, NDArray[np.uint8] | None]:
        """Return a network's prediction for an image, as a picture and as labels."""
        predictor = self._predictors[name]
        if predictor is None:
            return Stage(name, '', 'not trained'), None
        label = predictor.predict(image).label
        return masked(name, 'from the image only', image, label, predictor.classes), label


def _of_drive(
    frames: Sequence[ShownFrame],
    networks: _Networks,
    sources: Sources,
    classes: Sequence[ClassName],
) -> dict[Path, SampleFrame]:
    """Draw the selected frames of one drive."""
    lidar, lidar_note = _lidar(sources, frames)
    truth = _Truth(sources, frames[0], classes)
    first_ns = min(frame.stamp_ns for frame in frames[0].drive.frames)
    samples = {}
    for shown in frames:
        frame = shown.record
        image = resized(frame.image())
        student, answer = networks.stage('Student', image)
        teacher, _ = networks.stage('Teacher', image)
        label, given = _pseudo_label(frame, image, classes)
        result = [Stage('Camera image', data_uri(image), ''), truth.stage(frame, image), student]
        origin = [
            Stage(
                '1. LiDAR in the image',
                data_uri(lidar[frame.image_path]) if frame.image_path in lidar else '',
                lidar_note,
            ),
            Stage(
                '2. Objects found',
                data_uri(resized(_proposals(frame))),
                'one colour per object; pixels without an object are not coloured',
            ),
            dataclasses.replace(label, name='3. Pseudo-labels'),
            dataclasses.replace(teacher, name='4. Teacher'),
        ]
        repeated, known = _agreement(answer, given)
        samples[frame.image_path] = SampleFrame(
            f'{shown.drive.name}, {frame.camera}',
            shown.role,
            f'{(frame.stamp_ns - first_ns) / 1e9:.1f} s into the drive',
            result,
            origin,
            joined_keys([*result, *origin]),
            repeated,
            known,
        )
    return samples


def _agreement(
    answer: NDArray[np.uint8] | None, given: NDArray[np.uint8] | None
) -> tuple[int, int]:
    """Count the labelled pixels that are predicted equally, and all labelled ones."""
    if answer is None or given is None:
        return 0, 0
    known = given != IGNORE_LABEL
    same = resize_labels(answer, *given.shape)[known] == given[known]
    return int(same.sum()), int(known.sum())


def _of_cache(run: Path | None, networks: _Networks) -> list[SampleFrame]:
    """Return frames of the images that a run keeps at network size, without their other stages."""
    if run is None:
        return []
    images = FrameImages.kept(run / 'cache/images')
    samples = []
    for index in spread(len(images), _ALONE):
        image = resized(np.ascontiguousarray(images[index][..., ::-1]))
        (student, _), (teacher, _) = (networks.stage(n, image) for n in ('Student', 'Teacher'))
        note = "at the network's input size"
        result = [Stage('Camera image', data_uri(image), note), student, teacher]
        keys = joined_keys(result)
        instant = f'image {index + 1:,} of {len(images):,}'
        samples.append(SampleFrame('kept images', LEARNED_FROM, instant, result, [], keys))
    return samples


def _lidar(
    sources: Sources, frames: Sequence[ShownFrame]
) -> tuple[dict[Path, NDArray[np.uint8]], str]:
    bags = sources.drives[frames[0].source].bags
    if not bags:
        return {}, 'the bag is needed (--bag), as a dataset has no points'
    try:
        records = [frame.record for frame in frames]
        return lidar_views(bags, frames[0].drive, records, WIDTH), 'red is near, blue is far'
    except (DriveSegmentError, KeyError, TypeError) as err:
        return {}, f'the sweeps cannot be read from the bag: {err}'


def _proposals(frame: FrameRecord) -> NDArray[np.uint8]:
    segment, proposals = frame.segment(), frame.proposals()
    kind = np.zeros(int(max(segment.max(), proposals['id'].max(initial=0))) + 1, np.uint8)
    kind[proposals['id']] = proposals['kind']
    return draw_segments(frame.image(), segment, proposal_palette(kind))


def _pseudo_label(
    frame: FrameRecord, image: NDArray[np.uint8], classes: Sequence[ClassName]
) -> tuple[Stage, NDArray[np.uint8] | None]:
    if not frame.pseudo_label_path.is_file():
        return Stage('', '', 'none: this drive was not labelled'), None
    label = frame.pseudo_label()
    return masked('', 'similar objects have one colour', image, label, classes), label


class _Truth:
    """The labels of a drive's images, in the colours of the pseudo-classes of the same name."""

    def __init__(self, sources: Sources, frame: ShownFrame, classes: Sequence[ClassName]) -> None:
        self._labels = {}
        self._truth: GroundTruth | None = None
        folder = sources.drives[frame.source].truth
        if folder is None:
            return
        try:
            found = joined(load_drive_truth(frame.drive, folder))
        except DatasetError:
            return
        self._labels = {item.image_path: item for item in found.images}
        self._truth = found
        colour = {item.name: item.color for item in classes}
        own = class_colours(found.classes)
        self._classes = [
            ClassName(name, colour.get(name, own[number]))
            for number, name in enumerate(found.classes)
        ]

    def stage(self, frame: FrameRecord, image: NDArray[np.uint8]) -> Stage:
        item = self._labels.get(frame.image_path)
        if item is None or self._truth is None:
            return Stage('Truth', '', 'none for this frame')
        label = self._truth.label(item)
        return masked('Truth', 'for comparison; not used in training', image, label, self._classes)
