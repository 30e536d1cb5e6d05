"""The model card: the README of an exported model, shown by model hubs."""

from __future__ import annotations

from typing import Any

import yaml

from drive_segment_ros.inference.model import Model

CARD_FILE = 'README.md'
_UNKNOWN = 'not recorded'


def model_card(model: Model) -> str:
    """Return the card of a model: front matter for hubs, then text.

    The licence is omitted: it depends on the training data and has to be added by the author.
    """
    front = {
        'library_name': 'drive_segment_ros',
        'pipeline_tag': 'image-segmentation',
        'tags': ['ros2', 'autonomous-driving', 'semantic-segmentation', 'self-supervised', 'onnx'],
    }
    names = [item.name for item in model.classes]
    training = model.provenance.get('training') or {}
    rows, columns = model.input_size
    out_rows, out_columns = model.output_size
    facts = {
        'input': f'`image`, 1 x {rows} x {columns} x 3, uint8, BGR',
        'output': f'`label` and `confidence`, each 1 x {out_rows} x {out_columns}, uint8',
        'precision': model.precision,
        'ONNX opset': str(model.opset),
        'sha256 of the graph': f'`{model.sha256}`',
        'exported by': str(model.provenance.get('exported_by', _UNKNOWN)),
        'trained by': _version(training),
        'network': _network(training),
        'training data': _data(training),
    }
    lines = [
        f'---\n{yaml.safe_dump(front, sort_keys=False)}---\n',
        '# Semantic segmentation learned from driving\n',
        'Segments images of a vehicle camera into pseudo-classes, which were learned from camera '
        'and LiDAR recordings without manual labels.\n',
        '| | |\n|---|---|',
        *(f'| {name} | {value} |' for name, value in facts.items()),
        '\n## Use\n',
        '```sh\ndrive-segment segment MODEL drive.mp4 -o masks\n'
        'ros2 launch drive_segment_ros segment.launch.py model:=MODEL camera:=/camera/front\n'
        '```\n',
        '`MODEL` is this folder, its URL, or `hf://OWNER/NAME` on a hub.\n',
        '## Classes\n',
        'Pseudo-classes have no meaning by themselves. Names, if any, were assigned after '
        'training, by hand or from a few labelled images.\n',
        '| label | name | colour |\n|---|---|---|',
        *(
            f'| {number} | {_cell(item.name)} | {", ".join(map(str, item.color))} |'
            for number, item in enumerate(model.classes)
        ),
        '\n## Limits\n',
        f'{len(set(names))} different names for {len(names)} pseudo-classes. Rare and thin things '
        'may have none. It was trained only on the places, the weather and the cameras of its '
        'training drives. Not for safety-critical use.\n',
        '## Licence\n',
        'To be added before publication. Weights trained on some published data sets may not be '
        'distributed, or only for non-commercial use.\n',
    ]
    return '\n'.join(lines)


def _version(training: dict[str, Any]) -> str:
    return f'drive_segment_ros {training["version"]}' if 'version' in training else _UNKNOWN


def _network(training: dict[str, Any]) -> str:
    measures = training.get('network') or {}
    known = [f'{name} {value}' for name, value in measures.items() if isinstance(value, int)]
    return ', '.join(known) or _UNKNOWN


def _data(training: dict[str, Any]) -> str:
    fingerprint = training.get('data')
    return f'frames of fingerprint `{fingerprint}`' if fingerprint else _UNKNOWN


def _cell(text: str) -> str:
    return text.replace('|', '\\|')
