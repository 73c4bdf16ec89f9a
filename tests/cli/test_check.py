"""`tiergate check`: every finding, what is on, and a status that a script can use."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.cli.run import GOOD, ON, config, program, run
from tests.config import shipped


def test_a_sound_configuration_is_told_in_a_few_lines(tmp_path: Path) -> None:
    result = run("--config", config(tmp_path), "check")
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = result.stdout.splitlines()
    assert first == "on  acme: fast 1, smart 1, reasoning 1"
    assert second.startswith("ok: 1 of 1 labs on, 1 guards, 1 choices, version ")
    assert len(second.rpartition(" ")[2]) == 12


def test_a_sound_configuration_as_json(tmp_path: Path) -> None:
    result = run("--config", config(tmp_path), "check", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"ok": True, "findings": []}


def test_warnings_are_told_and_are_no_failure(tmp_path: Path) -> None:
    file = config(
        tmp_path, GOOD.replace("  huge: {tools: false, ", "  huge: {retires: 2020-01-01, ")
    )
    result = run("--config", file, "check")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == (
        f"{file}:12: warning: labs.acme.reasoning[0].model: huge has retired on 2020-01-01."
    )
    told = json.loads(run("--config", file, "check", "--json").stdout)
    assert (told["ok"], [item["level"] for item in told["findings"]]) == (True, ["warning"])


def test_every_error_is_told_and_the_status_is_1(tmp_path: Path) -> None:
    file = config(
        tmp_path, GOOD.replace("lab: acme}", "lab: amce}").replace("tag: draft", "tga: draft")
    )
    result = run("--config", file, "check")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{file}:18: error: guards[0].when.tga: no such key. Did you mean 'tag'?",
        "1 finding; the gateway would not start.",
    ]
    file = config(
        tmp_path, GOOD.replace("lab: acme}", "lab: amce}").replace("{tag: draft}", "{matches: (}")
    )
    result = run("--config", file, "check")
    assert result.stdout.splitlines() == [
        f"{file}:2: error: default.lab: no lab 'amce'. Did you mean 'acme'?",
        f"{file}:18: error: guards[0].when.matches: '(' is not a regular expression: missing ): (.",
        "2 findings; the gateway would not start.",
    ]
    told = json.loads(run("--config", file, "check", "--json").stdout)
    assert told["ok"] is False
    assert told["findings"][0] == {
        "level": "error",
        "file": str(file),
        "line": 2,
        "path": "default.lab",
        "message": "no lab 'amce'.",
        "hint": "Did you mean 'acme'?",
    }


def test_a_configuration_with_no_lab_on_is_an_error(tmp_path: Path) -> None:
    file = config(tmp_path)
    result = run("--config", file, "check", environ={})
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{file}:8: error: labs: no lab is on (acme: set ACME_API_KEY).",
        "1 finding; the gateway would not start.",
    ]
    file = config(tmp_path, "version: 1")
    assert "no lab is on (none is configured)." in run("--config", file, "check").stdout


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (None, "k.yaml: error: cannot be read: no such file or directory"),
        ("alice: {sha256: abc}", "a key is a name and the SHA-256 of its secret, 64 hex digits."),
        (f"alice: {{sha256: {hashlib.sha256(b'x').hexdigest()}}}", ""),
    ],
)
def test_keys_are_checked_too(tmp_path: Path, keys: str | None, told: str) -> None:
    if keys is not None:
        (tmp_path / "k.yaml").write_text(keys)
    result = run("--config", config(tmp_path, GOOD + "keys: k.yaml\n"), "check")
    assert result.exit_code == (1 if told else 0)
    assert told in result.stdout


def test_the_shipped_configuration_without_keys_has_the_local_model_on() -> None:
    result = run("--config", shipped.MAIN, "check", environ={})
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert "on  local: fast 1, smart 1, reasoning 1" in lines
    assert "off openai: set OPENAI_API_KEY" in lines
    assert lines[-1].startswith("ok: 1 of 12 labs on, 2 guards, 4 choices, version ")


def test_the_shipped_configuration_with_a_key_has_its_lab_on() -> None:
    result = run("--config", shipped.MAIN, "check", environ={"OPENAI_API_KEY": "sk-canary"})
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "on  openai: fast 2, smart 3, reasoning 3" in lines
    assert "off local: it starts only where no other provider is on" in lines
    assert "sk-canary" not in result.output


@pytest.mark.parametrize("file", [shipped.MAIN, shipped.MATRIX], ids=lambda file: file.name)
def test_the_shipped_configurations_are_sound_with_every_key(file: Path) -> None:
    result = run("--config", file, "check", "--json", environ=shipped.ALL_SET)
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ok"]) == (0, True)


def test_the_program_ends_with_the_same_status(tmp_path: Path) -> None:
    config(tmp_path)
    good = program("check", "--config", "c.yaml", environ=ON, folder=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    bad = program("check", "--config", "c.yaml", environ={}, folder=tmp_path)
    assert (bad.returncode, bad.stderr) == (1, "")
    assert bad.stdout.startswith("c.yaml:8: error: labs: no lab is on")
