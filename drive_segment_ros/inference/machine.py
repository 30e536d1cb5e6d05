"""The instruction sets and GPU of a machine, and the precision that suits it."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from collections.abc import Sequence
from pathlib import Path

# NVIDIA GPU of a workstation, of a Jetson, in WSL.
GPU_DEVICES = ('/dev/nvidia0', '/dev/nvhost-gpu', '/dev/dxg')
# Linux's names of the instructions for 8-bit products, and of the bf16 tile units.
_VNNI = ('avx512_vnni', 'avx_vnni')
_AMX = 'amx_bf16'


@dataclasses.dataclass(frozen=True)
class Machine:
    """Properties that determine a model's speed.

    Attributes:
        flags: of the processor, as Linux names them.
        gpu: whether there is an NVIDIA GPU.
    """

    flags: frozenset[str]
    gpu: bool


@dataclasses.dataclass(frozen=True)
class PrecisionChoice:
    """A precision to export in.

    Attributes:
        precision: `fp32`, `fp16` or `int8`.
        reason: why, as text.
    """

    precision: str
    reason: str


def this_machine(
    cpuinfo: Path = Path('/proc/cpuinfo'), devices: Sequence[str] = GPU_DEVICES
) -> Machine:
    """Return what this machine has; no flags where the system does not name them."""
    return Machine(processor_flags(cpuinfo), any(Path(device).exists() for device in devices))


def processor_flags(cpuinfo: Path) -> frozenset[str]:
    """Return the names of the processor's instruction sets.

    Args:
        cpuinfo: Linux's description of the processor.
    """
    flags: set[str] = set()
    try:
        lines = cpuinfo.read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        if line.startswith(('flags', 'Features')):
            flags.update(line.partition(':')[2].split())
    return frozenset(flags)


def processor_name(cpuinfo: Path = Path('/proc/cpuinfo')) -> str:
    """Return the processor's model name, or the architecture if the system does not give one.

    Args:
        cpuinfo: Linux's description of the processor.
    """
    with contextlib.suppress(OSError):
        for line in cpuinfo.read_text(encoding='utf-8', errors='replace').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.machine()


def suitable_precision(machine: Machine) -> PrecisionChoice:
    """Return the precision in which a machine is expected to run models fastest."""
    if machine.gpu:
        return PrecisionChoice('fp16', 'there is an NVIDIA GPU, whose tensor cores use fp16')
    if _AMX in machine.flags:
        return PrecisionChoice(
            'fp32',
            f'the processor has AMX ({_AMX}): fp32 models run in bf16, which needs no calibration',
        )
    vnni = next((name for name in _VNNI if name in machine.flags), '')
    if vnni:
        return PrecisionChoice(
            'int8', f'the processor has VNNI ({vnni}) for 8-bit products and no AMX for bf16'
        )
    return PrecisionChoice(
        'fp32', 'the processor has no instructions that make a lower precision faster'
    )
