"""Extracts one part of a recording: a worker's job, from the bag to frames in the dataset."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from drive_segment_ros.dataset.part_writer import PartWriter
from drive_segment_ros.errors import DatasetError, DriveSegmentError
from drive_segment_ros.frame.build import build, to_frame
from drive_segment_ros.frame.clock import SILENT_NS
from drive_segment_ros.frame.drive_info import camera_info, drive_info
from drive_segment_ros.frame.events import Image
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.pairing_report import pairing_report
from drive_segment_ros.frame.reasons import reason_of
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.storage import write_whole
from offline_training.bags.bag_rig import BagRig
from offline_training.bags.drive_plan import DrivePlan
from offline_training.bags.kept_open import opened
from offline_training.bags.preview import draw_preview

# Messages are read from this time before a part, longer if clocks are set back there: after
# `SILENT_NS` without a clock step, a stream's state does not depend on earlier messages.
_LEAD_NS = 3_000_000_000
_SETTLED_NS = SILENT_NS + 500_000_000


@dataclasses.dataclass(frozen=True)
class PartJob:
    """A time range of a recording to extract.

    Attributes:
        plan: of the recording.
        start_ns, stop_ns: bag stamps of its images: from `start_ns` to before `stop_ns`.
        drive: the folder to write to.
        preview: whether to draw a picture of each frame.
        run: identifies the call of `extract`, during which a worker keeps the bag open.
        again: whether to write existing frames again.
    """

    plan: DrivePlan
    start_ns: int
    stop_ns: int
    drive: Path
    preview: bool
    run: str
    again: bool = False


@dataclasses.dataclass
class PartSummary:
    """The result of a part.

    Attributes:
        images, sweeps: number of messages in it.
        frames: number of frames written.
        dropped: number of images that became no frame, by reason.
        failures: message of the first error, by reason.
        damage: what cannot be read of the recording, one line each.
    """

    images: int = 0
    sweeps: int = 0
    frames: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    failures: dict[str, str] = dataclasses.field(default_factory=dict)
    damage: list[str] = dataclasses.field(default_factory=list)


def extract_part(job: PartJob) -> PartSummary:
    """Write the frames of a part, then its manifest.

    Raises:
        DriveSegmentError: if the recording cannot be read, or the dataset cannot be written.
    """
    return _Part(job).run()


def explain_nothing(job: PartJob) -> str:
    """Return why no image of a recording became a frame."""
    rig = _rig(job)
    stream = rig.stream(offsets=job.plan.offsets)
    for _ in rig.pairs(stream):
        pass
    return pairing_report(stream)


class _Part:
    """The extraction of one part."""

    def __init__(self, job: PartJob) -> None:
        self._job = job
        self._rig = _rig(job)
        self._writer = PartWriter(job.drive, job.start_ns)
        if job.again:
            self._writer.stamps.clear()
        self._there = {name: set(stamps) for name, stamps in self._writer.stamps.items()}
        self._summary = PartSummary()
        self._drops: Counter[str] = Counter()

    def run(self) -> PartSummary:
        lead_ns = _LEAD_NS
        while (stream := self._take_all(self._job.start_ns - lead_ns)) is None:
            lead_ns *= 2
        for camera in stream.cameras.values():
            self._drops += camera.drops
        self._summary.dropped = dict(self._drops)
        self._summary.damage = list(self._rig.opened.damage)
        self._writer.finish(dataclasses.asdict(self._summary))
        return self._summary

    def _take_all(self, lead_ns: int) -> FrameStream | None:
        """Process the part's pairs, reading messages from a bag stamp on; return their stream.

        Returns None, before any pair is processed, if a clock was set back between that stamp and
        the part's start, so that the result may depend on earlier messages.
        """
        job = self._job
        stream = self._rig.stream(self._summary.failures.setdefault, job.plan.offsets)
        settled, begun = lead_ns <= job.plan.start_ns, False
        for bag_ns, event in self._rig.events(lead_ns, (job.start_ns, job.stop_ns)):
            if bag_ns >= job.stop_ns and not stream.awaits:
                return stream
            settled = settled or (bag_ns >= lead_ns + _SETTLED_NS and not stream.jumps)
            if not begun and bag_ns >= job.start_ns:
                if not settled:
                    return None
                begun = True
            if job.start_ns <= bag_ns < job.stop_ns:
                self._summary.sweeps += isinstance(event, Sweep)
                self._summary.images += isinstance(event, Image)
            for pair in stream.push(event):
                self._take(pair)
        for pair in stream.finish():
            self._take(pair)
        return stream

    def _take(self, pair: Pair) -> None:
        """Write the frame of a pair if it belongs to this part and does not exist yet."""
        camera, stamp_ns = pair.image.camera, pair.image.stamp_ns
        if not pair.image.counted or stamp_ns in self._there.get(camera, ()):
            return
        if stamp_ns in self._writer.stamps.get(camera, ()):
            # The clock was set back, or a looping bag was recorded.
            self._drops['duplicate'] += 1
            return
        self._describe(pair)
        try:
            built = build(pair, self._job.plan.params)
            frame = to_frame(built, self._job.plan.params)
            self._writer.add(frame.encoded())
            if self._job.preview:
                self._write_preview(camera, stamp_ns, draw_preview(built, frame.image))
        except DriveSegmentError as err:
            reason = reason_of(err)
            if reason == 'error':
                raise
            self._drops[reason] += 1
            self._summary.failures.setdefault(reason, str(err))
        else:
            self._summary.frames += 1

    def _describe(self, pair: Pair) -> None:
        plan, rig = self._job.plan, self._rig
        source: dict[str, Any] = {'bag': rig.opened.path.name, 'damage': plan.damage}
        if plan.origin is not None:
            source['import'] = plan.origin
        self._writer.describe(
            lambda: drive_info(pair, rig.lidar, rig.odometry, self._job.plan.params, source)
        )
        name = pair.image.camera
        self._writer.add_camera(name, lambda: camera_info(pair, rig.cameras[name].topic.name))

    def _write_preview(self, camera: str, stamp_ns: int, picture: bytes) -> None:
        path = self._job.drive / camera / 'preview' / f'{stamp_ns}.png'
        try:
            write_whole(path, picture)
        except OSError as err:
            raise DatasetError(f'cannot write {path}: {err.strerror}') from err


def _rig(job: PartJob) -> BagRig:
    return dataclasses.replace(job.plan.rig, reader=opened(job.plan.bags, job.run))
