"""Compares the command line of both trees: help pages, and commands on the files that a stage leaves."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.twin.compare import TwinDifference
from tests.twin.diff import values
from tests.twin.gateway_process import Deployment, run_commands
from tests.twin.masks import Masks

_COMMANDS = (
    ("--version",), ("check",), ("check", "--json"), ("explain", "--json", "Prove that 2 is prime."), ("explain", "Hi there!"), ("costs", "--json"),
    ("costs", "--by", "lab,tier", "--csv"), ("costs", "--by", "state"), ("costs", "--by", "nothing"), ("keys", "list", "--json"),
    ("keys", "revoke", "nobody"), ("nonsense",), ("keys", "nonsense"), ("costs", "show", "tg-none"),
)  # fmt: skip
_GROUPS = (["keys"], ["costs"])
"""Commands that have commands."""
_LISTED = re.compile(r"^  ([a-z-]+)  ", re.MULTILINE)


def compare(deployments: Sequence[Deployment], masks: Sequence[Masks]) -> Iterator[TwinDifference]:
    """Run the same commands in both trees, and compare what they write."""
    groups = [*_subcommands(deployments[0], [[]]), *_subcommands(deployments[0], _GROUPS)]
    commands = [["--help"], *([*group, "--help"] for group in groups), *map(list, _COMMANDS)]
    with ThreadPoolExecutor(len(deployments)) as pool:
        outputs = [*pool.map(lambda deployment: run_commands(deployment, commands), deployments)]
    for command, *results in zip(commands, *outputs, strict=True):
        base, tree = (
            {name: mask.text(str(value), measured=True) for name, value in result.items()}
            for result, mask in zip(results, masks, strict=True)
        )
        for what, was, now in values(base, tree):
            yield TwinDifference("commands", " ".join(command), "command", what, was, now)


def _subcommands(deployment: Deployment, groups: Sequence[list[str]]) -> list[list[str]]:
    """List the commands that help pages name behind their options."""
    pages = run_commands(deployment, [[*group, "--help"] for group in groups])
    texts = [str(page["out"]).partition("\nOptions:")[2] for page in pages]
    return [
        [*group, name]
        for group, text in zip(groups, texts, strict=True)
        for name in _LISTED.findall(text)
    ]
