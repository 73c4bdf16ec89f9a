"""The command `keys`: its output, the file that it leaves, and its exit status."""

import json
import stat
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from gateway.cli.keys import command
from gateway.core.call import Key, KeyBudget, KeyLimit
from gateway.limits.keys import load, parse_time
from tests.cli.run import GOOD, ON, config, program, run
from tests.docs import pages

FILE = GOOD.replace(
    "providers:\n  acme:\n", "keys: keys.yaml\nproviders:\n  acme:\n    region: eu\n"
)


def keys(folder: Path, *words: str, **environ: str) -> Result:
    return run("--config", config(folder, FILE), "keys", *words, environ={**ON, **environ})


def listed(folder: Path, **environ: str) -> list[dict[str, Any]]:
    result = keys(folder, "list", "--json", **environ)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_the_secret_alone_is_on_standard_output(tmp_path: Path) -> None:
    """A script takes the secret from there; no file contains it."""
    result = keys(tmp_path, "add", "me")
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


def test_every_option_becomes_a_setting(tmp_path: Path) -> None:
    result = keys(
        tmp_path, "add", "all", "--lab", "acme", "--labs", "acme", "--tiers", "fast,smart", "--models", "claude-*",
        "--models", "small, large", "--regions", "eu", "--tags", "web,eu", "--allowed-tags", "night", "--tenant", "t", "--complete", "hold",
        "--expires", "2999-01-31", "--admin", "--requests", "60/m", "--tokens", "200k/m", "--concurrency", "8",
        "--budget", "5/month", "--budget", "0.25/day",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = load("keys.yaml", tmp_path, "", clock=lambda: 0.0).find(result.stdout.strip())
    assert found == Key(
        name="all", lab="acme", labs=("acme",), tiers=("fast", "smart"), models=("claude-*", "small", "large"),
        regions=("eu",), tags=("web", "eu"), allowed_tags=("night",), tenant="t", complete="hold", admin=True,
        limits=(KeyLimit(requests=(60, 60.0), tokens=(200_000, 60.0), concurrency=8),),
        budgets=(KeyBudget(usd=5, every="month"), KeyBudget(usd=0.25, every="day")),  # type: ignore[arg-type]  # equal to the decimals
    )  # fmt: skip
    (row,) = listed(tmp_path)
    assert "sha256" not in row
    assert (row["name"], row["state"], row["source"], row["expires"]) == (
        "all",
        "live",
        "file",
        "2999-01-31",
    )
    assert row["limits"] == [{"requests": "60/m", "tokens": "200000/m", "concurrency": 8}]
    assert [(one["usd"], one["every"]) for one in row["budgets"]] == [
        ("5", "month"),
        ("0.25", "day"),
    ]
    told = keys(tmp_path, "list").stdout
    for words in (
        "all",
        "live",
        "2999-01-31",
        "models claude-* small large",
        "admin yes",
        "requests 60/m",
        "$0.25/day",
    ):
        assert words in told


def test_a_time_from_now_is_written_as_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.keys.time.time", lambda: parse_time("2026-11-24T12:00:00Z"))
    keys(tmp_path, "add", "me", "--expires", "90d")
    assert listed(tmp_path)[0]["expires"] == "2027-02-22T12:00:00Z"


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
    (["add", "me", "--expires", "soon"], "--expires"),
    (["add", "me", "--requests", "60"], "limits.0.requests: must be a rate, as 10/s"),
    (["add", "me", "--concurrency", "-1"], "--concurrency"),
    (["add", "me", "--budget", "5"], "--budget"),
    (["add", "me", "--budget", "-5/day"], "--budget"),
    (["rotate", "me", "--keep", "long"], "--keep"),
    (["rotat", "me"], "No such command 'rotat'"),
]


@pytest.mark.parametrize(("words", "told"), MISUSED)
def test_what_is_not_understood_ends_with_2_and_changes_nothing(
    tmp_path: Path, words: list[str], told: str
) -> None:
    result = keys(tmp_path, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in " ".join(result.stderr.split())
    assert not (tmp_path / "keys.yaml").exists()


def test_without_a_region_of_a_provider_none_can_be_given(tmp_path: Path) -> None:
    text = FILE.replace("    region: eu\n", "")
    result = run("--config", config(tmp_path, text), "keys", "add", "me", "--regions", "eu")
    assert result.exit_code == 2
    assert "Give providers a `region` first." in result.stderr


@pytest.mark.parametrize("words", [["add", "me"], ["revoke", "me"], ["rotate", "me"], ["list"]])
def test_while_keys_are_open_it_says_what_to_write(tmp_path: Path, words: list[str]) -> None:
    result = run("--config", config(tmp_path), "keys", *words)
    assert (result.exit_code, result.stdout) == (1, "")
    hint = f"Write `keys: keys.yaml` into {tmp_path}/c.yaml: the file will lie beside it."
    assert hint in result.stderr
    assert not (tmp_path / "keys.yaml").exists()


def test_what_cannot_be_done_ends_with_1(tmp_path: Path) -> None:
    keys(tmp_path, "add", "me")
    for words, told in (
        (["add", "me"], "There is a key 'me'"),
        (["revoke", "mee"], "no key 'mee' in"),
        (["rotate", "you"], "Known: me."),
    ):
        result = keys(tmp_path, *words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert told in result.stderr
    (tmp_path / "keys.yaml").write_text("me: {sha256: x\n")
    for words in (["add", "new"], ["list"], ["revoke", "me"]):
        result = keys(tmp_path, *words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "keys.yaml:" in result.stderr


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    text = FILE.replace("keys: keys.yaml", "keys: nowhere/keys.yaml")
    result = run("--config", config(tmp_path, text), "keys", "add", "me")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nowhere/keys.yaml cannot be changed: no such file or directory." in result.stderr


def test_a_key_is_rotated_and_revoked(tmp_path: Path) -> None:
    first = keys(tmp_path, "add", "me").stdout.strip()
    result = keys(tmp_path, "rotate", "me", "--keep", "1h")
    second = result.stdout.strip()
    assert result.stderr.startswith("Rotated 'me'. The previous secret works for 1h more.")
    known = load("keys.yaml", tmp_path, "")
    assert known.find(first) == known.find(second) == Key(name="me")
    assert len(listed(tmp_path)[0]["earlier"]) == 1
    result = keys(tmp_path, "rotate", "me", "--keep", "0s")
    assert result.stderr.startswith("Rotated 'me'. Earlier secrets no longer work.")
    assert listed(tmp_path)[0]["earlier"] == []
    result = keys(tmp_path, "revoke", "me")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Revoked 'me'.\n")
    assert keys(tmp_path, "revoke", "me").stderr == "'me' is revoked already.\n"
    assert listed(tmp_path)[0]["state"] == "revoked"


def test_states_are_listed(tmp_path: Path) -> None:
    keys(tmp_path, "add", "old", "--expires", "2026-01-01")
    assert [row["state"] for row in listed(tmp_path)] == ["expired"]


def test_keys_of_the_environment_are_listed_too(tmp_path: Path) -> None:
    given = f"one={'a' * 64}, two={'b' * 64}"
    keys(tmp_path, "add", "me")
    rows = listed(tmp_path, TIERGATE_KEYS=given)
    assert [(row["name"], row["source"]) for row in rows] == [
        ("me", "file"), ("one", "TIERGATE_KEYS"), ("two", "TIERGATE_KEYS"),
    ]  # fmt: skip
    result = run(
        "--config", config(tmp_path), "keys", "list", environ={**ON, "TIERGATE_KEYS": given}
    )
    assert result.exit_code == 0
    assert "of TIERGATE_KEYS" in result.stdout
    assert "a" * 64 not in result.stdout


def test_the_program_does_the_same(tmp_path: Path) -> None:
    """The test runs the program behind a pipe, as a script does."""
    done = program("--config", config(tmp_path, FILE), "keys", "add", "me")
    assert (done.returncode, len(done.stdout)) == (0, 68), done.stderr


def test_every_option_is_in_the_document() -> None:
    """The document names no option that does not exist."""
    found: dict[str, set[str]] = {}
    name = ""
    for row in pages.table("command of keys", "keys.md").rows:
        name = pages.codes(row[0])[0].split()[2] if row[0] else name
        found.setdefault(name, set()).update(pages.codes(row[1]))
    for name, one in command.commands.items():
        options = [option for option in one.params if isinstance(option, click.Option)]
        known = {text for option in options for text in option.opts}
        assert found.pop(name) == known - {"--config"}, name
    assert found == {}
