"""The demo: which commands it runs, and how it handles their results and failures."""

from __future__ import annotations

import json
import shlex
import stat
import sys
from pathlib import Path

import pytest

from drive_segment_ros.errors import BagError, DriveSegmentError, OutputError
from offline_training.demo import demo as demo_module
from offline_training.demo.demo import demo, result_lines
from offline_training.report.sources import find_sources

# A fake `drive-segment` that logs its arguments and prints a prepared result.
PROGRAM = """#!{python}
import json, pathlib, signal, sys
here = pathlib.Path(__file__).parent
with (here / 'asked').open('a') as log:
    log.write(json.dumps(sys.argv[1:]) + '\\n')
command = sys.argv[1]
if command == (here / 'fails').read_text():
    sys.exit('drive-segment: error: as told')
if command in ('live', 'save-topic'):
    # One that comes early waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGINT}})
    (here / f'{{command}} is ready').touch()
    signal.sigwait({{signal.SIGINT}})
if command == 'play':
    import time
    ready = [here / f'{{name}} is ready' for name in ('live', 'save-topic')]
    while not all(file.exists() for file in ready):
        time.sleep(0.01)
    for file in ready:
        file.unlink()  # the next demo's come later
print((here / command).read_text() if (here / command).exists() else '{{}}')
"""

PAIR = {'camera': '/cam/image_raw/compressed', 'lidar': '/points', 'transform': True}
CAMERA = {'topic': PAIR['camera'], 'info_topic': '/cam/camera_info'}
BLIND = {**PAIR, 'camera': '/blind/image_raw', 'transform': False}
EXTRACTED = {'frames': 9, 'images': 10, 'frames_per_second': 12.5, 'dropped': {}}
LIVE = {'frames': 9, 'dropped': {}, 'latency_median_ms': 41.7, 'latency_p95_ms': 58.2}
SCORES = {'strict': {'miou': 21.3, 'accuracy': 80.0}, 'many_to_one': {'miou': 31.2}}
ALL = [
    *(9 * ['simulate']),
    *('inspect', 'extract', 'label', 'train', 'name', 'export'),
    *('extract', 'evaluate', 'baseline', 'evaluate'),
    *('live', 'save-topic', 'play', 'report'),
]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(demo_module, 'SETTLE_S', 0.0)
    (tmp_path / 'bag').mkdir()
    folder = tmp_path / 'program'
    folder.mkdir()
    path = folder / 'drive-segment'
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / 'fails').write_text('nothing')
    found = {'pairs': [BLIND, PAIR], 'cameras': [CAMERA], 'topics': []}
    answers = {'inspect': found, 'extract': EXTRACTED, 'live': LIVE, 'evaluate': SCORES}
    answers['report'] = {'report': 'report.html'}
    for command, answer in answers.items():
        (folder / command).write_text(json.dumps(answer))
    return path


def asked(program: Path) -> list[list[str]]:
    return [json.loads(line) for line in (program.parent / 'asked').read_text().splitlines()]


def test_without_a_bag_the_whole_loop_is_run_on_simulated_drives(
    program: Path, tmp_path: Path
) -> None:
    result = demo(tmp_path / 'out', None, [str(program)])
    # `live` and `save-topic` start at the same time, so their order varies.
    assert sorted(words[0] for words in asked(program)) == sorted(ALL)
    assert [words[0] for words in asked(program)][:15] == ALL[:15]
    simulated = [words for words in asked(program) if words[0] == 'simulate']
    assert len({words[words.index('--seed') + 1] for words in simulated}) == len(simulated)
    *learned, held_out = [words[words.index('-o') + 1] for words in simulated]
    first, second = [words for words in asked(program) if words[0] == 'extract']
    assert first[1 : first.index('-o')] == learned
    assert second[1 : second.index('-o')] == [held_out]
    assert (result['live'], result['evaluate']) == (LIVE, SCORES)
    assert result['report'] == 'report.html'


def test_nothing_learns_from_truth_or_from_the_held_out_drive(
    program: Path, tmp_path: Path
) -> None:
    demo(tmp_path / 'out', None, [str(program)])
    for words in asked(program):
        if words[0] in ('label', 'train', 'baseline'):
            assert words[1] == str(tmp_path / 'out/dataset')
            assert 'truth' not in ' '.join(words).replace(str(tmp_path), '')
    first = next(words for words in asked(program) if words[0] == 'extract')
    held_out = [words for words in asked(program) if words[0] == 'simulate'][-1]
    assert held_out[held_out.index('-o') + 1] not in first


def test_a_bag_has_no_truth_so_nothing_is_named_or_scored(program: Path, tmp_path: Path) -> None:
    result = demo(tmp_path / 'out', tmp_path / 'bag', [str(program)])
    commands = {words[0]: words for words in asked(program)}
    assert not {'simulate', 'name', 'evaluate'} & set(commands)
    assert result['evaluate'] is None
    assert '/cam/image_raw/compressed' in commands['extract']
    assert '/cam' in commands['live']
    assert {'/cam/image_raw/compressed', '/cam/camera_info'} <= set(commands['play'])
    assert commands['save-topic'][1] == '/cam/segmentation/overlay/image_raw/compressed'


def test_every_step_is_noted_as_it_was_typed(program: Path, tmp_path: Path) -> None:
    demo(tmp_path / 'out', None, [str(program)])
    sources = find_sources(tmp_path / 'out')
    assert sorted(step.name for step in sources.steps) == sorted(ALL)
    commands = [step.command for step in sources.steps]
    assert sorted(commands) == sorted(shlex.join(['drive-segment', *w]) for w in asked(program))
    assert next(step.result for step in sources.steps if step.name == 'live') == LIVE


@pytest.mark.parametrize(
    'command', ['inspect', 'extract', 'train', 'evaluate', 'live', 'play', 'report']
)
def test_a_command_that_fails_ends_the_demo_by_name(
    command: str, program: Path, tmp_path: Path
) -> None:
    (program.parent / 'fails').write_text(command)
    (program.parent / 'live is ready').touch()  # the fake `play` waits for this file
    with pytest.raises(DriveSegmentError, match=f'drive-segment {command}` failed'):
        demo(tmp_path / 'out', None, [str(program)])


@pytest.mark.parametrize(
    ('found', 'message'),
    [
        ({'pairs': []}, 'needs a camera and a LiDAR'),
        ({'pairs': [PAIR], 'cameras': [{**CAMERA, 'info_topic': None}]}, 'camera_info'),
    ],
)
def test_a_bag_that_lacks_a_sensor(
    found: dict, message: str, program: Path, tmp_path: Path
) -> None:
    (program.parent / 'inspect').write_text(json.dumps(found))
    with pytest.raises(BagError, match=message):
        demo(tmp_path / 'out', tmp_path / 'bag', [str(program)])


def test_demo_after_demo_loses_nothing(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ('demo_output', 'demo_output_2', 'demo_output_3'):
        assert demo(None, tmp_path / 'bag', [str(program)])['output'] == name
        (tmp_path / name / 'model').mkdir()
    assert 'this demo is written to demo_output_3' in capsys.readouterr().err
    assert all((tmp_path / f'demo_output{n}' / 'model').exists() for n in ('', '_2', '_3'))


def test_a_folder_that_holds_something_is_refused(program: Path, tmp_path: Path) -> None:
    output = tmp_path / 'out'
    demo(output, tmp_path / 'bag', [str(program)])
    before = sorted(output.rglob('*'))
    with pytest.raises(OutputError, match='choose a new folder with -o'):
        demo(output, tmp_path / 'bag', [str(program)])
    assert sorted(output.rglob('*')) == before


def test_a_bag_that_is_not_there_is_said_before_anything_is_made(
    program: Path, tmp_path: Path
) -> None:
    with pytest.raises(BagError, match='no such bag'):
        demo(tmp_path / 'out', tmp_path / 'bga', [str(program)])
    assert not (tmp_path / 'out').exists()


def test_result_lines_say_what_came_of_it() -> None:
    result = {'extract': EXTRACTED, 'evaluate': SCORES, 'live': LIVE}
    lines = result_lines(result)
    assert '9 of 10 images' in lines
    assert '21.3 strict, 31.2 many-to-one' in lines
    assert '42 ms (median)' in lines
    nothing = {**LIVE, 'frames': 0, 'dropped': {'no_pair': 9}, 'latency_median_ms': None}
    assert 'no_pair' in result_lines({**result, 'evaluate': None, 'live': nothing})
