"""Describes a path by its name and content, for errors about a path of the wrong kind."""

from __future__ import annotations

from pathlib import Path

from drive_segment_ros.errors import StorageError
from drive_segment_ros.storage import is_remote, is_there

# A file's name, or what it ends in, and what it is.
_FILES = {
    'model.onnx': 'the graph of an exported model (give its folder)',
    'model.json': 'the description of an exported model (give its folder)',
    'run.json': 'the description of a run (give its folder)',
    'drive.json': 'the description of a drive',
    'frames.jsonl': 'the index of a camera of a drive',
    'metadata.yaml': 'the metadata of a bag (give its folder)',
    'classes.yaml': 'a list of pseudo-classes',
    'checkpoint.safetensors': 'a checkpoint, which only `train --resume` reads',
    '.onnx': 'an ONNX graph',
    '.safetensors': "a network's weights",
    '.mcap': 'a bag',
    '.db3': 'a bag',
    '.bag': 'a bag',
    '.active': 'a bag',
    '.yaml': 'a YAML file',
    '.json': 'a JSON file',
    '.html': 'a page',
    **dict.fromkeys(
        ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp'),
        'an image',
    ),
    **dict.fromkeys(('.mp4', '.avi', '.mkv', '.mov', '.webm'), 'a video'),
}
# Content of a folder and its description, the more specific first.
_FOLDERS = {
    'model.json': 'an exported model',
    'model.onnx': 'an exported model without its model.json',
    'baseline.npz': 'a baseline',
    'demo.json': "a demo's folder",
    'experiment.json': 'an experiment of `ablate`',
    'run.json': 'a run',
    'model.safetensors': 'a stage of a run',
    'checkpoint.safetensors': 'a stage of a run that was not finished',
    'student*/model.safetensors': 'a run',
    'drive.json': 'one drive of a dataset',
    'frames.jsonl': 'one camera of a drive',
    '*/drive.json': 'a dataset',
    'metadata.yaml': 'a bag',
    '*.mcap': 'a bag',
    '*.db3': 'a bag',
    '*.bag': 'a bag',
    '*.bag.active': 'a bag',
    '*.png': 'a folder of images',
    '*.jpg': 'a folder of images',
}


def what_is(path: Path) -> str:
    """Return what a path is, in a few words."""
    if path.is_file():
        other = f'a file of another kind ({path.suffix or "no suffix"})'
        return _FILES.get(path.name) or _FILES.get(path.suffix.lower(), other)
    if not path.is_dir():
        return 'a broken link' if path.is_symlink() else 'no file or folder'
    for pattern, what in _FOLDERS.items():
        if next(path.glob(pattern), None) is not None:
            return what
    empty = next(path.iterdir(), None) is None
    return 'an empty folder' if empty else 'a folder with other content'


def not_wanted(path: Path, wanted: str, advice: str) -> str:
    """Return the message for a path that does not exist or is of the wrong kind.

    Args:
        path: as given.
        wanted: the expected kind, such as `a run`.
        advice: how to get one.

    Raises:
        StorageError: if remote storage cannot be queried.
    """
    try:
        missing = not is_there(path) and (is_remote(path) or not path.is_symlink())
    except OSError as err:
        raise StorageError(f'{path}: {err.strerror}') from err
    if missing:
        return f'{path} does not exist; {advice}'
    return f'{path} is {what_is(path)}, not {wanted}; {advice}'
