"""The layers of the packages: imports point one way, see docs/design.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
_VEHICLE, _OFFLINE = 'drive_segment_ros', 'offline_training'


def _files(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob('*.py'))


def _imports(file: Path) -> set[str]:
    """Return our modules that a file imports, also inside functions or for types only."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            modules.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                inner = f'{node.module}.{name.name}'
                path = REPOSITORY / inner.replace('.', '/')
                is_module = path.with_suffix('.py').is_file() or path.is_dir()
                modules.add(inner if is_module else node.module)
    return {name for name in modules if name.split('.')[0] in (_VEHICLE, _OFFLINE)}


def _module(file: Path) -> str:
    parts = file.relative_to(REPOSITORY).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def _graph() -> dict[str, set[str]]:
    """Return for each of our modules those of our modules that it imports."""
    files = {_module(file): file for package in (_VEHICLE, _OFFLINE) for file in _files(package)}
    return {name: _imports(file) & files.keys() - {name} for name, file in files.items()}


# Layers that a layer of `drive_segment_ros` may import.
_ALLOWED = {
    'perception': set(),
    'dataset': {'perception'},
    'inference': {'perception'},
    'frame': {'perception', 'dataset'},
    'recording': {'perception', 'dataset'},
    'ros': {'perception', 'dataset', 'inference', 'frame'},
    'nodes': {'perception', 'dataset', 'inference', 'frame', 'recording', 'ros'},
}
# Folders of `offline_training`; each may import those before it.
_STAGES = (
    *('common', 'bags', 'simulator', 'networks', 'pseudo_labels', 'training', 'pretraining'),
    *('evaluation', 'deploy', 'view', 'report', 'demo'),
)


def test_every_folder_has_its_place() -> None:
    """The tables above name every folder that holds modules."""

    def folders(package: str) -> set[str]:
        return {path.parent.name for path in (REPOSITORY / package).glob('*/__init__.py')}

    assert folders(_VEHICLE) == {*_ALLOWED, 'commands'}
    assert folders(_OFFLINE) == set(_STAGES)


@pytest.mark.parametrize('layer', _ALLOWED)
def test_a_layer_imports_only_those_below(layer: str) -> None:
    """A layer imports only its `_ALLOWED` layers, never the commands or `offline_training`."""
    allowed = _ALLOWED[layer] | {layer}
    layers = {*_ALLOWED, 'commands'}
    for file in _files(f'{_VEHICLE}/{layer}'):
        for module in _imports(file):
            package, _, rest = module.partition('.')
            assert package == _VEHICLE, f'{file} imports {module}'
            into = rest.split('.')[0]
            assert into not in layers - allowed, f'{file} imports {module}'


def test_commands_are_imported_by_nothing() -> None:
    """Only `cli` and the commands themselves import the commands."""
    door = f'{_VEHICLE}.commands'
    for name, imported in _graph().items():
        if not name.startswith(door) and name != f'{_VEHICLE}.cli':
            assert not [module for module in imported if module.startswith(door)], name


def test_there_is_no_cycle() -> None:
    """Imports of modules have no cycle, not even inside functions or for types only."""
    graph = _graph()
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, ' -> '.join((*path[path.index(name) :], name))
        if name in done:
            return
        for module in graph[name]:
            visit(module, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize('stage', _STAGES)
def test_a_stage_imports_only_those_before_it(stage: str) -> None:
    """A folder of `offline_training` imports no folder that comes later in `_STAGES`."""
    later = set(_STAGES[_STAGES.index(stage) + 1 :])
    for file in _files(f'{_OFFLINE}/{stage}'):
        ours = [m for m in _imports(file) if m.startswith(f'{_OFFLINE}.')]
        into = {module.split('.')[1] for module in ours}
        assert not into & later, f'{file.relative_to(REPOSITORY)} imports of {into & later}'
