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


# Layers that a layer of `drive_segment_ros` may import; modules outside these are not checked.
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


def test_folders_of_the_workstation_are_in_the_order_data_flows() -> None:
    """Listed folders import no later stage; `common`, `networks` and `bags` import no learning."""
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
