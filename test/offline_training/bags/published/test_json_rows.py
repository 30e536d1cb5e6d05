"""Long JSON lists are read row by row, in little memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from drive_segment_ros.errors import DatasetError
from offline_training.bags.published.sets import json_rows, nuscenes_tables
from offline_training.bags.published.sets.json_rows import each_row, rows_at

ROWS = [{'token': f't{k}', 'name': 'Zürich ]},' * (k % 40), 'turn': [0.5, {}]} for k in range(200)]


@pytest.mark.parametrize('indent', [None, 0, 4])
@pytest.mark.parametrize('chunk', [7, 64, 1 << 20])
def test_rows_are_those_of_the_list(tmp_path, monkeypatch, indent, chunk):
    monkeypatch.setattr(json_rows, '_CHUNK', chunk)
    monkeypatch.setattr(json_rows, '_USUAL_ROW', chunk)
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(ROWS, indent=indent, ensure_ascii=False), 'utf-8')
    found = list(each_row(path))
    assert [row['token'] for _, row in found] == [row['token'] for row in ROWS]
    assert rows_at(path, [place for place, _ in found[::-1]]) == ROWS[::-1]


def test_an_empty_list_has_no_rows(tmp_path):
    (tmp_path / 'table.json').write_text(' [ ]\n')
    assert list(each_row(tmp_path / 'table.json')) == []


@pytest.mark.parametrize('text', ['', '{"token": 1}', '[{"token": 1}', '[{"tok', '[1, 2]', '[}]'])
def test_what_is_no_list_of_rows_is_refused(tmp_path, text):
    (tmp_path / 'table.json').write_text(text)
    with pytest.raises(ValueError, match=r'.'):
        list(each_row(tmp_path / 'table.json'))


def test_memory_does_not_grow_with_the_tables(tmp_path, monkeypatch):
    """Each further row takes less than 5 % of the memory that it takes in a loaded table."""
    monkeypatch.setattr(json_rows, '_CHUNK', 1 << 16)
    peaks = {}
    for count in (1_000, 6_000):
        folder = _tables(tmp_path / f'v1.0-{count}', count)
        peaks[count] = (
            _peak(lambda folder=folder: _index(folder)),
            _peak(lambda folder=folder: _whole(folder)),
        )
    ours, whole = (peaks[6_000][k] - peaks[1_000][k] for k in range(2))
    assert whole > 5_000 * 1000
    assert ours < 0.05 * whole
    assert peaks[6_000][0] < 0.1 * peaks[6_000][1]


def test_rows_and_poses_of_a_scene_are_found_among_others(tmp_path):
    tables = nuscenes_tables.read_tables(_tables(tmp_path / 'v1.0-mini', 300))
    rows = tables.data('scene 1')
    assert {channel: len(of_channel) for channel, of_channel in rows.items()} == {
        'LIDAR_TOP': 50,
        'CAM_FRONT': 50,
    }
    assert {row['sample_token'] for row in rows['CAM_FRONT']} == {'sample 1'}
    tokens = [row['ego_pose_token'] for row in rows['LIDAR_TOP']]
    assert {token: row['timestamp'] for token, row in tables.poses(tokens).items()} == {
        row['ego_pose_token']: row['timestamp'] for row in rows['LIDAR_TOP']
    }
    with pytest.raises(DatasetError, match=r'ego_pose.json has no pose of nobody; unpack'):
        tables.poses(['of nobody'])


def _tables(folder: Path, count: int) -> Path:
    """Write the tables of two interleaved scenes, with `count` rows of three sensors in total."""
    folder.mkdir(parents=True)
    channels = 'LIDAR_TOP', 'CAM_FRONT', 'RADAR_FRONT'
    content = {
        'scene': [{'token': f'scene {k}', 'name': f'scene-000{k}'} for k in range(2)],
        'sample': [{'token': f'sample {k}', 'scene_token': f'scene {k}'} for k in range(2)],
        'sensor': [{'token': name, 'channel': name} for name in channels],
        'calibrated_sensor': [{'token': name, 'sensor_token': name} for name in channels],
        'sample_data': [
            {
                'token': f'{k:032x}',
                'sample_token': f'sample {k // 3 % 2}',
                'ego_pose_token': f'{k:032x}',
                'calibrated_sensor_token': channels[k % 3],
                'timestamp': 1_532_402_927_000_000 + k,
                'fileformat': 'jpg',
                'is_key_frame': False,
                'height': 900,
                'width': 1600,
                'filename': f'sweeps/{channels[k % 3]}/n015__{channels[k % 3]}__{k}.jpg',
                'prev': f'{k - 1:032x}',
                'next': f'{k + 1:032x}',
            }
            for k in range(count)
        ],
        'ego_pose': [
            {
                'token': f'{k:032x}',
                'timestamp': 1_532_402_927_000_000 + k,
                'rotation': [0.57, -0.001, 0.01, -0.81],
                'translation': [411.3, 1180.8, 0.0],
            }
            for k in range(count)[::-1]
        ],
    }
    for name, rows in content.items():
        (folder / f'{name}.json').write_text(json.dumps(rows, indent=0))
    return folder


def _index(folder: Path) -> None:
    nuscenes_tables.read_tables(folder)._places_of_poses  # noqa: B018


def _whole(folder: Path) -> None:
    _ = [json.loads((folder / f'{name}.json').read_text()) for name in ('sample_data', 'ego_pose')]


def _peak(act) -> int:
    tracemalloc.start()
    act()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak
