"""Draw docs/images/demo.webp, the animation in the README, from a simulated drive.

python tools/make_demo_picture.py demo_output                 its held-out town
python tools/make_demo_picture.py MODEL DATASET/DRIVE/CAMERA BAG [FIRST:LAST]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from drive_segment_ros.dataset.reader import Dataset, FrameRecord
from drive_segment_ros.perception.overlay import draw_segments
from drive_segment_ros.perception.overlay import palette as proposal_palette
from drive_segment_ros.perception.resizing import resize_image
from offline_training.common.classes import palette
from offline_training.demo.demo import HELD_OUT_TOWN
from offline_training.deploy.segment_job import draw
from offline_training.evaluation.predictors import load_predictor
from offline_training.report.lidar_view import lidar_views

PICTURE = Path(__file__).resolve().parents[1] / 'docs/images/demo.webp'
TITLES = ('camera and LiDAR', 'objects the LiDAR finds', 'the network, image alone')
# Width of each of the three panels, px; display time of a frame, twice the period of the drive.
WIDTH = 420
SHOWN_MS = 200
QUALITY = 62


def main(model: Path, camera: Path, bag: Path, wanted: slice = slice(None)) -> None:
    """Draw the animation of a camera's frames and write it to `PICTURE`.

    Args:
        model: a model or run, as for `evaluate`.
        camera: folder of the camera in a dataset.
        bag: bag that the drive was extracted from.
        wanted: which of the camera's frames to draw.
    """
    drive = next(d for d in Dataset(camera.parents[1]).drives if d.name == camera.parent.name)
    frames = drive.cameras[camera.name][wanted]
    lidar = lidar_views((bag,), drive, frames, WIDTH)
    network = load_predictor(model)
    colours = palette(network.classes)
    pictures = []
    for frame in frames:
        if frame.image_path not in lidar:
            continue
        image = frame.image()
        answer = draw(image, network.predict(image), colours).overlay
        panels = map(_titled, (lidar[frame.image_path], _proposals(frame), answer), TITLES)
        pictures.append(Image.fromarray(np.hstack(list(panels))))
    first, *others = pictures
    shown = {'duration': SHOWN_MS, 'loop': 0, 'quality': QUALITY, 'method': 6}
    first.save(PICTURE, save_all=True, append_images=others, **shown)
    print(f'{PICTURE}: {len(pictures)} frames, {PICTURE.stat().st_size / 1e6:.2f} MB')


def _proposals(frame: FrameRecord) -> NDArray[np.uint8]:
    segment, proposals = frame.segment(), frame.proposals()
    kind = np.zeros(int(max(segment.max(), proposals['id'].max(initial=0))) + 1, np.uint8)
    kind[proposals['id']] = proposals['kind']
    return draw_segments(frame.image(), segment, proposal_palette(kind))


def _slice(text: str) -> slice:
    first, _, last = text.partition(':')
    return slice(int(first or 0), int(last) if last else None)


def _titled(picture: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    """Resize a BGR picture to the width of a panel and write a title on it; return RGB."""
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    panel = Image.fromarray(resize_image(picture, height, WIDTH)[..., ::-1].copy())
    font = ImageFont.load_default(size=16)
    ImageDraw.Draw(panel).text(
        (8, 5), title, font=font, fill='white', stroke_width=2, stroke_fill='black'
    )
    return np.asarray(panel)


if __name__ == '__main__':
    paths = [Path(word) for word in sys.argv[1:4]]
    if len(paths) == 1:
        town = f'town_{HELD_OUT_TOWN}'
        main(paths[0] / 'run', paths[0] / 'held_out_dataset' / town / 'front', paths[0] / town)
    else:
        main(*paths, *(_slice(word) for word in sys.argv[4:]))
