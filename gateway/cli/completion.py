"""`tiergate completion`: what lets bash, zsh and fish complete commands, options and their values.

A shell asks this program at each press of the key. What the words are is in `words.json`, so that
no command is imported to answer; names of keys, labs and rules are read in the configuration.
"""

import re

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from gateway.cli.words import Known, candidates

_ODD = re.compile(r"([^\w@%+=:,./*-])")
_VARIABLE = "_TIERGATE_COMPLETE"


def _items(args: list[str], incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(one.text, one.kind, one.about) for one in candidates(args, incomplete)]


class _Bash(BashComplete):
    """Bash gives what stands around a `=` as words of their own, and takes only the last."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        words = _joined([*args, incomplete])
        whole = words.pop()
        before = whole.rpartition("=")[0] + "=" if "=" in whole else ""
        found = candidates(words, whole)
        return [CompletionItem(_quoted(_behind(one, before)), one.kind) for one in found]


class _Zsh(ZshComplete):
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        return _items(args, incomplete)


class _Fish(FishComplete):
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        return _items(args, incomplete)


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def prepare() -> None:
    """Answer shells by what is here."""
    for name, kind in _SHELLS.items():
        add_completion_class(kind, name)


@click.command("completion")
@click.argument("shell", type=click.Choice([*_SHELLS]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what lets SHELL complete commands, options, files and names of the configuration.

    \b
    Examples:
      eval "$(tiergate completion bash)"            in ~/.bashrc
      eval "$(tiergate completion zsh)"             in ~/.zshrc, behind compinit
      tiergate completion fish > ~/.config/fish/completions/tiergate.fish
    """  # noqa: D301 - \b is click's sign that lines stay apart
    root = ctx.find_root().command
    click.echo(_SHELLS[shell](root, {}, "tiergate", _VARIABLE).source(), nl=False)


def _joined(words: list[str]) -> list[str]:
    """Words as they were written, where a shell has parted them at their `=`."""
    out: list[str] = []
    for word in words:
        if out and (word == "=" or out[-1].endswith("=")):
            out[-1] += word
        else:
            out.append(word)
    return out


def _behind(one: Known, before: str) -> str:
    return one.text.removeprefix(before) if one.kind == "plain" else one.text


def _quoted(text: str) -> str:
    """As one word of a shell; the script reads it once more, and takes half of the signs away."""
    return _ODD.sub(r"\\\\\1", text)
