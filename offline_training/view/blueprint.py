"""The layout of Rerun's viewer: pictures on the left, the cloud and plots on the right."""

from __future__ import annotations

from typing import Any

from offline_training.view import recording as rec

_TITLES = {
    rec.SEGMENT: 'Segments',
    rec.PSEUDO_LABEL: 'Pseudo-labels',
    rec.MASK: 'Masks',
    rec.CONFIDENCE: 'Confidence (white: certain)',
}


def blueprint(made: rec.ViewRecording) -> Any:
    """Return the layout of what has been recorded."""
    rrb = rec.rerun().blueprint
    cameras = [_camera(rrb, name, layers) for name, layers in made.layers.items()]
    left = (
        [cameras[0] if len(cameras) == 1 else rrb.Tabs(*cameras, name='Cameras')]
        if cameras
        else []
    )
    right = [*_clouds(rrb, made), *_plots(rrb, made)]
    if made.has_classes:
        left.append(rrb.Spatial2DView(origin=rec.LEGEND, name='Classes'))
    columns = []
    if left:
        shares = [5, 1] if len(left) == 2 else None
        columns.append(rrb.Vertical(*left, row_shares=shares))
    if right:
        columns.append(rrb.Vertical(*right, row_shares=[3] + [1] * (len(right) - 1)))
    return rrb.Blueprint(
        rrb.Horizontal(*columns),
        rrb.SelectionPanel(state='collapsed'),
        rrb.BlueprintPanel(state='collapsed'),
        rrb.TimePanel(state='collapsed', timeline=made.timeline),
        auto_views=False,
    )


def _camera(rrb: Any, name: str, layers: list[str]) -> Any:
    """Return a camera's pictures: one for each layer over the image, or the image alone."""
    origin = rec.camera_path(name)
    views = [
        rrb.Spatial2DView(
            origin=origin,
            contents=[origin, f'{origin}/{layer}'],
            name=f'{name}: {_TITLES[layer]}',
        )
        for layer in layers
    ]
    return rrb.Grid(
        *(views or [rrb.Spatial2DView(origin=origin, contents=[origin], name=name)]), name=name
    )


def _clouds(rrb: Any, made: rec.ViewRecording) -> list[Any]:
    hidden = [
        f'- {rec.camera_path(name)}/{layer}'
        for name, layers in made.layers.items()
        for layer in layers
    ]
    painted = [entity for entity in made.clouds if entity != rec.POINTS]
    if not made.clouds:
        return []
    eye = rrb.EyeControls3D(
        position=(-14.0, 0.0, 9.0), look_target=(8.0, 0.0, 0.0), eye_up=(0, 0, 1)
    )

    def view(name: str, without: list[str]) -> Any:
        contents = ['+ world/**', *hidden, *(f'- {entity}' for entity in without)]
        return rrb.Spatial3DView(
            origin=rec.VEHICLE, contents=contents, name=name, eye_controls=eye
        )

    by_segment = view('Cloud by segment', painted)
    if not painted:
        return [by_segment]
    return [rrb.Tabs(view('Cloud by class', [rec.POINTS]), by_segment, active_tab=0)]


def _plots(rrb: Any, made: rec.ViewRecording) -> list[Any]:
    plots = []
    if made.has_offsets:
        plots.append(rrb.TimeSeriesView(origin='sync/offset_ms', name='Sweep after image, ms'))
    if made.reasons:
        plots.append(rrb.TimeSeriesView(origin='sync/dropped', name='Images dropped so far'))
    return plots
