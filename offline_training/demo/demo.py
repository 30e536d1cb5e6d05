"""`drive-segment demo`: runs the whole pipeline by the commands that a user would type."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import BagError, OutputError
from drive_segment_ros.outputs import free_name, is_taken
from offline_training.demo.demo_runner import DemoRunner, say
from offline_training.report.sources import BASELINE_FOLDER, DEMO_FILE, HELD_OUT, LEARNED_FROM

# Default folder of the results; further demos write to `demo_output_2` and so on.
DEFAULT_OUTPUT = Path('demo_output')
# Seeds of the simulated towns and the duration of each drive, s: many towns give more variety
# than a long drive in one. Images are small, so that the demo takes minutes on two cores.
LEARNED_TOWNS = {1: 4.0, **dict.fromkeys((3, 4, 5, 8, 9, 10, 11), 2.0)}
HELD_OUT_TOWN, HELD_OUT_S = 2, 2.5
IMAGE_SIZE = '640x360'
# Frames of each town: the last two are held out for the validation curve.
LEARNED_FRAMES = ':-2'
# Number of training images of each network, and their width.
TRAINED_IMAGES = 2500
NETWORK_WIDTH = 320
# Timeout of `play` for the start of the node, which loads its model, and of `save-topic`.
WAIT_FOR_NODE_S = 30.0
# Time for the node to process the last message after it has been received.
SETTLE_S = 2.0


def demo(
    output: Path | None = None,
    bag: Path | None = None,
    program: Sequence[str] = ('drive-segment',),
) -> dict[str, Any]:
    """Run the pipeline from a recording to live masks and a report.

    Args:
        output: new folder for the results; None for `demo_output`, or the next free name.
        bag: recording of the drive. None simulates drives to train on and one to score on; a
            given bag has no ground truth, so that classes are not named or scored.
        program: command line that starts `drive-segment`.

    Returns:
        `output` and `report` (paths), and the results of the commands `extract`, `evaluate`,
        `live` and `save_topic`; `evaluate` is None for a given bag.

    Raises:
        BagError: if there is no such bag, or it lacks a camera, its camera_info or a LiDAR.
        OutputError: if `output` is not empty.
        DriveSegmentError: if a command fails; the message names it.
    """
    began = time.monotonic()
    if bag is not None and not bag.exists():
        raise BagError(f'{bag}: no such bag')
    output = _make_folder(output)
    run = DemoRunner(program, output / DEMO_FILE, _parts(bag))
    simulated = bag is None
    bags = _simulate(run, output) if bag is None else [bag]
    bag = bags[0]
    calibration = output / 'calibration.yaml'
    found = run('Inspect the bag', 'inspect', bag, '--calibration', calibration, '--json')
    topics = _topics(found, bag)
    sensors = ('--camera', topics['camera'], '--lidar', topics['lidar'], '--json')
    extracted = run(
        'Find objects in each sweep and project them into the images',
        *('extract', *bags, '-o', output / 'dataset', *sensors),
    )
    _learn(run, output, extracted['frames'])
    evaluated = None
    if simulated:
        _name(run, output, bag.name)
    run('Export one ONNX file', 'export', output / 'run', '-o', output / 'model', '--json')
    if simulated:
        evaluated = _evaluate(run, output, sensors)
    live, saved = _run_live(run, output, bag, calibration, topics)
    written = run('Write the report', 'report', output, '-o', output / 'report.html', '--json')
    result = {
        'output': str(output),
        'report': written['report'],
        'extract': extracted,
        'evaluate': evaluated,
        'live': live,
        'save_topic': saved,
    }
    say(f'\n{time.monotonic() - began:.0f} s, report: {written["report"]}')
    say(result_lines(result))
    return result


def result_lines(result: dict[str, Any]) -> str:
    """Return one line each on extraction, scores (if any) and live masks."""
    extracted, live, scores = result['extract'], result['live'], result['evaluate']
    parts = [f'{extracted["frames"]} of {extracted["images"]} images extracted']
    if scores is not None:
        parts.append(
            f'mIoU on the held-out drive: {scores["strict"]["miou"]:.1f} strict, '
            f'{scores["many_to_one"]["miou"]:.1f} many-to-one '
            f'(pixel accuracy {scores["strict"]["accuracy"]:.1f} %)'
        )
    masks = f'live: {live["frames"]} masks'
    if live['frames'] == 0:
        masks += f', dropped {live["dropped"]}'
    else:
        masks += (
            f', latency {live["latency_median_ms"]:.0f} ms (median), '
            f'{live["latency_p95_ms"]:.0f} ms (95th percentile)'
        )
    return '\n'.join([*parts, masks])


def _parts(bag: Path | None) -> dict[str, Any]:
    """Return the entries of demo.json on folders and drives, relative to the demo's folder."""
    folders = {name: name for name in ('run', 'model', 'scores', 'live')}
    folders['baseline'] = BASELINE_FOLDER
    if bag is None:
        drives = [_drive(LEARNED_FROM, 'dataset', _town(seed)) for seed in LEARNED_TOWNS]
        drives.append(_drive(HELD_OUT, 'held_out_dataset', _town(HELD_OUT_TOWN)))
    else:
        whole = {'dataset': 'dataset', 'bag': str(bag.resolve()), 'truth': None}
        drives = [{'role': LEARNED_FROM, **whole}]
    return {'folders': folders, 'drives': drives}


def _drive(role: str, dataset: str, name: str) -> dict[str, Any]:
    truth = f'{name}_truth/front/semantic'
    return {'role': role, 'dataset': dataset, 'name': name, 'bag': name, 'truth': truth}


def _town(seed: int) -> str:
    return f'town_{seed}'


def _simulate(run: DemoRunner, output: Path) -> list[Path]:
    """Simulate all drives; return the bags of the training drives."""
    drives = [('Simulate a drive to train on', *town) for town in LEARNED_TOWNS.items()]
    drives.append(('Simulate a drive in another town, to score on', HELD_OUT_TOWN, HELD_OUT_S))
    for title, seed, seconds in drives:
        run(
            title,
            *('simulate', '-o', output / _town(seed), '--seed', seed),
            *('--duration', seconds, '--size', IMAGE_SIZE, '--json'),
        )
    return [output / _town(seed) for seed in LEARNED_TOWNS]


def _learn(run: DemoRunner, output: Path, frames: int) -> None:
    dataset = output / 'dataset'
    run('Cluster similar objects into pseudo-classes', 'label', dataset, '--json')
    run(
        'Train teacher and student',
        *('train', dataset, '-o', output / 'run', '--epochs', max(TRAINED_IMAGES // frames, 1)),
        *('--frames', LEARNED_FRAMES, '--set', f'width={NETWORK_WIDTH}', '--json'),
    )


def _name(run: DemoRunner, output: Path, drive: str) -> None:
    run(
        'Name the pseudo-classes by the labels of one town',
        *('name', output / 'run', '--images', output / 'dataset' / drive / 'front/image'),
        *('--ground-truth', output / f'{drive}_truth/front/semantic', '--json'),
    )


def _evaluate(run: DemoRunner, output: Path, sensors: Sequence[str]) -> dict[str, Any]:
    held_out, dataset = output / _town(HELD_OUT_TOWN), output / 'held_out_dataset'
    run('Extract the held-out drive', 'extract', held_out, '-o', dataset, *sensors)
    labelled = (
        *(dataset / held_out.name / 'front/image', '--ground-truth'),
        output / f'{held_out.name}_truth/front/semantic',
    )
    scores = run(
        'Score the model on the held-out drive',
        *('evaluate', output / 'model', *labelled, '-o', output / 'scores', '--json'),
    )
    baseline = output / 'baseline'
    run(
        'Compute the baseline: clustering of the images alone',
        *('baseline', output / 'dataset', '-o', baseline, '--json'),
    )
    run(
        'Score the baseline in the same way',
        *('evaluate', baseline, *labelled, '-o', output / BASELINE_FOLDER, '--json'),
    )
    return scores


def _run_live(
    run: DemoRunner, output: Path, bag: Path, calibration: Path, topics: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Play the bag to a node in another process and save its masks; return both summaries."""
    node = run.beside(
        'Run the segmentation node ...',
        *('live', '--node', 'segmentation', '--model', output / 'model'),
        *('--calibration', calibration, '--camera', topics['namespace'], '--json'),
    )
    overlay = f'{topics["namespace"]}/segmentation/overlay/image_raw/compressed'
    saver = run.beside(
        '... save its masks as pictures ...',
        *('save-topic', overlay, '-o', output / 'live', '--json'),
    )
    with node as live, saver as saved:
        run(
            '... and play the bag',
            *('play', bag, '--wait', WAIT_FOR_NODE_S, '--wait-for', overlay, '--json'),
            *('--topic', topics['camera'], '--topic', topics['camera_info']),
        )
        time.sleep(SETTLE_S)
    return live.answer, saved.answer


def _topics(inspected: dict[str, Any], bag: Path) -> dict[str, str]:
    """Return the topics of the first camera and LiDAR in the output of `inspect`.

    Pairs with a known transform between them are preferred.

    Raises:
        BagError: if there is no camera, LiDAR or camera_info.
    """
    pairs = sorted(inspected['pairs'], key=lambda pair: not pair['transform'])
    if not pairs:
        raise BagError(f'{bag}: the demo needs a camera and a LiDAR; see `drive-segment inspect`')
    camera = pairs[0]['camera']
    info = {item['topic']: item['info_topic'] for item in inspected['cameras']}[camera]
    if info is None:
        raise BagError(f'{bag}: the demo needs the camera_info of {camera}; record it')
    return {
        'camera': camera,
        'camera_info': info,
        'lidar': pairs[0]['lidar'],
        'namespace': camera.removesuffix('/compressed').rpartition('/')[0],
    }


def _make_folder(output: Path | None) -> Path:
    if output is None:
        output = free_name(DEFAULT_OUTPUT)
        if output != DEFAULT_OUTPUT:
            say(f'{DEFAULT_OUTPUT} exists and is kept: this demo is written to {output}')
    elif is_taken(output):
        raise OutputError(f'{output} already exists; choose a new folder with -o, or omit -o')
    output.mkdir(parents=True, exist_ok=True)
    return output
