"""`segment` writes the same bytes with any number of workers, local or in a cluster."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clusters import Cluster
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from typer.testing import CliRunner

from drive_segment_ros.cli import app
from offline_training.deploy import segment as segment_module
from offline_training.deploy.segment import segment
from offline_training.evaluation.image_part import IMAGES_A_PART
from offline_training.evaluation.image_sources import image_parts
from offline_training.networks.segmenter import NetworkConfiguration, Segmenter
from offline_training.training.checkpoints import save_model

TOPIC = '/camera/front/image_raw/compressed'
FRAMES = IMAGES_A_PART + 8


def noise(seed: int) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 255, (24, 36, 3)).astype(np.uint8)
    return cv2.blur(image, (5, 5))


def write_bag(path: Path) -> None:
    """Write a bag whose clock is set back before its last third; one image is truncated."""
    types, kind = get_typestore(Stores.ROS2_JAZZY), 'sensor_msgs/msg/CompressedImage'
    stamp, header = (
        types.types[n] for n in ('builtin_interfaces/msg/Time', 'std_msgs/msg/Header')
    )
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection(TOPIC, kind, typestore=types)
        for number in range(3 * IMAGES_A_PART):
            second = number % (2 * IMAGES_A_PART)
            data = cv2.imencode('.png', noise(number))[1].reshape(-1)
            if number == 5:
                data = data[:9]
            image = types.types[kind](header(stamp(second + 1, 0), 'camera'), 'png', data)
            writer.write(topic, 10**9 * (100 + number), types.serialize_cdr(image, kind))


def write_video(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (36, 24))
    for number in range(FRAMES):
        writer.write(noise(number))
    writer.release()


@pytest.fixture(scope='module')
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('inputs')
    torch.manual_seed(0)
    network = Segmenter(NetworkConfiguration(3, 32, 48, 32, depth=1, heads=2))
    save_model(folder / 'run/student/model.safetensors', network, {})
    write_bag(folder / 'bag')
    write_video(folder / 'drive.avi')
    (folder / 'images').mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f'images/{number}.png'), noise(number))
    return folder


def sources(inputs: Path) -> list[Path]:
    return [inputs / name for name in ('bag', 'drive.avi', 'images')]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.fixture(scope='module')
def alone(inputs: Path, tmp_path_factory) -> tuple[dict[str, object], Path]:
    output = tmp_path_factory.mktemp('alone') / 'out'
    shown = []

    def show(items):
        for item in items:
            shown.append(item)
            yield item

    report = segment(inputs / 'run', sources(inputs), output, progress=show, workers=1)
    assert shown == list(range(3 * IMAGES_A_PART + 2 * FRAMES))
    return report, output


def test_stamps_that_come_again_in_another_part_get_a_number(alone) -> None:
    report, output = alone
    assert report['images'] == 3 * IMAGES_A_PART - 1 + 2 * FRAMES
    assert report['skipped'] == [
        f"{TOPIC} at 105000000000: image 6.000000000 of camera of format 'png' is truncated or "
        'broken: no size in 9 bytes of png'
    ]
    assert report['failed'] == {}
    names = {path.stem for path in (output / f'label/bag{TOPIC}').iterdir()}
    seconds = range(1, 2 * IMAGES_A_PART + 1)
    first = {f'{second}000000000' for second in seconds if second != 6}
    again = {f'{second}000000000_1' for second in seconds[:IMAGES_A_PART]}
    assert names == first | again
    # The image with suffix _1 is that of the later message.
    later = output / f'overlay/bag{TOPIC}/3000000000_1.png'
    color = output / f'color/bag{TOPIC}/3000000000_1.png'
    colours = cv2.imread(str(color))
    # The legend is below the image.
    blended = cv2.imread(str(later))[: len(colours)].astype(float) * 2 - colours
    assert np.abs(blended - noise(2 * IMAGES_A_PART + 2)).max() <= 2


@pytest.mark.parametrize('where', ['two processes', 'a cluster'])
def test_pictures_do_not_depend_on_who_segments(where, inputs, alone, tmp_path) -> None:
    cluster = Cluster(tmp_path) if where == 'a cluster' else None
    try:
        address = cluster.address if cluster else ''
        report = segment(
            inputs / 'run', sources(inputs), tmp_path / 'out', workers=2, scheduler=address
        )
    finally:
        if cluster:
            cluster.close()
    assert {**report, 'output': ''} == {**alone[0], 'output': ''}
    assert digests(tmp_path / 'out') == digests(alone[1])


def test_going_on_by_other_workers_reads_only_what_is_left(inputs, alone, tmp_path) -> None:
    output = tmp_path / 'out'
    segment(inputs / 'run', [inputs / 'drive.avi'], output, workers=1)
    for number in (0, FRAMES - 1):
        (output / f'color/drive/{number:06d}.png').unlink()
    report = segment(inputs / 'run', [inputs / 'drive.avi'], output, resume=True, workers=2)
    assert (report['images'], report['kept']) == (2, FRAMES - 2)
    of_drive = {
        name.replace('/drive.avi/', '/'): digest
        for name, digest in digests(alone[1]).items()
        if 'drive.avi' in name
    }
    assert {k: v for k, v in digests(output).items() if k != 'segment.json'} == of_drive


def test_images_that_end_every_worker_are_named_and_the_rest_is_done(
    inputs, tmp_path, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from deadly_part import DeadlyPart

    (first, *_, last) = image_parts(inputs / 'images')
    monkeypatch.setattr(segment_module, 'image_parts', lambda *_: [first, DeadlyPart(), last])
    arguments = ['segment', inputs / 'run', inputs / 'images', '-o', tmp_path / 'out']
    ended = CliRunner().invoke(app, [*map(str, arguments), '--workers', '2', '--json'])
    assert ended.exit_code == 3, ended.output
    report = json.loads(ended.stdout)
    assert report['images'] == FRAMES
    assert list(report['failed']) == ['deadly.png']
    assert 'the process was ended from outside' in report['failed']['deadly.png']
    assert 'error: deadly.png: the process was ended' in ended.stderr
    assert sys.modules['deadly_part']
    assert len(list((tmp_path / 'out/overlay').glob('*.png'))) == FRAMES
