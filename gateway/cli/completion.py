"""`tiergate completion`: prints click's script that lets bash, zsh or fish complete commands."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_SHELLS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}
_COMPLETION_VARIABLE = "_TIERGATE_COMPLETE"
"""The environment variable by which click's script asks this program for words."""


@click.command("completion")
@click.argument("shell", type=click.Choice([*_SHELLS]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what lets SHELL complete commands, options and their choices.

    \b
    Examples:
      eval "$(tiergate completion bash)"            in ~/.bashrc
      eval "$(tiergate completion zsh)"             in ~/.zshrc, behind compinit
      tiergate completion fish > ~/.config/fish/completions/tiergate.fish
    """  # noqa: D301 - \b is click's sign that lines stay apart
    root = ctx.find_root().command
    click.echo(_SHELLS[shell](root, {}, "tiergate", _COMPLETION_VARIABLE).source(), nl=False)
