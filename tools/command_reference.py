"""Generates docs/commands.md: every `drive-segment` command with its arguments and options."""

from __future__ import annotations

from typing import Any

import typer


def commands_page(generated: str) -> str:
    """Return the page, from the same texts as `--help`.

    Args:
        generated: first line of the page, a note that it is generated.
    """
    from drive_segment_ros import cli

    group: Any = typer.main.get_command(cli.app)
    context = typer.Context(group, info_name='drive-segment')
    parts = [
        f'{generated}# Command line\n\nThe same as `drive-segment COMMAND --help`. Paths may be '
        'URLs as described in [Object storage](object_storage.md). Exit codes: 0 done, 1 not done '
        '(one line says why), 2 wrong usage, 3 partly done, 130 interrupted.\n\n'
        '| command | purpose |\n|---|---|\n'
    ]
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    parts += [
        f'| [`{name}`](#{name}) | {_cell((command.help or "").partition(chr(10) * 2)[0])} |\n'
        for name, command in commands.items()
    ]
    for name, command in commands.items():
        given = [_in_usage(one) for one in command.params if one.param_type_name == 'argument']
        usage = ' '.join([*given, '[OPTIONS]'])
        text = '\n\n'.join(' '.join(part.split()) for part in (command.help or '').split('\n\n'))
        parts.append(f'\n## {name}\n\n{text}\n\n```text\ndrive-segment {name} {usage}\n```\n\n')
        parts.append('| argument, option | default | meaning |\n|---|---|---|\n')
        parts += [_row(parameter) for parameter in command.params if parameter.name != 'help']
    return ''.join(parts)


def _row(parameter: Any) -> str:
    default = '*required*' if parameter.required else _default(parameter.default)
    return (
        f'| `{_name(parameter)}` | {default} | {_cell(getattr(parameter, "help", None) or "")} |\n'
    )


def _in_usage(argument: Any) -> str:
    name = _name(argument)
    return name if argument.required else f'[{name}]'


def _name(parameter: Any) -> str:
    if parameter.param_type_name == 'argument':
        return parameter.name.upper() + ('...' if parameter.nargs == -1 else '')
    return ', '.join((*parameter.opts, *parameter.secondary_opts))


def _default(value: Any) -> str:
    if value is None or value is False or value == () or value == '' or callable(value):
        return ''
    return f'`{value}`'


def _cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|')
