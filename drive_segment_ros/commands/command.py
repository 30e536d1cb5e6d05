"""The common behaviour of subcommands: registration, one-line errors, JSON results, exit codes.

Results are written to standard output, everything else to standard error; with `--json` standard
output is one object. An error is one line, with exit code 1; if only part of the work could be
done, the exit code is 3.
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
    """The same for the main command."""

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
# Exit code if part of the work could not be done.
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
        name: by default that of the function.
        kept: message for an interruption: what is kept and how to continue. Names of its
            arguments in braces are replaced by their values.
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
            raise  # the reader of the output has closed it, such as `head`; Typer ends quietly
        except ModuleNotFoundError as err:
            name = (err.name or '').partition('.')[0]
            if name in ('', 'drive_segment_ros', 'offline_training'):
                raise
            fail(f'{name} is not installed; {_remedy(name)}')
        except OSError as err:
            # Library code raises its own errors; this is an unexpected one, such as a full disk
            # for a temporary file.
            where = f'{err.filename}: ' if err.filename else ''
            fail(_of_storage(err, kwargs.values()) or f'{where}{err.strerror or err}')
        except RuntimeError as err:
            if str(err).startswith('Symlink loop'):  # pathlib's
                fail(f'{err}; replace the link')
            if 'no locator available' not in str(err):  # Numba's
                raise
            fail(f'no writable folder for compiled kernels; set {VARIABLE} to one')
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except Exception as err:
            told = _of_storage(err, kwargs.values())
            if not told:
                raise
            fail(told)

    return app.command(name, cls=_Subcommand)(guarded)


def _of_storage(err: Exception, arguments: Iterable[Any]) -> str:
    """Return the message of an error of object storage with the URL; empty for other errors."""
    if 'upath' not in sys.modules:
        return ''
    from upath import UPath

    given = (one for value in arguments for one in (value if isinstance(value, list) else [value]))
    url = next((one for one in given if isinstance(one, UPath)), None)
    told = url and explained(err, cast(Path, url))
    return f'{url}: {told.strerror}' if told else ''


def _remedy(package: str) -> str:
    """Return how to install a package that a command needs."""
    if package.startswith(('rclpy', 'tf2')) or package.endswith('_msgs'):
        return "source a ROS 2 installation, or pip install '.[ros]'"
    return "pip install '.[train]' installs the packages for training"


def fail(message: str) -> NoReturn:
    """End with a one-line error."""
    typer.echo(f'drive-segment: error: {" ".join(message.split())}', err=True)
    raise typer.Exit(1)


def end_partly_done(failed: Mapping[str, str]) -> None:
    """Exit with a line for each part of the work that failed, if there is one.

    Args:
        failed: reasons by part.
    """
    for name, reason in failed.items():
        typer.echo(f'drive-segment: error: {name}: {" ".join(reason.split())}', err=True)
    if failed:
        raise typer.Exit(PARTLY_DONE)


def say(text: str) -> None:
    """Print a message to standard error; standard output is for results."""
    typer.echo(text, err=True)


def print_json(values: Mapping[str, Any]) -> None:
    """Print a result for machines; paths become strings."""
    typer.echo(json.dumps(values, default=str, allow_nan=False))


def _log_to_stderr() -> None:
    """Send warnings to standard error in the command's form."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('drive-segment: %(levelname)s: %(message)s'))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Logs the address of the cluster's dashboard.
    logging.getLogger('offline_training.common.cluster').setLevel(logging.INFO)
