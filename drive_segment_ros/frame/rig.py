"""A rig is one LiDAR and any number of cameras; names of the cameras, live and offline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from drive_segment_ros.dataset.own_files import is_camera_name

# Transports of image_transport: the last component of the topic of a compressed copy.
TRANSPORT_SUFFIXES = ('/compressed', '/ffmpeg', '/foxglove')


def camera_names(topics: Iterable[str]) -> dict[str, str]:
    """Name cameras after the namespaces of their image topics.

    `/camera/front/image_raw/compressed` is `front`; if two names would be equal, preceding
    components are added until they differ: `left_camera`, `right_camera`.

    Args:
        topics: of the images of all cameras of a rig.

    Returns:
        A name for each topic, all different, of letters, digits, `_` and `-`, usable as a folder
        name. It does not depend on the order of the topics.
    """
    paths = {topic: _components(topic) for topic in sorted(set(topics))}
    depths = dict.fromkeys(paths, 1)
    while True:
        names = {topic: _name(path[:-1], depths[topic]) for topic, path in paths.items()}
        shallow = [t for t in _shared(names) if depths[t] < len(paths[t]) - 1]
        if not shallow:
            break
        for topic in shallow:
            depths[topic] += 1
    for topic in _shared(names):  # several images in one namespace
        names[topic] += f'_{_safe(paths[topic][-1])}'
    taken: set[str] = set()
    for topic, name in names.items():
        number = 1
        while name in taken:
            number += 1
            name = f'{names[topic]}_{number}'
        taken.add(name)
        names[topic] = name
    return names


def raw_topic(topic: str) -> str:
    """Return an image topic without its transport."""
    return topic.removesuffix(next((t for t in TRANSPORT_SUFFIXES if topic.endswith(t)), ''))


def _components(topic: str) -> list[str]:
    """Return the components of a topic without its transport; at least the image's own."""
    return [part for part in raw_topic(topic).split('/') if part] or ['image']


def _name(namespace: list[str], depth: int) -> str:
    name = '_'.join(_safe(part) for part in namespace[-depth:]) or 'camera'
    return name if is_camera_name(name) else f'camera_{name}'


def _safe(name: str) -> str:
    """Return a name as a folder may have it."""
    return re.sub(r'[^A-Za-z0-9_-]', '_', name)


def _shared(names: Mapping[str, str]) -> list[str]:
    """Return the topics whose name another has too."""
    count = Counter(names.values())
    return [topic for topic, name in names.items() if count[name] > 1]
