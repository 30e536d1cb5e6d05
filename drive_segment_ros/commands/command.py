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
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import typer
from typer.core import TyperCommand, TyperGroup

from drive_segment_ros.commands.interruption import Interruption
from drive_segment_ros.errors import DriveSegmentError
from drive_segment_ros.kernel_cache import VARIABLE
from drive_segment_ros.storage_errors import explained


class _Subcommand(TyperCommand):
    """A subcommand whose help shows flags without a value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters."""
        return _without_values(super().get_params(ctx))


class _Group(TyperGroup):
    """The same for the command itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters."""
        return _without_values(super().get_params(ctx))


def _without_values(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, 'is_flag', False):
            parameter.metavar = ''
    return parameters


app = typer.Typer(
    name='drive-segment',
    help='Semantic segmentation learned from unlabelled drives with camera and LiDAR.',
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130
# The rest of the work is done.
PARTLY_DONE = 3


def command(
    function: Callable[..., None] | None = None,
    *,
    name: str | None = None,
    kept: str = '',
    handles_signals: bool = False,
) -> Callable[..., Any]:
    """Register a subcommand whose errors are one line.

    Args:
        function: the subcommand.
        name: what it is called; by default as the function.
        kept: what to say when it is interrupted: what is kept and how to go on. Names of its
            arguments in braces stand for their values.
        handles_signals: whether it runs until interrupted and ends by itself then.
    """
    if function is None:
        return functools.partial(command, name=name, kept=kept, handles_signals=handles_signals)
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
            fail(_of_storage(err, kwargs.values()) or f'{where}{err.strerror or err}')
        except RuntimeError as err:
            if 'no locator available' not in str(err):  # Numba's
                raise
            fail(f'no folder for compiled kernels can be written; set {VARIABLE} to one')
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except Exception as err:
            told = _of_storage(err, kwargs.values())
            if not told:
                raise
            fail(told)

    return app.command(name, cls=_Subcommand)(guarded)


def _of_storage(err: Exception, arguments: Iterable[Any]) -> str:
    """Say what an error of object storage means, by the first URL given; empty if it is none."""
    if 'upath' not in sys.modules:
        return ''
    from upath import UPath

    given = (one for value in arguments for one in (value if isinstance(value, list) else [value]))
    url = next((one for one in given if isinstance(one, UPath)), None)
    told = url and explained(err, cast(Path, url))
    return f'{url}: {told.strerror}' if told else ''


def _remedy(package: str) -> str:
    """Say what brings a package that a command needs."""
    if package.startswith(('rclpy', 'tf2')) or package.endswith('_msgs'):
        return "source a ROS 2 installation, or pip install '.[ros]'"
    return "pip install '.[train]' brings what learning needs"


def fail(message: str) -> NoReturn:
    """End with a one-line error."""
    typer.echo(f'drive-segment: error: {" ".join(message.split())}', err=True)
    raise typer.Exit(1)


def end_partly_done(failed: Mapping[str, str]) -> None:
    """End with a line for each part of the work that could not be done, if there is one.

    Args:
        failed: why, by what.
    """
    for name, reason in failed.items():
        typer.echo(f'drive-segment: error: {name}: {" ".join(reason.split())}', err=True)
    if failed:
        raise typer.Exit(PARTLY_DONE)


def say(text: str) -> None:
    """Tell a person something; standard output is for results."""
    typer.echo(text, err=True)


def print_json(values: Mapping[str, Any]) -> None:
    """Print a result for machines; paths become strings."""
    typer.echo(json.dumps(values, default=str, allow_nan=False))


def _log_to_stderr() -> None:
    """Send warnings to standard error in the command's form."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('drive-segment: %(levelname)s: %(message)s'))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Who works on a cluster is shown where to look at it.
    logging.getLogger('offline_training.common.cluster').setLevel(logging.INFO)
