"""The command line: help, standard output and standard error, exit codes, signals."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import drive_segment_ros
from drive_segment_ros import cli
from drive_segment_ros.errors import BagError

COMMANDS = ('inspect', 'extract', 'play', 'live', 'doctor', 'bench', 'demo')


def run(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_help_names_every_command():
    out = run('--help').stdout
    assert all(command in out for command in COMMANDS)
    for command in COMMANDS:
        assert run(command, '--help').exit_code == 0


def test_help_shows_flags_without_a_value_and_defaults():
    told = run('train', '--help').stdout
    assert '<bool>' not in told
    assert '--resume' in told
    assert '<bool>' not in run('--help').stdout
    from drive_segment_ros.frame.parameters import FrameParameters
    from drive_segment_ros.nodes.bag_player import PlayParameters
    from drive_segment_ros.parameters import to_flat
    from offline_training.pretraining.pretrain import PretrainParameters
    from offline_training.pseudo_labels.assignment import LabelParameters
    from offline_training.simulator import SimulatorParameters
    from offline_training.training.train import TrainParameters

    # Defaults that help texts repeat, as they must not import the parameter classes.
    written = {
        'label': (LabelParameters, {'classes': '{}', 'features': '{} (default)', 'seed': '{}'}),
        'pretrain': (
            PretrainParameters,
            {'epochs': '{}', 'size': '{} (default)', 'seed': '{}'},
        ),
        'train': (TrainParameters, {'training.epochs': '{}', 'size': '{} (default)'}),
        'extract': (FrameParameters, {'sync.max_offset_s': '{}'}),
        'play': (PlayParameters, {'wait_for_subscribers': '{:.0f}'}),
        'simulate': (
            SimulatorParameters,
            {
                'seed': '{}',
                'duration_s': '{:.0f}',
                'lidar.model': '{} (default)',
                'rig': '{} (default)',
                'camera.model': '{} (default)',
                'camera.width': '{}x540',
            },
        ),
    }
    for name, (parameters, shown) in written.items():
        told = ' '.join(run(name, '--help').stdout.replace('│', ' ').split())
        defaults = to_flat(parameters())
        for parameter, form in shown.items():
            text = form.format(defaults[parameter])
            text = text if 'default' in text else f'default: {text}'
            assert text in told, f'{name} --help does not say {text} of {parameter}'


def test_completion_can_be_installed():
    code = 'from drive_segment_ros.cli import main; main()'
    asked = {'_DRIVE_SEGMENT_COMPLETE': 'complete_bash', 'COMP_WORDS': 'drive-segment ev'}
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; sys.argv[0] = "drive-segment"\n{code}'],
        env={**os.environ, **asked, 'COMP_CWORD': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ['evaluate']
    assert '--install-completion' in run('--help').stdout


def test_version():
    result = run('--version')
    assert result.stdout == f'drive-segment {drive_segment_ros.__version__}\n'
    assert result.exit_code == 0


def test_help_needs_no_heavy_module():
    code = (
        'import sys; sys.argv = ["drive-segment", "--help"]\n'
        'from drive_segment_ros.cli import main\n'
        'try: main()\n'
        'except SystemExit: pass\n'
        'print({"numpy", "cv2", "numba", "torch", "rosbags", "rclpy"} & set(sys.modules))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == 'set()'


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (BagError('drive.mcap: no such\nbag'), 'drive.mcap: no such bag'),
        (
            OSError(errno.ENOSPC, 'No space left on device', '/tmp/x'),
            '/tmp/x: No space left on device',
        ),
    ],
)
def test_errors_are_one_line_on_standard_error(monkeypatch, error, line):
    def broken():
        raise error

    monkeypatch.setattr('drive_segment_ros.doctor.diagnose', broken)
    result = run('doctor', '--json')
    assert result.exit_code == 1
    assert result.stdout == ''
    assert result.stderr == f'drive-segment: error: {line}\n'


def test_a_missing_bag_is_an_error_not_a_traceback(tmp_path):
    for command in (('inspect',), ('inspect', '--json')):
        result = run(*command, tmp_path / 'none')
        assert result.exit_code == 1
        assert result.stderr.count('\n') == 1
        assert 'no such bag' in result.stderr


@pytest.mark.parametrize('command', ['extract', 'label', 'view'])
def test_a_link_to_itself_is_one_line(tmp_path, command):
    loop = tmp_path / 'loop'
    loop.symlink_to(loop)
    rest = {'extract': ['-o', tmp_path / 'set'], 'view': ['--save', tmp_path / 'a.rrd']}
    result = run(command, loop, *rest.get(command, []))
    assert result.exit_code == 1
    assert str(loop) in result.stderr
    assert '\n' not in result.stderr.strip()


@pytest.mark.parametrize('command', ['inspect', 'play', 'paint'])
def test_several_bags_are_refused_unless_they_are_joined(tmp_path, command):
    bags = [tmp_path / 'one', tmp_path / 'two']
    rest = {'paint': ['-o', tmp_path / 'x.png']}.get(command, [])
    arguments = [*([tmp_path / 'model'] if command == 'paint' else []), *bags, *rest]
    result = run(command, *arguments)
    assert result.exit_code == 1
    assert '2 bags are given instead of one; --join' in result.stderr
    assert 'instead of one' not in run(command, *arguments, '--join').stderr


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (
            ('import', 'kitti-raw', '.', '-o', 'out', '--all', '--drive', 'a'),
            'either --drive or --al',
        ),
        (('web', 'run', '--dataset', '.'), '--dataset has no effect without --name'),
        (('web', 'run', '--name', '--examples', '.'), '--examples has no effect with --name'),
        (
            ('name', 'run', '--names', 'a.yaml', '--ground-truth', '.'),
            'either --names, or --images',
        ),
        (('name', 'run', '--names', 'a.yaml', '--frames', '3:'), 'either --names, or --images'),
    ],
)
def test_options_that_exclude_each_other_are_refused(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert '\n' not in result.stderr.strip()


def test_wrong_usage_is_exit_code_2():
    assert run('inspect').exit_code == 2
    assert run('nonsense').exit_code == 2


# What a command may be doing when the signal arrives.
BUSY = {
    'python': 'time.sleep(60)',
    'a compiler that wraps what it catches': (
        'try: time.sleep(60)\n'
        '    except BaseException as err: raise RuntimeError("Failed in nopython mode") from err'
    ),
    'a library that swallows it': (
        'while True:\n        try: time.sleep(60)\n        except BaseException: pass'
    ),
    'native code': 'hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)',
}


@pytest.mark.parametrize('busy', BUSY)
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_and_says_what_is_kept(busy, number):
    code = (
        'import hashlib, sys, time, offline_training.bags.extract as extraction\n'
        'from drive_segment_ros.cli import main\n'
        f'def extract(*_):\n    print("busy", flush=True)\n    {BUSY[busy]}\n'
        'extraction.extract = extract\n'
        'sys.argv = ["drive-segment", "extract", "bag", "-o", "drives", "--json"]\n'
        'main()'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == 'busy\n'
        time.sleep(0.05)
        process.send_signal(number)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert out == ''
    assert err.strip() == (
        'drive-segment: interrupted; the frames written are kept in drives; continue by the same '
        'command with --resume'
    )


def test_while_an_interrupted_command_ends_no_signal_ends_it_otherwise():
    """Signals are ignored until the process ends, as Python resets other handlers on exit."""
    code = (
        'import atexit, signal, offline_training.bags.extract as extraction\n'
        'from drive_segment_ros.cli import main\n'
        'def extract(*_):\n    signal.raise_signal(signal.SIGTERM)\n'
        'extraction.extract = extract\n'
        'numbers = (signal.SIGINT, signal.SIGTERM)\n'
        'atexit.register(lambda: print([signal.getsignal(n).name for n in numbers]))\n'
        'import sys; sys.argv = ["drive-segment", "extract", "bag", "-o", "drives", "--json"]\n'
        'main()'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stdout == "['SIG_IGN', 'SIG_IGN']\n"


@pytest.mark.parametrize(
    ('name', 'told'),
    [
        ('torch.nn', "torch is not installed; pip install '.[train]'"),
        ('rclpy', 'rclpy is not installed; source a ROS 2 installation'),
        ('nav_msgs.msg', 'nav_msgs is not installed; source a ROS 2 installation'),
        ('offline_training.gone', ''),
    ],
)
def test_a_package_that_is_not_installed_is_one_line(monkeypatch, name, told):
    def missing():
        raise ModuleNotFoundError(f'No module named {name!r}', name=name)

    monkeypatch.setattr('drive_segment_ros.doctor.diagnose', missing)
    result = run('doctor')
    assert result.exit_code == 1
    assert told in result.stderr
    assert isinstance(result.exception, ModuleNotFoundError) == (not told)


def test_doctor_prints_one_object_and_fails_on_a_problem(monkeypatch):
    from drive_segment_ros.doctor import Check

    checks = [Check('Python', 'ok', '3.11')]
    monkeypatch.setattr('drive_segment_ros.doctor.diagnose', lambda: checks)
    monkeypatch.setattr('drive_segment_ros.doctor_cameras.check_heard', list)
    result = run('doctor', '--json')
    assert json.loads(result.stdout)['checks'][0]['detail'] == '3.11'
    assert result.exit_code == 0
    checks.append(Check('numba', 'problem', 'not installed', 'pip install numba'))
    result = run('doctor')
    assert result.exit_code == 1
    assert 'numba: not installed -> pip install numba' in result.stdout


@pytest.fixture
def benchmarks(tmp_path, monkeypatch):
    folder = tmp_path / 'benchmarks'
    folder.mkdir()
    package = tmp_path / 'drive_segment_ros' / '__init__.py'
    monkeypatch.setattr(drive_segment_ros, '__file__', str(package))
    (folder / 'lidar.py').write_text(
        'def run(quick):\n'
        '    result = {"name": "lidar.chain", "median_s": 0.0065, "p95_s": 0.007,\n'
        '              "runs": 2 if quick else 50, "peer": False, "ratio": None}\n'
        '    return {"results": [result]}\n'
    )
    return folder


def test_bench_runs_a_file_of_the_source_tree(benchmarks):
    printed = json.loads(run('bench', 'lidar', '--quick', '--json').stdout)
    assert printed['results'][0]['runs'] == 2
    assert printed['processor']
    assert printed['cores'] == len(os.sched_getaffinity(0))
    assert '6.50' in run('bench', 'lidar').stdout


def test_bench_names_the_suites_there_are(benchmarks):
    result = run('bench', 'coffee')
    assert result.exit_code == 1
    assert "no benchmark 'coffee'" in result.stderr
    assert 'there are: lidar' in result.stderr
