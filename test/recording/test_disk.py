from __future__ import annotations

import errno
import os
import shutil
import types
from pathlib import Path

import pytest

from drive_segment_ros.dataset.reader import Dataset
from drive_segment_ros.dataset.repair import repair
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError, DiskFullError
from drive_segment_ros.recording import disk as disk_module
from drive_segment_ros.recording.disk import GB, DatasetDisk, DiskParameters

INFO = {'cameras': {'front': {}}}


@pytest.fixture
def dataset(tmp_path, make_frame):
    """Return a dataset of the drives old, middle and new, 240 kB each, begun in this order."""
    for age, name in enumerate(('old', 'middle', 'new')):
        with DriveWriter(tmp_path / 'set' / name, INFO) as writer:
            writer.add(make_frame(age + 1, 230_000))
        os.utime(tmp_path / 'set' / name / 'drive.json', (age, age))
    return tmp_path / 'set'


def quota(megabytes: float, policy: str = 'stop') -> DiskParameters:
    return DiskParameters(quota_gb=megabytes / 1000, min_free_gb=0.0, when_full=policy)


def test_measures_what_is_there(dataset):
    disk = DatasetDisk(dataset, quota(2))
    assert disk.used_bytes == pytest.approx(3 * 250_000, rel=0.1)
    assert disk.room_bytes == 2_000_000 - disk.used_bytes


def test_quota_stops_with_both_figures(dataset, monkeypatch):
    # The figures are told to 0.01 GB.
    monkeypatch.setattr(disk_module, 'GB', 10**6)
    disk = DatasetDisk(dataset, DiskParameters(quota_gb=0.9, min_free_gb=0.0))
    disk.make_room(10_000, dataset / 'new')
    with pytest.raises(DiskFullError, match=r'has 0\.7\d GB, disk\.quota_gb is 0\.9;') as error:
        disk.make_room(300_000, dataset / 'new')
    assert 'remove drives' in str(error.value)


def test_rotation_takes_the_oldest_unprotected_and_never_the_current(dataset):
    (dataset / 'old' / 'protected').touch()
    disk = DatasetDisk(dataset, quota(0.8, 'rotate'))
    disk.make_room(100_000, dataset / 'new')
    assert disk.removed == ['middle']
    assert [drive.name for drive in Dataset(dataset).drives] == ['new', 'old']
    with pytest.raises(DiskFullError, match='no drive is left'):
        disk.make_room(600_000, dataset / 'new')
    assert disk.removed == ['middle']


def test_rotation_passes_over_folders_that_cannot_be_entered(dataset, monkeypatch):
    """As root may enter any, it is simulated: lost+found of a disk is root's alone."""
    (dataset / 'lost+found').mkdir()
    stat = Path.stat

    def refuse(path, **options):
        if path.parent.name == 'lost+found':
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, 'stat', refuse)
    disk = DatasetDisk(dataset, quota(0.8, 'rotate'))
    disk.make_room(100_000, dataset / 'new')
    assert disk.removed == ['old']


def test_rotation_spares_a_drive_that_is_being_written(dataset):
    with DriveWriter(dataset / 'old', INFO, resume=True):
        disk = DatasetDisk(dataset, quota(0.8, 'rotate'))
        disk.make_room(100_000, dataset / 'new')
    assert disk.removed == ['middle']


def test_rotation_goes_on_until_there_is_room(dataset):
    disk = DatasetDisk(dataset, quota(0.5, 'rotate'))
    disk.make_room(100_000, dataset / 'new')
    assert disk.removed == ['old', 'middle']
    assert disk.used_bytes + 100_000 <= 500_000


def test_rotation_first_ends_a_removal_that_a_crash_interrupted(dataset):
    (dataset / 'middle').rename(dataset / 'middle.removing')
    (dataset / 'middle.removing' / 'drive.json').unlink()
    disk = DatasetDisk(dataset, quota(0.8, 'rotate'))
    disk.make_room(100_000, dataset / 'new')
    assert disk.removed == []
    assert sorted(path.name for path in dataset.iterdir()) == ['new', 'old']


def test_rotation_neither_follows_nor_counts_links(dataset):
    elsewhere = dataset.parent / 'elsewhere'
    (dataset / 'old').rename(elsewhere)
    (dataset / 'old').symlink_to(elsewhere)
    image = dataset / 'middle' / 'front' / 'image'
    image.rename(dataset.parent / 'images')
    image.symlink_to(dataset.parent / 'images')
    before = {path: path.stat().st_size for path in dataset.parent.rglob('*')}
    disk = DatasetDisk(dataset, quota(0.2, 'rotate'))
    assert disk.used_bytes / 1024 < used_kb(dataset.parent)
    with pytest.raises(DiskFullError):
        disk.make_room(500_000, dataset / 'new')
    assert disk.removed == []
    assert {path: path.stat().st_size for path in dataset.parent.rglob('*')} == before


def test_rotation_leaves_what_others_put_into_a_drive(dataset):
    (dataset / 'old' / 'notes.txt').write_text('mine')
    disk = DatasetDisk(dataset, quota(0.9, 'rotate'))
    disk.make_room(300_000, dataset / 'new')
    assert disk.removed == ['old']
    assert (dataset / 'old.removing' / 'notes.txt').read_text() == 'mine'
    with pytest.raises(DiskFullError):
        disk.make_room(5_000_000, dataset / 'new')
    assert (dataset / 'old.removing' / 'notes.txt').exists()


def test_guard_holds_whatever_the_quota(dataset):
    status = os.statvfs(dataset)
    free_gb = status.f_bavail * status.f_frsize / GB
    disk = DatasetDisk(dataset, DiskParameters(min_free_gb=free_gb + 1000.0))
    with pytest.raises(DiskFullError, match=r'GB are free on its disk, disk\.min_free_gb is'):
        disk.make_room(1, dataset / 'new')


def test_rotation_waits_for_a_file_system_that_frees_late(dataset, monkeypatch):
    status = os.statvfs(dataset)
    stale = iter([status.f_bavail] * 4)

    def statvfs(path):
        # The space of the removed drive shows up only after four calls.
        blocks = next(stale, status.f_bavail + 240_000 // status.f_frsize)
        return types.SimpleNamespace(
            f_flag=status.f_flag, f_frsize=status.f_frsize, f_bavail=blocks
        )

    monkeypatch.setattr(os, 'statvfs', statvfs)
    monkeypatch.setattr(os, 'sync', lambda: None)
    monkeypatch.setattr(disk_module, '_COMMIT_S', 60.0)
    room_for_one = (status.f_bavail * status.f_frsize - 100_000) / GB
    parameters = DiskParameters(min_free_gb=room_for_one, when_full='rotate')
    disk = DatasetDisk(dataset, parameters)

    disk.make_room(150_000, dataset / 'new')

    assert disk.removed == ['old']


def used_kb(dataset) -> int:
    """Return the disk usage of all files, KiB, measured independently of `DatasetDisk`."""
    files = [path for path in dataset.rglob('*') if path.is_file()]
    return sum(path.stat().st_blocks // 2 for path in files)


def test_time_left_follows_from_the_rate(dataset, make_frame):
    now = 1000.0
    disk = DatasetDisk(dataset, quota(10.0), clock=lambda: now)
    assert disk.seconds_left is None
    with DriveWriter(dataset / 'new', INFO, resume=True) as writer:
        for second in range(11):
            writer.add(make_frame(second * 10**9, 90_000))
            disk.wrote(dataset / 'new')
            now += 1.0
    # A frame is three files of 88, 4 and 4 KiB on the disk, and a line of the index.
    assert disk.seconds_left == pytest.approx(disk.room_bytes / 98_600, rel=0.05)


def test_what_another_recorder_writes_counts_within_a_second(dataset, make_frame):
    now = 1000.0
    disk = DatasetDisk(dataset, quota(2.0), clock=lambda: now)
    with DriveWriter(dataset / 'theirs', INFO) as theirs:
        theirs.add(make_frame(1, 100_000))
        now += 1.0
        disk.check()
        # Written after the last measurement; counted only after another second.
        theirs.add(make_frame(2, 100_000))
        theirs.add(make_frame(3, 100_000))
        disk.check()
        seen = disk.used_bytes
        now += 1.0
        disk.check()
        assert disk.used_bytes - seen == pytest.approx(200_000, rel=0.15)
        assert disk.used_bytes / 1024 == pytest.approx(used_kb(dataset), rel=0.01)
        theirs.add(make_frame(4, 900_000))
    now += 1.0
    with pytest.raises(DiskFullError):
        disk.make_room(200_000, dataset / 'new')


def test_drive_that_somebody_removes_makes_room(dataset):
    now = 1000.0
    disk = DatasetDisk(dataset, quota(0.9), clock=lambda: now)
    with pytest.raises(DiskFullError):
        disk.make_room(300_000, dataset / 'new')
    shutil.rmtree(dataset / 'old')
    now += 1.0
    disk.make_room(300_000, dataset / 'new')
    assert disk.removed == []


def test_drive_that_was_repaired_is_measured_anew(dataset):
    now = 1000.0
    disk = DatasetDisk(dataset, quota(0.9), clock=lambda: now)
    (dataset / 'old' / 'front' / 'segment' / '1.png').unlink()
    assert repair(dataset).repaired
    now += 1.0
    disk.check()
    assert disk.used_bytes / 1024 == pytest.approx(used_kb(dataset), rel=0.01)


def test_folder_above_must_exist(tmp_path):
    with pytest.raises(DatasetError, match='parent folder must exist'):
        DatasetDisk(tmp_path / 'media' / 'set', DiskParameters())


def test_a_folder_that_cannot_be_looked_at_is_an_error_of_the_dataset(tmp_path):
    with pytest.raises(DatasetError, match='xxx: File name too long'):
        DatasetDisk(tmp_path / ('x' * 300), quota(2))
