"""The command line itself: help, version, wrong words, `--config` on either side of a command."""

import re
import shlex
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click
import pytest

from gateway.cli import cli, terminal
from gateway.cli.session import CommandSession
from tests.cli.run import ON, config, program, run

COMMANDS = (
    "init",
    "import",
    "serve",
    "check",
    "doctor",
    "models",
    "catalogue",
    "explain",
    "test",
    "dial",
    "replay",
    "shadow",
    "arms",
    "label",
    "train",
    "evaluate",
    "report",
    "ledger",
    "costs",
    "judge",
    "keys",
    "audit",
    "completion",
)


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    command_lines = result.stdout.partition("\nStart:\n")[2].splitlines()
    rows = [line for line in command_lines if line.startswith("  ")]
    assert sorted(line.split()[0] for line in rows) == sorted(COMMANDS)
    assert all(line.endswith(".") and len(line) <= 80 for line in rows)


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
    assert '    tiergate explain "Prove that there are infinitely many primes."' in lines
    assert "    tiergate explain request.json --json" in lines


def test_the_version_is_the_installed_one() -> None:
    assert run("--version").stdout == f"tiergate, version {metadata.version('tiergate')}\n"


def test_without_a_command_the_program_shows_help_and_exits_with_2() -> None:
    result = run()
    assert result.exit_code == 2
    assert "\nStart:\n" in result.output


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("chekc", "Did you mean 'check'?"),
        ("serv", "Did you mean 'serve'?"),
        (
            "zzzz",
            f"Known: {', '.join(sorted(COMMANDS))}." if len(COMMANDS) <= 12 else "",
        ),
    ],
)
def test_an_unknown_command_gets_the_nearest_as_a_hint(word: str, hint: str) -> None:
    result = run(word)
    assert result.exit_code == 2
    error = f"Error: No such command {word!r}. {hint}".rstrip()
    assert result.stderr == f"{error} See `tiergate --help`.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "--jsn"), "No such option '--jsn'. Did you mean '--json'? See `tiergate check --help`."),
        (("--bogus",), "No such option '--bogus'. See `tiergate --help`."),
        (("keys", "lst"), "No such command 'lst'. Did you mean 'list'? See `tiergate keys --help`."),
        (("costs", "shw", "x"), "No such command 'shw'. Did you mean 'show'? See `tiergate costs --help`."),
        (("explain",), "Missing argument 'PROMPT'. See `tiergate explain --help`."),
        (("serve", "--port", "x"), "Invalid value for '--port': 'x' is not a valid integer range. See `tiergate serve --help`."),
        (("completion", "tcsh"), "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of 'bash', 'zsh', 'fish'. See `tiergate completion --help`."),
    ],
)  # fmt: skip
def test_misuse_is_one_line_that_suggests_the_right_word(
    words: tuple[str, ...], message: str
) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {message}\n")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command and subcommand, with its name as written."""
    context = click.Context(cli, info_name="tiergate")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        for more, subcommand in getattr(command, "commands", {}).items():
            yield f"{name} {more}", subcommand


EXAMPLES = [
    (name, line.strip())
    for name, command in commands()
    for line in (command.help or "").partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    if "$(" not in line and ">" not in line
]


def test_every_command_has_examples() -> None:
    for name, command in commands():
        assert "Examples:\n" in (command.help or ""), name
    assert {name.split()[0] for name, _ in EXAMPLES} >= {*COMMANDS} - {"completion"}


@pytest.mark.parametrize("line", sorted({line for _, line in EXAMPLES}))
def test_every_example_in_help_parses(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example has words that its command accepts, if the files that it names exist."""
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(re.sub(r"^([A-Z_]+=\S+ )+", "", line))  # without its environment
    for word in words:
        if re.fullmatch(r"[\w-]+\.\w+", word):
            Path(word).touch()
    assert program == "tiergate"
    if words[0] == "--config":
        words = words[2:]
    command: click.Command = cli
    context = click.Context(cli, info_name="tiergate", obj=CommandSession())
    while isinstance(command, click.Group) and words and words[0] in command.list_commands(context):
        subcommand = command.get_command(context, words.pop(0))
        assert subcommand is not None
        command = subcommand
    assert command is not cli
    command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize(
    ("environ", "colored"),
    [
        ({}, None),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, None),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, None),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "1"}, None),
        ({"CLICOLOR": "0", "CLICOLOR_FORCE": "1"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
    ],
)
def test_the_environment_turns_colours_on_and_off(
    environ: dict[str, str], colored: bool | None
) -> None:
    assert terminal.read_color_choice(environ) is colored


@pytest.mark.parametrize(
    "words",
    [
        ("check", "--help"),
        ("doctor",),
        ("chekc",),
    ],
)
def test_a_pipe_has_colours_only_if_the_environment_forces_them(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Without colours the text is the same."""
    environ = {**ON, "TIERGATE_DATA": str(tmp_path / "data")}
    file = config(tmp_path)
    plain = program("--config", file, *words, environ=environ)
    forced = program("--config", file, *words, environ={**environ, "FORCE_COLOR": "1"})
    bare = program(
        "--config", file, *words, environ={**environ, "FORCE_COLOR": "1", "NO_COLOR": "1"}
    )
    assert "\x1b" not in plain.stdout + plain.stderr + bare.stdout + bare.stderr
    assert "\x1b[" in forced.stdout + forced.stderr
    strip = click.unstyle(forced.stdout + forced.stderr)
    assert re.sub(r"\d+\.\d", "", strip) == re.sub(r"\d+\.\d", "", plain.stdout + plain.stderr)


def test_a_file_that_cannot_be_written_is_one_line_of_error(tmp_path: Path) -> None:
    environ = {**ON, "TIERGATE_DATA": str(tmp_path)}
    result = run(
        "--config",
        config(tmp_path),
        "replay",
        "--picture",
        tmp_path / "no" / "p.svg",
        environ=environ,
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {tmp_path}/no/p.svg: no such file or directory.\n"


def test_ctrl_c_exits_with_the_status_of_a_signal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.cli.check._collect_findings", interrupt)
    result = run("--config", config(tmp_path), "check")
    assert (result.exit_code, result.stderr) == (130, "\nInterrupted.\n")
