"""How a subcommand behaves: registered by name, its errors one line, its results one object.

Results go to standard output, everything else to standard error; with `--json` standard output is
one object. Problems are one line and exit code 1; where part of the work could not be done the
rest is, and the code is 3.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import typer

from drive_segment_ros.commands.interruption import Interruption
from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.kernel_cache import VARIABLE

app = typer.Typer(
    name='drive-segment',
    help='Semantic segmentation learnt from driving: camera and LiDAR in, no labels needed.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Exit codes: part of the work could not be done; a signal ended it.
PARTIAL, INTERRUPTED = 3, 130


def command(
    function: Callable[..., None] | None = None, *, kept: str = '', handles_signals: bool = False
) -> Callable[..., Any]:
    """Register a subcommand, named like the function, whose errors are one line.

    Args:
        function: the subcommand.
        kept: what to say when it is interrupted: what is kept and how to go on. Names of its
            arguments in braces stand for their values.
        handles_signals: whether it runs until interrupted and ends by itself then.
    """
    if function is None:
        return functools.partial(command, kept=kept, handles_signals=handles_signals)
    inner = function

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        _log_to_stderr()
        until = (
            contextlib.nullcontext() if handles_signals else Interruption(kept.format(**kwargs))
        )
        try:
            with until:
                inner(*args, **kwargs)
        except DriveSegmentError as err:
            fail(str(err))
        except BrokenPipeError:
            raise  # the reader of our output has enough, such as `head`; Typer ends quietly
        except ModuleNotFoundError as err:
            name = (err.name or '').partition('.')[0]
            if name in ('', 'drive_segment_ros', 'offline_training'):
                raise
            fail(f'{name} is not installed; {_remedy(name)}')
        except OSError as err:
            # Library code names what it was doing; this is what no one expected, such as a full
            # disk under a temporary file.
            where = f'{err.filename}: ' if err.filename else ''
            fail(f'{where}{err.strerror or err}')
        except RuntimeError as err:
            if 'no locator available' not in str(err):  # Numba's
                raise
            fail(f'no folder for compiled kernels can be written; set {VARIABLE} to one')
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return app.command()(guarded)


def _remedy(package: str) -> str:
    """Say what brings a package that a command needs."""
    if package.startswith(('rclpy', 'tf2')) or package.endswith('_msgs'):
        return "source a ROS 2 installation, or pip install '.[ros]'"
    return "pip install '.[train]' brings what learning needs"


def fail(message: str) -> None:
    """End with a one-line error."""
    typer.echo(f'drive-segment: error: {" ".join(message.split())}', err=True)
    raise typer.Exit(1)


def print_json(values: Mapping[str, Any]) -> None:
    """Print a result for machines; paths become strings."""
    typer.echo(json.dumps(values, default=str, allow_nan=False))


def _log_to_stderr() -> None:
    """Send warnings to standard error in the command's form."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('drive-segment: %(levelname)s: %(message)s'))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
