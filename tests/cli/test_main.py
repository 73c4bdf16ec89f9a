"""The command line itself: help, version, wrong words, `--config` on either side of a command."""

from importlib import metadata
from pathlib import Path

import pytest

from tests.cli.run import config, program, run

COMMANDS = (
    "serve",
    "check",
    "doctor",
    "explain",
    "test",
    "train",
    "evaluate",
    "replay",
    "shadow",
    "costs",
    "keys",
)


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    listed = lines[lines.index("Commands:") + 1 :]
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(line.rstrip().endswith((".", "why.")) for line in listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_options(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: tiergate {command} ")
    assert result.stdout.count("--config PATH") == 1
    assert "\\b" not in result.stdout


def test_a_short_flag_gives_the_same_help() -> None:
    assert program("explain", "-h").stdout == program("explain", "--help").stdout != ""


def test_examples_in_help_stay_on_lines_of_their_own() -> None:
    lines = run("explain", "--help").stdout.splitlines()
    assert '  tiergate explain "Prove that there are infinitely many primes."' in lines
    assert "  tiergate explain request.json --json" in lines


def test_the_version_is_the_installed_one() -> None:
    assert run("--version").stdout == f"tiergate, version {metadata.version('tiergate')}\n"


def test_without_a_command_help_is_shown_and_the_status_says_misused() -> None:
    result = run()
    assert result.exit_code == 2
    assert "Commands:" in result.output


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("chekc", "Did you mean 'check'?"),
        ("serv", "Did you mean 'serve'?"),
        (
            "zzzz",
            "Known: check, costs, doctor, evaluate, explain, keys, replay, serve, shadow, test, train.",
        ),
    ],
)
def test_an_unknown_command_is_told_with_the_nearest(word: str, hint: str) -> None:
    result = run(word)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"Error: No such command {word!r}. {hint}\n")


def test_an_unknown_option_is_misuse() -> None:
    assert run("check", "--jsn").exit_code == 2
    assert run("--bogus").exit_code == 2


@pytest.mark.parametrize("before", [True, False])
def test_the_configuration_is_named_before_or_behind_the_command(
    tmp_path: Path, before: bool
) -> None:
    file = config(tmp_path)
    words: list[str | Path] = ["--config", file, "check"] if before else ["check", "--config", file]
    result = run(*words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("on  acme: fast 1, smart 1, reasoning 1\n")


def test_the_configuration_behind_the_command_wins(tmp_path: Path) -> None:
    result = run("--config", "none.yaml", "check", "--config", config(tmp_path))
    assert result.exit_code == 0


def test_the_configuration_can_be_named_by_a_variable(tmp_path: Path) -> None:
    file = config(tmp_path)
    result = run("check", environ={"ACME_API_KEY": "k", "TIERGATE_CONFIG": str(file)})
    assert "acme" in result.stdout


@pytest.mark.parametrize("command", [("explain", "hi"), ("test",), ("serve",), ("costs",)])
def test_every_command_tells_a_broken_configuration_in_lines(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    file = config(tmp_path, "version: 1\nsever: 1\nkeys: 2\n")
    result = run("--config", file, *command)
    assert result.exit_code == 1
    assert result.stderr == (
        f"{file}:3: error: keys: must be a text. Put it in quotes.\n"
        f"{file}:2: error: sever: no such key. Did you mean 'server'?\n"
    )
    assert result.stdout == ""


def test_the_program_does_the_same(tmp_path: Path) -> None:
    file = config(tmp_path, "version: 3\n")
    result = program("--config", file, "explain", "hi", folder=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "c.yaml:1: error: version: 3 is not allowed. Known: 1.\n"


def test_a_dotenv_file_where_one_stands_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ACME_API_KEY=k\nTIERGATE_CONFIG=c.yaml\n")
    config(tmp_path)
    result = program("check", environ={}, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("on  acme")
