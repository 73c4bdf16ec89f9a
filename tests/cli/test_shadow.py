"""`tiergate shadow`: the report of a running gateway, as people and programs read it."""

from pathlib import Path
from typing import Any

import pytest

from gateway.cli import admin_client
from gateway.core import jsonio
from tests.cli.run import GOOD, ON, config, run

TOLD: dict[str, Any] = {
    "file": "next.yaml", "version": "aa", "candidate": "bb", "mistakes": [], "calls": 4, "agree": 3,
    "agreement": 0.75, "skipped": 2, "failed": 1,
    "tiers": {"own": {"smart": 4}, "candidate": {"fast": 1, "refused": 1, "smart": 2}},
    "rules": [{"own": "default", "candidate": "rule words", "calls": 1}],
    "cost": {"calls": 3, "unknown": 1, "own": "0.3", "candidate": "0.1", "difference": "-0.2"},
    "examples": [
        {"id": "tg-1", "key": "k", "own": {"lab": "acme", "tier": "smart", "target": "acme/large", "by": "default"},
         "candidate": {"lab": "acme", "tier": "fast", "target": "acme/small", "by": "rule words"}},
        {"id": "tg-2", "key": "k", "own": {"lab": "acme", "tier": "smart", "target": "acme/large", "by": "default"},
         "candidate": {"lab": "", "tier": "refused", "target": "", "by": "no_target"}},
    ],
}  # fmt: skip


class Gateway:
    """What answers, and what it was asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer: tuple[int, bytes] | None = (200, jsonio.dumps(TOLD))
        patch.setattr(admin_client, "read_url", self.read)

    def read(self, url: str, secret: str) -> tuple[int, bytes] | None:
        self.asked.append((url, secret))
        return self.answer


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    return Gateway(monkeypatch)


def test_what_differs_is_told_in_a_few_lines(gateway: Gateway, tmp_path: Path) -> None:
    result = run("--config", config(tmp_path), "shadow", environ={**ON, "TIERGATE_ADMIN_KEY": "a"})
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[:3] == [
        "candidate next.yaml, bb",
        "calls 4, 75.0% decided alike, 2 left out for want of room, 1 at which it failed",
        "cost 0.3 -> 0.1 USD of 3 calls, unknown of 1",
    ]
    assert "refused 0 1" in lines
    assert "default rule words 1" in lines
    assert "tg-2 k acme/smart acme/large by default refused (no_target)" in lines
    assert gateway.asked == [("http://127.0.0.1:8484/admin/shadow", "a")]


def test_where_little_is_known_little_is_told(gateway: Gateway, tmp_path: Path) -> None:
    told = {
        **TOLD, "candidate": None, "mistakes": ["next.yaml:1: error: x."], "agreement": None,
        "calls": 0, "skipped": 0, "failed": 0, "rules": [], "examples": [],
        "tiers": {"own": {}, "candidate": {}}, "cost": {**TOLD["cost"], "difference": None},
    }  # fmt: skip
    gateway.answer = (200, jsonio.dumps(told))
    result = run("--config", config(tmp_path), "shadow", "--url", "http://h:1/")
    assert result.stdout.splitlines()[:3] == [
        "candidate  next.yaml, not in use",
        "  next.yaml:1: error: x.",
        "calls      0",
    ]
    assert "USD" not in result.stdout
    assert gateway.asked == [("http://h:1/admin/shadow", "")]


def test_programs_get_the_same_values(gateway: Gateway, tmp_path: Path) -> None:
    gateway.answer = (200, jsonio.dumps({**TOLD, "cost": {**TOLD["cost"], "unknown": 0}}))
    assert "unknown of" not in run("--config", config(tmp_path), "shadow").stdout
    result = run("--config", config(tmp_path), "shadow", "--json")
    assert jsonio.loads(result.stdout_bytes)["calls"] == 4


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:9"), ("::", "http://[::1]:9"), ("::1", "http://[::1]:9")]
)  # fmt: skip
def test_it_asks_where_the_configuration_says(
    gateway: Gateway, tmp_path: Path, host: str, url: str
) -> None:
    file = config(tmp_path, f'{GOOD}server: {{host: "{host}", port: 9, open: true}}\n')
    assert run("--config", file, "shadow").exit_code == 0
    assert gateway.asked == [(f"{url}/admin/shadow", "")]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "no gateway answers at http://127.0.0.1:8484. Name another with --url."),
        ((404, b'{"error": {"message": "No candidate."}}'), "No candidate."),
        ((200, b"<html>"), "http://127.0.0.1:8484 is no gateway: it answers 200."),
        ((500, b"{}"), "http://127.0.0.1:8484 is no gateway: it answers 500."),
    ],
)
def test_why_there_is_no_report(
    gateway: Gateway, tmp_path: Path, answer: tuple[int, bytes] | None, told: str
) -> None:
    gateway.answer = answer
    result = run("--config", config(tmp_path), "shadow")
    assert (result.exit_code, result.stderr) == (1, f"Error: {told}\n")


def test_a_candidate_with_a_mistake_is_a_warning_of_check(tmp_path: Path) -> None:
    """It stops nothing."""
    (tmp_path / "next.yaml").write_text("version: 1\nlabss: {}\n")
    file = config(tmp_path, f"{GOOD}routing: {{shadow: next.yaml}}\n")
    result = run("--config", file, "check")
    assert result.exit_code == 0
    assert "next.yaml:2: warning: labss: no such key." in result.stdout
    (tmp_path / "next.yaml").write_text(GOOD)
    assert "labss" not in run("--config", file, "check").stdout
