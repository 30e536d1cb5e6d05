"""Generate the pages and tables of the docs that come from code and measurements.

python tools/make_docs.py             docs/parameters.md, docs/topics.md, docs/commands.md, and
                                      the parts between markers in docs/results.md,
                                      docs/speed.md, docs/fleet.md,
                                      docs/reproduce.md and README.md
python tools/make_docs.py demo_output also pictures in docs/images, from the output of a demo
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from drive_segment_ros.parameters import ParameterInfo, describe

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the modules beside this file
import command_reference
import measured_tables
from measured_tables import marked

DOCS = Path(__file__).resolve().parent.parent / 'docs'
GENERATED = '<!-- Written by tools/make_docs.py; do not edit. -->\n'
# Heading, how the parameters are set, and the dataclass that declares them.
PARAMETERS = (
    (
        'proposals_node',
        'config/proposals.yaml',
        'drive_segment_ros.nodes.proposals_node.ProposalsParameters',
    ),
    (
        'segmentation_node',
        'config/segmentation.yaml',
        'drive_segment_ros.nodes.segmentation_parameters.SegmentationParameters',
    ),
    (
        'pseudo_label_recorder_node',
        'config/recorder.yaml',
        'drive_segment_ros.nodes.pseudo_label_recorder_node.RecorderNodeParameters',
    ),
    (
        'extract',
        '`--params FILE`, `--set NAME=VALUE`',
        'drive_segment_ros.frame.parameters.FrameParameters',
    ),
    (
        'label',
        '`--params FILE`, `--set NAME=VALUE`',
        'offline_training.pseudo_labels.pseudo_classes.LabelParameters',
    ),
    (
        'pretrain',
        '`--params FILE`, `--set NAME=VALUE`',
        'offline_training.pretraining.pretrain.PretrainParameters',
    ),
    (
        'train',
        '`--params FILE`, `--set NAME=VALUE`',
        'offline_training.training.train.TrainParameters',
    ),
    (
        'simulate',
        '`--params FILE`, `--set NAME=VALUE`',
        'offline_training.simulator.SimulatorParameters',
    ),
)
INPUTS = {
    'image_raw': ('sensor_msgs/Image', 'the camera, raw or rectified'),
    'image_raw/compressed': (
        'sensor_msgs/CompressedImage',
        'JPEG or PNG; preferred over `image_raw` if both are published',
    ),
    'image_raw/ffmpeg`, `image_raw/foxglove': (
        'ffmpeg_image_transport_msgs/FFMPEGPacket, foxglove_msgs/CompressedVideo',
        'H.264 or H.265; used if neither of the above is published',
    ),
    'camera_info': ('sensor_msgs/CameraInfo', 'its calibration'),
    'points': (
        'sensor_msgs/PointCloud2',
        'x, y, z required; point times and `ring` used if present',
    ),
    'odom': ('nav_msgs/Odometry', "the vehicle's motion; takes precedence over /tf"),
    '/tf, /tf_static': ('tf2_msgs/TFMessage', 'motion and extrinsics, if tf2_msgs is installed'),
}
# Every published topic needs an entry here.
OUTPUTS = {
    'proposals/points': 'the sweep, coloured by segment',
    'proposals/image_raw': 'the image with its segments',
    'proposals/image_raw/compressed': 'the same as JPEG',
    'segmentation/label/image_raw': 'mono8, pseudo-class of each pixel, 255 for unknown',
    'segmentation/label/camera_info': "the camera's calibration at the mask's size",
    'segmentation/label/label_info': 'class names and colours, latched',
    'segmentation/color/image_raw': 'the mask in the colours of the classes',
    'segmentation/overlay/image_raw': 'the mask over the image',
    'segmentation/overlay/image_raw/compressed': 'the same as JPEG',
    'segmentation/overlay/camera_info': "the camera's calibration at the overlay's size",
    'segmentation/confidence/image_raw': 'mono8, 255 for certain',
    'segmentation/points': 'the sweep with colour, label and confidence of each point',
    '/diagnostics': 'rates, offsets, drops and their reasons',
}
# A stage of the report, and its file in docs/images.
PICTURES = {
    'Camera image': 'image',
    '1. LiDAR in the image': 'lidar',
    '2. Objects found': 'proposals',
    '3. Pseudo-labels': 'pseudo_labels',
    '4. Teacher': 'teacher',
    'Student': 'student',
    'Truth': 'truth',
}


def parameters_page() -> str:
    """Return docs/parameters.md."""
    parts = [
        f'{GENERATED}# Parameters\n\nEach is declared once, in a dataclass; the files in '
        '`config/`, the command line and this page are generated from it.\n'
    ]
    for title, set_by, name in PARAMETERS:
        module, _, cls = name.rpartition('.')
        parts.append(f'\n## {title}\n\nSet by {set_by}.\n')
        parts.append('\n| parameter | default | meaning |\n|---|---|---|\n')
        parts += [_line(info) for info in describe(getattr(importlib.import_module(module), cls))]
    return ''.join(parts)


def _line(info: ParameterInfo) -> str:
    facts = [
        f'{word} {value:g}'
        for word, value in (('at least', info.minimum), ('at most', info.maximum))
        if value is not None
    ]
    facts += [' or '.join(f'`{choice}`' for choice in info.choices)] if info.choices else []
    facts += ['may change while running'] if info.dynamic else []
    note = f' ({"; ".join(facts)})' if facts else ''
    meaning = info.help[:1].upper() + info.help[1:].rstrip('.')
    unit = f' {info.unit}' if info.unit else ''
    return f'| `{info.name}` | `{info.default!r}`{unit} | {_cell(meaning + note)} |\n'


def _cell(text: str) -> str:
    return text.replace('|', '\\|')


def topics_page() -> str:
    """Return docs/topics.md; needs rclpy, because nodes are created to list their publishers."""
    parts = [
        f"{GENERATED}# Topics\n\nNames are relative to the camera's namespace and can be remapped."
        ' Outputs without subscribers are not computed. A node with several cameras (parameter '
        "`cameras`) is in the vehicle's namespace, with `points`, `odom` and `proposals/points`; "
        "each camera's topics are in its own.\n\n## Subscribed\n\n| topic | type | meaning |\n"
        '|---|---|---|\n'
    ]
    parts += [f'| `{topic}` | {kind} | {text} |\n' for topic, (kind, text) in INPUTS.items()]
    for node, topics in published().items():
        parts.append(f'\n## Published by `{node}`\n\n| topic | type | meaning |\n|---|---|---|\n')
        parts += [f'| `{t}` | {kind} | {OUTPUTS[t]} |\n' for t, kind in sorted(topics.items())]
    return ''.join(parts)


def published() -> dict[str, dict[str, str]]:
    """Return the topics that each node publishes, and their types."""
    import rclpy

    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    from drive_segment_ros.nodes.lifecycle import ManagedNode
    from drive_segment_ros.nodes.mask_outputs import LABEL_INFO_TOPIC, MaskOutputs
    from drive_segment_ros.nodes.painted_cloud import POINTS_TOPIC
    from drive_segment_ros.nodes.proposals_node import ProposalsNode
    from drive_segment_ros.nodes.pseudo_label_recorder_node import PseudoLabelRecorderNode

    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    try:
        proposals = ProposalsNode(context=context)
        proposals.trigger_configure()
        # The segmentation node itself cannot be configured without a model.
        segmentation = ManagedNode('segmentation_node', context=context)
        MaskOutputs(segmentation, lambda info: False)
        recorder = PseudoLabelRecorderNode(context=context)
        found = {
            'proposals_node': _topics_of(proposals),
            'segmentation_node': {
                **_topics_of(segmentation),
                POINTS_TOPIC: 'sensor_msgs/PointCloud2',
                # The type depends on whether vision_msgs is installed.
                LABEL_INFO_TOPIC: 'vision_msgs/LabelInfo, else std_msgs/String (JSON)',
            },
            'pseudo_label_recorder_node': _topics_of(recorder),
        }
        for node in (proposals, segmentation, recorder):
            node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    return found


def _topics_of(node: Any) -> dict[str, str]:
    own = {}
    for publisher in node.publishers:
        topic = publisher.topic_name
        if topic.startswith(('/rosout', '/parameter_events')) or topic.endswith('_event'):
            continue
        package = publisher.msg_type.__module__.split('.')[0]
        name = topic if topic == '/diagnostics' else topic.lstrip('/')
        own[name] = f'{package}/{publisher.msg_type.__name__}'
    return own


def results_page(docs: Path = DOCS) -> str:
    """Return docs/results.md with its tables generated from the measurements.

    The block from `<!-- ablate NAME -->` to `<!-- end -->` is generated from
    docs/results/NAME.json, the `results.json` of an experiment; without that file it is unchanged.
    The block of `<!-- segments -->` is generated from docs/measured/segments.json.
    """
    from offline_training.evaluation.ablation_tables import markdown

    def tables(block: re.Match[str]) -> str:
        file = docs / 'results' / f'{block[2]}.json'
        if not file.is_file():
            return block[0]
        measured = json.loads(file.read_text(encoding='utf-8'))
        return f'{block[1]}\n{markdown(measured)}\n{block[3]}'

    page = (docs / 'results.md').read_text(encoding='utf-8')
    blocks = r'(<!-- ablate (\w+) -->\n).*?(<!-- end -->)'
    page = re.sub(blocks, tables, page, flags=re.DOTALL)
    return marked(page, 'segments', measured_tables.segment_table(docs))


def commands_page() -> str:
    """Return docs/commands.md."""
    return command_reference.commands_page(GENERATED)


def speed_page(docs: Path = DOCS) -> str:
    """Return docs/speed.md with its tables generated from the measurements."""
    page = (docs / 'speed.md').read_text(encoding='utf-8')
    return marked(page, 'speed', measured_tables.speed_tables(docs))


def fleet_page(docs: Path = DOCS) -> str:
    """Return docs/fleet.md with its table generated from the measurements."""
    page = (docs / 'fleet.md').read_text(encoding='utf-8')
    return marked(page, 'scale', measured_tables.scale_table(docs))


def reproduce_page(docs: Path = DOCS) -> str:
    """Return docs/reproduce.md with its table as measured."""
    page = (docs / 'reproduce.md').read_text(encoding='utf-8')
    return marked(page, 'requirements', measured_tables.requirements_table(docs))


def readme(docs: Path = DOCS) -> str:
    """Return README.md with the last lines of a demo, and the scores and timings of the docs."""
    page = (docs.parent / 'README.md').read_text(encoding='utf-8')
    printed = (docs / 'measured/demo.txt').read_text(encoding='utf-8')
    page = marked(page, 'demo', f'```text\n{printed}```\n')
    page = marked(page, 'results', measured_tables.score_summary(results_page(docs)))
    return marked(page, 'speed', measured_tables.speed_summary(docs))


def write_pictures(demo: Path) -> None:
    """Write pictures of each stage of one frame of a demo, and of one of its live masks."""
    from offline_training.report.class_gallery import names_of
    from offline_training.report.frames import sample_frames
    from offline_training.report.learned_from import frames_by_role
    from offline_training.report.pictures import live_pictures
    from offline_training.report.sources import find_sources
    from offline_training.training.run_folder import RUN_FILE

    sources = find_sources(demo)
    assert sources.run is not None
    run = json.loads((sources.run / RUN_FILE).read_text(encoding='utf-8'))
    classes = names_of(sources.run, sources.dataset)
    frame = sample_frames(sources, frames_by_role(sources, run), classes)[2]
    stages = {stage.name: stage.picture for stage in (*frame.result, *frame.origin)}
    pictures = {name: stages[stage] for stage, name in PICTURES.items()}
    pictures['live'] = live_pictures(sources.live)[2]
    for name, uri in pictures.items():
        data = base64.b64decode(uri.partition(',')[2])
        (DOCS / 'images' / f'{name}.webp').write_bytes(data)


def main() -> None:
    """Write the pages, and the pictures if a demo is given."""
    for name in ('parameters', 'topics', 'commands', 'results', 'speed', 'fleet', 'reproduce'):
        page = globals()[f'{name}_page']()
        (DOCS / f'{name}.md').write_text(page, encoding='utf-8')
    (DOCS.parent / 'README.md').write_text(readme(), encoding='utf-8')
    for demo in sys.argv[1:]:
        write_pictures(Path(demo))


if __name__ == '__main__':
    main()
