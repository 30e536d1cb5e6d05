"""The pipeline with a builder that only remembers: order, waiting, losing, never dying."""

from __future__ import annotations

import threading
import time
import weakref
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive_segment_ros.errors import CalibrationError, CloudError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.nodes import frame_pipeline
from drive_segment_ros.nodes.frame_pipeline import (
    FramePipeline,
    LiveTrajectory,
    PipelineParameters,
)
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.synchronisation import Matcher, SyncParameters
from drive_segment_ros.perception.transforms import TransformTree
from drive_segment_ros.ros.camera_offset import CameraOffset

PERIOD_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000


class Message(SimpleNamespace):
    """Can be referred to weakly."""


def message(stamp_ns: int, frame_id: str = '') -> SimpleNamespace:
    sec, nanosec = divmod(stamp_ns, 10**9)
    stamp = SimpleNamespace(sec=sec, nanosec=nanosec)
    return Message(header=SimpleNamespace(stamp=stamp, frame_id=frame_id))


def odometry(stamp_ns: int, x: float = 0.0) -> SimpleNamespace:
    pose = SimpleNamespace(
        position=SimpleNamespace(x=x, y=0.0, z=0.0),
        orientation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0),
    )
    return SimpleNamespace(header=message(stamp_ns).header, pose=SimpleNamespace(pose=pose))


def stamp_of(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


class Builder:
    """Needs odometry at the image's stamp; frames are stamps."""

    def __init__(self, trajectory: LiveTrajectory) -> None:
        self.trajectory = trajectory
        self.refuse: dict[int, Exception] = {}
        self.transforms_known = True
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def times_needed(self, image, info, cloud):
        if not self.transforms_known:
            raise CalibrationError('no transform')
        return stamp_of(image), stamp_of(image)

    def build(self, image, info, cloud):
        self.entered.set()
        self.gate.wait(5.0)
        stamp = stamp_of(image)
        if stamp in self.refuse:
            raise self.refuse[stamp]
        return SimpleNamespace(stamp=stamp, motion=self.motion(stamp))

    def motion(self, stamp: int) -> str:
        return 'per_point' if self.trajectory.covers(stamp, stamp) else 'none'


class Offset:
    """Is found in a sweep once the camera's frame is `front`."""

    def __init__(self) -> None:
        self.value_s: float | None = None

    def look(self, camera_info, sweep, frame_id) -> None:
        if frame_id != 'front':
            raise CalibrationError(f'no transform to {frame_id!r}')
        self.value_s = 0.01


class Rig:
    def __init__(self, expects_motion=True, offset=None, rectified=False, **parameters) -> None:
        self.frames: list[SimpleNamespace] = []
        self.unwanted: set[int] = set()
        self.errors: list[tuple[str, str]] = []
        self.trajectory = LiveTrajectory()
        self.builder = Builder(self.trajectory)
        self.pipeline = FramePipeline(
            self.builder,
            Matcher(SyncParameters(max_wait_s=0.0)),
            self.trajectory,
            offset or CameraOffset(0.0, TransformTree(), FrameParameters()),
            PipelineParameters(**{'motion_wait': 5.0, **parameters}),
            on_frame=self.take,
            on_error=lambda *error: self.errors.append(error),
            expects_motion=lambda: expects_motion,
            check_info=lambda info: CameraModel.from_camera_info(info, rectified),
        )
        self.pipeline.camera_info = object()

    def take(self, frame: SimpleNamespace):
        if frame.stamp in self.unwanted:
            return lambda: False

        def hand_on() -> bool:
            self.frames.append(frame)
            return True

        return hand_on

    def send(self, index: int, start_ns: int = START_NS) -> int:
        stamp = start_ns + index * PERIOD_NS
        self.pipeline.add_image(message(stamp))
        self.pipeline.add_sweep(message(stamp))
        self.pipeline.expire()
        return stamp

    def wait(self, condition, limit_s: float = 5.0) -> bool:
        deadline = time.monotonic() + limit_s
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.002)
        return condition()


@pytest.fixture
def rig(request):
    rig = Rig(**getattr(request, 'param', {}))
    yield rig
    rig.builder.gate.set()
    rig.pipeline.close()


def test_pair_waits_for_odometry_and_order_is_kept(rig):
    stamps = [rig.send(i) for i in range(3)]
    assert not rig.wait(lambda: rig.frames, 0.1)
    rig.trajectory.add_odometry(odometry(stamps[0]))
    assert rig.wait(lambda: len(rig.frames) == 1)
    rig.trajectory.add_odometry(odometry(stamps[2]))
    assert rig.wait(lambda: len(rig.frames) == 3)
    assert [frame.stamp for frame in rig.frames] == stamps
    summary = rig.pipeline.summary()
    assert (summary['pairs'], summary['frames'], summary['frames_with_motion']) == (3, 3, 3)
    assert summary['dropped'] == {}


def test_pair_that_is_not_wanted_is_no_frame_and_its_motion_is_not_asked_for(rig, monkeypatch):
    stamps = [START_NS + i * PERIOD_NS for i in range(2)]
    rig.unwanted = {stamps[0]}
    build = rig.builder.build

    def lazily(*messages):
        built = build(*messages)
        if built.stamp in rig.unwanted:
            del built.motion
        return built

    monkeypatch.setattr(rig.builder, 'build', lazily)
    for i in range(2):
        rig.trajectory.add_odometry(odometry(rig.send(i)))
    assert rig.wait(lambda: rig.frames)
    summary = rig.pipeline.summary()
    assert (summary['frames'], summary['frames_with_motion'], summary['dropped']) == (1, 1, {})


@pytest.mark.parametrize('rig', [{'expects_motion': False, 'motion_wait': 30.0}], indirect=True)
def test_without_anyone_publishing_odometry_there_is_no_wait(rig):
    rig.send(0)
    assert rig.wait(lambda: rig.frames, 20.0)
    assert rig.pipeline.summary()['frames_with_motion'] == 0


@pytest.mark.parametrize('rig', [{'motion_wait': 0.05}], indirect=True)
def test_wait_for_odometry_is_bounded(rig):
    rig.send(0)
    assert rig.wait(lambda: rig.frames, 20.0)
    assert rig.frames[0].motion == 'none'


def test_transform_that_comes_late_is_waited_for(rig):
    rig.builder.transforms_known = False
    rig.trajectory.add_odometry(odometry(rig.send(0)))
    assert not rig.wait(lambda: rig.frames, 0.1)
    rig.builder.transforms_known = True
    assert rig.wait(lambda: rig.frames)


def test_bad_pairs_are_counted_and_named_and_the_next_one_is_built(rig):
    stamps = [START_NS + i * PERIOD_NS for i in range(3)]
    rig.builder.refuse = {stamps[0]: CloudError('no x'), stamps[1]: ZeroDivisionError('oops')}
    for i in range(3):
        rig.trajectory.add_odometry(odometry(rig.send(i)))
    assert rig.wait(lambda: rig.frames)
    assert [frame.stamp for frame in rig.frames] == stamps[2:]
    assert rig.pipeline.summary()['dropped'] == {'bad_cloud': 1, 'error': 1}
    assert rig.errors == [('bad_cloud', 'no x'), ('error', 'unexpected ZeroDivisionError: oops')]


@pytest.mark.parametrize('rig', [{'queue': 2}], indirect=True)
def test_when_building_is_slow_the_oldest_gives_way_and_every_image_is_accounted_for(rig):
    rig.builder.gate.clear()
    for i in range(8):
        rig.trajectory.add_odometry(odometry(rig.send(i)))
    rig.builder.gate.set()

    def accounted() -> int:
        summary = rig.pipeline.summary()
        return summary['frames'] + summary['dropped']['worker_busy']

    assert rig.wait(lambda: accounted() == 8)
    assert 2 <= len(rig.frames) <= 3
    assert rig.frames[-1].stamp == START_NS + 7 * PERIOD_NS


def test_close_counts_what_it_leaves(rig):
    for i in range(4):
        rig.send(i)
    rig.pipeline.close()
    assert rig.pipeline.summary()['dropped'] == {'stopped': 4}
    assert not rig.frames


def accounts(pipeline: FramePipeline) -> tuple[int, int]:
    """How many images and sweeps the final counts name."""
    summary = pipeline.summary()
    sweeps = summary['sweeps']
    assert (summary['waiting'], sweeps['waiting']) == (0, 0)
    images = summary['frames'] + summary['unwanted'] + sum(summary['dropped'].values())
    return images, sweeps['used'] + sum(sweeps['dropped'].values())


def test_a_pair_in_hand_when_the_pipeline_closes_is_in_one_count_and_not_handed_on(
    rig, monkeypatch
):
    monkeypatch.setattr(frame_pipeline, '_CLOSE_S', 0.01)
    rig.builder.gate.clear()
    for i in range(2):
        rig.trajectory.add_odometry(odometry(rig.send(i)))
    assert rig.wait(rig.builder.entered.is_set)
    rig.pipeline.close()
    assert rig.pipeline.summary()['dropped'] == {'stopped': 2}
    rig.builder.gate.set()
    rig.pipeline._worker._thread.join(5.0)
    rig.send(2)
    assert rig.pipeline.summary()['dropped'] == {'stopped': 3}
    assert accounts(rig.pipeline) == (3, 3)
    assert rig.frames == []


STEPS = st.lists(
    st.one_of(
        # Stamps in periods: in order, out of it, twice, far back, and none.
        st.tuples(st.sampled_from(['image', 'sweep']), st.integers(-1, 20)),
        st.tuples(st.just('pair'), st.integers(0, 20)),
        st.tuples(st.sampled_from(['expire', 'info', 'block', 'unblock', 'close']), st.just(0)),
    ),
    max_size=40,
)
OUTCOMES = st.lists(
    st.sampled_from(['frame', 'unwanted', CloudError('no x'), ZeroDivisionError('oops')]),
    min_size=21,
    max_size=21,
)


@settings(max_examples=150)
@given(steps=STEPS, outcomes=OUTCOMES, known=st.booleans(), queue=st.integers(1, 3))
def test_every_image_and_every_sweep_ends_in_exactly_one_count(steps, outcomes, known, queue):
    offset = None if known else Offset()
    rig = Rig(expects_motion=False, offset=offset, queue=queue, motion_wait=0.0)
    stamps = [START_NS + i * PERIOD_NS for i in range(21)]
    for stamp, outcome in zip(stamps, outcomes, strict=True):
        if outcome == 'unwanted':
            rig.unwanted.add(stamp)
        elif outcome != 'frame':
            rig.builder.refuse[stamp] = outcome
    rig.pipeline.camera_info = None
    images = sweeps = 0
    try:
        for step, index in steps:
            stamp = 0 if index < 0 else START_NS + index * PERIOD_NS
            if step in ('image', 'pair'):
                rig.pipeline.add_image(message(stamp, 'front'))
                images += 1
            if step in ('sweep', 'pair'):
                rig.pipeline.add_sweep(message(stamp))
                sweeps += 1
            if step == 'expire':
                rig.pipeline.expire()
            elif step == 'info':
                rig.pipeline.camera_info = object()
            elif step == 'close':
                rig.builder.gate.set()
                rig.pipeline.close()
            elif step in ('block', 'unblock'):
                (rig.builder.gate.set if step == 'unblock' else rig.builder.gate.clear)()
    finally:
        rig.builder.gate.set()
        rig.pipeline.close()
    assert accounts(rig.pipeline) == (images, sweeps)
    assert rig.pipeline.summary()['received'] == {
        name: count for name, count in (('image', images), ('points', sweeps)) if count
    }


def test_second_round_of_a_bag_does_not_use_the_poses_of_the_first(rig):
    for i in range(40):
        rig.trajectory.add_odometry(odometry(START_NS + i * PERIOD_NS, x=float(i)))
    rig.trajectory.add_odometry(odometry(START_NS, x=100.0))
    assert rig.trajectory.pose(START_NS)[0, 3] == 100.0
    assert not rig.trajectory.covers(START_NS, START_NS + PERIOD_NS)


@pytest.mark.parametrize('rig', [{'offset': Offset()}], indirect=True)
def test_offset_is_looked_for_where_the_image_says_the_camera_is(rig):
    rig.pipeline.add_sweep(message(START_NS))
    assert (rig.pipeline.camera_offset_s, rig.errors) == (0.0, [])
    rig.pipeline.add_image(message(START_NS, 'front'))
    assert (rig.pipeline.camera_offset_s, rig.errors) == (0.01, [])


@pytest.mark.parametrize('rig', [{'offset': Offset()}], indirect=True)
def test_sweeps_are_let_go_when_the_offset_is_known(rig):
    sweeps = [message(START_NS + i * PERIOD_NS) for i in range(5)]
    last = weakref.ref(sweeps[-1])
    while sweeps:
        rig.pipeline.add_sweep(sweeps.pop(0))
    rig.pipeline.add_image(message(START_NS, 'front'))
    rig.pipeline.matcher.flush()
    assert last() is None


@pytest.mark.parametrize('rig', [{'rectified': True}, {}], indirect=True)
def test_camera_info_of_rectified_images_needs_no_camera_matrix(rig, request):
    projection = [100.0, 0.0, 80.0, 0.0, 0.0, 100.0, 60.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info = Message(
        header=message(START_NS).header,
        k=[0.0] * 9,
        r=[0.0] * 9,
        p=projection,
        d=[],
        width=160,
        height=120,
        distortion_model='',
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    )
    if request.node.callspec.params['rig']:
        rig.pipeline.add_camera_info(info)
        assert rig.pipeline.camera_info is info
    else:
        with pytest.raises(CalibrationError, match='K is all zero'):
            rig.pipeline.add_camera_info(info)


def test_zero_stamps_are_counted(rig):
    rig.pipeline.add_image(message(0))
    assert rig.pipeline.summary()['dropped'] == {'zero_stamp': 1}
