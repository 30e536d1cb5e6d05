"""Draw the pictures in docs/data_sets.md, one for each supported data set.

python tools/make_data_set_pictures.py [FOLDER]      default: docs/images

They show the synthetic street of the tests, written in the layout of each data set, imported, and
projected as in `extract`; they contain no data of the published sets. The image is pale, and each
LiDAR point has the full colour of the box that it lies on: a point on a box of another colour
means wrong calibration or time.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'test/offline_training/bags/published')]

import argoverse2_layout  # noqa: E402
import kitti_layout  # noqa: E402
import nuscenes_layout  # noqa: E402
import pandaset_layout  # noqa: E402
import waymo_layout  # noqa: E402
from box_world import GROUND, colours  # noqa: E402
from checks import views  # noqa: E402

from offline_training.bags.published.import_set import ImportOptions, import_set  # noqa: E402

WIDTH = 640
QUALITY = 70
# Each function writes the folder of a set, and returns the instance of each point by the stamp or
# number of the sweep.
SETS: dict[str, Callable[[Path], Mapping[int, NDArray[np.int64]]]] = {
    'kitti-raw': kitti_layout.write_raw,
    'semantic-kitti': kitti_layout.write_semantic,
    'pandaset': pandaset_layout.write,
    'nuscenes': nuscenes_layout.write,
    'argoverse2': argoverse2_layout.write,
    'waymo': waymo_layout.write,
}


def picture(data_set: str, folder: Path) -> NDArray[np.uint8]:
    """Write a set, import it, and draw the view with the most points on objects.

    Args:
        data_set: a key of `SETS`.
        folder: empty folder for the set and the bags.

    Returns:
        (H, 640, 3) uint8 BGR.
    """
    truth = dict(SETS[data_set](folder / 'set'))
    report = import_set(data_set, folder / 'set', folder / 'bags', ImportOptions(workers=1))
    seen = list(views(Path(report.drives[0].bag)))
    stamps = sorted({stamp_ns for stamp_ns, _, _ in seen})
    if not set(stamps) <= set(truth):
        truth = {stamp_ns: truth[number] for number, stamp_ns in enumerate(stamps)}
    of_objects = [np.count_nonzero(truth[s][points.index] > GROUND) for s, _, points in seen]
    stamp_ns, image, points = seen[int(np.argmax(of_objects))]
    scale = WIDTH / image.shape[1]
    pale = 255 - (255 - image) // 3
    size = (WIDTH, round(image.shape[0] * scale))
    drawn = cv2.resize(pale, size, interpolation=cv2.INTER_LINEAR)
    of_point = colours()[truth[stamp_ns][points.index]]
    for u, v, colour in zip(points.u, points.v, of_point.tolist(), strict=True):
        # Integer coordinates are pixel centres, before and after scaling.
        middle = np.rint((np.array([u, v]) + 0.5) * scale - 0.5).astype(int)
        cv2.circle(drawn, middle.tolist(), 1, colour, -1)
    return drawn


def main() -> None:
    """Write all pictures."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / 'docs/images'
    for data_set in SETS:
        with tempfile.TemporaryDirectory() as folder:
            drawn = picture(data_set, Path(folder))
        file = target / f'data_set_{data_set}.jpg'
        cv2.imwrite(str(file), drawn, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        print(f'{file}: {file.stat().st_size / 1e3:.0f} kB')


if __name__ == '__main__':
    main()
