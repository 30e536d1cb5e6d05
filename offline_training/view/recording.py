"""A Rerun recording of a rig: cameras, sweeps, the vehicle and their synchronisation.

Everything is on one timeline, the header stamps. Coordinates follow REP-103: `world` is the
odometry frame, `world/vehicle` the vehicle's, in which sensors are placed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DependencyError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.colours import UNKNOWN_COLOUR, UNKNOWN_NAME
from drive_segment_ros.perception.legend import NamedColour, count_labels, draw_legend, legend
from drive_segment_ros.perception.overlay import palette
from drive_segment_ros.perception.proposals import KINDS
from drive_segment_ros.perception.resizing import resize_image, resize_labels
from offline_training.evaluation.prediction import Prediction

APPLICATION = 'drive_segment_ros'
TIMELINE, NUMBERS = 'stamp', 'image'
VEHICLE, LIDAR = 'world/vehicle', 'world/vehicle/lidar'
# Clouds: all points coloured by segment; the points in an image coloured by class.
POINTS, PAINTED = f'{LIDAR}/points', f'{LIDAR}/painted'
SEGMENT, PSEUDO_LABEL, MASK, CONFIDENCE = 'segment', 'pseudo_label', 'mask', 'confidence'
LEGEND = 'legend'
# Largest width of stored pictures, px: decoded ones take much of the viewer's memory.
WIDTH = 960
_QUALITY = 85
_OPACITY = 0.55
_LEGEND_WIDTH = 640
_PATH = (255, 140, 0)


def rerun() -> Any:
    """Return Rerun's package.

    Raises:
        DependencyError: if it is not installed.
    """
    try:
        import rerun
    except ImportError as err:
        raise DependencyError("`view` needs Rerun; pip install '.[view]'") from err
    return rerun


def camera_path(name: str) -> str:
    """Return the entity path of a camera's picture; its overlays are children of it."""
    return f'world/vehicle/camera/{name}/image'


class ViewRecording:
    """A recording that is being built.

    Attributes:
        stream: Rerun's.
        timeline: name of the timeline of all entities.
        layers: overlays of each camera that have been added, such as `MASK`.
        clouds: entity paths of the clouds that have been added.
        reasons: reasons of dropped images, by camera; not available for datasets.
        has_offsets: whether an offset has been added.
    """

    def __init__(
        self, name: str, classes: Sequence[NamedColour], timeline: str = TIMELINE
    ) -> None:
        """Create an empty recording.

        Args:
            name: of the recording.
            classes: classes of pseudo-labels and masks.
            timeline: `TIMELINE`, or `NUMBERS` if stamps are numbers of images.

        Raises:
            DependencyError: if Rerun is not installed.
        """
        self._rr = rerun()
        self.stream = self._rr.RecordingStream(APPLICATION, recording_id=None)
        self.stream.set_log_time_enabled(False)
        self.stream.set_log_tick_enabled(False)
        # Names of files may have any bytes, Rerun's must be valid Unicode.
        self.stream.send_recording_name(name.encode(errors='replace').decode())
        self.layers: dict[str, list[str]] = {}
        self.clouds: list[str] = []
        self.reasons: dict[str, list[str]] = {}
        self.has_offsets = False
        self.timeline = timeline
        self._classes = classes
        self._context = self._annotations(
            [(k, item.name, item.color) for k, item in enumerate(classes)]
            + [(IGNORE_LABEL, UNKNOWN_NAME, UNKNOWN_COLOUR)]
        )
        self._counts = np.zeros(IGNORE_LABEL + 1, np.int64)
        self._path: dict[int, NDArray[np.float64]] = {}
        self._placed: dict[str, NDArray[np.float64]] = {}
        self._lenses: set[str] = set()
        self._log('world', self._rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def place(self, entity: str, T: NDArray[np.float64], stamp_ns: int) -> None:
        """Add the pose of an entity in its parent, (4, 4), valid from a stamp on."""
        if entity in self._placed and np.array_equal(self._placed[entity], T):
            return
        self._placed[entity] = T
        transform = self._rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3])
        self._log(entity, transform, stamp_ns)

    def pose(self, T_odom_base: NDArray[np.float64], stamp_ns: int) -> None:
        """Add the vehicle's pose."""
        self.place(VEHICLE, T_odom_base, stamp_ns)
        self._path[stamp_ns] = T_odom_base[:3, 3]

    def camera(
        self, name: str, model: CameraModel, T_base_camera: NDArray[np.float64], stamp_ns: int
    ) -> None:
        """Add a camera's intrinsics and its pose on the vehicle, valid from a stamp on."""
        entity = camera_path(name)
        self.place(entity.removesuffix('/image'), T_base_camera, stamp_ns)
        if entity in self._lenses:
            return
        self._lenses.add(entity)
        width, height = _size(model.width, model.height)
        scaled = model.scaled(width, height)
        pinhole = self._rr.Pinhole(
            image_from_camera=scaled.P[:, :3] if scaled.rectified else scaled.K,
            resolution=(width, height),
            camera_xyz=self._rr.ViewCoordinates.RDF,
            image_plane_distance=2.0,
        )
        self._log(entity, pinhole, static=True)

    def image(self, name: str, stamp_ns: int, picture: NDArray[np.uint8]) -> None:
        """Add a camera's picture, (H, W, 3) uint8 BGR."""
        self._shape = _size(picture.shape[1], picture.shape[0])[::-1]
        self.layers.setdefault(name, [])
        jpeg = cv2.imencode(
            '.jpg', resize_image(picture, *self._shape), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        )[1]
        encoded = self._rr.EncodedImage(contents=jpeg.tobytes(), media_type='image/jpeg')
        self._log(camera_path(name), encoded, stamp_ns)

    def segments(
        self,
        name: str,
        stamp_ns: int,
        segment: NDArray[np.integer],
        ids: NDArray[np.integer],
        kinds: NDArray[np.uint8],
    ) -> None:
        """Add the segments of the picture that was added last.

        Args:
            name: of the camera.
            stamp_ns: of the image.
            segment: (h, w) ids, 0 is none.
            ids, kinds: (P,) of the sweep's segments; a kind is an index into `KINDS`.
        """
        entity = self._layer(name, SEGMENT)
        there = np.unique(segment[segment > 0])
        kind_of = np.zeros(int(max(ids.max(initial=0), there.max(initial=0))) + 1, np.uint8)
        kind_of[ids] = kinds
        colours = palette(kind_of)[:, ::-1]
        described = [(k, f'{KINDS[kind_of[k]]} {k}', colours[k].tolist()) for k in there.tolist()]
        self._log(entity, self._annotations(described), stamp_ns)
        self._labels(entity, stamp_ns, segment.astype(np.uint16))

    def labels(self, name: str, stamp_ns: int, kind: str, label: NDArray[np.uint8]) -> None:
        """Add labels, `PSEUDO_LABEL` or `MASK`, of the picture that was added last."""
        entity = self._layer(name, kind, self._context)
        self._counts += count_labels(label)
        self._labels(entity, stamp_ns, label)

    def mask(self, name: str, stamp_ns: int, prediction: Prediction) -> None:
        """Add a model's mask and confidence for the picture that was added last."""
        self.labels(name, stamp_ns, MASK, prediction.label)
        confidence = resize_image(prediction.confidence, *self._shape)
        self._log(self._layer(name, CONFIDENCE), self._rr.Image(confidence, 'L'), stamp_ns)

    def cloud(
        self,
        entity: str,
        stamp_ns: int,
        xyz: NDArray[np.floating],
        colours: NDArray[np.uint8],
        points_px: float = 1.5,
    ) -> None:
        """Add points.

        Args:
            entity: below `LIDAR`.
            stamp_ns: of the sweep.
            xyz: (N, 3) metres, the LiDAR's frame.
            colours: (N, 3) uint8 BGR.
            points_px: radius of a point on the screen.
        """
        if entity not in self.clouds:
            self.clouds.append(entity)
        # Negative radii are in pixels on the screen.
        points = self._rr.Points3D(xyz, colors=colours[:, ::-1], radii=-points_px)
        self._log(entity, points, stamp_ns)

    def offset(self, name: str, stamp_ns: int, seconds: float) -> None:
        """Add the sweep's stamp minus the image's, seconds, to a plot."""
        self.has_offsets = True
        self._log(f'sync/offset_ms/{name}', self._rr.Scalars(1e3 * seconds), stamp_ns)

    def dropped(self, name: str, stamp_ns: int, drops: Mapping[str, int]) -> None:
        """Add the number of images dropped so far, by reason."""
        seen = self.reasons.setdefault(name, [])
        for reason, count in drops.items():
            entity = f'sync/dropped/{name}/{reason}'
            if reason not in seen:
                seen.append(reason)
                line = self._rr.SeriesLines(names=f'{name}: {reason}')
                self._log(entity, line, static=True)
            self._log(entity, self._rr.Scalars(count), stamp_ns)
        if not seen:
            self._log(f'sync/dropped/{name}', self._rr.Scalars(0), stamp_ns)

    def finish(self) -> None:
        """Add the vehicle's path, and a legend of the classes in all pictures."""
        if len(self._path) > 1:
            points = [self._path[stamp_ns] for stamp_ns in sorted(self._path)]
            path = self._rr.LineStrips3D([points], colors=_PATH, radii=-2.0)
            self._log('world/path', path, static=True)
        if self._counts.any():
            drawn = draw_legend(legend(self._counts, self._classes), _LEGEND_WIDTH)
            self._log(LEGEND, self._rr.Image(drawn, 'BGR'), static=True)

    @property
    def has_classes(self) -> bool:
        """Whether any overlay or cloud is coloured by class."""
        return bool(self._counts.any())

    def _labels(self, entity: str, stamp_ns: int, label: NDArray[Any]) -> None:
        fitting = resize_labels(label, *self._shape)
        self._log(entity, self._rr.SegmentationImage(fitting, opacity=_OPACITY), stamp_ns)

    def _layer(self, name: str, layer: str, context: Any = None) -> str:
        entity = f'{camera_path(name)}/{layer}'
        if layer not in self.layers[name]:
            self.layers[name].append(layer)
            if context is not None:
                self._log(entity, context, static=True)
        return entity

    def _annotations(self, described: Sequence[tuple[int, str, Any]]) -> Any:
        return self._rr.AnnotationContext(
            [self._rr.AnnotationInfo(id=k, label=text, color=c) for k, text, c in described]
        )

    def _log(
        self, entity: str, what: Any, stamp_ns: int | None = None, static: bool = False
    ) -> None:
        if stamp_ns is not None and self.timeline == NUMBERS:
            self.stream.set_time(NUMBERS, sequence=stamp_ns)
        elif stamp_ns is not None:
            self.stream.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, 'ns'))
        self.stream.log(entity, what, static=static)


def _size(width: int, height: int) -> tuple[int, int]:
    """Return the (width, height) at which pictures of a given size are stored, px."""
    kept = min(width, WIDTH)
    return kept, max(1, round(height * kept / width))
