"""Locates exported models: folders, object storage, web servers and model hubs.

From a web server or a hub only the two files of a model are fetched, `model.json` and the graph it
names: data, no code. The graph's hash is checked when it is read (`read_model`); an address can
pin it: `https://host/model#sha256=HASH`.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from drive_segment_ros.errors import DependencyError, ModelError, StorageError
from drive_segment_ros.inference.model import DESCRIPTION_FILE
from drive_segment_ros.storage import expanded, location, read_whole, write_whole
from drive_segment_ros.text_files import parse_json

_HUB, _WEB = 'hf://', ('http://', 'https://')
_PIN = '#sha256='
# Shortest prefix of a hash that is unique in practice.
_SHORTEST_PIN = 12
_LARGEST_DESCRIPTION = 1 << 20
_REPOSITORY = re.compile(r'([\w.-]+/[\w.-]+)(?:@([\w./-]+))?')


def model_location(text: str | Path) -> Path:
    """Return the folder of a model, fetched if it is on a hub or a web server.

    Args:
        text: a path; a URL of object storage, which is returned as such; `hf://OWNER/NAME`, or
            `hf://OWNER/NAME@REVISION`; or `http(s)://` and the folder of the model's files. The
            last two may end in `#sha256=` and the hash of the graph, at least 12 digits of it.

    Raises:
        DependencyError: if a package that is needed is not installed.
        StorageError: if it cannot be fetched, or there is no such home folder.
        ModelError: if there is no exported model, or its graph is not the one pinned.
    """
    if not isinstance(text, str) or not text.startswith((_HUB, *_WEB)):
        if _PIN in str(text):
            raise ModelError(f'{text}: only addresses of hf://, http:// and https:// pin a hash')
        return expanded(text)
    address, _, pin = text.partition(_PIN)
    if _PIN in text and not re.fullmatch(rf'[0-9a-f]{{{_SHORTEST_PIN},64}}', pin):
        raise ModelError(
            f'{text}: a pinned hash has {_SHORTEST_PIN} to 64 hexadecimal digits; take the '
            'sha256 printed by `drive-segment export --json`'
        )
    if address.startswith(_HUB):
        return _from_hub(address, pin)
    return _from_web(address.rstrip('/'), pin)


def _from_hub(address: str, pin: str) -> Path:
    """Fetch a model into the hub's own cache, both files of one revision."""
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
    except ModuleNotFoundError as err:
        raise DependencyError(f"{address} needs huggingface_hub; pip install '.[hub]'") from err
    found = _REPOSITORY.fullmatch(address.removeprefix(_HUB))
    if not found:
        raise StorageError(f'{address} is not a repository; give hf://OWNER/NAME[@REVISION]')
    where: dict[str, Any] = {'repo_id': found[1], 'endpoint': os.environ.get('HF_ENDPOINT')}
    try:
        file = huggingface_hub.hf_hub_download(
            filename=DESCRIPTION_FILE, revision=found[2], **where
        )
        graph = _graph_name(address, Path(file).read_bytes(), pin)
        # The revision may change between the two downloads.
        huggingface_hub.hf_hub_download(filename=graph, revision=Path(file).parent.name, **where)
    except EntryNotFoundError as err:
        raise ModelError(
            f'{address} holds no exported model ({_first_line(err)}); upload the folder '
            'written by `drive-segment export`'
        ) from err
    except (HfHubHTTPError, OSError, ValueError) as err:
        raise StorageError(
            f'cannot read {address}: {_first_line(err)}; check its name, HF_TOKEN for a private '
            'one, and the network'
        ) from err
    return Path(file).parent


def _from_web(address: str, pin: str) -> Path:
    """Fetch a model into scratch space that goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix='drive_segment_model_'))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        description = read_whole(location(f'{address}/{DESCRIPTION_FILE}'), _LARGEST_DESCRIPTION)
        graph = _graph_name(address, description, pin)
        write_whole(folder / graph, read_whole(location(f'{address}/{graph}')))
        write_whole(folder / DESCRIPTION_FILE, description)
    except FileNotFoundError as err:
        raise ModelError(
            f'{err.filename} is not there; give the address of the folder that '
            '`drive-segment export` wrote'
        ) from err
    except ModuleNotFoundError as err:
        raise DependencyError(f"{address} needs {err.name}; pip install '.[hub]'") from err
    except OSError as err:
        raise StorageError(f'cannot read {address}: {err.strerror or err}') from err
    except ValueError as err:
        raise ModelError(f'{address}/{DESCRIPTION_FILE} is damaged: {err}') from err
    return folder


def _graph_name(address: str, description: bytes, pin: str) -> str:
    """Return the name of the graph's file, from the content of `model.json`.

    Raises:
        ModelError: if it is damaged, or the graph is another one than pinned.
    """
    try:
        onnx = parse_json(description)['onnx']
        name, digest = PurePosixPath(onnx['file']), str(onnx['sha256'])
    except (KeyError, TypeError, ValueError) as err:
        raise ModelError(
            f'{address}/{DESCRIPTION_FILE} is damaged: {err}; export the model again'
        ) from err
    if name.suffix != '.onnx' or len(name.parts) != 1:
        raise ModelError(f'{address} names {str(name)!r} as its graph, which is no .onnx file')
    if not digest.startswith(pin):
        raise ModelError(
            f'{address} is not the model that was pinned: its graph has sha256 {digest[:12]}, '
            f'not {pin[:12]}'
        )
    return name.name


def _first_line(err: Exception) -> str:
    return ' '.join(str(err).split('\n\n')[0].split()).rstrip('.')
