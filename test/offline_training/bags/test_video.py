"""Bags with encoded video are processed like bags with single images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.frame.events import Image
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.ros.bags import BagReader, header_stamp_ns
from drive_segment_ros.ros.images import decode_image
from drive_segment_ros.ros.video import primed
from offline_training.bags.bag_rig import find_rig
from offline_training.bags.extract import ExtractOptions, extract
from offline_training.evaluation.image_sources import image_parts

COUNT, GROUP = 12, 5
FFMPEG = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
FOXGLOVE = 'foxglove_msgs/msg/CompressedVideo'
STORE = get_typestore(Stores.ROS2_JAZZY)
STORE.register(
    get_types_from_msg(
        'std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n'
        'uint8 flags\nbool is_bigendian\nuint8[] data',
        FFMPEG,
    )
)
STORE.register(
    get_types_from_msg(
        'builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format', FOXGLOVE
    )
)
KINDS = {
    FFMPEG: ('/camera/front/image_raw/ffmpeg', 'libx264', 'h264'),
    FOXGLOVE: ('/camera/front/image_raw/foxglove', 'libx265', 'hevc'),
}


@pytest.fixture(params=KINDS)
def video_bag(make_bag, tmp_path: Path, encode_video, decode_video, request):
    """Return a bag with encoded video, and its decoded images by stamp."""
    return write_video(make_bag(count=COUNT), tmp_path, encode_video, decode_video, request.param)


def write_video(bag: Path, folder: Path, encode_video, decode_video, kind: str, lost: int = 0):
    """Copy a bag, with its images encoded as video, without the first `lost` packets.

    Returns:
        The bag, and the decoded images of all packets by stamp.
    """
    topic, encoder, codec = KINDS[kind]
    path = folder / 'video'
    with BagReader(bag) as reader:
        messages = list(reader.messages())
        images = [reader.deserialize(m.raw, m.msgtype) for m in messages if 'image_raw' in m.topic]
        packets = encode_video([decode_image(image) for image in images], encoder, GROUP)
        pictures = decode_video(codec, packets)
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connections = {
                t.name: writer.add_connection(
                    topic if 'image_raw' in t.name else t.name,
                    kind if 'image_raw' in t.name else t.type,
                    typestore=STORE,
                )
                for t in reader.topics.values()
            }
            number = 0
            for message in messages:
                raw = message.raw
                if 'image_raw' in message.topic:
                    video = _video(kind, images[number].header, packets[number], codec)
                    raw = STORE.serialize_cdr(video, kind)
                    number += 1
                    if number <= lost:
                        continue
                writer.write(connections[message.topic], message.bag_stamp_ns, bytes(raw))
    stamps = [header_stamp_ns(image) for image in images]
    return path, {stamp: pictures[k] for k, stamp in enumerate(stamps)}


def _video(kind: str, header, packet: tuple[int, bytes], codec: str):
    data = np.frombuffer(packet[1], np.uint8)
    if kind == FFMPEG:
        return STORE.types[kind](
            header, 160, 120, f'{codec};yuv420p;bgr8', packet[0], 0, False, data
        )
    return STORE.types[kind](header.stamp, header.frame_id, data, 'h265')


def stored(drive: Path) -> dict[int, np.ndarray]:
    return {int(p.stem): cv2.imread(str(p)) for p in (drive / 'front/image').glob('*.png')}


@pytest.mark.parametrize('workers', [1, 2])
def test_extract_stores_what_the_decoder_gives(video_bag, tmp_path: Path, workers: int) -> None:
    bag, pictures = video_bag
    options = ExtractOptions(workers=workers)
    report = extract([bag], tmp_path / 'dataset', FrameParameters(), options)
    assert (report.frames, report.images, dict(report.dropped)) == (COUNT, COUNT, {})
    found = stored(tmp_path / 'dataset/video')
    assert found.keys() == pictures.keys()
    assert all(np.array_equal(found[stamp], pictures[stamp]) for stamp in pictures)


@pytest.mark.parametrize('kind', KINDS)
def test_images_before_the_first_key_frame_are_counted_and_told(
    make_bag, tmp_path: Path, encode_video, decode_video, kind: str
) -> None:
    bag, pictures = write_video(
        make_bag(count=COUNT), tmp_path, encode_video, decode_video, kind, lost=2
    )
    arguments = ['extract', str(bag), '-o', str(tmp_path / 'dataset'), '--workers', '1']
    result = CliRunner().invoke(cli.app, [*arguments, '--json'])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report['frames'], report['dropped']) == (COUNT - GROUP, {'incomplete_video': 3})
    assert 'no key frame of its video came before it' in result.stderr
    found = stored(tmp_path / 'dataset/video')
    assert sorted(found) == sorted(pictures)[GROUP:]
    assert all(np.array_equal(found[stamp], pictures[stamp]) for stamp in found)
    told = CliRunner().invoke(cli.app, ['inspect', str(bag)])
    assert 'the first 3 images cannot be decoded' in told.stdout
    assert 'extract drops such images as incomplete_video' in told.stdout


def test_inspect_knows_the_camera_and_finds_nothing_wrong(video_bag, make_bag) -> None:
    bag, _ = video_bag
    result = CliRunner().invoke(cli.app, ['inspect', str(bag), '--json'])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    (camera,) = report['cameras']
    assert (camera['name'], camera['width'], camera['height']) == ('front', 160, 120)
    assert camera['encoding'] in ('h264;yuv420p;bgr8', 'h265')
    assert camera['info_topic'] == '/camera/front/camera_info'
    whole = json.loads(
        CliRunner().invoke(cli.app, ['inspect', str(bag.with_name('drive')), '--json']).stdout
    )
    assert report['problems'] == whole['problems']


def test_segment_and_random_access_see_the_same(video_bag, monkeypatch) -> None:
    bag, pictures = video_bag
    skipped: list[str] = []
    monkeypatch.setattr('offline_training.evaluation.image_sources.IMAGES_A_PART', 3)
    assert len(image_parts(bag)) == 4
    found = {
        int(name.rpartition('/')[2]): image
        for part in image_parts(bag)
        for name, image in part.images(skipped, lambda name: True)
    }
    assert skipped == []
    assert all(np.array_equal(found[stamp], pictures[stamp]) for stamp in pictures)
    monkeypatch.setattr('drive_segment_ros.ros.video._LOOK_BACK_S', (0, 2))
    with BagReader(bag) as reader:
        (topic,) = (name for name in reader.topics if 'image_raw' in name)
        for message in reader.messages([topic]):
            image = reader.deserialize(message.raw, message.msgtype)
            picture = primed(reader, topic, message.bag_stamp_ns).push(image).pixels
            assert np.array_equal(picture, pictures[header_stamp_ns(image)])


@pytest.mark.parametrize('begin', [0, 3, 5, 8, 11])
def test_a_part_of_the_recording_has_the_same_pictures(video_bag, begin: int) -> None:
    bag, pictures = video_bag
    stamps = sorted(pictures)
    with BagReader(bag) as reader:
        rig = find_rig(reader, FrameParameters())
        events = [event for _, event in rig.events(stamps[begin]) if isinstance(event, Image)]
        assert [event.stamp_ns for event in events] == stamps[begin:]
        for event in events:
            assert np.array_equal(event.content.decode(120, 160), pictures[event.stamp_ns])
