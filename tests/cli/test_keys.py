"""The command `keys`: its output, the file that it leaves, and its exit status."""

import json
import stat
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from gateway.cli.key_clients import find_user
from gateway.cli.keys import command
from gateway.cli.session import CommandSession
from gateway.core.call import Key, KeyBudget, KeyLimit
from gateway.limits.keys import load, parse_time
from tests.cli.run import GOOD, ON, config, program, run
from tests.docs import pages

FILE = GOOD.replace(
    "providers:\n  acme:\n", "keys: keys.yaml\nproviders:\n  acme:\n    region: eu\n"
)


def run_keys(folder: Path, *words: str, **environ: str) -> Result:
    return run("--config", config(folder, FILE), "keys", *words, environ={**ON, **environ})


def list_keys(folder: Path, **environ: str) -> list[dict[str, Any]]:
    result = run_keys(folder, "list", "--json", **environ)
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


def test_keys_add_prints_the_secret_alone_on_standard_output(tmp_path: Path) -> None:
    """A script takes the secret from there; no file contains it."""
    result = run_keys(tmp_path, "add", "me")
    assert result.exit_code == 0
    (secret,) = result.stdout.split()
    assert (secret[:3], len(secret)) == ("tg-", 67)
    assert (
        result.stderr
        == f"Added 'me' to {tmp_path}/keys.yaml. Copy its secret now: the command shows it only once.\n"
    )
    file = tmp_path / "keys.yaml"
    assert secret[3:] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load("keys.yaml", tmp_path, "").find(secret) == Key(name="me")


def test_every_option_becomes_a_setting_of_the_key(tmp_path: Path) -> None:
    result = run_keys(
        tmp_path, "add", "all", "--lab", "acme", "--labs", "acme", "--tiers", "fast,smart", "--models", "claude-*",
        "--models", "small, large", "--regions", "eu", "--tags", "web,eu", "--allowed-tags", "night", "--denied-tokens", "sub=ann,jti=7", "--tenant", "t", "--team", "web", "--complete", "hold",
        "--expires", "2999-01-31", "--admin", "--requests", "60/m", "--tokens", "200k/m", "--concurrency", "8",
        "--budget", "5/month", "--budget", "0.25/week",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    key = load("keys.yaml", tmp_path, "", clock=lambda: 0.0).find(result.stdout.strip())
    assert key == Key(
        name="all", lab="acme", labs=("acme",), tiers=("fast", "smart"), models=("claude-*", "small", "large"),
        regions=("eu",), tags=("web", "eu"), allowed_tags=("night",), denied_tokens=("sub=ann", "jti=7"), tenant="t", team="web", complete="hold", admin=True,
        limits=(KeyLimit(requests=(60, 60.0), tokens=(200_000, 60.0), concurrency=8),),
        budgets=(KeyBudget(usd=5, every="month"), KeyBudget(usd=0.25, every="week")),  # type: ignore[arg-type]  # equal to the decimals
    )  # fmt: skip
    (row,) = list_keys(tmp_path)
    assert "sha256" not in row
    assert (row["name"], row["state"], row["source"], row["expires"]) == (
        "all",
        "live",
        "file",
        "2999-01-31",
    )
    assert row["limits"] == [{"requests": "60/m", "tokens": "200000/m", "concurrency": 8}]
    assert [(budget["usd"], budget["every"]) for budget in row["budgets"]] == [
        ("5", "month"),
        ("0.25", "week"),
    ]
    output = run_keys(tmp_path, "list").stdout
    for words in (
        "all",
        "live",
        "2999-01-31",
        "models claude-* small large",
        "admin yes",
        "requests 60/m",
        "$0.25/week",
    ):
        assert words in output


def test_a_relative_expiry_is_written_as_a_point_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.keys.time.time", lambda: parse_time("2026-11-24T12:00:00Z"))
    run_keys(tmp_path, "add", "me", "--expires", "90d")
    assert list_keys(tmp_path)[0]["expires"] == "2027-02-22T12:00:00Z"


MISUSED: list[tuple[list[str], str]] = [
    (["add"], "Missing argument 'NAME'"),
    (["add", "a b"], "a name is letters, digits"),
    (["add", "a,b"], "a name is letters, digits"),
    (["add", ""], "a name is letters, digits"),
    (["add", "x" * 65], "64 at most"),
    (["add", "me", "--lab", "acne"], "no lab 'acne'. Did you mean 'acme'?"),
    (["add", "me", "--labs", "acme,nix"], "no lab 'nix'"),
    (["add", "me", "--tiers", "slow"], "no tier 'slow'"),
    (["add", "me", "--regions", "us"], "no provider has the region 'us'"),
    (["add", "me", "--expires", "soon"], "expires: must be a date or a moment"),
    (["add", "me", "--requests", "60"], "limits.0.requests: must be a rate, as 10/s"),
    (["add", "me", "--concurrency", "-1"], "--concurrency"),
    (["add", "me", "--budget", "5"], "--budget"),
    (["add", "me", "--budget", "-5/day"], "--budget"),
    (["rotate", "me", "--keep", "long"], "--keep"),
    (["rotat", "me"], "No such command 'rotat'"),
]


@pytest.mark.parametrize(("words", "problem"), MISUSED)
def test_wrong_arguments_exit_with_2_and_change_nothing(
    tmp_path: Path, words: list[str], problem: str
) -> None:
    result = run_keys(tmp_path, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in " ".join(result.stderr.split())
    assert not (tmp_path / "keys.yaml").exists()


def test_regions_can_be_given_only_if_a_provider_has_one(tmp_path: Path) -> None:
    text = FILE.replace("    region: eu\n", "")
    result = run("--config", config(tmp_path, text), "keys", "add", "me", "--regions", "eu")
    assert result.exit_code == 2
    assert "Give providers a `region` first." in result.stderr


@pytest.mark.parametrize("words", [["add", "me"], ["revoke", "me"], ["rotate", "me"], ["list"]])
def test_while_keys_are_open_the_command_says_what_to_configure(
    tmp_path: Path, words: list[str]
) -> None:
    result = run("--config", config(tmp_path), "keys", *words)
    assert (result.exit_code, result.stdout) == (1, "")
    hint = f"Write `keys: keys.yaml` into {tmp_path}/c.yaml: the file will lie beside it."
    assert hint in result.stderr
    assert not (tmp_path / "keys.yaml").exists()


def test_a_change_that_is_impossible_exits_with_1(tmp_path: Path) -> None:
    run_keys(tmp_path, "add", "me")
    for words, problem in (
        (["add", "me"], "There is a key 'me'"),
        (["revoke", "mee"], "no key 'mee' in"),
        (["rotate", "you"], "Known: me."),
    ):
        result = run_keys(tmp_path, *words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert problem in result.stderr
    (tmp_path / "keys.yaml").write_text("me: {sha256: x\n")
    for words in (["add", "new"], ["list"], ["revoke", "me"]):
        result = run_keys(tmp_path, *words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "keys.yaml:" in result.stderr


def test_a_key_file_that_cannot_be_written_is_one_line_of_error(tmp_path: Path) -> None:
    text = FILE.replace("keys: keys.yaml", "keys: nowhere/keys.yaml")
    result = run("--config", config(tmp_path, text), "keys", "add", "me")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nowhere/keys.yaml cannot be changed: no such file or directory." in result.stderr


def test_keys_rotate_and_revoke_change_which_secrets_work(tmp_path: Path) -> None:
    first = run_keys(tmp_path, "add", "me").stdout.strip()
    result = run_keys(tmp_path, "rotate", "me", "--keep", "1h")
    second = result.stdout.strip()
    assert result.stderr.startswith("Rotated 'me'. The previous secret works for 1h more.")
    key_set = load("keys.yaml", tmp_path, "")
    assert key_set.find(first) == key_set.find(second) == Key(name="me")
    assert len(list_keys(tmp_path)[0]["earlier"]) == 1
    result = run_keys(tmp_path, "rotate", "me", "--keep", "0s")
    assert result.stderr.startswith("Rotated 'me'. Earlier secrets no longer work.")
    assert list_keys(tmp_path)[0]["earlier"] == []
    result = run_keys(tmp_path, "revoke", "me")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Revoked 'me'.\n")
    assert run_keys(tmp_path, "revoke", "me").stderr == "'me' is revoked already.\n"
    assert list_keys(tmp_path)[0]["state"] == "revoked"


def test_an_expired_key_is_listed_as_expired(tmp_path: Path) -> None:
    run_keys(tmp_path, "add", "old", "--expires", "2026-01-01")
    assert [row["state"] for row in list_keys(tmp_path)] == ["expired"]


def test_keys_of_the_environment_are_listed_too(tmp_path: Path) -> None:
    variable = f"one={'a' * 64}, two={'b' * 64}"
    run_keys(tmp_path, "add", "me")
    rows = list_keys(tmp_path, TIERGATE_KEYS=variable)
    assert [(row["name"], row["source"]) for row in rows] == [
        ("me", "file"), ("one", "TIERGATE_KEYS"), ("two", "TIERGATE_KEYS"),
    ]  # fmt: skip
    result = run(
        "--config", config(tmp_path), "keys", "list", environ={**ON, "TIERGATE_KEYS": variable}
    )
    assert result.exit_code == 0
    assert "of TIERGATE_KEYS" in result.stdout
    assert "a" * 64 not in result.stdout


def test_the_program_adds_a_key(tmp_path: Path) -> None:
    """The test runs the program behind a pipe, as a script does."""
    process = program("--config", config(tmp_path, FILE), "keys", "add", "me")
    assert (process.returncode, len(process.stdout)) == (0, 68), process.stderr


DATABASE = FILE.replace("keys: keys.yaml", "keys: sqlite:///keys.db")


def run_on_database(folder: Path, *words: str) -> Result:
    return run(
        "--config", config(folder, DATABASE), "keys", *words,
        environ={**ON, "TIERGATE_DATA": str(folder / "data")},
    )  # fmt: skip


def test_the_commands_work_on_a_database(tmp_path: Path) -> None:
    added = run_on_database(tmp_path, "add", "me", "--budget", "5/month", "--labs", "acme")
    assert added.exit_code == 0, added.output
    assert added.stderr.startswith("Added 'me' to the key database. Copy its secret now")
    changed = run_on_database(
        tmp_path, "change", "me", "--requests", "9/m", "--unset", "labs,budgets", "--json"
    )
    assert json.loads(changed.stdout) == {
        "name": "me", "file": "the key database", "settings": ["budgets", "labs", "limits"],
    }  # fmt: skip
    assert (
        run_on_database(tmp_path, "change", "me", "--tags", "a").stderr == "Changed 'me': tags.\n"
    )
    (row,) = json.loads(run_on_database(tmp_path, "list", "--json").stdout)
    assert (row["source"], row["labs"], row["budgets"], row["tags"]) == (
        "database",
        None,
        [],
        ["a"],
    )
    assert row["limits"] == [{"requests": "9/m"}]
    assert row["changed_by"].startswith("cli")
    assert run_on_database(tmp_path, "rotate", "me").exit_code == 0
    assert run_on_database(tmp_path, "revoke", "me").stderr == "Revoked 'me'.\n"
    output = run_on_database(tmp_path, "list").stdout
    assert ("revoked" in output, "tags a" in output, "requests 9/m" in output) == (True, True, True)
    assert run_on_database(tmp_path, "change", "me").exit_code == 2
    refused = run_on_database(tmp_path, "change", "me", "--admin")
    assert (refused.exit_code, "was revoked: add another" in refused.stderr) == (1, True)
    names = [path.name for path in (tmp_path / "data").iterdir()]
    assert "known_keys.jsonl" not in names, "a command leaves no copy, which may be another user's"


def test_a_command_says_why_the_database_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    result = run_on_database(tmp_path, "add", "me")
    assert result.exit_code == 1
    assert "the key database" in result.stderr
    assert result.stderr.count("\n") == 1
    text = DATABASE.replace("keys.db", "ledger.db")
    result = run("--config", config(tmp_path, text), "keys", "list")
    assert (result.exit_code, "is the file of the ledger" in result.output) == (1, True)


def test_a_key_of_a_file_can_be_changed(tmp_path: Path) -> None:
    run_keys(tmp_path, "add", "me", "--budget", "5/month")
    assert run_keys(tmp_path, "change", "me", "--expires", "2999-01-31", "--unset", "budgets").exit_code == 0  # fmt: skip
    (row,) = list_keys(tmp_path)
    assert (row["expires"], row["budgets"]) == ("2999-01-31", [])


def test_the_keys_of_a_file_can_be_copied_to_a_database(tmp_path: Path) -> None:
    secret = run_keys(tmp_path, "add", "web", "--tags", "a").stdout.strip()
    second = run_keys(tmp_path, "rotate", "web").stdout.strip()
    run_keys(tmp_path, "add", "old")
    run_keys(tmp_path, "revoke", "old")
    run_keys(tmp_path, "add", "me")
    run_on_database(tmp_path, "add", "me")
    file = str(tmp_path / "keys.yaml")
    copied = run_on_database(tmp_path, "import", file)
    assert copied.stderr == "Copied 1 key to the key database. Left out: old, me.\n"
    again = run_on_database(tmp_path, "import", file, "--json")
    assert json.loads(again.stdout) == {
        "file": "the key database", "taken": [], "left_out": ["web", "old", "me"],
    }  # fmt: skip
    session = CommandSession(str(config(tmp_path, DATABASE)))
    session.environ = {**ON, "TIERGATE_DATA": str(tmp_path / "data")}
    table = session.load_key_table()
    assert [table.find(one).name for one in (secret, second)] == ["web", "web"]


def test_without_a_gateway_at_the_url_a_command_says_so(tmp_path: Path) -> None:
    for words in (["list"], ["add", "me"], ["rotate", "me"], ["change", "me", "--admin"]):
        result = run_keys(tmp_path, *words, "--url", "http://127.0.0.1:1/")
        assert (result.exit_code, result.stderr) == (1, "Error: no gateway answers at http://127.0.0.1:1.\n")  # fmt: skip


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name_can_change_keys(error: type[Exception]) -> None:
    def fail() -> str:
        raise error

    assert find_user(fail) == "cli"
    assert find_user(lambda: "ann") == "cli:ann"


def test_the_documentation_lists_every_option_of_keys() -> None:
    """The document names no option that does not exist."""
    documented: dict[str, set[str]] = {}
    name = ""
    for row in pages.table("command of keys", "keys.md").rows:
        name = pages.codes(row[0])[0].split()[2] if row[0] else name
        documented.setdefault(name, set()).update(pages.codes(row[1]))
    for name, subcommand in command.commands.items():
        options = [option for option in subcommand.params if isinstance(option, click.Option)]
        names = {text for option in options for text in option.opts}
        assert documented.pop(name) == names - {"--config"}, name
    assert documented == {}
