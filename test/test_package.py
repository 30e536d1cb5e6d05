"""The package as a whole: dependencies, manifest, version, and commands in the README."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import drive_segment_ros

ROOT = Path(__file__).resolve().parent.parent
VEHICLE = ROOT / 'drive_segment_ros'
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()

# Keys that rosdep resolves: ROS packages by name, the others from its list for Python.
ROSDEP_KEYS = {
    *('ament_index_python', 'diagnostic_msgs', 'geometry_msgs', 'launch', 'launch_ros'),
    *('lifecycle_msgs', 'message_filters', 'nav_msgs', 'rcl_interfaces', 'rclpy', 'rosgraph_msgs'),
    *('sensor_msgs', 'sensor_msgs_py'),
    *('std_msgs', 'std_srvs', 'tf2_msgs', 'tf2_ros', 'vision_msgs', 'cv_bridge'),
    *('python3-numba', 'python3-numpy', 'python3-open3d-pip', 'python3-opencv', 'python3-pytest'),
    *('python3-rosbags-pip', 'python3-scipy', 'python3-yaml'),
    *('python3-onnxruntime-pip', 'python3-sklearn', 'python3-torch', 'python3-pytorch-pip'),
}
ROS_PACKAGES = ('rclpy', 'tf2_ros', 'message_filters', 'cv_bridge', 'sensor_msgs', 'launch')


def imports(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split('.')[0])
    return names


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob('*.py')) if '__pycache__' not in path.parts)


@pytest.mark.parametrize(
    ('folder', 'forbidden'),
    [
        ('', ('torch', 'offline_training')),
        ('perception', ROS_PACKAGES),
        ('dataset', ROS_PACKAGES),
        ('inference', ROS_PACKAGES),
        ('frame', ROS_PACKAGES),
        ('recording', ROS_PACKAGES),
    ],
)
def test_dependencies_point_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    found = {
        str(path.relative_to(ROOT)): sorted(imports(path) & set(forbidden))
        for path in files(VEHICLE / folder)
        if path.parent != VEHICLE / 'commands' and imports(path) & set(forbidden)
    }
    assert not found


def test_importing_the_vehicle_side_loads_neither_torch_nor_the_workstation_side() -> None:
    modules = [
        '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
        for path in files(VEHICLE)
    ]
    program = (
        'import importlib, sys\n'
        f'for name in {modules!r}: importlib.import_module(name)\n'
        "print(*sorted({'torch', 'offline_training'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ''


def test_what_uses_an_exported_model_needs_no_pytorch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        'import offline_training.evaluation.evaluate\n'
        'import drive_segment_ros.progress, offline_training.deploy.segment\n'
    )
    run = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize('package', ['drive_segment_ros', 'offline_training'])
def test_every_folder_says_what_it_is_for(package: str) -> None:
    for folder in {path.parent for path in files(ROOT / package)}:
        module = folder / '__init__.py'
        assert module.exists(), f'{folder} has no __init__.py'
        text = ast.get_docstring(ast.parse(module.read_text(encoding='utf-8')))
        assert text, f'{module} has no docstring'
        assert len(text.splitlines()) <= 5, f'{module}: two lines or so, not {text!r}'


def test_manifest_is_what_colcon_takes_for_a_ros_python_package() -> None:
    assert MANIFEST.get('format') == '3'
    assert MANIFEST.findtext('export/build_type') == 'ament_python'
    maintainer = MANIFEST.find('maintainer')
    assert maintainer is not None
    # colcon silently treats the package as plain Python if this is not an email address.
    assert re.fullmatch(
        r'[-a-zA-Z0-9_%+]+(\.[-a-zA-Z0-9_%+]+)*@[-a-zA-Z0-9%]+(\.[-a-zA-Z0-9%]+)*'
        r'\.[a-zA-Z]{2,}',
        maintainer.get('email', ''),
    )
    assert (ROOT / 'resource' / str(MANIFEST.findtext('name'))).exists()


def test_manifest_names_only_keys_that_rosdep_knows() -> None:
    named = {str(node.text) for node in MANIFEST if node.tag.endswith('depend')}
    assert named
    assert named <= ROSDEP_KEYS


def test_manifest_declares_every_ros_package_that_is_imported() -> None:
    imported = {name for folder in (VEHICLE, ROOT / 'launch') for p in files(folder)
                for name in imports(p)}  # fmt: skip
    declared = {str(node.text) for node in MANIFEST if node.tag == 'exec_depend'}
    of_ros = {n for n in imported if n in ROSDEP_KEYS or n.endswith(('_msgs', '_interfaces'))}
    assert 'rcl_interfaces' in of_ros
    assert of_ros <= declared
    # So that every vehicle can run exported models, whatever else is installed.
    assert 'python3-onnxruntime-pip' in declared


def test_every_ros_package_that_is_declared_is_imported() -> None:
    used: set[str] = set().union(*map(imports, files(VEHICLE)))
    declared = {str(node.text) for node in MANIFEST if node.tag == 'exec_depend'}
    assert {name for name in declared if not name.startswith('python3-')} - used == set()


def test_every_dependency_is_pinned() -> None:
    calls = (
        node
        for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup'
    )
    keywords = {keyword.arg: keyword.value for keyword in next(calls).keywords}
    extras = ast.literal_eval(keywords['extras_require'])
    needed = {
        re.split(r'[\[<>=!~]', requirement)[0].lower()
        for requirements in [ast.literal_eval(keywords['install_requires']), *extras.values()]
        for requirement in requirements
    }
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    pinned = {line.split('==')[0] for line in lines if not line.startswith('#')}
    # TensorRT has to fit the vehicle's GPU and driver, so the vehicle chooses its version.
    assert needed - pinned == {'cuda-python', 'tensorrt'}
    assert 'torch' not in str(ast.literal_eval(keywords['install_requires']))


def test_one_version_everywhere() -> None:
    version = MANIFEST.findtext('version')
    changelog = (ROOT / 'CHANGELOG.rst').read_text(encoding='utf-8')
    newest = re.search(r'^(\d+\.\d+\.\d+) \(', changelog, re.MULTILINE)
    citation = re.search(r'^version: (\S+)$', (ROOT / 'CITATION.cff').read_text(), re.MULTILINE)
    assert newest is not None
    assert citation is not None
    assert drive_segment_ros.__version__ == version
    assert newest[1] == version
    assert citation[1] == version
    # setup.py reads the version from package.xml, so that there is no further copy.
    assert "MANIFEST.findtext('version')" in (ROOT / 'setup.py').read_text()


def test_readme_opens_with_two_commands_that_make_knows() -> None:
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    first_block = re.search(r'```\w*\n(.*?)```', readme, re.DOTALL)
    assert first_block is not None
    commands = re.findall(r'^make (\w+)', first_block[1], re.MULTILINE)
    targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    assert len(commands) == 2
    assert set(commands) <= set(targets)


def test_commands_named_in_the_readme_exist() -> None:
    import typer

    from drive_segment_ros.cli import app

    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    named = set(re.findall(r'drive-segment ([a-z][a-z-]*)', readme))
    command = typer.main.get_command(app)
    assert named
    assert named <= set(command.commands)  # type: ignore[attr-defined]


def test_make_says_its_targets_and_removes_no_results() -> None:
    def made(*arguments: str) -> str:
        command = ['make', '-C', str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert 'make demo' in made('help')
    assert 'demo_output' not in made('-n', 'clean', 'demo')
