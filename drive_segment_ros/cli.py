"""The `drive-segment` command: the entry point and the groups of subcommands."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

import drive_segment_ros
from drive_segment_ros.commands.command import INTERRUPTED, app

# In the order of `--help`: importing a group registers its commands.
# isort: off
from drive_segment_ros.commands import recordings
from drive_segment_ros.commands import published
from drive_segment_ros.commands import learning
from drive_segment_ros.commands import scoring
from drive_segment_ros.commands import models
from drive_segment_ros.commands import viewing
from drive_segment_ros.commands import vehicle
from drive_segment_ros.commands import benchmarks
# isort: on

__all__ = [
    'INTERRUPTED',
    'app',
    'benchmarks',
    'learning',
    'main',
    'models',
    'published',
    'recordings',
    'scoring',
    'vehicle',
    'viewing',
]


def main() -> None:
    """Run the command: the entry point."""
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal's encoding lacks, also in names of files, are escaped.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == 'strict':
            stream.reconfigure(errors='backslashreplace')
    app()


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option('--version', help='Print the version.')] = False,
) -> None:
    if version:
        typer.echo(f'drive-segment {drive_segment_ros.__version__}')
        raise typer.Exit


if __name__ == '__main__':
    main()
