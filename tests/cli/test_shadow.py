"""`tiergate shadow`: the report of a running gateway, for people and for programs."""

from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from tests.cli.run import GOOD, ON, config, run

REPORT: dict[str, Any] = {
    "config": "bb", "calls": 4, "undecided": 0, "changed": 1, "apart": 0, "assumed": 0, "unread": {},
    "tiers": {"fast": {"before": 0, "after": 1}, "smart": {"before": 4, "after": 3}, "reasoning": {"before": 0, "after": 0}},
    "usd": {"before": "0.3", "after": "0.1", "unknown": 1}, "cache": {"lost": "0", "gained": "0"},
    "money": {
        "before": {"value": "0.3", "low": "0.2", "high": "0.4"},
        "after": {"value": "0.1", "low": "0.05", "high": "0.15"},
        "change": {"value": "-0.2", "low": "-0.3", "high": "-0.1"}, "usual_lengths": 1,
    },
    "quality": {
        "before": {"value": 0.9, "low": None, "high": None},
        "after": {"value": 0.85, "low": None, "high": None},
        "change": {"value": -0.05, "low": None, "high": None}, "calls": 3, "unscored": 1,
    },
    "by": {}, "guards": {}, "keys": {}, "tags": {},
    "list": [
        {"id": "tg-1", "at": 1e9, "key": "k", "usd": "-0.2",
         "before": {"lab": "acme", "tier": "smart", "target": "acme/large", "by": "default"},
         "after": {"lab": "acme", "tier": "fast", "target": "acme/small", "by": "words"}},
        {"id": "tg-2", "at": 1e9, "key": "k", "usd": None,
         "before": {"lab": "acme", "tier": None, "target": "acme/large", "by": "pin"},
         "after": {"lab": None, "tier": None, "target": None, "by": "no_target"}},
    ],
}  # fmt: skip
STATE: dict[str, Any] = {
    "file": "next.yaml", "version": "aa", "candidate": "bb", "mistakes": [], "skipped": 2,
    "failed": 1, "report": REPORT,
}  # fmt: skip


class FakeGateway:
    """A fake gateway that records its requests."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer: tuple[int, bytes] | None = (200, jsonio.dumps(STATE))
        patch.setattr("gateway.upstream.read_url.send_request", self.send)

    def send(
        self, method: str, url: str, secret: str, json_body: bytes | None
    ) -> tuple[int, bytes] | None:
        assert (method, json_body) == ("GET", None)
        self.asked.append((url, secret))
        return self.answer


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    return FakeGateway(monkeypatch)


def test_shadow_shows_the_differences_in_a_few_lines(gateway: FakeGateway, tmp_path: Path) -> None:
    result = run("--config", config(tmp_path), "shadow", environ={**ON, "TIERGATE_ADMIN_KEY": "a"})
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[:2] == [
        "candidate next.yaml, bb",
        "calls 4, 2 skipped while the queue was full, 1 failed",
    ]
    assert "after 1 3 0 0.100000" in lines
    assert "1 of 4 calls would go elsewhere." in lines
    assert (
        "USD after: 0.100000 (0.050000 to 0.150000). Change: -0.200000 (-0.300000 to -0.100000)."
        in lines
    )
    assert (
        "Expected quality, as a share of what reasoning would give: 0.900 before, 0.850 after. Change: -0.050."
        in lines
    )
    assert "1 call without a score: in no figure of quality." in lines
    assert any(
        line.startswith("1 call moved to or from a tier with fewer than 50 answers")
        for line in lines
    )
    assert lines[-2:] == [
        "tg-1 2001-09-09 01:46 k -0.200000 smart acme/large by default fast acme/small by words",
        "tg-2 2001-09-09 01:46 k unknown no tier acme/large by pin refused by no_target",
    ]
    assert gateway.asked == [("http://127.0.0.1:8484/admin/shadow", "a")]


def test_without_a_valid_candidate_the_report_is_short(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    reply = {
        **STATE, "candidate": None, "mistakes": ["next.yaml:1: error: x."], "skipped": 0,
        "failed": 0, "report": None,
    }  # fmt: skip
    gateway.answer = (200, jsonio.dumps(reply))
    result = run("--config", config(tmp_path), "shadow", "--url", "http://h:1/")
    assert result.stdout.splitlines()[:3] == [
        "candidate  next.yaml, not in use",
        "  next.yaml:1: error: x.",
        "calls      0",
    ]
    assert "USD" not in result.stdout
    assert gateway.asked == [("http://h:1/admin/shadow", "")]


def test_json_is_the_report_of_the_gateway(gateway: FakeGateway, tmp_path: Path) -> None:
    result = run("--config", config(tmp_path), "shadow", "--json")
    assert jsonio.loads(result.stdout_bytes) == STATE


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:9"), ("::", "http://[::1]:9"), ("::1", "http://[::1]:9")]
)  # fmt: skip
def test_shadow_connects_to_the_address_of_the_configuration(
    gateway: FakeGateway, tmp_path: Path, host: str, url: str
) -> None:
    file = config(tmp_path, f'{GOOD}server: {{host: "{host}", port: 9, open: true}}\n')
    assert run("--config", file, "shadow").exit_code == 0
    assert gateway.asked == [(f"{url}/admin/shadow", "")]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "no gateway answers at http://127.0.0.1:8484. Name another with --url."),
        ((404, b'{"error": {"message": "No candidate."}}'), "No candidate."),
        (
            (200, b"<html>"),
            "http://127.0.0.1:8484 is not a gateway: it answers 200. Name another with --url.",
        ),
        (
            (500, b"{}"),
            "http://127.0.0.1:8484 is not a gateway: it answers 500. Name another with --url.",
        ),
    ],
)
def test_shadow_says_why_there_is_no_report(
    gateway: FakeGateway, tmp_path: Path, answer: tuple[int, bytes] | None, problem: str
) -> None:
    gateway.answer = answer
    result = run("--config", config(tmp_path), "shadow")
    assert (result.exit_code, result.stderr) == (1, f"Error: {problem}\n")


def test_check_warns_of_a_mistake_in_the_candidate(tmp_path: Path) -> None:
    """The check still succeeds."""
    (tmp_path / "next.yaml").write_text("version: 1\nlabss: {}\n")
    file = config(tmp_path, f"{GOOD}routing: {{shadow: next.yaml}}\n")
    result = run("--config", file, "check")
    assert result.exit_code == 0
    assert "next.yaml:2: warning: labss: no such key." in result.stdout
    (tmp_path / "next.yaml").write_text(GOOD)
    assert "labss" not in run("--config", file, "check").stdout
