"""The checks of `drive-segment doctor`: whether this machine can run the package, and how well.

Every finding is one line that says what to do. Nothing is changed or sent anywhere.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drive_segment_ros.cores import usable_cores
from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.inference.machine import (
    Machine,
    processor_flags,
    suitable_precision,
    this_machine,
)
from drive_segment_ros.kernel_cache import VARIABLE, cache_folder, is_temporary

Status = Literal['ok', 'hint', 'problem']

# Import name -> (distribution on PyPI, what needs it).
REQUIRED = {
    'numpy': ('numpy', 'everything'),
    'scipy': ('scipy', 'smoothing and interpolation'),
    'numba': ('numba', 'the LiDAR chain'),
    'cv2': ('opencv-contrib-python-headless', 'images'),
    'open3d': ('open3d', 'clouds without beams'),
    'yaml': ('PyYAML', 'parameter and calibration files'),
    'rosbags': ('rosbags', 'reading bags'),
    'typer': ('typer', 'the drive-segment command'),
    'rich': ('rich', 'tables and progress bars'),
}
BACKENDS = {'tensorrt': 'tensorrt', 'openvino': 'openvino', 'onnxruntime': 'onnxruntime'}
MESSAGES = (
    'sensor_msgs',
    'nav_msgs',
    'geometry_msgs',
    'diagnostic_msgs',
    'std_srvs',
    'lifecycle_msgs',
    'rosgraph_msgs',
)
# Used if the ROS distribution has them; otherwise the package's own replacements are used.
OPTIONAL_ROS = (
    'tf2_ros', 'tf2_msgs', 'message_filters', 'cv_bridge', 'sensor_msgs_py', 'launch_ros'
)  # fmt: skip

# Linux's names of the processor features that make inference fast.
_FAST = (
    *('avx2', 'avx512f', 'avx_vnni', 'avx512_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8'),
    *('asimd', 'bf16'),
)

MIB = 2**20
GIB = 2**30
# An uncompressed 1080p colour image has 6.2 MB: the largest usual message, with a margin.
LARGEST_MESSAGE_BYTES = 8 * MIB
# Peak resident memory of one worker: 1080p images and 64 beams, a tiny network on a CPU, a
# simulated rig of six cameras at 960x540.
WORKER_MIB = {'extract': 420, 'segment': 640, 'simulate': 720}


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was checked.
        status: `ok`; `hint`, works but could be better; `problem`, something will not work.
        detail: what was found.
        advice: what to do about it; empty when there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    advice: str = ''


def diagnose() -> list[Check]:
    """Check Python, packages, ROS, inference backends and the machine; takes some seconds."""
    return [
        check_python(sys.version_info[:2]),
        *(check_package(module, *about) for module, about in REQUIRED.items()),
        *check_ros(os.environ),
        *check_backends(),
        *check_precision(),
        check_export(this_machine()),
        check_gpu(),
        check_processor(Path('/proc/cpuinfo')),
        check_memory(Path('/proc/meminfo'), Path('/sys/fs/cgroup/memory.max')),
        check_disk(Path.cwd()),
        check_kernel_cache(),
        check_shared_memory(Path('/dev/shm')),
        check_receive_buffer(Path('/proc/sys/net/core/rmem_max')),
        check_clock(),
    ]


def check_python(version: tuple[int, int]) -> Check:
    """Whether the interpreter, given its (major, minor), is supported."""
    found = f'{version[0]}.{version[1]}'
    if (3, 10) <= version <= (3, 14):
        return Check('Python', 'ok', found)
    return Check('Python', 'problem', found, 'use Python 3.10 to 3.14')


def check_package(module: str, distribution: str, purpose: str) -> Check:
    """Whether a required package imports, its shared libraries included."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        advice = f'needed for {purpose}: pip install {distribution}'
        return Check(module, 'problem', _one_line(error), advice)
    except Exception as error:  # installed, but a system library is missing or too old
        advice = 'apt install libusb-1.0-0 libgl1 libgomp1 libx11-6, or reinstall the package'
        return Check(module, 'problem', _one_line(error), advice)
    version, least = _version(module, distribution), _least_version(distribution)
    if least and _numbers(version) and _numbers(version) < _numbers(least):
        # colcon and rosdep install the system's packages without comparing versions.
        advice = f"needs {least} or newer: pip install '{distribution}>={least}'"
        return Check(module, 'problem', f'{version} is too old', advice)
    return Check(module, 'ok', version)


def check_ros(environment: Mapping[str, str]) -> list[Check]:
    """Whether rclpy, a DDS and the message packages can be loaded, and how DDS is configured."""
    try:
        from rclpy.utilities import get_rmw_implementation_identifier

        rmw = get_rmw_implementation_identifier()
    except Exception as error:  # rclpy raises its own and RuntimeError when no DDS loads
        advice = (
            'only the nodes, live, play and save-topic need ROS: source a ROS 2 installation, '
            "or, in a checkout, pip install '.[ros]'"
        )
        return [Check('ROS 2', 'hint', f'rclpy cannot be loaded ({_one_line(error)})', advice)]
    checks = [
        Check(
            'ROS 2',
            'ok',
            f'{environment.get("ROS_DISTRO", "rclpy without a distribution")}, {rmw}',
        )
    ]
    missing = [name for name in MESSAGES if importlib.util.find_spec(name) is None]
    if missing:
        packages = ' '.join('ros-$ROS_DISTRO-' + name.replace('_', '-') for name in missing)
        checks.append(
            Check('messages', 'problem', 'missing: ' + ', '.join(missing), f'install {packages}')
        )
    else:
        checks.append(Check('messages', 'ok', ', '.join(MESSAGES)))
    present = [name for name in OPTIONAL_ROS if importlib.util.find_spec(name) is not None]
    checks.append(Check('optional ROS packages', 'ok', ', '.join(present) or 'none, not needed'))
    checks.append(check_domain(environment))
    if 'fastrtps' in rmw:
        checks.append(check_transport(environment))
    return checks


def check_domain(environment: Mapping[str, str]) -> Check:
    """Which machines receive this machine's topics."""
    domain = environment.get('ROS_DOMAIN_ID') or '0'
    reach = environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    detail = f'{domain}, discovery range {reach}'
    if not domain.isdecimal() or int(domain) > 101:
        return Check('ROS_DOMAIN_ID', 'problem', detail, 'export ROS_DOMAIN_ID=0 (0 to 101)')
    return Check('ROS_DOMAIN_ID', 'ok', detail)


def check_transport(environment: Mapping[str, str]) -> Check:
    """Whether Fast DDS is configured for large messages."""
    value = environment.get('FASTDDS_BUILTIN_TRANSPORTS', '')
    if value.startswith('LARGE_DATA'):
        return Check('DDS transport', 'ok', value)
    advice = 'for lower latency of images: export FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA'
    return Check('DDS transport', 'hint', value or 'default', advice)


def check_backends() -> list[Check]:
    """Which inference runtimes are installed; one is enough to run a model."""
    found = [
        Check(module, 'ok', _version(module, distribution))
        for module, distribution in BACKENDS.items()
        if importlib.util.find_spec(module) is not None
    ]
    if importlib.util.find_spec('tensorrt') and not _has_cuda_python():
        advice = 'TensorRT needs it: pip install cuda-python'
        found.append(Check('cuda-python', 'problem', 'missing, tensorrt is installed', advice))
    if found:
        return found
    advice = 'proposals work without; to run a trained model: pip install openvino'
    return [Check('inference backend', 'hint', 'none of ' + ', '.join(BACKENDS), advice)]


def check_precision() -> list[Check]:
    """The precision in which OpenVINO, if installed, computes on this processor."""
    if importlib.util.find_spec('openvino') is None:
        return []
    try:
        from drive_segment_ros.inference.openvino_backend import processor_precision

        compiled = processor_precision()
    except (ImportError, RuntimeError, DriveSegmentError) as error:
        advice = 'OpenVINO cannot run models: pip install --force-reinstall openvino'
        return [Check('OpenVINO precision', 'problem', _one_line(error), advice)]
    if not compiled.fallback:
        return [Check('OpenVINO precision', 'ok', compiled.precision)]
    advice = 'unset ONEDNN_MAX_CPU_ISA, or expose the CPU features to the virtual machine'
    detail = f'{compiled.precision}: {compiled.fallback}'
    return [Check('OpenVINO precision', 'hint', detail, advice)]


def check_export(machine: Machine) -> Check:
    """The precision in which to export a model for this machine, and why."""
    choice = suitable_precision(machine)
    return Check(
        'model precision', 'ok', f'export --precision {choice.precision}: {choice.reason}'
    )


def _has_cuda_python() -> bool:
    try:
        return importlib.util.find_spec('cuda.bindings') is not None
    except ModuleNotFoundError:
        return False


def check_gpu() -> Check:
    """The NVIDIA GPU, if there is one and its driver answers."""
    query = ['nvidia-smi', '--query-gpu=name,driver_version', '--format=csv,noheader']
    answer = _output_of(query)
    if answer:
        return Check('GPU', 'ok', answer.splitlines()[0])
    if Path('/dev/nvidia0').exists():
        return Check('GPU', 'problem', 'the driver does not answer', 'reinstall the NVIDIA driver')
    return Check('GPU', 'ok', 'none; models run on the processor')


def check_processor(cpuinfo: Path) -> Check:
    """Cores available to this process, and the instructions that make inference fast."""
    cores = usable_cores()
    flags = processor_flags(cpuinfo)
    fast = [name for name in _FAST if name in flags]
    detail = (
        f'{platform.machine()}, {cores} cores, {" ".join(fast) or "no vector extensions known"}'
    )
    if cores < 2:
        return Check('processor', 'hint', detail, 'two cores allow decoding in parallel')
    return Check('processor', 'ok', detail)


def check_memory(meminfo: Path, limit: Path) -> Check:
    """How many workers of each command fit into memory.

    Args:
        meminfo: `/proc/meminfo`.
        limit: file with the memory limit of a container, bytes; `max` or missing for none.
    """
    cores = usable_cores()
    found = re.search(r'^MemAvailable:\s+(\d+) kB', _read(meminfo), re.MULTILINE)
    if found is None:
        return Check('memory', 'hint', f'{meminfo} does not give the available memory')
    free = int(found[1]) * 1024
    allowed = _read(limit).strip()
    if allowed.isdecimal():
        free = min(free, int(allowed))
    fit = {name: int(free // (mib * MIB)) for name, mib in WORKER_MIB.items()}
    workers = ', '.join(f'{name} {fit[name]} of {mib} MiB' for name, mib in WORKER_MIB.items())
    detail = f'{free / MIB:.0f} MiB available, {cores} cores; workers that fit: {workers}'
    few = [f'{name} --workers {max(fit[name], 1)}' for name in fit if fit[name] < cores]
    if few:
        return Check('memory', 'hint', detail, f'too little for a worker a core: {", ".join(few)}')
    return Check('memory', 'ok', detail)


def check_disk(folder: Path) -> Check:
    """Free space where datasets would be written."""
    free = shutil.disk_usage(folder).free
    detail = f'{free / GIB:.1f} GiB free in {folder}'
    if free < GIB:
        return Check(
            'disk', 'problem', detail, 'free some space; extraction stops when it is full'
        )
    if free < 20 * GIB:
        return Check('disk', 'hint', detail, 'little for long drives, whose images are copied')
    return Check('disk', 'ok', detail)


def check_kernel_cache() -> Check:
    """Where compiled kernels are cached: without such a folder no LiDAR code runs."""
    folder = cache_folder()
    advice = f'export {VARIABLE}=FOLDER, a permanent folder that is writable'
    if folder is None:
        return Check('compiled kernels', 'problem', 'no writable folder', advice)
    if is_temporary(folder):
        detail = f'{folder}, temporary: kernels are compiled again after a restart'
        return Check('compiled kernels', 'hint', detail, advice)
    try:
        from drive_segment_ros.compiled_kernels import FRAMES, are_compiled, kernel_folder

        compiled, folder = are_compiled(FRAMES), kernel_folder()
    except ImportError as error:  # the missing package has been reported
        return Check('compiled kernels', 'problem', _one_line(error), 'install it first')
    if not compiled:
        detail = f'none for this processor in {folder}: the first start compiles them'
        return Check('compiled kernels', 'hint', detail, 'drive-segment warm-up')
    return Check('compiled kernels', 'ok', str(folder))


def check_shared_memory(folder: Path) -> Check:
    """Shared memory for DDS; a container has 64 MiB by default."""
    if not folder.is_dir():
        return Check('shared memory', 'hint', f'no {folder}', 'DDS falls back to sockets')
    total = shutil.disk_usage(folder).total
    detail = f'{total / MIB:.0f} MiB in {folder}'
    if total < 256 * MIB:
        return Check('shared memory', 'hint', detail, 'in a container: docker run --shm-size=1g')
    return Check('shared memory', 'ok', detail)


def check_receive_buffer(setting: Path) -> Check:
    """Whether a socket can hold one large message; smaller ones lose fragments."""
    text = _read(setting).strip()
    if not text.isdecimal():
        return Check('socket buffer', 'hint', f'{setting} cannot be read')
    detail = f'net.core.rmem_max = {int(text)} bytes'
    if int(text) >= LARGEST_MESSAGE_BYTES:
        return Check('socket buffer', 'ok', detail)
    advice = f'between machines: sudo sysctl -w net.core.rmem_max={LARGEST_MESSAGE_BYTES}'
    return Check('socket buffer', 'hint', detail, advice)


def check_clock() -> Check:
    """Whether the clock is synchronised; stamps of several machines are compared."""
    answer = _output_of(['timedatectl', 'show', '--property=NTPSynchronized', '--value'])
    if answer == 'yes':
        return Check('clock', 'ok', 'synchronised')
    advice = 'stamps of several machines need synchronised clocks: chrony, or PTP for the sensors'
    return Check('clock', 'hint', 'not known to be synchronised', advice)


def _version(module: str, distribution: str) -> str:
    # A system package has another name than PyPI's, so the module is queried next.
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(module), '__version__', 'version unknown'))


def _least_version(distribution: str) -> str:
    """Return the oldest supported version of another package, empty if there is no limit."""
    try:
        requirements = importlib.metadata.requires('drive_segment_ros') or []
    except importlib.metadata.PackageNotFoundError:
        return ''
    pattern = re.compile(rf'{re.escape(distribution)}\s*>=\s*([0-9.]+)', re.IGNORECASE)
    return next((found[1] for line in requirements if (found := pattern.match(line))), '')


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparison."""
    found = re.match(r'\d+(\.\d+)*', version)
    return tuple(int(number) for number in found[0].split('.')) if found else ()


def _output_of(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ''
    return done.stdout.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ''


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
