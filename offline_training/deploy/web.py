"""A web page to try a model: an image or a video in, pseudo-classes and named classes out."""

from __future__ import annotations

import html
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from drive_segment_ros.errors import DependencyError, DriveSegmentError, ImageError, ParameterError
from offline_training.common.image_files import read_image
from offline_training.deploy.try_model import ClassShare, ModelTrial

_UNNAMED = 'The pseudo-classes have no names yet: `drive-segment name` gives them some.'
# Bytes of an image or a video; larger files belong to `drive-segment segment`.
LARGEST_UPLOAD = 200_000_000
# A model answers one question at a time.
_ONE_AT_A_TIME = {'concurrency_id': 'model', 'concurrency_limit': 1}
# Nothing but this machine is asked: no fonts, no scripts of others.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss:"
)


def serve(model: Path, host: str, port: int, open_browser: bool) -> None:
    """Serve the page until interrupted.

    Args:
        model: what `load_predictor` takes.
        host: address to listen on.
        port: to listen on.
        open_browser: whether to open the page here.

    Raises:
        ModelError, DependencyError: if the model or Gradio cannot be loaded.
        ParameterError: if the port cannot be had.
    """
    page = make_page(ModelTrial(model))
    try:
        page.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            share=False,
            **look(),
        )
    except OSError as err:
        raise ParameterError(
            f'cannot serve on {host}:{port} ({err}); choose another --host or --port'
        ) from err


def look() -> dict[str, Any]:
    """Return how the page is shown and what it takes, for `launch`."""
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return {'head': policy, 'footer_links': [], 'max_file_size': LARGEST_UPLOAD}


def make_page(trial: ModelTrial) -> Any:
    """Return the page as Gradio's `Blocks`."""
    gradio = _gradio()
    videos = tempfile.TemporaryDirectory(prefix='drive_segment_')

    def segment_image(image: str | None) -> tuple[Any, Any, str]:
        if image is None:
            raise gradio.Error('choose an image first')
        try:
            # By our own reader, which looks at the size before it decodes.
            picture = read_image(Path(image))
        except ImageError as err:
            raise gradio.Error(str(err).replace(image, 'this file')) from err
        seen = trial.image(np.ascontiguousarray(picture[..., ::-1]))
        return seen.pseudo, seen.named, legend(seen.classes)

    def segment_video(video: str | None) -> tuple[str, str]:
        if video is None:
            raise gradio.Error('choose a video first')
        # Gradio keeps a copy of its own once the answer is out.
        folder = Path(tempfile.mkdtemp(dir=videos.name))
        try:
            pseudo, named = trial.video(Path(video), folder)
        except DriveSegmentError as err:
            raise gradio.Error(str(err)) from err
        return str(pseudo), str(named)

    with gradio.Blocks(title='drive_segment_ros', analytics_enabled=False) as page:
        gradio.Markdown(
            '# What the network sees\nA network that learned from a LiDAR, without labels, needs '
            'the image only.' + ('' if trial.named else f' {_UNNAMED}')
        )
        with gradio.Tab('Image'):
            image = gradio.Image(
                label='Image', sources=['upload', 'clipboard'], type='filepath', image_mode=None
            )
            button = gradio.Button('Segment', variant='primary')
            with gradio.Row():
                # Without Gradio's own button, which shares on a server of its makers.
                buttons = ['download', 'fullscreen']
                pseudo = gradio.Image(label='Pseudo-classes', interactive=False, buttons=buttons)
                named = gradio.Image(label='Named classes', interactive=False, buttons=buttons)
            classes = gradio.HTML(label='Classes')
            button.click(
                segment_image, image, [pseudo, named, classes], api_name='image', **_ONE_AT_A_TIME
            )
        with gradio.Tab('Video'):
            video = gradio.Video(label='Video', sources=['upload'])
            start = gradio.Button('Segment', variant='primary')
            with gradio.Row():
                pseudo_video = gradio.Video(
                    label='Pseudo-classes', interactive=False, buttons=['download']
                )
                named_video = gradio.Video(
                    label='Named classes', interactive=False, buttons=['download']
                )
            start.click(
                segment_video,
                video,
                [pseudo_video, named_video],
                api_name='video',
                **_ONE_AT_A_TIME,
            )
    return page


def legend(classes: list[ClassShare]) -> str:
    """Return what is in an image as an HTML table: colour, name, share, pseudo-classes."""
    rows = ''.join(
        f'<tr><td style="background:rgb{item.color};width:2em"></td>'
        f'<th scope="row" style="text-align:left">{html.escape(item.name)}</th>'
        f'<td>{100 * item.share:.1f} %</td><td>{", ".join(map(str, item.numbers))}</td></tr>'
        for item in classes
    )
    return (
        '<table><thead><tr><th></th><th scope="col">class</th><th scope="col">share</th>'
        f'<th scope="col">pseudo-classes</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _gradio() -> Any:
    """Import Gradio with its reporting home switched off.

    Raises:
        DependencyError: if it is not installed.
    """
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    try:
        import gradio
    except ImportError as err:
        raise DependencyError("the page needs Gradio; pip install '.[web]'") from err
    return gradio
