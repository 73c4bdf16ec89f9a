"""What completion knows of the command line, made of its commands: python -m tests.cli.words."""

import json

import click

from gateway.cli import cli
from gateway.cli.words import FILE

_KINDS = {
    "--config": "config", "--against": "config", "--lab": "lab", "--labs": "lab",
    "--tier": "tier", "--tiers": "tier", "--only": "only", "--key": "key", "--model": "model",
    "--models": "model",
}  # fmt: skip
"""Kinds of values by the name of an option."""
_ARGUMENTS = {
    "explain": ["file"], "import": ["litellm|portkey|ccr", "file"], "test": ["file"], "train": ["file"], "evaluate": ["file"],
    "keys revoke": ["key"], "keys rotate": ["key"],
}  # fmt: skip


def made() -> bytes:
    """The file as it must be."""
    context = click.Context(cli, info_name="tiergate")
    table = _place(cli, "")
    table["commands"] = {
        name: _place(command, name)
        for name in cli.list_commands(context)
        if (command := cli.get_command(context, name)) is not None
    }
    return (json.dumps(table, indent=1) + "\n").encode()


def _place(command: click.Command, path: str) -> dict[str, object]:
    options: dict[str, str | None] = {}
    many: list[str] = []
    for one in command.params:
        if isinstance(one, click.Option):
            options |= dict.fromkeys((*one.opts, *one.secondary_opts), _kind(one))
            many += one.opts if one.multiple else []
    options["--help"] = None
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    kinds = _ARGUMENTS.get(path) or [_choices(one) or "text" for one in arguments]
    place: dict[str, object] = {
        "about": command.get_short_help_str(200),
        "options": options,
        "many": many,
        "arguments": kinds,
        "endless": any(one.nargs == -1 for one in arguments),
    }
    if isinstance(command, click.Group) and command.commands:
        place["commands"] = {n: _place(c, f"{path} {n}") for n, c in command.commands.items()}
    return place


def _kind(option: click.Option) -> str | None:
    if option.is_flag:
        return None
    name = option.opts[0]
    file = "file" if isinstance(option.type, click.Path) else None
    return _choices(option) or _KINDS.get(name) or file or "text"


def _choices(one: click.Parameter) -> str | None:
    return "|".join(map(str, one.type.choices)) if isinstance(one.type, click.Choice) else None


if __name__ == "__main__":
    FILE.write_bytes(made())
