"""The layers of the package: imports go one way, see docs/design.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
_VEHICLE, _OFFLINE = 'drive_segment_ros', 'offline_training'


def _files(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob('*.py'))


def _imports(file: Path) -> set[str]:
    """Return the modules of ours that a file imports, wherever in it, types only included."""
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
    """Return the modules that each module of ours imports."""
    files = {_module(file): file for package in (_VEHICLE, _OFFLINE) for file in _files(package)}
    return {name: _imports(file) & files.keys() - {name} for name, file in files.items()}


# What each layer of the vehicle's half may import, beside itself and what lies beside the layers.
_ALLOWED = {
    'perception': set(),
    'dataset': {'perception'},
    'inference': {'perception'},
    'recording': {'perception', 'dataset', 'inference'},
    'ros': {'perception', 'dataset', 'inference'},
    'nodes': {'perception', 'dataset', 'inference', 'recording', 'ros'},
}


@pytest.mark.parametrize('layer', _ALLOWED)
def test_a_layer_imports_only_those_below(layer: str) -> None:
    """No file of a layer imports one of a layer above it."""
    allowed = _ALLOWED[layer] | {layer}
    layers = {*_ALLOWED, 'commands'}
    for file in _files(f'{_VEHICLE}/{layer}'):
        for module in _imports(file):
            package, _, rest = module.partition('.')
            assert package == _VEHICLE, f'{file} imports {module}'
            into = rest.split('.')[0]
            assert into not in layers - allowed, f'{file} imports {module}'


def test_commands_are_imported_by_nothing() -> None:
    """They are the front door of both halves."""
    door = f'{_VEHICLE}.commands'
    for name, imported in _graph().items():
        if not name.startswith(door) and name != f'{_VEHICLE}.cli':
            assert not [module for module in imported if module.startswith(door)], name


def test_there_is_no_cycle() -> None:
    """No two modules import each other, in whatever way, for types alone neither."""
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


def test_folders_of_the_workstation_are_in_the_order_data_flows() -> None:
    """What is common to the stages knows none of them; nothing learns while bags are read."""
    learning = {'pseudo_labels', 'training', 'evaluation', 'deploy', 'view', 'report', 'demo'}
    later = {
        'common': {*learning, 'bags', 'networks'},
        'networks': {*learning, 'bags'},
        'bags': {*learning, 'networks'},
        'simulator': learning,
        'pseudo_labels': {'training', 'evaluation', 'deploy', 'view', 'report', 'demo'},
        'training': {'evaluation', 'deploy', 'view', 'report', 'demo'},
        'deploy': {'view', 'report', 'demo'},
        'view': {'report', 'demo'},
        'report': {'demo'},
    }
    for folder, forbidden in later.items():
        for file in _files(f'{_OFFLINE}/{folder}'):
            into = {module.split('.')[1] for module in _imports(file) if module.count('.')}
            wrong = into & forbidden
            assert not wrong, f'{file.relative_to(REPOSITORY)} imports of {wrong}'
