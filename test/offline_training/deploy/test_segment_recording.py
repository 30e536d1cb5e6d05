"""`segment --to bag` and `--to video`: bags for viewers and players, a video frame per image."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from drive_segment_ros import cli
from drive_segment_ros.ros.bags import BagReader, header_stamp_ns
from drive_segment_ros.ros.images import decode_image
from offline_training.common.files import write_png
from offline_training.evaluation.predictors import load_predictor

CAMERA = '/camera/front'
# Colours of the model's classes, RGB.
COLOURS = [(0, 0, 255), (0, 255, 0), (255, 0, 0)]


def segmented(*arguments: object, code: int = 0) -> dict:
    result = CliRunner().invoke(cli.app, ['segment', *map(str, arguments), '--json'])
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout) if code in (0, 3) else {'error': result.stderr}


def read(bag: Path) -> dict[str, list]:
    """Return all messages by topic, each with its bag stamp."""
    messages: dict[str, list] = {}
    with BagReader(bag) as reader:
        assert reader.damage == []
        for message in reader.messages():
            decoded = reader.deserialize(message.raw, message.msgtype)
            messages.setdefault(message.topic, []).append((message.bag_stamp_ns, decoded))
    return messages


def head(message) -> tuple[int, str]:
    """Return the stamp and frame_id of a message."""
    return header_stamp_ns(message), message.header.frame_id


def test_a_bag_of_masks_has_what_the_node_publishes_of_each_image(
    make_bag, model_folder, tmp_path
):
    bag = make_bag(count=5)
    report = segmented(model_folder, bag, '-o', tmp_path / 'masks', '--to', 'bag')
    assert (report['images'], report['masks'], report['clouds']) == (5, 5, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['drive', 'masks', 'model']
    originals, made = read(bag), read(tmp_path / 'masks')
    predictor = load_predictor(model_folder)
    images = originals[f'{CAMERA}/image_raw/compressed']
    for kind, encoding in (('label', 'mono8'), ('confidence', 'mono8'), ('color', 'bgr8')):
        topic = f'{CAMERA}/segmentation/{kind}/image_raw'
        for (at, image), (mask_at, mask) in zip(images, made[topic], strict=True):
            assert mask_at == at
            assert head(mask) == head(image)
            assert mask.encoding == encoding
            answer = predictor.predict(decode_image(image))
            assert (mask.height, mask.width) == answer.label.shape
            pixels = mask.data.reshape(*answer.label.shape, -1)
            if kind == 'color':
                assert (pixels == np.array(COLOURS)[answer.label][..., ::-1]).all()
            else:
                assert (pixels[..., 0] == getattr(answer, kind)).all()
    ((at, meaning),) = made[f'{CAMERA}/segmentation/label/label_info']
    assert [item.class_name for item in meaning.class_map] == [
        item.name for item in predictor.classes
    ]
    # camera_info is that of the image, scaled to the size of the mask.
    infos = made[f'{CAMERA}/segmentation/label/camera_info']
    assert [head(info) for _, info in infos] == [head(image) for _, image in images]
    assert (infos[0][1].width, infos[0][1].height) == (mask.width, mask.height)
    assert infos[0][1].k[0] == pytest.approx(100.0 * mask.width / 160)


def test_its_topics_are_those_of_the_node(make_bag, model_folder, tmp_path):
    pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')
    from drive_segment_ros.nodes.mask_outputs import LABEL_INFO_TOPIC, TOPICS
    from drive_segment_ros.nodes.painted_cloud import POINTS_TOPIC

    segmented(model_folder, make_bag(), '-o', tmp_path / 'masks', '--to', 'bag')
    with BagReader(tmp_path / 'masks') as reader:
        types = {name.removeprefix(f'{CAMERA}/'): t.type for name, t in reader.topics.items()}
    node = {name: f'sensor_msgs/msg/{kind.__name__}' for name, kind in TOPICS.items()}
    node |= {POINTS_TOPIC: 'sensor_msgs/msg/PointCloud2'}
    assert types == node | {LABEL_INFO_TOPIC: 'vision_msgs/msg/LabelInfo'}


def test_a_painted_cloud_is_that_of_its_sweep_in_the_colours_of_the_mask(
    make_bag, model_folder, tmp_path
):
    bag = make_bag(count=4)
    segmented(model_folder, bag, '-o', tmp_path / 'masks', '--to', 'bag')
    sweeps, made = read(bag)['/points'], read(tmp_path / 'masks')
    clouds = made[f'{CAMERA}/segmentation/points']
    assert [head(cloud) for _, cloud in clouds] == [head(sweep) for _, sweep in sweeps]
    # No cloud has a bag stamp before its sweep's.
    assert all(at >= sweep_at for (at, _), (sweep_at, _) in zip(clouds, sweeps, strict=True))
    cloud = clouds[0][1]
    kinds = {1: 'i1', 2: 'u1', 4: 'u2', 7: 'f4'}
    layout = np.dtype(
        {
            'names': [field.name for field in cloud.fields],
            'formats': [kinds[field.datatype] for field in cloud.fields],
            'offsets': [field.offset for field in cloud.fields],
            'itemsize': cloud.point_step,
        }
    )
    points = np.frombuffer(cloud.data.tobytes(), layout)
    assert len(points) > 1000
    packed = points['rgb'].copy().view('<u4')
    rgb = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=1)
    assert (rgb == np.array(COLOURS)[points['label']]).all()
    # Only points ahead are in the image.
    assert points['x'].min() > 0.0


def test_merged_it_has_all_messages_of_the_drive_as_they_were(make_bag, model_folder, tmp_path):
    bag = make_bag(cameras=('/camera/front', '/camera/left'), compressed=False)
    segmented(model_folder, bag, '-o', tmp_path / 'once', '--to', 'bag', '--merge')
    # Masks in a bag that was merged before are replaced.
    segmented(model_folder, tmp_path / 'once', '-o', tmp_path / 'both', '--to', 'bag', '--merge')
    assert (tmp_path / 'once/once.mcap').stat().st_size
    with BagReader(bag) as drive, BagReader(tmp_path / 'both') as both:
        originals = list(drive.messages())
        copies = list(both.messages(drive.topics))
        everything = [message.bag_stamp_ns for message in both.messages()]
        assert both.topics['/tf_static'].type == drive.topics['/tf_static'].type
        for side in ('front', 'left'):
            assert both.topics[f'/camera/{side}/segmentation/label/image_raw'].count == 4
            assert both.topics[f'/camera/{side}/segmentation/points'].count == 4
    assert sorted(copies) == sorted(originals)
    assert everything == sorted(everything)


def test_what_late_subscribers_need_is_latched(make_bag, model_folder, tmp_path):
    segmented(model_folder, make_bag(), '-o', tmp_path / 'masks', '--to', 'bag')
    with BagReader(tmp_path / 'masks') as reader:
        latched = {
            name
            for name, topic in reader.topics.items()
            if any(offer.durability.name == 'TRANSIENT_LOCAL' for offer in topic.qos)
        }
    assert latched == {f'{CAMERA}/segmentation/label/label_info'}


@pytest.mark.parametrize(('missing', 'calibrated'), [('info', False), ('lidar', True)])
def test_without_calibration_or_lidar_there_are_masks_and_no_clouds(
    make_bag, model_folder, tmp_path, missing, calibrated
):
    inputs = [model_folder, make_bag(**{missing: False}), '-o', tmp_path / 'masks']
    result = CliRunner().invoke(
        cli.app, ['segment', *map(str, inputs), '--to', 'bag', '--json'], catch_exceptions=False
    )
    report = json.loads(result.stdout)
    assert (report['masks'], report['clouds']) == (4, 0)
    with BagReader(tmp_path / 'masks') as reader:
        topics = set(reader.topics)
    assert (f'{CAMERA}/segmentation/label/camera_info' in topics) == calibrated
    assert not any('points' in name for name in topics)
    # Nothing is amiss where there is no LiDAR.
    assert ('no cloud is painted' in result.stderr) == (not calibrated)


def test_an_image_that_cannot_be_read_has_no_mask(make_bag, model_folder, tmp_path):
    bag = make_bag(cut=(f'{CAMERA}/image_raw/compressed', 1), kept=60)
    report = segmented(model_folder, bag, '-o', tmp_path / 'masks', '--to', 'bag')
    assert (report['images'], report['masks'], report['clouds']) == (3, 3, 3)
    assert len(report['skipped']) == 1
    video = segmented(model_folder, bag, '-o', tmp_path / 'masks.mp4', '--to', 'video')
    assert video['videos'] == {str(tmp_path / 'masks.mp4'): 3}


def frames_of(video: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(video))
    frames = []
    while True:
        there, frame = capture.read()
        if not there:
            return frames
        frames.append(frame)


@pytest.mark.parametrize('suffix', ['mp4', 'webm'])
def test_a_video_has_a_frame_for_each_image_and_a_legend(make_bag, model_folder, tmp_path, suffix):
    pytest.importorskip('av', reason="PyAV is not installed; pip install '.[video]'")
    file = tmp_path / f'masks.{suffix}'
    report = segmented(model_folder, make_bag(count=7), '-o', file, '--to', 'video')
    frames = frames_of(file)
    assert len(frames) == report['videos'][str(file)] == 7
    assert cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FPS) == pytest.approx(10.0, abs=0.1)
    assert frames[0].shape[1] == 160
    assert frames[0].shape[0] > 120
    # Each class in the mask has a patch in the legend; the tolerance is for lossy encoding.
    below = frames[0][120:].reshape(-1, 3).astype(int)
    seen = set(np.unique(load_predictor(model_folder).predict(frames[0][:120]).label).tolist())
    for number in seen:
        assert np.abs(below - COLOURS[number][::-1]).max(axis=1).min() < 60


def test_several_cameras_and_inputs_have_a_video_each(make_bag, model_folder, tmp_path):
    pytest.importorskip('av', reason="PyAV is not installed; pip install '.[video]'")
    bag = make_bag(cameras=('/camera/front', '/camera/left'))
    told = segmented(model_folder, bag, '-o', tmp_path / 'x.mp4', '--to', 'video', code=1)
    assert 'the inputs give 2: front, left; give a folder' in told['error']
    write_png(tmp_path / 'images/a.png', np.zeros((31, 41, 3), np.uint8))
    write_png(tmp_path / 'images/b.png', np.zeros((20, 60, 3), np.uint8))
    inputs = [bag, tmp_path / 'images']
    segmented(model_folder, *inputs, '-o', tmp_path / 'videos', '--to', 'video')
    found = {
        str(path.relative_to(tmp_path / 'videos')): len(frames_of(path))
        for path in (tmp_path / 'videos').rglob('*.mp4')
    }
    assert found == {'drive/front.mp4': 4, 'drive/left.mp4': 4, 'images.mp4': 2}


def test_inputs_without_a_readable_image_have_no_video_and_the_others_do(model_folder, tmp_path):
    pytest.importorskip('av', reason="PyAV is not installed; pip install '.[video]'")
    for name in ('bad', 'good'):
        write_png(tmp_path / name / 'a.png', np.zeros((31, 41, 3), np.uint8))
    (tmp_path / 'bad/a.png').write_bytes(b'no image')
    inputs, output = [tmp_path / 'bad', tmp_path / 'good'], tmp_path / 'videos'

    result = CliRunner().invoke(
        cli.app,
        ['segment', str(model_folder), *map(str, inputs), '-o', str(output), '--to', 'video'],
    )

    assert result.exit_code == 3
    assert f'{output}/bad.mp4: none of its images could be segmented' in result.stderr
    assert [path.name for path in output.iterdir()] == ['good.mp4']


def test_mistakes_are_one_line_and_nothing_of_others_is_replaced(make_bag, model_folder, tmp_path):
    bag = make_bag()
    told = segmented(model_folder, bag, '-o', tmp_path / 'x', '--to', 'gif', code=1)
    assert 'choose from pictures, bag, video' in told['error']
    told = segmented(model_folder, bag, '-o', tmp_path / 'x', '--merge', code=1)
    assert 'give --to bag' in told['error']
    write_png(tmp_path / 'a.png', np.zeros((8, 8, 3), np.uint8))
    told = segmented(model_folder, tmp_path / 'a.png', '-o', tmp_path / 'x', '--to', 'bag', code=1)
    assert 'a.png is not a bag' in told['error']
    (tmp_path / 'own').mkdir()
    (tmp_path / 'own/thesis.txt').write_text('mine')
    for extra in ([], ['--overwrite']):
        told = segmented(model_folder, bag, '-o', tmp_path / 'own', '--to', 'bag', *extra, code=1)
        assert 'own' in told['error']
    assert (tmp_path / 'own/thesis.txt').read_text() == 'mine'
    (tmp_path / 'y.masks').mkdir()
    (tmp_path / 'y.masks/thesis.txt').write_text('mine')
    told = segmented(model_folder, bag, '-o', tmp_path / 'y', '--to', 'bag', '--overwrite', code=1)
    assert 'not a folder of masks' in told['error']


def test_what_was_interrupted_goes_on(make_bag, model_folder, tmp_path, monkeypatch):
    bag, out = make_bag(), tmp_path / 'masks'

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('offline_training.deploy.segment_recording.write_mask_bag', stop)
    result = CliRunner().invoke(
        cli.app, ['segment', str(model_folder), str(bag), '-o', str(out), '--to', 'bag']
    )
    assert result.exit_code == 130
    monkeypatch.undo()
    report = segmented(model_folder, bag, '-o', out, '--to', 'bag', '--resume')
    assert (report['images'], report['kept'], report['masks']) == (0, 4, 4)
    assert not (tmp_path / 'masks.masks').exists()
    segmented(model_folder, bag, '-o', out, '--to', 'bag', code=1)
    assert segmented(model_folder, bag, '-o', out, '--to', 'bag', '--overwrite')['images'] == 4


def test_a_damaged_mask_is_named_and_the_others_are_written(
    make_bag, model_folder, tmp_path, monkeypatch
):
    bag, out = make_bag(), tmp_path / 'out'
    with monkeypatch.context() as patch:
        patch.setattr(
            'offline_training.deploy.segment_recording.write_mask_bag',
            Mock(side_effect=KeyboardInterrupt),
        )
        arguments = ['segment', model_folder, bag, '-o', out, '--to', 'bag']
        assert CliRunner().invoke(cli.app, [str(one) for one in arguments]).exit_code == 130
    damaged = next((tmp_path / 'out.masks/label').rglob('*.png'))
    damaged.write_bytes(damaged.read_bytes()[:-20])

    result = CliRunner().invoke(
        cli.app,
        ['segment', str(model_folder), str(bag), '-o', str(out), '--to', 'bag', '--resume'],
    )

    assert result.exit_code == 0, result.stderr
    assert f'{damaged} is not a readable image' in result.stderr
    assert '3 masks, 3 painted clouds' in result.stdout


def test_it_is_played_and_its_pictures_are_saved(make_bag, model_folder, tmp_path, ros_domain):
    pytest.importorskip('rclpy', reason='rclpy is not installed; `pip install .[ros]`')
    masks, saved = tmp_path / 'masks', tmp_path / 'saved'
    segmented(model_folder, make_bag(), '-o', masks, '--to', 'bag')
    topics = [f'{CAMERA}/segmentation/{kind}/image_raw' for kind in ('label', 'color')]
    command = [sys.executable, '-m', 'drive_segment_ros.cli']
    saver = subprocess.Popen([*command, 'save-topic', *topics, '-o', str(saved)])
    try:
        chosen = [word for topic in topics for word in ('--topic', topic)]
        played = subprocess.run(
            [*command, 'play', str(masks), *chosen, '--wait', '240', '--json'],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        assert json.loads(played.stdout)['sent'] == dict.fromkeys(topics, 4)
        deadline = time.monotonic() + 120.0
        while len(list(saved.rglob('*.png'))) < 8 and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        saver.send_signal(signal.SIGINT)
        saver.wait(120)
    files = sorted((saved / topics[0].strip('/')).glob('*.png'))
    assert [int(file.stem) for file in files] == [
        header_stamp_ns(mask) for _, mask in read(masks)[topics[0]]
    ]
    answer = np.frombuffer(read(masks)[topics[0]][0][1].data, np.uint8)
    assert (cv2.imread(str(files[0]), cv2.IMREAD_GRAYSCALE).ravel() == answer).all()


def test_pictures_are_not_taken_for_earlier_masks(make_bag, model_folder, tmp_path):
    bag, pictures = make_bag(count=1), tmp_path / 'drive_1.masks'
    segmented(model_folder, bag, '-o', pictures)
    before = sorted(pictures.rglob('*'))

    for source, message in ((bag, 'is not a folder of masks'), (pictures, 'contains an input')):
        told = segmented(model_folder, source, '-o', tmp_path / 'drive_1', '--to', 'video', code=1)
        assert f'{message}; choose another output' in told['error']

    assert sorted(pictures.rglob('*')) == before


def test_the_working_folder_can_be_the_output(make_bag, model_folder, tmp_path, monkeypatch):
    bag, output = make_bag(count=1), tmp_path / 'masks'
    output.mkdir()
    monkeypatch.chdir(output)

    segmented(model_folder, bag, '-o', '.', '--to', 'bag')

    assert sorted(path.name for path in tmp_path.iterdir()) == ['drive', 'masks', 'model']
    assert (output / 'metadata.yaml').is_file()


@pytest.mark.parametrize('to', ['bag', 'video'])
@pytest.mark.parametrize('output', ['drive', '.'])
def test_an_input_is_never_replaced_by_what_is_made_of_it(
    make_bag, model_folder, tmp_path, to, output
):
    bag = make_bag(count=1)
    before = {path: path.read_bytes() for path in bag.iterdir()}

    told = segmented(model_folder, bag, '-o', tmp_path / output, '--to', to, '--overwrite', code=1)

    assert 'is or contains an input; choose another output' in told['error']
    assert {path: path.read_bytes() for path in bag.iterdir()} == before
