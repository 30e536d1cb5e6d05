"""A web page to try a model on images and videos."""

from __future__ import annotations

import base64
import dataclasses
import html
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DependencyError, DriveSegmentError, ImageError, ParameterError
from drive_segment_ros.perception.legend import LegendEntry
from drive_segment_ros.perception.resizing import resize_image
from offline_training.common.image_files import read_image
from offline_training.deploy.examples import example_images
from offline_training.deploy.try_model import Look, ModelTrial
from offline_training.evaluation.prediction import Prediction

# Largest size of an image or a video, bytes; for larger ones use `drive-segment segment`.
LARGEST_UPLOAD = 200_000_000
# Largest number of images, and width of images and examples on the page.
_MOST_IMAGES, _SHOWN_WIDTH, _THUMBNAIL, _QUALITY = 12, 1280, 320, 88
_GRID = 'display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr))'
# A model processes one request at a time.
_ONE_AT_A_TIME = {'concurrency_id': 'model', 'concurrency_limit': 1}
# No requests to other servers: no fonts or scripts from elsewhere.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss:"
)
_BY_NAME, _BY_NUMBER = 'name', 'pseudo-class'


def serve(
    model: Path,
    host: str,
    port: int,
    open_browser: bool,
    examples: Path | None = None,
    say: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> None:
    """Serve the page until interrupted or stopped.

    Args:
        model: see `load_predictor`.
        host: address to listen on.
        port: to listen on.
        open_browser: whether to open the page in a browser.
        examples: folder of example images; None for some of a run's cache.
        say: called with a message with the address.
        stop: ends it when set.

    Raises:
        ModelError, DependencyError: if the model or Gradio cannot be loaded.
        ImageError: if there are no example images.
        ParameterError: if the port cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix='drive_segment_') as kept:
        page = make_page(ModelTrial(model), example_images(model, examples, Path(kept)))
        try:
            # Quiet, as Gradio advises to share the page on its own server.
            page.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                **look(),
            )
        except OSError as err:
            raise ParameterError(
                f'cannot serve on {host}:{port} ({err}); choose another --host or --port'
            ) from err
        say(f'try {model} on http://{host}:{port}/; Ctrl-C ends')
        try:
            (stop or threading.Event()).wait()
        finally:
            page.close(verbose=False)


def look() -> dict[str, Any]:
    """Return the settings of the page for `launch`."""
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return {'head': policy, 'footer_links': [], 'max_file_size': LARGEST_UPLOAD}


@dataclasses.dataclass(frozen=True)
class _Answered:
    """A segmented image, which can be displayed differently without segmenting it again."""

    file: str
    name: str
    image: NDArray[np.uint8]
    prediction: Prediction


def make_page(trial: ModelTrial, examples: Sequence[Path] = ()) -> Any:
    """Return the page as Gradio's `Blocks`.

    Args:
        trial: the model.
        examples: example images.
    """
    gradio = _gradio()
    videos = tempfile.TemporaryDirectory(prefix='drive_segment_')

    def shown(
        answered: Sequence[_Answered], how: Look, problems: Sequence[str] = ()
    ) -> tuple[Any, ...]:
        pictures = ''.join(
            _figure(a.name, trial.paint(a.image, a.prediction, how)) for a in answered
        )
        classes = trial.classes((a.prediction for a in answered), how)
        return (
            f'<div style="{_GRID}">{pictures}</div>',
            table_of(classes) if answered else '',
            told(len(answered), problems),
        )

    def segment_images(
        files: list[str] | None, opacity: float, threshold: float, colours: str
    ) -> tuple[Any, ...]:
        answered, problems = [], []
        for file in (files or [])[:_MOST_IMAGES]:
            name = Path(file).name
            try:
                image = _shrunk(read_image(Path(file)))
            except ImageError as err:
                problems.append(str(err).replace(file, name))
                continue
            answered.append(_Answered(file, name, image, trial.predict(image)))
        if not files:
            problems.append('Choose an image first.')
        elif len(files) > _MOST_IMAGES:
            problems.append(
                f'{len(files) - _MOST_IMAGES} of {len(files)} images were omitted: '
                '`drive-segment segment` accepts any number.'
            )
        how = _look(opacity, threshold, colours)
        return *shown(answered, how, problems), answered

    def shown_again(
        answered: list[_Answered], opacity: float, threshold: float, colours: str
    ) -> tuple[Any, ...]:
        if not answered:
            return gradio.skip(), gradio.skip(), gradio.skip()
        return shown(answered, _look(opacity, threshold, colours))

    def segment_video(
        video: str | None,
        opacity: float,
        threshold: float,
        colours: str,
        progress: Any = gradio.Progress(),
    ) -> tuple[str | None, str, str]:
        if video is None:
            return None, '', told(0, ['Choose a video first.'])
        # Gradio keeps its own copy of the result.
        folder = Path(tempfile.mkdtemp(dir=videos.name))

        def show(done: int, total: int) -> None:
            progress((done, total), desc='segmenting', unit='frames')

        how = _look(opacity, threshold, colours)
        try:
            made, classes = trial.video(Path(video), folder, how, show)
        except DriveSegmentError as err:
            return None, '', told(0, [str(err).replace(video, Path(video).name)])
        return str(made), table_of(classes), ''

    with gradio.Blocks(title='drive_segment_ros', analytics_enabled=False) as page:
        gradio.Markdown(
            '# Semantic segmentation\nThe network was trained with LiDAR, without manual labels; '
            'it needs only the image.'
            + (
                ''
                if trial.named
                else ' Its classes have no names yet: assign them by `drive-segment web RUN '
                '--name`.'
            )
        )
        with gradio.Row():
            opacity = gradio.Slider(0, 100, 50, step=5, label='Opacity of the mask, %')
            threshold = gradio.Slider(0, 100, 0, step=5, label='Confidence threshold, %')
            colours = gradio.Radio(
                [_BY_NAME, _BY_NUMBER],
                value=_BY_NAME,
                label='Colours by',
                visible=trial.named,
            )
        how = [opacity, threshold, colours]
        with gradio.Tab('Images'):
            answered = gradio.State([])
            files = gradio.File(
                label=f'Images, up to {_MOST_IMAGES}', file_count='multiple', height=140
            )
            if examples:
                offered = gradio.Gallery(
                    [_thumbnail(path) for path in examples],
                    label='Examples: choose one',
                    columns=6,
                    height=170,
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                )
            button = gradio.Button('Segment', variant='primary')
            status = gradio.HTML(elem_id='status')
            pictures = gradio.HTML()
            classes = gradio.HTML()
            results = [pictures, classes, status]
            button.click(
                segment_images,
                [files, *how],
                [*results, answered],
                api_name='images',
                **_ONE_AT_A_TIME,
            )
            if examples:

                def chosen(
                    opacity: float, threshold: float, colours: str, event: Any
                ) -> tuple[Any, ...]:
                    return segment_images(
                        [str(examples[event.index])], opacity, threshold, colours
                    )

                # Gradio evaluates annotations.
                chosen.__annotations__['event'] = gradio.SelectData
                offered.select(chosen, how, [*results, answered], api_name=False, **_ONE_AT_A_TIME)
            for control in how:
                control.change(
                    shown_again,
                    [answered, *how],
                    results,
                    api_name=False,
                    show_progress='hidden',
                    trigger_mode='always_last',
                )
        with gradio.Tab('Video'):
            video = gradio.File(label='Video', file_count='single', height=140)
            start = gradio.Button('Segment', variant='primary')
            video_status = gradio.HTML()
            made = gradio.Video(label='Segmented', interactive=False, buttons=['download'])
            video_classes = gradio.HTML()
            start.click(
                segment_video,
                [video, *how],
                [made, video_classes, video_status],
                api_name='video',
                **_ONE_AT_A_TIME,
            )
    return page


def _figure(name: str, picture: NDArray[np.uint8]) -> str:
    """Return a BGR picture with its name and a download link; Gradio's gallery crops pictures."""
    _, data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    source = 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()
    called = html.escape(name, quote=True)
    return (
        f'<figure style="margin:0;max-width:960px"><img src="{source}" alt="{called}, segmented" '
        f'style="width:100%"><figcaption>{called} <a href="{source}" '
        f'download="{called}_segmented.jpg">download</a></figcaption></figure>'
    )


def table_of(classes: list[LegendEntry]) -> str:
    """Return the classes in images as an HTML table: colour, name, share, pseudo-classes."""
    rows = ''.join(
        f'<tr><td style="background:rgb{item.color};width:2em"></td>'
        f'<th scope="row" style="text-align:left">{html.escape(item.name)}</th>'
        f'<td style="text-align:right">{100 * item.share:.1f} %</td>'
        f'<td>{", ".join(map(str, item.numbers))}</td></tr>'
        for item in classes
    )
    return (
        '<div style="overflow-x:auto"><table><thead><tr><th></th>'
        '<th scope="col" style="text-align:left">class</th>'
        '<th scope="col">share</th><th scope="col" style="text-align:left">pseudo-classes</th>'
        f'</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def told(done: int, problems: Sequence[str]) -> str:
    """Return the number of images segmented, and problems, one line each."""
    lines = [html.escape(problem) for problem in problems]
    if done:
        lines.insert(0, f'{done} image{"s" if done > 1 else ""} segmented.')
    return ''.join(f'<p role="status">{line}</p>' for line in lines)


def _look(opacity: float, threshold: float, colours: str) -> Look:
    return Look(opacity / 100, threshold / 100, colours == _BY_NAME)


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image, resized if it is wider than displayed."""
    return image if image.shape[1] <= _SHOWN_WIDTH else _of_width(image, _SHOWN_WIDTH)


def _thumbnail(file: Path) -> NDArray[np.uint8]:
    """Return an example for the page, RGB."""
    return np.ascontiguousarray(_of_width(read_image(file), _THUMBNAIL)[..., ::-1])


def _of_width(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Resize an image to a width, px, in its aspect ratio as far as it has a row."""
    rows, columns = image.shape[:2]
    return resize_image(image, max(round(rows * width / columns), 1), width)


def _gradio() -> Any:
    """Import Gradio with its telemetry switched off.

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
