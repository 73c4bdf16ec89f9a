"""Every command has the exit status and JSON keys that docs/command-line.md lists."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from gateway.cli import cli
from gateway.cli.init import detect
from tests.cli.run import GOOD, ON, config, run
from tests.docs import pages

BAD = GOOD + "sever: 1\n"
CALL = "tg-019ad9f5f0c7d3e8b3b0c1a"[:26]
NO_LABELS = "no-labels.jsonl"
LITELLM = "model_list: [{model_name: a, litellm_params: {model: openai/a, api_key: os.environ/ACME_API_KEY}}]\n"
KEYED = GOOD + "keys: keys.yaml\n"

COMMANDS = sorted(
    name for row in pages.table("JSON of", "command-line.md").rows for name in pages.codes(row[0])
)


@pytest.fixture
def run_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs a command in an empty folder, with a configuration.

    The machine runs nothing else.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detect, "find_model_servers", lambda _: [])
    monkeypatch.setattr(detect, "find_redis", lambda: None)

    def one(*words: str, text: str = GOOD) -> Result:
        place = {**ON, "TIERGATE_DATA": str(tmp_path / "data")}
        return run("--config", config(tmp_path, text), *words, environ=place)

    (tmp_path / "golden.yaml").write_text(
        "prompts: [{prompt: prove it, tier: reasoning}]\n", "utf-8"
    )
    (tmp_path / "wrong.yaml").write_text("prompts: [{prompt: prove it, tier: fast}]\n", "utf-8")
    (tmp_path / "litellm.yaml").write_text(LITELLM, "utf-8")
    (tmp_path / "broken.yaml").write_text("model_list: [", "utf-8")
    return one


STATUSES: list[tuple[str, int, list[str], str]] = [
    ("init", 0, ["init", "--yes"], GOOD),
    ("init", 2, ["init", "--lab", "nobody", "--yes"], GOOD),
    ("import", 0, ["import", "litellm", "litellm.yaml"], GOOD),
    ("import", 1, ["import", "litellm", "broken.yaml"], GOOD),
    ("import", 2, ["import", "nobody", "litellm.yaml"], GOOD),
    ("check", 0, ["check"], GOOD),
    ("check", 1, ["check"], BAD),
    ("check", 2, ["check", "too", "many"], GOOD),
    ("doctor", 0, ["doctor"], GOOD),
    ("doctor", 1, ["doctor"], BAD),
    ("doctor", 2, ["doctor", "--most", "much"], GOOD),
    ("explain", 0, ["explain", "hi"], GOOD),
    ("explain", 1, ["explain", "hi", "--model", "nobody"], GOOD),
    ("explain", 1, ["explain", CALL], GOOD),
    ("explain", 2, ["explain"], GOOD),
    ("test", 0, ["test", "golden.yaml"], GOOD),
    ("test", 1, ["test", "wrong.yaml"], GOOD),
    ("test", 2, ["test", "a", "b"], GOOD),
    ("models", 0, ["models", "fast"], GOOD),
    ("models", 1, ["models", "nobody-has-this"], GOOD),
    ("models", 2, ["models", "a", "b"], GOOD),
    ("catalogue update", 1, ["catalogue", "update"], BAD),
    ("catalogue update", 2, ["catalogue", "update", "x"], GOOD),
    ("dial", 0, ["dial", "golden.yaml"], GOOD),
    ("dial", 1, ["dial", "gone.yaml"], GOOD),
    ("dial", 2, ["dial", "golden.yaml", "--since", "7d"], GOOD),
    ("replay", 0, ["replay"], GOOD),
    ("replay", 1, ["replay"], BAD),
    ("replay", 2, ["replay", "--since", "whenever"], GOOD),
    ("shadow", 1, ["shadow", "--url", "http://127.0.0.1:1"], GOOD),
    ("shadow", 2, ["shadow", "--nothing"], GOOD),
    ("train", 1, ["train", NO_LABELS, "--out", "x"], GOOD),
    ("train", 2, ["train"], GOOD),
    ("evaluate", 1, ["evaluate", NO_LABELS], GOOD),
    ("evaluate", 2, ["evaluate"], GOOD),
    ("label", 1, ["label", "--budget", "1", "--person", "--out", "x.jsonl"], GOOD),
    ("label", 2, ["label"], GOOD),
    ("report", 1, ["report"], BAD),
    ("report", 2, ["report", "--since", "whenever"], GOOD),
    ("report", 3, ["report"], GOOD),
    ("arms", 0, ["arms"], GOOD),
    ("arms", 1, ["arms"], BAD),
    ("arms", 2, ["arms", "--since", "whenever"], GOOD),
    ("costs", 0, ["costs"], GOOD),
    ("costs", 1, ["costs"], BAD),
    ("costs", 2, ["costs", "--by", "nothing"], GOOD),
    ("costs show", 1, ["costs", "show", CALL], GOOD),
    ("costs show", 2, ["costs", "show"], GOOD),
    ("costs reprice", 0, ["costs", "reprice", "--dry-run"], GOOD),
    ("costs reprice", 1, ["costs", "reprice"], BAD),
    ("costs reprice", 2, ["costs", "reprice", "--since", "whenever"], GOOD),
    ("keys add", 0, ["keys", "add", "ann"], KEYED),
    ("keys add", 1, ["keys", "add", "ann"], GOOD),
    ("keys add", 2, ["keys", "add", "ann", "--lab", "nobody"], KEYED),
    ("keys change", 1, ["keys", "change", "nobody", "--admin"], KEYED),
    ("keys change", 2, ["keys", "change", "ann"], KEYED),
    ("keys import", 1, ["keys", "import", "golden.yaml"], KEYED),
    ("keys import", 2, ["keys", "import", "nothing.yaml"], KEYED),
    ("ledger verify", 0, ["ledger", "verify"], GOOD),
    ("ledger verify", 2, ["ledger", "verify", "x"], GOOD),
    ("ledger rebuild", 1, ["ledger", "rebuild"], BAD),
    ("ledger erase", 1, ["ledger", "erase", "--user", "0" * 16, "--yes"], BAD),
    ("ledger erase", 2, ["ledger", "erase"], GOOD),
    ("audit", 0, ["audit"], GOOD),
    ("audit", 1, ["audit", "--since", "1h"], BAD),
    ("audit", 2, ["audit", "--since", "whenever"], GOOD),
    ("keys list", 0, ["keys", "list"], KEYED),
    ("keys list", 1, ["keys", "list"], GOOD),
    ("keys list", 2, ["keys", "list", "x"], GOOD),
    ("keys revoke", 1, ["keys", "revoke", "nobody"], KEYED),
    ("keys revoke", 2, ["keys", "revoke"], KEYED),
    ("keys rotate", 1, ["keys", "rotate", "nobody"], KEYED),
    ("keys rotate", 2, ["keys", "rotate", "ann", "--keep", "long"], KEYED),
    ("judge calibrate", 1, ["judge", "calibrate", NO_LABELS, "--budget", "1"], GOOD),
    ("judge calibrate", 2, ["judge", "calibrate", "--budget", "much"], GOOD),
    ("judge calibrate", 3, ["judge", "calibrate", "--from-ledger"], GOOD),
    ("completion", 0, ["completion", "bash"], GOOD),
    ("completion", 2, ["completion", "tcsh"], GOOD),
    ("serve", 1, ["serve"], BAD),
    ("serve", 2, ["serve", "--port", "none"], GOOD),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "words", "text"),
    [
        pytest.param(*case[1:], id=f"{case[1]} {' '.join(case[2])} {index}")
        for index, case in enumerate(STATUSES)
    ],
)
def test_each_command_exits_with_the_documented_status(
    run_command: Callable[..., Result], status: int, words: list[str], text: str
) -> None:
    """An error is a few lines on standard error, and never a traceback."""
    result = run_command(*words, text=text)
    assert (result.exit_code, type(result.exception)) in ((status, SystemExit), (0, type(None))), (
        result.output
    )
    reports = {"check", "models"}  # their findings are what they print
    if status and words != ["test", "wrong.yaml"] and reports.isdisjoint(words):
        assert 1 <= result.stderr.count("\n") <= 3
        assert "Traceback" not in result.output


def test_every_command_has_a_case_for_its_exit_status() -> None:
    covered = {name for name, _, _, _ in STATUSES}
    assert {name.split()[0] for name in covered} == set(
        cli.sections and [n for part in cli.sections.values() for n in part]
    )
    rows = pages.table("exit status", "command-line.md").rows
    assert {row[0] for row in rows} == {"`0`", "`1`", "`2`", "`3`", "`130`"}
    assert {name for row in rows for name in pages.codes(row[1])} <= {*covered}


def read_documented_keys(name: str) -> set[str]:
    """Return the top-level JSON keys of a command from the table; parentheses hold inner keys."""
    row = next(
        row
        for row in pages.table("JSON of", "command-line.md").rows
        if pages.codes(row[0])[0] == name
    )
    depth, outer = 0, ""
    for sign in row[1].partition(", with `--against`")[0]:
        depth += (sign == "(") - (sign == ")")
        if sign == ";" and not depth:
            break
        outer += sign if not depth else ""
    return {code for code in pages.codes(outer) if code.isidentifier()}


JSON: list[tuple[str, list[str], str]] = [
    ("init", ["init", "--json"], GOOD),
    ("import", ["import", "litellm", "litellm.yaml", "--json"], GOOD),
    ("check", ["check", "--json"], GOOD),
    ("doctor", ["doctor", "--json"], GOOD),
    ("explain", ["explain", "hi", "--json"], GOOD),
    ("test", ["test", "golden.yaml", "--json"], GOOD),
    ("models", ["models", "fast", "--json"], GOOD),
    ("dial", ["dial", "golden.yaml", "--json"], GOOD),
    ("costs", ["costs", "--json"], GOOD),
    ("costs reprice", ["costs", "reprice", "--json"], GOOD),
    ("ledger verify", ["ledger", "verify", "--json"], GOOD),
    ("keys add", ["keys", "add", "ann", "--json"], KEYED),
    ("keys rotate", ["keys", "rotate", "ann", "--json"], KEYED),
    ("keys change", ["keys", "change", "ann", "--tenant", "t", "--json"], KEYED),
    ("keys import", ["keys", "import", "keys.yaml", "--json"], KEYED),
    ("keys revoke", ["keys", "revoke", "ann", "--json"], KEYED),
]


def test_json_has_the_documented_keys(run_command: Callable[..., Result]) -> None:
    """Standard output has nothing but the JSON."""
    for name, words, text in JSON:
        result = run_command(*words, text=text)
        assert result.exit_code == 0, (name, result.output)
        report: Any = json.loads(result.stdout)
        report = report[0] if isinstance(report, list) else report
        assert set(report) == read_documented_keys(name), name


def test_every_command_that_reports_has_a_json_option() -> None:
    """The exceptions are commands that serve or print a script."""
    context = click.Context(cli, info_name="tiergate")
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    subcommands = {
        f"{name} {more}": command
        for name, group in commands.items()
        for more, command in getattr(group, "commands", {}).items()
    }
    with_json = {
        name
        for name, command in (commands | subcommands).items()
        if command is not None and any("--json" in option.opts for option in command.params)
    }
    assert set(commands) - with_json == {
        "serve", "keys", "ledger", "catalogue", "completion", "judge",
    }  # fmt: skip
    assert with_json == set(COMMANDS)
