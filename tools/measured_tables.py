"""Generates the tables of measurements in README and docs, each from a single source.

docs/measured/<suite>.json is the output of `drive-segment bench <suite> --json`, which names the
CPU and the number of cores; docs/measured/machine.txt describes the machine. Scores are taken from
the table in docs/results.md, which is generated from docs/results/<name>.json.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

# What each figure measures, with the suites in the order of the pipeline.
MEANING = {
    'lidar.chain': 'a 64-beam sweep: bytes of the message to a segment for each projected point',
    'lidar.named': 'the sum of its parts, timed where the chain calls them',
    'lidar.decode': 'of it: the message to arrays',
    'lidar.beams': 'of it: the spin axis',
    'lidar.range_image': 'of it: points to the range image',
    'lidar.coverage': 'of it: sectors that the sweep did not scan',
    'lidar.ground': 'of it: ground',
    'lidar.cell_labels': 'of it: labels of cells',
    'lidar.point_labels': 'of it: labels of points',
    'lidar.roughness': 'of it: foliage',
    'lidar.clusters': 'of it: objects',
    'lidar.proposals': 'of it: all from points to proposals',
    'lidar.projection': 'of it: projection into the camera',
    'lidar.occlusion': 'of it: hidden points',
    'lidar.densify': 'segments of the image from the projected points, superpixels included',
    'lidar.open3d_dbscan': "for comparison: Open3D's DBSCAN on the same points without ground",
    'superpixels.one_scale': 'superpixels of an image of 960x540, one scale, one thread',
    'superpixels.two_scales': 'the same, two scales',
    'inference.openvino': 'the network alone, one thread, with OpenVINO: image of 288x512 to mask',
    'inference.onnxruntime': 'the same with ONNX Runtime',
    'inference.tensorrt': 'the same with TensorRT',
    **{
        f'inference.{backend}_{ending}': f'the model exported in {ending}, with {title}'
        for backend, title in (
            ('openvino', 'OpenVINO'),
            ('onnxruntime', 'ONNX Runtime'),
            ('tensorrt', 'TensorRT'),
        )
        for ending in ('fp16', 'int8')
    },
    'inference.openvino_exact': 'with OpenVINO, in fp32 throughout',
    'inference.tensorrt_exact': 'with TensorRT, in fp32 throughout',
    'inference.torch_fp32': 'for comparison: the same with eager PyTorch',
    'node.latency': 'arrival of the camera image to publication of mask and colours, over DDS',
    'node.inference': 'of it: the network',
    'node.overhead': 'of it: all but the network',
    'node.proposals_latency': 'arrival of image and sweep to publication of proposals, over DDS',
    'node.proposals_watched': 'arrival of image to arrival of overlay, at a subscriber of both',
    'recorder.soak': 'a small frame written by the recorder, crash-safe',
    'recorder.rig': "from the arrival of a frame's messages to its queueing for writing, three "
    'cameras; includes the 0.2 s in which messages may arrive late',
    'extract.frame': '`extract`, one bag: reading, LiDAR, superpixels, writing',
    'extract.one_of_rig': '`extract`, one camera of a rig of three',
    'extract.rig': '`extract`, each image of a rig of three: the sweep is segmented once',
    'extract.cluster': '`extract`, four bags on two workers of a cluster',
    'io.write': 'a frame written to a dataset, crash-safe',
    'io.plain_write': 'for comparison: the same bytes written plainly',
    'io.read': 'a frame read from a dataset',
    **{
        f'labelling.{count}': f'{count:,} segments: sampling, fitting and assigning pseudo-classes'
        for count in (10_000, 50_000, 200_000, 1_000_000)
    },
    **{
        f'training.{stage}.{name}': f'preparation of training, {what}, {where}'
        for stage, what in (
            ('images', 'a 1920x1080 JPEG to network size'),
            ('labels', 'a pseudo-label to network size'),
            ('answers', "a teacher's prediction (`tiny`)"),
        )
        for name, where in (
            ('1_core', 'one process on one core'),
            ('2_cores', 'one process on two cores'),
            ('2_processes', 'two processes'),
        )
    },
    'training.steps.fits': 'a training step of `tiny` (4 images of 288x512), data in memory',
    'training.steps.does_not_fit': 'the same, data larger than memory',
}
# Figures in the README's table of timings, and their titles.
SHOWN = {
    'lidar.chain': 'LiDAR chain, one sweep',
    'extract.frame': '`extract`, per frame, everything included',
    'node.proposals_latency': 'proposals live, sweep and image to topic',
    'inference.openvino': 'inference only, OpenVINO on one thread',
    'node.latency': 'masks live, camera image to topic',
}
# Rows of the scaling table in docs/fleet.md.
STAGES = {
    'simulate': '`simulate`',
    'extract': '`extract`',
    'label': '`label`',
    'train_preparation': '`train`, preparation',
    'segment': '`segment`',
    'evaluate': '`evaluate`',
    'extract.real': '`extract`, real drive',
    'label.real': '`label`, real drive',
    'segment.real': '`segment`, real drive',
}
# The front camera of the training split of nuScenes, for docs/reproduce.md: 700 scenes of 20 s at
# 12 Hz; epochs of teacher and student together; images of the validation split of Cityscapes.
_NUSCENES_IMAGES, _EPOCHS, _CITYSCAPES_IMAGES = 168_000, 2 * 10, 500
# Assumed to be effective.
_GPU_TFLOPS = 100
# Rows of the README's table of results, by their names in docs/results.md.
SCORES = {
    'image-only k-means (baseline)': 'baseline: clustering the images alone',
    'pseudo-labels': 'pseudo-labels from LiDAR',
    'student': '**the trained network**, image only',
    'trained on ground truth (bound)': 'bound: the same network trained on ground truth',
}


def marked(page: str, name: str, table: str) -> str:
    """Return a page with the text between `<!-- name -->` and `<!-- end -->` replaced by a table.

    Raises:
        ValueError: if the page has no such markers.
    """
    found = rf'(<!-- {name} -->\n).*?(<!-- end -->)'
    if not re.search(found, page, re.DOTALL):
        raise ValueError(f'the page has no markers for {name}')
    return re.sub(found, lambda match: f'{match[1]}{table}{match[2]}', page, flags=re.DOTALL)


def measured(docs: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each suite in docs/measured, in the order of `MEANING`."""
    found = {
        file.stem: json.loads(file.read_text(encoding='utf-8'))['results']
        for file in (docs / 'measured').glob('*.json')
    }
    place = {name: index for index, name in enumerate(MEANING)}
    for results in found.values():
        results.sort(key=lambda one: place.get(one['name'], len(place)))
    order = dict.fromkeys(name.partition('.')[0] for name in MEANING)
    return {suite: found[suite] for suite in order if suite in found}


def machine(docs: Path) -> str:
    """Return the description of the machine that the suites ran on, as one line."""
    return ' '.join((docs / 'measured/machine.txt').read_text(encoding='utf-8').split())


def origin(docs: Path, suite: str) -> str:
    """Return the line that names command, file, CPU and cores of a suite's figures."""
    found = json.loads((docs / f'measured/{suite}.json').read_text(encoding='utf-8'))
    where = ''
    if 'processor' in found:
        where = f' ({found["processor"]}, cores: {found["cores"]})'
    return f'`drive-segment bench {suite} --json`, in `docs/measured/{suite}.json`{where}.\n\n'


def speed_tables(docs: Path) -> str:
    """Return the tables of docs/speed.md, one for each suite."""
    parts = [f'{machine(docs)}\n']
    for suite, results in measured(docs).items():
        parts.append(
            f'\n### {suite}\n\n{origin(docs, suite)}'
            '| name | median ms | 95th percentile ms | runs | what is measured |\n'
            '|---|---|---|---|---|\n'
        )
        for one in results:
            meaning = MEANING.get(one['name'], 'for comparison' if one.get('peer') else '')
            device = one.get('backend', '')
            note = f'{meaning} ({device})' if device else meaning
            parts.append(
                f'| `{one["name"]}` | {_ms(one["median_s"])} | {_ms(one["p95_s"])} | '
                f'{one["runs"]} | {note} |\n'
            )
    return ''.join(parts)


def speed_summary(docs: Path) -> str:
    """Return the README's table of timings."""
    found = {one['name']: one for results in measured(docs).values() for one in results}
    rows = [
        f'| {title} | {_ms(found[name]["median_s"])} | {_ms(found[name]["p95_s"])} | '
        f'`bench {name.partition(".")[0]}` |\n'
        for name, title in SHOWN.items()
        if name in found
    ]
    columns = '| stage | median ms | 95th percentile ms | command |\n|---|---|---|---|\n'
    return f'{machine(docs)}\n\n{columns}{"".join(rows)}'


def segment_table(docs: Path) -> str:
    """Return the table of scores of object segments by drive.

    It is empty if docs/measured/segments.json does not exist.
    """
    results = _results(docs, 'segments')
    if not results:
        return ''
    rows = [
        '| drive | images | coverage % | purity % | cars in ground % | merged |\n'
        '|---|---|---|---|---|---|\n'
    ]
    for one in results:
        merged = f'{one["merged"]} of {one["instances"]}' if one['instances'] else ''
        rows.append(
            f'| {one["name"].partition(".")[2]} | {one["frames"]} | {one["coverage"]:.1f} | '
            f'{one["purity"]:.1f} | {one["per_class"]["car"]["in_ground"]:.1f} | {merged} |\n'
        )
    return origin(docs, 'segments') + ''.join(rows)


def scale_table(docs: Path) -> str:
    """Return the table of cost and growth by stage; empty without docs/measured/scale.json."""
    results = {one['name'].partition('.')[2]: one for one in _results(docs, 'scale')}
    if not results:
        return ''
    rows = [
        '| stage | images | processor ms an image | exponent | MiB | kB an image '
        '| KiB through the client |\n|---|---|---|---|---|---|---|\n'
    ]
    for stage, title in STAGES.items():
        one = results[stage]
        items = one['items']
        through = results.get(f'{stage}.cluster', {}).get('client_bytes')
        cells = (
            title,
            str(items),
            f'{1e3 * one["cpu_s"] / items:.0f}',
            f'{one["cpu_exponent_large"]:.2f}' if 'cpu_exponent_large' in one else '',
            f'{one["peak_mib"]:.0f}',
            f'{1e-3 * one["bytes"] / items:.0f}',
            f'{through / 1024:.0f}' if through else '',
        )
        rows.append(f'| {" | ".join(cells)} |\n')
    return origin(docs, 'scale') + ''.join(rows)


def requirements_table(docs: Path) -> str:
    """Return what the publication's experiment needs, from docs/measured/reproduce.json."""
    found = {one['name'].partition('.')[2]: one for one in _results(docs, 'reproduce')}
    if not found:
        return ''

    def processor(one: dict[str, Any]) -> tuple[str, str]:
        seconds, megabytes = one['median_s'], one['disk_mb']
        hours, gigabytes = _NUSCENES_IMAGES * seconds / 3600, _NUSCENES_IMAGES * megabytes / 1000
        return (
            f'{seconds:.2f} s, {megabytes:.2f} MB',
            f'{hours:.0f} core-hours, {gigabytes:.0f} GB',
        )

    train, evaluate = found['train'], found['evaluate']
    operations = _NUSCENES_IMAGES * (_EPOCHS * train['step_tflop'] + train['forward_tflop'])
    rows = [
        ('`extract`', *processor(found['extract'])),
        ('`label`, ViT-S/16, on processors', *processor(found['label'])),
        (
            '`train`, data prepared',
            f'{train["cache_mb"]:.1f} MB in `RUN/cache`',
            f'{_NUSCENES_IMAGES * train["cache_mb"] / 1000:.0f} GB',
        ),
        (
            '`train`, operations',
            f'{train["forward_tflop"]:.2f} TFLOP forward, {train["step_tflop"]:.2f} with backward',
            f'{1e-6 * operations:.1f} million TFLOP: {operations / _GPU_TFLOPS / 3600:.0f} hours '
            f'on a GPU that reaches {_GPU_TFLOPS} TFLOP/s',
        ),
        (
            '`evaluate`, 2048x1024',
            f'{evaluate["median_s"]:.1f} s',
            f'{_CITYSCAPES_IMAGES} images: '
            f'{_CITYSCAPES_IMAGES * evaluate["median_s"] / 60:.0f} minutes on one core',
        ),
    ]
    columns = f'| step | measured, per image | estimated for {_NUSCENES_IMAGES:,} images |\n'
    lines = ''.join(f'| {" | ".join(cells)} |\n' for cells in rows)
    return f'{origin(docs, "reproduce")}{columns}|---|---|---|\n{lines}'


def _results(docs: Path, suite: str) -> list[dict[str, Any]]:
    file = docs / f'measured/{suite}.json'
    return json.loads(file.read_text(encoding='utf-8'))['results'] if file.is_file() else []


def score_summary(results_page: str) -> str:
    """Return the README's table of scores, taken from the means in docs/results.md.

    Raises:
        ValueError: if a row is missing there.
    """
    means: dict[str, list[str]] = {}
    part = ''
    for line in results_page.splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if line.startswith('| ') and len(cells) == 6:
            part = cells[0] or part
            if cells[1] == '**mean**':
                means.setdefault(part, [cell.strip('*') for cell in cells[2:]])
    lines = ['| mIoU / accuracy | strict | many-to-one |\n|---|---|---|\n']
    for part, title in SCORES.items():
        if part not in means:
            raise ValueError(f'docs/results.md has no mean of {part!r}')
        strict, many = means[part][:2]
        lines.append(f'| {title} | {strict} | {many} |\n')
    return ''.join(lines)


def _ms(seconds: float) -> str:
    milliseconds = 1e3 * seconds
    return f'{milliseconds:.0f}' if milliseconds >= 100 else f'{milliseconds:.1f}'
