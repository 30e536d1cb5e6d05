"""The demo's part: which commands it runs, what it makes of their answers and failures."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from drive_segment_ros.errors import BagError, DatasetError, DriveSegmentError
from offline_training import demo as demo_module
from offline_training.demo import demo, result_line

# Stands in for `drive-segment`: answers as it does, and notes what it was asked.
PROGRAM = """#!{python}
import json, pathlib, signal, sys
here = pathlib.Path(__file__).parent
with (here / 'asked').open('a') as log:
    log.write(json.dumps(sys.argv[1:]) + '\\n')
command = sys.argv[1]
if command == (here / 'fails').read_text():
    sys.exit('drive-segment: error: as told')
if command == 'live':
    signal.signal(signal.SIGINT, lambda *_: None)
    (here / 'ready').touch()
    signal.pause()
if command == 'play':
    import time
    while not (here / 'ready').exists():
        time.sleep(0.01)
if command == 'extract':
    output = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])
    (output / 'drive' / 'preview').mkdir(parents=True)
if '--json' in sys.argv:
    print((here / command).read_text())
"""

PAIR = {'camera': '/cam/image_raw/compressed', 'lidar': '/points', 'transform': True}
EXTRACTED = {'frames': 9, 'images': 10, 'frames_per_second': 12.5, 'dropped': {}}
LIVE = {'frames': 9, 'dropped': {}, 'latency_median_ms': 41.7, 'latency_p95_ms': 58.2}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(demo_module, 'SETTLE_S', 0.1)
    folder = tmp_path / 'program'
    folder.mkdir()
    path = folder / 'drive-segment'
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / 'fails').write_text('nothing')
    blind = {**PAIR, 'camera': '/blind/image_raw', 'transform': False}
    (folder / 'inspect').write_text(json.dumps({'pairs': [blind, PAIR], 'topics': []}))
    (folder / 'extract').write_text(json.dumps(EXTRACTED))
    (folder / 'live').write_text(json.dumps(LIVE))
    return path


def asked(program: Path) -> list[list[str]]:
    return [json.loads(line) for line in (program.parent / 'asked').read_text().splitlines()]


def test_runs_the_commands_on_the_pair_that_has_a_transform(program: Path, tmp_path: Path) -> None:
    report = demo(tmp_path / 'out', tmp_path / 'bag', [str(program)])
    commands = {words[0]: words for words in asked(program)}
    assert sorted(commands) == ['extract', 'inspect', 'live', 'play']
    assert '/cam/image_raw/compressed' in commands['extract']
    assert '/cam' in commands['live']
    assert {'points:=/points', 'odom:=/odom'} <= set(commands['live'])
    assert report['extract'] == EXTRACTED
    assert report['live'] == LIVE
    assert Path(report['preview']).is_dir()
    assert json.loads((tmp_path / 'out' / 'demo.json').read_text()) == report


def test_recorded_odometry_is_used(program: Path, tmp_path: Path) -> None:
    topics = [{'name': '/wheels', 'type': 'nav_msgs/msg/Odometry'}]
    (program.parent / 'inspect').write_text(json.dumps({'pairs': [PAIR], 'topics': topics}))
    demo(tmp_path / 'out', tmp_path / 'bag', [str(program)])
    assert any('odom:=/wheels' in words for words in asked(program))


def test_without_a_bag_one_is_simulated(program: Path, tmp_path: Path) -> None:
    report = demo(tmp_path / 'out', None, [str(program)])
    first, second, *_ = asked(program)
    assert first == ['simulate', '-o', report['bag']]
    assert second[:2] == ['inspect', report['bag']]


@pytest.mark.parametrize('command', ['inspect', 'extract', 'live', 'play'])
def test_a_command_that_fails_ends_the_demo_by_name(
    command: str, program: Path, tmp_path: Path
) -> None:
    (program.parent / 'fails').write_text(command)
    if command == 'live':  # the stand-in's player would wait for it
        (program.parent / 'ready').touch()
    with pytest.raises(DriveSegmentError, match=f'drive-segment {command}` failed'):
        demo(tmp_path / 'out', tmp_path / 'bag', [str(program)])


def test_a_bag_without_camera_or_lidar(program: Path, tmp_path: Path) -> None:
    (program.parent / 'inspect').write_text(json.dumps({'pairs': []}))
    with pytest.raises(BagError, match='needs a camera and a LiDAR'):
        demo(tmp_path / 'out', tmp_path / 'bag', [str(program)])


def test_replaces_an_earlier_demo_and_nothing_else(program: Path, tmp_path: Path) -> None:
    output = tmp_path / 'out'
    demo(output, tmp_path / 'bag', [str(program)])
    (output / 'left_over').touch()
    (program.parent / 'ready').unlink()
    demo(output, tmp_path / 'bag', [str(program)])
    assert not (output / 'left_over').exists()

    precious = tmp_path / 'precious'
    precious.mkdir()
    (precious / 'thesis.tex').touch()
    with pytest.raises(DatasetError, match='another with -o'):
        demo(precious, tmp_path / 'bag', [str(program)])
    assert (precious / 'thesis.tex').exists()


def test_result_line_says_why_there_is_nothing() -> None:
    nothing = {**LIVE, 'frames': 0, 'dropped': {'no_pair': 9}, 'latency_median_ms': None}
    assert 'no_pair' in result_line({'extract': EXTRACTED, 'live': nothing})
    assert '42 ms median' in result_line({'extract': EXTRACTED, 'live': LIVE})
