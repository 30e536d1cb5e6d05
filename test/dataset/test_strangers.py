"""Untrusted datasets: invalid content gives a one-line error, and no path leads outside."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.dataset.drive_calibration import DriveCalibration
from drive_segment_ros.dataset.frame import REQUIRED, Frame, SweepRecord, encode_png
from drive_segment_ros.dataset.reader import Drive
from drive_segment_ros.dataset.writer import DriveWriter
from drive_segment_ros.errors import DatasetError

PROPOSALS = {name: np.ones(1, np.uint16) for name in REQUIRED}
INFO = {'cameras': {'front': {}}, 'lidar': {}}


def frame(stamp_ns: int, image: bytes) -> Frame:
    segment = np.ones((4, 6), np.uint16)
    return Frame('front', stamp_ns, image, '.png', segment, SweepRecord(stamp_ns, PROPOSALS), {})


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    image = encode_png(np.zeros((4, 6, 3), np.uint8))
    with DriveWriter(tmp_path / 'set/a', INFO) as writer:
        for stamp in (1, 2, 3):
            writer.add(frame(stamp, image))
    return tmp_path / 'set/a'


def change(drive: Path, **values: object) -> None:
    """Change fields of the second frame in frames.jsonl."""
    lines = (drive / 'front/frames.jsonl').read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **values})
    (drive / 'front/frames.jsonl').write_text('\n'.join(lines) + '\n')


@pytest.mark.parametrize(
    'values',
    [
        {'image': '../../../etc/passwd'},
        {'image': '/etc/passwd'},
        {'image': 'image/../../b/image/1.png'},
        {'image': 'image/..'},
        {'image': 'image/'},
        {'image': 'segment/2.png'},
        {'image': 'image/2\0.png'},
        {'image': 'image/\ud800.png'},
        {'sweep_stamp_ns': '../2'},
        {'segment': None},
        {'model_label': ['model_label/2.png']},
        {'stamp_ns': '2'},
        {'stamp_ns': 2.5},
        {'stamp_ns': True},
        {'stamp_ns': -2},
        {'stamp_ns': 10**30},
        {'offset_s': 'late'},
        {'motion': '\x1b[2J'},
        {'points_dropped': 1.5},
        {'T_odom_base': [[1.0]]},
        {'further': json.loads('[' * 60 + ']' * 60)},
    ],
    ids=str,
)
def test_a_line_that_makes_no_sense_is_named_and_nothing_is_touched(drive, values) -> None:
    change(drive, **values)
    with DriveWriter(drive.parent / 'b', INFO) as writer:
        writer.add(frame(1, b'x'))
    (drive.parent / 'b/front/image/9.png').touch()
    before = sorted(drive.rglob('*'))
    with pytest.raises(DatasetError, match='line 2 is not a frame') as error:
        assert Drive(drive).frames
    assert '\n' not in str(error.value)
    assert '\x1b' not in str(error.value)
    result = CliRunner().invoke(cli.app, ['repair', str(drive.parent)])
    assert result.exit_code == 1
    assert 'line 2 is not a frame' in result.stderr
    assert 'b/front: removed 1 files' in result.stdout
    assert sorted(drive.rglob('*')) == before


def test_a_bad_last_line_is_no_torn_one(drive) -> None:
    with (drive / 'front/frames.jsonl').open('a') as file:
        file.write('{"stamp_ns": 4, "image": "/etc/passwd"}\n')
    with pytest.raises(DatasetError, match='line 4 is not a frame'):
        assert Drive(drive).frames


def png_of(width: int, height: int) -> bytes:
    """Return a few bytes with the header of a PNG of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    content = chunk(b'IHDR', header) + chunk(b'IDAT', b'x') + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + content


def test_pictures_that_are_bombs_are_refused_by_their_headers(drive) -> None:
    bomb = png_of(30_000, 30_000)
    for folder in ('image', 'segment', 'pseudo_label'):
        (drive / 'front' / folder).mkdir(exist_ok=True)
        (drive / 'front' / folder / '1.png').write_bytes(bomb)
    record = Drive(drive).frames[0]
    for read in (record.image, record.segment, record.pseudo_label):
        with pytest.raises(DatasetError, match='30000 x 30000 px, above the limit'):
            read()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    'content',
    [
        npz(**PROPOSALS, zeros=np.zeros(200_000_000, np.uint8)),
        npz(id=np.ones(1, np.uint16)),
        npz(**{**PROPOSALS, 'kind': np.ones(2, np.uint8)}),
        npz(**{**PROPOSALS, 'id': np.array(['a'])}),
        npz(**{**PROPOSALS, 'id': np.uint16(1)}),
        npz(**{**PROPOSALS, 'id': np.array([10**12])}),
        npz(**PROPOSALS, extent=np.ones((1, 3), np.float32)),
        npz(**PROPOSALS, what=np.array([{}], object)),
        b'PK\x03\x04',
        b'',
    ],
    ids=range(10),
)  # fmt: skip
def test_proposals_that_are_none(drive, content) -> None:
    (drive / 'proposal/1.npz').write_bytes(content)
    with pytest.raises(DatasetError, match=r'1\.npz holds no proposals'):
        Drive(drive).frames[0].proposals()


@pytest.mark.parametrize('text', ['[' * 100_000, '9' * 9999, '[]', 'null', '{"a": NaN}', '\udcff'])
def test_a_description_that_is_none(drive, text) -> None:
    (drive / 'drive.json').write_bytes(text.encode(errors='surrogateescape'))
    with pytest.raises(DatasetError, match=r'drive\.json is not') as error:
        Drive(drive)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('entry', [{}, {'model': 3}, {'model': {'width': 1e300}}])
def test_a_calibration_that_is_none(drive, entry) -> None:
    (drive / 'drive.json').write_text(json.dumps({**INFO, 'cameras': {'front': entry}}))
    with pytest.raises(DatasetError, match='the calibration of front is invalid'):
        DriveCalibration.of(Drive(drive), 'front')


@pytest.mark.parametrize(
    'values',
    [
        {'summary': {}},
        {'frames': 5},
        {'frames': {'front': [{}]}},
        {'frames': {'front': [{'stamp_ns': 9, 'sweep_stamp_ns': 9}]}},
        {'frames': {'../../other': []}},
        {'cameras': {'../../other': {}}},
    ],
)
def test_a_manifest_of_a_part_that_is_none(drive, values) -> None:
    (drive / 'parts').mkdir()
    content = {'start_ns': 7, 'summary': {'images': 1}, **values}
    (drive / 'parts/7.json').write_text(json.dumps(content))
    before = (drive / 'front/frames.jsonl').read_bytes()
    result = CliRunner().invoke(cli.app, ['repair', str(drive.parent)])
    assert result.exit_code == 1
    assert '7.json' in result.stderr
    assert result.stderr.count('\n') == 1
    assert (drive / 'front/frames.jsonl').read_bytes() == before
    assert {path.name for path in drive.parent.parent.iterdir()} == {'set'}


def test_a_file_that_only_resembles_a_manifest_stays(drive) -> None:
    (drive / 'parts').mkdir()
    (drive / 'parts/²012.json').write_text('mine')
    result = CliRunner().invoke(cli.app, ['repair', str(drive.parent)])
    assert result.exit_code == 0, result.output
    assert (drive / 'parts/²012.json').read_text() == 'mine'
