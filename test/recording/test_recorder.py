"""Disk failures while recording: stored frames stay whole, and drops are counted."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.dataset.repair import repair
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.recording.recorder import Recorder, RecorderParameters

START_NS = 1_700_000_000_000_000_000
SECOND = 10**9
INFO = {'cameras': {'front': {'topic': '/front'}}, 'lidar': {}, 'parameters': {}}
NO_LIMITS = RecorderParameters(min_free_gb=0.0)


@pytest.fixture
def make_recorder():
    recorders = []

    def make(dataset, queue=30, limits=NO_LIMITS) -> Recorder:
        recorders.append(Recorder(dataset, dataclasses.replace(limits, queue=queue), 'front'))
        return recorders[-1]

    yield make
    for recorder in recorders:
        recorder.close()


def settle(recorder: Recorder) -> dict:
    """Wait until all submitted frames are recorded or dropped; return the status."""
    assert recorder._worker.wait_idle(60.0)
    return recorder.status()


def send(recorder, make_frame, seconds, size=2000, info=INFO) -> dict:
    for second in seconds:
        recorder.submit(make_frame(START_NS + second * SECOND, size), info)
        settle(recorder)
    return recorder.status()


def look(recorder: Recorder) -> str:
    """Let the recorder check its disk; return the problem it reports."""
    recorder.look()
    settle(recorder)
    return recorder.problem


def test_drive_is_named_after_its_first_stamp_and_camera(tmp_path, make_recorder, make_frame):
    recorder = make_recorder(tmp_path / 'set')
    status = send(recorder, make_frame, range(3))
    assert (status['drive'], status['recorded']) == ('20231114_221320_front', 3)
    assert status['dropped'] == {}


def test_recorders_of_the_same_second_do_not_share_a_drive(tmp_path, make_recorder, make_frame):
    recorders = [make_recorder(tmp_path / 'set') for _ in range(3)]
    for recorder in recorders:
        send(recorder, make_frame, range(2))
    names = [recorder.status()['drive'] for recorder in recorders]
    assert names == ['20231114_221320_front' + end for end in ('', '_2', '_3')]
    assert [len(drive.frames) for drive in Dataset(tmp_path / 'set').drives] == [2, 2, 2]


def test_stamps_that_jump_back_begin_a_new_drive_and_forward_do_not(
    tmp_path, make_recorder, make_frame, assert_whole
):
    recorder = make_recorder(tmp_path / 'set')
    send(recorder, make_frame, [0, 1, 1500, 1501])
    status = send(recorder, make_frame, [2, 3])
    assert status['recorded'] == 6
    drives = Dataset(tmp_path / 'set').drives
    assert [len(drive.frames) for drive in drives] == [4, 2]
    for drive in drives:
        assert_whole(drive)


def test_out_of_order_by_little_stays_in_the_drive(tmp_path, make_recorder, make_frame):
    recorder = make_recorder(tmp_path / 'set')
    status = send(recorder, make_frame, [1, 0, 2, 2])
    assert (status['recorded'], status['dropped']) == (3, {'duplicate': 1})
    assert len(Dataset(tmp_path / 'set').drives) == 1


def test_long_drive_is_split(tmp_path, make_recorder, make_frame):
    recorder = make_recorder(tmp_path / 'set')
    send(recorder, make_frame, [0, 1800, 1801, 3601])
    assert [len(d.frames) for d in Dataset(tmp_path / 'set').drives] == [2, 2]


def test_other_calibration_begins_a_new_drive(tmp_path, make_recorder, make_frame):
    recorder = make_recorder(tmp_path / 'set')
    send(recorder, make_frame, [0])
    send(recorder, make_frame, [1], info={**INFO, 'cameras': {'front': {'new': 1}}})
    infos = [drive.info for drive in Dataset(tmp_path / 'set').drives]
    assert [info['cameras']['front'] for info in infos] == [{'topic': '/front'}, {'new': 1}]


RIG = {**INFO, 'cameras': {**INFO['cameras'], 'left': {'topic': '/left'}}}


def send_rig(recorder, make_frame, seconds, info=RIG) -> dict:
    """Submit a frame of each camera for one sweep per second; return the status."""
    for second in seconds:
        for camera in info['cameras']:
            stamp_ns = START_NS + second * SECOND
            frame = make_frame(stamp_ns, camera=camera, sweep_ns=stamp_ns - 1)
            recorder.submit(frame, info)
            settle(recorder)
    return recorder.status()


def test_cameras_share_a_drive_and_one_that_comes_late_is_added(
    tmp_path, make_recorder, make_frame, assert_whole
):
    recorder = make_recorder(tmp_path / 'set')
    send_rig(recorder, make_frame, [0, 1], INFO)
    status = send_rig(recorder, make_frame, [2, 3])
    # A description with the frame's camera alone belongs to the same drive.
    recorder.submit(
        make_frame(START_NS + 4 * SECOND, camera='left'),
        {**RIG, 'cameras': {'left': RIG['cameras']['left']}},
    )
    settle(recorder)
    assert (recorder.status()['recorded'], status['dropped']) == (7, {})
    (drive,) = Dataset(tmp_path / 'set').drives
    assert drive.info['cameras'] == RIG['cameras']
    assert {name: len(frames) for name, frames in drive.cameras.items()} == {'front': 4, 'left': 3}
    assert_whole(drive)


def test_a_camera_whose_frames_are_late_behind_anothers_shares_its_drive(
    tmp_path, make_recorder, make_frame
):
    """One camera's frames are 2 s behind, as when its calibration arrived late."""
    recorder = make_recorder(tmp_path / 'set')
    for second in range(5, 9):
        for camera, late in (('front', 0), ('left', 2)):
            stamp_ns = START_NS + (second - late) * SECOND
            recorder.submit(make_frame(stamp_ns, camera=camera), RIG)
            settle(recorder)
    (drive,) = Dataset(tmp_path / 'set').drives
    assert {name: len(frames) for name, frames in drive.cameras.items()} == {'front': 4, 'left': 4}


def test_a_second_frame_of_a_stamp_is_a_duplicate_of_its_own_camera_only(
    tmp_path, make_recorder, make_frame
):
    recorder = make_recorder(tmp_path / 'set')
    send_rig(recorder, make_frame, [0, 1])
    status = send_rig(recorder, make_frame, [1], INFO)
    assert (status['recorded'], status['dropped']) == (4, {'duplicate': 1})


@pytest.mark.parametrize('gone', ['left', 'left/image', 'left/frames.jsonl', 'proposal'])
def test_a_camera_that_somebody_takes_away_costs_only_its_own_frames(
    tmp_path, make_recorder, make_frame, gone
):
    recorder = make_recorder(tmp_path / 'set')
    first = tmp_path / 'set' / send_rig(recorder, make_frame, range(3))['drive']
    (first / gone).rename(tmp_path / 'taken')
    assert 'was removed or moved while it was recorded' in look(recorder)
    status = send_rig(recorder, make_frame, [3])
    lost = 6 if gone == 'proposal' else 3
    assert (status['recorded'], status['dropped']) == (8 - lost, {'removed': lost})
    assert status['drive'] != first.name


def test_slow_disk_drops_whole_frames_counted_and_never_blocks(
    tmp_path, make_recorder, make_frame, monkeypatch, assert_whole
):
    release = threading.Event()
    add = DriveWriter.add

    def slow(writer, frame):
        release.wait(60.0)
        add(writer, frame)

    monkeypatch.setattr(DriveWriter, 'add', slow)
    recorder = make_recorder(tmp_path / 'set', queue=4)
    # The disk takes no frame until all are submitted, so that `submit` must not block.
    for second in range(50):
        recorder.submit(make_frame(START_NS + second * SECOND), INFO)
    assert recorder.status()['recorded'] == 0
    release.set()
    status = settle(recorder)
    assert status['dropped'] == {'disk_slow': 50 - status['recorded']}
    assert status['recorded'] in (4, 5)
    (drive,) = Dataset(tmp_path / 'set').drives
    assert len(drive.frames) == status['recorded']
    assert_whole(drive)


def test_close_writes_what_waits(tmp_path, make_recorder, make_frame):
    recorder = make_recorder(tmp_path / 'set')
    for second in range(20):
        recorder.submit(make_frame(START_NS + second * SECOND), INFO)
    recorder.close()
    assert recorder.status()['recorded'] == 20
    assert len(Dataset(tmp_path / 'set').drives[0].frames) == 20


def test_full_disk_is_named_and_recording_goes_on_when_there_is_room(
    small_disk, make_recorder, make_frame, assert_whole
):
    recorder = make_recorder(small_disk.path / 'set')
    ballast = small_disk.path / 'ballast'
    send(recorder, make_frame, range(3))
    with contextlib.suppress(OSError):
        ballast.write_bytes(bytes(4_000_000))
    # The check of free space is off, so that the disk itself refuses.
    recorder._disk.make_room = lambda size, current: None
    status = send(recorder, make_frame, range(3, 6), size=50_000)
    assert status['dropped'] == {'disk_full': 3}
    assert 'No space left on device' in status['problem']
    ballast.unlink()
    del recorder._disk.make_room
    status = send(recorder, make_frame, range(6, 9), size=50_000)
    assert (status['recorded'], status['problem']) == (6, '')
    (drive,) = Dataset(small_disk.path / 'set').drives
    assert len(drive.frames) == 6
    assert_whole(drive)
    recorder.close()
    assert repair(small_disk.path / 'set').repaired == []


def test_guard_is_never_crossed(small_disk, make_recorder, make_frame, assert_whole):
    guard = RecorderParameters(min_free_gb=0.0005)
    recorder = make_recorder(small_disk.path / 'set', limits=guard)
    status = send(recorder, make_frame, range(40), size=100_000)
    assert status['recorded'] + status['dropped']['disk_full'] == 40
    assert 0 < status['recorded'] < 20
    assert (
        'disk.min_free_gb is 0.0005; free some space, or lower disk.min_free_gb'
        in (status['problem'])
    )
    assert shutil.disk_usage(small_disk.path).free >= 500_000
    assert_whole(Dataset(small_disk.path / 'set').drives[0])
    (small_disk.path / 'set').rename(small_disk.path / 'elsewhere')
    shutil.rmtree(small_disk.path / 'elsewhere')
    assert f'{status["recorded"]} frames are no longer in the dataset' in look(recorder)
    assert send(recorder, make_frame, [50])['recorded'] == 1


def test_rotation_records_on_and_never_crosses_the_guard(small_disk, make_recorder, make_frame):
    guard = RecorderParameters(min_free_gb=0.0005, when_full='rotate')
    recorder = make_recorder(small_disk.path / 'set', limits=guard)
    for number in range(6):
        # Stamps that jump back begin a new drive.
        seconds = range(-100 * number, -100 * number + 4)
        status = send(recorder, make_frame, seconds, size=100_000)
        assert shutil.disk_usage(small_disk.path).free >= 500_000
    assert (status['recorded'], status['dropped']) == (24, {})
    assert status['drives_removed']
    left = {drive.name for drive in Dataset(small_disk.path / 'set').drives}
    assert status['drive'] in left
    assert not left & set(status['drives_removed'])


def test_two_recorders_keep_one_quota_and_go_on_when_a_drive_is_removed(
    tmp_path, make_recorder, make_frame, monkeypatch
):
    from drive_segment_ros.recording import disk

    monkeypatch.setattr(disk, '_OTHERS_PERIOD_S', 0.0)
    limits = RecorderParameters(quota_gb=0.002, min_free_gb=0.0)
    recorders = [make_recorder(tmp_path / 'set', limits=limits) for _ in range(2)]
    for second in range(20):
        for recorder in recorders:
            send(recorder, make_frame, [second], size=100_000)
    statuses = [recorder.status() for recorder in recorders]
    assert [s['dropped'].keys() for s in statuses] == [{'disk_full'}] * 2
    for status in statuses:
        assert status['recorded'] + status['dropped']['disk_full'] == 20
        assert status['recorded'] > 5
        told = 'disk.quota_gb is 0.002; remove drives, or raise disk.quota_gb'
        assert told in status['problem']
    size = sum(p.stat().st_blocks * 512 for p in (tmp_path / 'set').rglob('*') if p.is_file())
    assert 1_800_000 < size <= 2_000_000
    recorders[1].close()
    shutil.rmtree(tmp_path / 'set' / statuses[1]['drive'])
    assert look(recorders[0]) == ''
    assert send(recorders[0], make_frame, [20])['recorded'] == statuses[0]['recorded'] + 1


def test_read_only_disk_is_named_and_recording_goes_on_after(
    small_disk, make_recorder, make_frame, assert_whole
):
    recorder = make_recorder(small_disk.path / 'set')
    send(recorder, make_frame, range(2))
    # A remount fails while files are open for writing.
    recorder._close_writer()
    small_disk.remount('ro')
    assert 'read-only' in look(recorder)
    status = send(recorder, make_frame, range(2, 4))
    assert status['dropped'] == {'disk_read_only': 2}
    small_disk.remount('rw')
    assert look(recorder) == ''
    assert send(recorder, make_frame, range(4, 6))['recorded'] == 4
    (drive,) = Dataset(small_disk.path / 'set').drives
    assert len(drive.frames) == 4
    assert_whole(drive)


@pytest.mark.parametrize(
    ('code', 'reason', 'words'),
    [
        (errno.ENOSPC, 'disk_full', 'free some space'),
        (errno.EDQUOT, 'disk_quota', 'quota on that disk is used up'),
        (errno.EROFS, 'disk_read_only', 'file system is read-only, perhaps after an error'),
        (errno.EIO, 'disk_error', 'the disk fails'),
    ],
)
def test_a_refusal_is_called_what_it_is_until_the_disk_takes_frames_again(
    tmp_path, make_recorder, make_frame, monkeypatch, code, reason, words
):
    recorder = make_recorder(tmp_path / 'set')
    send(recorder, make_frame, range(2))

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    # As on a file system that stopped at an error while its mount is still read-write.
    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', refuse)
        status = send(recorder, make_frame, [2])
        assert status['dropped'] == {reason: 1}
        assert words in status['problem']
        assert ('free some space' in status['problem']) == (code == errno.ENOSPC)
        assert words in look(recorder)
    assert look(recorder) == '' or reason == 'disk_error'
    status = send(recorder, make_frame, [3])
    assert (status['recorded'], status['problem']) == (3, '')


@pytest.mark.parametrize('how', ['removed', 'moved', 'replaced', 'emptied'])
def test_frames_that_somebody_takes_away_are_told_and_counted_and_the_next_go_to_a_new_drive(
    tmp_path, make_recorder, make_frame, assert_whole, how
):
    dataset = tmp_path / 'set'
    recorder = make_recorder(dataset)
    # Stamps that jump back begin a second drive.
    first = send(recorder, make_frame, range(100, 103))['drive']
    drive = dataset / send(recorder, make_frame, range(4))['drive']
    lost = 7
    if how == 'removed':
        shutil.rmtree(dataset)
    elif how == 'moved':
        dataset.rename(tmp_path / 'elsewhere')
    elif how == 'replaced':
        lost = 4
        drive.rename(tmp_path / 'elsewhere')
        shutil.copytree(tmp_path / 'elsewhere', drive)
    else:
        lost = 4
        shutil.rmtree(drive / 'front' / 'image')
    told = f'{drive} was removed or moved while it was recorded: {lost} frames are no longer in'
    assert told in look(recorder)
    status = send(recorder, make_frame, range(4, 6))
    assert (status['recorded'], status['dropped']) == (9 - lost, {'removed': lost})
    assert told in status['problem']
    assert status['drive'] != drive.name or how in ('removed', 'moved')
    assert (dataset / first).exists() == (lost == 4)
    (written,) = [d for d in Dataset(dataset).drives if d.name == status['drive']]
    assert_whole(written)


def test_unplugged_disk_is_named_nothing_is_written_beside_it_and_it_may_return(
    small_disk, make_recorder, make_frame
):
    recorder = make_recorder(small_disk.path / 'set')
    send(recorder, make_frame, range(2))
    small_disk.unmount()
    assert 'nothing is mounted at' in look(recorder)
    status = send(recorder, make_frame, range(2, 4))
    assert status['dropped'] == {'disk_gone': 2}
    assert list(small_disk.path.iterdir()) == []
    assert small_disk.mount()
    assert look(recorder) == ''
    status = send(recorder, make_frame, range(4, 6))
    assert (status['recorded'], status['problem']) == (4, '')
    assert len(Dataset(small_disk.path / 'set').drives[0].frames) == 2


def test_dataset_on_a_disk_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DatasetError, match='parent folder must exist'):
        Recorder(tmp_path / 'media' / 'usb' / 'set', RecorderParameters())


def test_index_that_cannot_be_cut_back_keeps_its_frame_whole(
    tmp_path, make_recorder, make_frame, monkeypatch, assert_whole
):
    recorder = make_recorder(tmp_path / 'set')
    send(recorder, make_frame, range(2))
    fsync = os.fsync

    def fail(*_):
        raise OSError(errno.EIO, 'Input/output error')

    def failing(file):
        if os.readlink(f'/proc/self/fd/{file}').endswith('frames.jsonl'):
            fail()
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', failing)
        patch.setattr(os, 'ftruncate', fail)
        status = send(recorder, make_frame, [2])
    assert status['dropped'] == {'disk_error': 1}
    assert 'Input/output error' in status['problem']
    status = send(recorder, make_frame, [3])
    assert status['problem'] == ''
    (drive,) = Dataset(tmp_path / 'set').drives
    # The failed frame's line and files had reached the disk nevertheless.
    assert len(drive.frames) == 4
    assert_whole(drive)


def test_drive_damaged_by_others_is_left_and_another_begun(tmp_path, make_recorder, make_frame):
    recorder = make_recorder(tmp_path / 'set')
    send(recorder, make_frame, range(2))
    first = tmp_path / 'set' / recorder.status()['drive']
    (first / 'front' / 'frames.jsonl').write_text('nonsense\nnonsense\n')
    recorder._close_writer()
    status = send(recorder, make_frame, [2])
    assert status['dropped'] == {'error': 1}
    assert 'line 1 is not a frame' in status['problem']
    assert send(recorder, make_frame, [3])['problem'] == ''
    assert recorder.status()['drive'] != first.name


def open_files(folder: Path) -> list[str]:
    """Return the paths below a folder that this process has open."""
    found = []
    for file in os.listdir('/proc/self/fd'):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f'/proc/self/fd/{file}'))
    return [path for path in found if path.startswith(str(folder))]


def test_short_soak_keeps_memory_and_files_flat(tmp_path, make_recorder, make_frame, monkeypatch):
    """2000 frames with fsync disabled; `drive-segment bench recorder` is the long test."""
    import tracemalloc

    monkeypatch.setattr(os, 'fsync', lambda file: None)
    recorder = make_recorder(tmp_path / 'set', queue=1000)
    frames = [make_frame(START_NS + k * SECOND) for k in range(2000)]
    tracemalloc.start()
    sizes = []
    for k, frame in enumerate(frames):
        while recorder.status()['waiting'] > 100:
            time.sleep(0.001)
        recorder.submit(frame, INFO)
        if k % 500 == 499:
            settle(recorder)
            ours = tracemalloc.take_snapshot().filter_traces(
                [tracemalloc.Filter(True, '*/drive_segment_ros/*')]
            )
            memory = sum(trace.size for trace in ours.traces)
            sizes.append((memory, len(open_files(tmp_path))))
    tracemalloc.stop()
    assert recorder.status()['recorded'] == 2000
    assert len({files for _, files in sizes}) == 1
    # Only the stamps of the current drive are kept, of half an hour at most.
    assert sizes[-1][0] - sizes[0][0] < 1500 * 200
