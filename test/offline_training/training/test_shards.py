import errno

import numpy as np
import pytest

from drive_segment_ros.errors import DatasetError
from offline_training.training import shards as module
from offline_training.training.frame_targets import FrameTargets, RegionTargets
from offline_training.training.shards import (
    RowReader,
    RowWriter,
    create_folder,
    shards,
    wait_until_visible,
    write_shards,
)

PROBABILITY = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float16)
WEIGHT = np.array([1, 1, 0], np.float32)


def one_region() -> RegionTargets:
    return RegionTargets(np.zeros((3, 3), np.int32), PROBABILITY[:1], WEIGHT[:1])


def write(folder, targets, **how) -> FrameTargets:
    FrameTargets.write(folder, len(targets), lambda frames: (targets[k] for k in frames))
    return FrameTargets(folder, len(targets), **how)


@pytest.mark.parametrize('count', [1, 8, 9, 45, 8192, 8193, 100_000, 2_000_000])
def test_shards_hold_every_frame_once_and_stay_small(count):
    parts = shards(count)

    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, count)
    assert max(map(len, parts)) <= 512
    assert len(parts) <= max(1024, count / 512 + 1)


def test_targets_are_balanced_over_all_frames(tmp_path):
    two = RegionTargets(np.array([[0, 0, 1]] * 3, np.int32), PROBABILITY[:2], WEIGHT[:2])

    # Two shards, the first without class 1.
    targets = write(tmp_path / 'targets', [one_region()] * 8 + [two] * 8, class_balance=0.5)

    assert targets[0].weight[0] == targets[9].weight[0]
    assert targets[9].weight[1] / targets[9].weight[0] == pytest.approx((15 / 3) ** 0.5)


@pytest.mark.parametrize(('side', 'dtype'), [(300, np.uint16), (1100, np.int32)])
def test_regions_take_half_the_space_where_their_numbers_allow_it(tmp_path, side, dtype):
    last = 2**16 - 1 if dtype is np.uint16 else 2**17
    regions = np.zeros((side, side), np.int32)
    regions[0, 0] = last
    probability = np.ones((last + 1, 1), np.float16)
    target = RegionTargets(regions, probability, np.ones(last + 1, np.float32))

    targets = write(tmp_path / 'targets', [target])

    assert np.load(tmp_path / 'targets/00000/regions.npy').dtype == dtype
    assert targets[0].regions.dtype == np.int32
    assert (targets[0].regions == regions).all()


def test_more_regions_than_can_be_kept_are_one_line(tmp_path):
    many = np.ones((2**16 + 1, 1), np.float16)
    target = RegionTargets(np.zeros((3, 3), np.int32), many, np.ones(len(many), np.float32))

    with pytest.raises(DatasetError, match='superpixel_min_size'):
        write(tmp_path / 'targets', [target])


def test_a_killed_preparation_keeps_the_shards_it_had_finished(tmp_path):
    made = []

    def fill(frames, folder):
        if len(made) == 2:
            raise KeyboardInterrupt
        (folder / 'frames').write_text(str(frames))
        made.append(frames)

    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path / 'cache', 40, fill, lambda: None)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('frames')}
    first, made = made, []
    write_shards(tmp_path / 'cache', 40, lambda frames, folder: made.append(frames), lambda: None)

    assert first + made == shards(40)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('frames')} == before


def test_what_a_killed_process_left_is_replaced(tmp_path):
    (tmp_path / '.targets.partial').mkdir()
    (tmp_path / '.targets.partial/regions.npy').write_bytes(b'half')

    create_folder(tmp_path / 'targets', lambda folder: None)

    assert [path.name for path in tmp_path.iterdir()] == ['targets']
    assert not list((tmp_path / 'targets').iterdir())


@pytest.mark.parametrize(
    'content', [b'', b'\x93NUMPY\x01\x00', 'short', 'long', 'token', 'type', 'rows'], ids=str
)
def test_damaged_targets_are_one_line_that_says_what_to_do(tmp_path, content):
    write(tmp_path / 'targets', [one_region()])
    file = tmp_path / 'targets/00000/regions.npy'
    whole = file.read_bytes()
    damaged = {
        'short': whole[:-1],
        'long': whole + b'0',
        'token': whole.replace(b'{', b' '),
        'type': whole.replace(b" 'shape'", b"b'shape'"),
        'rows': whole.replace(b'(1, 3, 3)', b'()       '),
    }
    file.write_bytes(damaged[content] if isinstance(content, str) else content)

    with pytest.raises(
        DatasetError, match=r'regions\.npy is damaged; remove .*targets/00000 and resume'
    ):
        FrameTargets(tmp_path / 'targets', 1)


def test_targets_that_vanish_while_they_are_read_are_one_line(tmp_path):
    targets = write(tmp_path / 'targets', [one_region()])
    (tmp_path / 'targets/00000/regions.npy').write_bytes(b'')

    with pytest.raises(DatasetError, match=r'regions\.npy is damaged'):
        targets[0]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(RowWriter, 'append', full)

    with pytest.raises(DatasetError, match='No space left'):
        write(tmp_path / 'targets', [one_region()])
    assert list((tmp_path / 'targets').iterdir()) == []


def test_rows_come_back_from_anywhere_in_a_file(tmp_path):
    rows = np.random.default_rng(0).integers(0, 255, (7, 5, 3), np.uint8)
    with RowWriter(tmp_path / 'a.npy', np.uint8, rows.shape) as writer:
        for row in rows:
            writer.append(row[:, ::-1])

    reader = RowReader(tmp_path / 'a.npy')

    assert (reader.read(2, 5) == rows[2:5, :, ::-1]).all()
    assert reader.read(3, 3).shape == (0, 5, 3)
    assert (np.load(tmp_path / 'a.npy') == rows[:, :, ::-1]).all()


def test_a_folder_that_nodes_do_not_share_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(module, '_VISIBLE_WITHIN_S', 0.2)

    with pytest.raises(DatasetError, match='one shared folder'):
        wait_until_visible(tmp_path / 'run.json')
