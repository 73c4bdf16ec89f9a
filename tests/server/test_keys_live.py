"""Test a key file that changes while several workers serve: each takes changes, none a mistake."""

import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.limits.key_file import KeyFile
from tests.e2e.child import until
from tests.e2e.upstream import PATIENCE, Upstream
from tests.server.gate import Gate

SURE = 12
"""Number of equal results in a row after which both workers have answered, except once in 2,000
times.
"""


@pytest.fixture
def ring(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.yaml", clock=time.time)


@pytest.fixture
def served(ring: KeyFile, provider: Upstream, tmp_path: Path) -> Iterator[Gate]:
    """A gateway with two workers."""
    ring.add("first", {})

    def change(value: dict[str, Any]) -> None:
        value["keys"] = str(ring.file)
        value["server"] = {"workers": 2}

    made = Gate(tmp_path / "gateway", provider.url, change)
    yield made
    made.stop()


def status(gate: Gate, secret: str) -> int:
    """Ask on a new connection, which any worker may take; return the status."""
    client = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=PATIENCE)
    client.request("GET", "/v1/models", headers={"x-api-key": secret, "connection": "close"})
    found = client.getresponse().status
    client.close()
    return found


def everywhere(gate: Gate, secret: str, expected: int) -> Callable[[], bool]:
    return lambda: all(status(gate, secret) == expected for _ in range(SURE))


def test_changes_hold_in_every_worker_and_mistakes_in_none(served: Gate, ring: KeyFile) -> None:
    second = ring.add("second", {})
    until(everywhere(served, second, 200), "a key that was added opens")
    third = ring.rotate("second", 3600)
    until(everywhere(served, third, 200), "a key that was rotated opens")
    assert everywhere(served, second, 200)(), "and the secret before too"
    good = ring.file.read_text()
    ring.file.write_text("second: [\n")
    until(lambda: said(served, "not valid YAML") == 2, "each worker tells of the mistake")
    assert everywhere(served, second, 200)()
    ring.file.write_text(good)
    ring.revoke("second")
    until(everywhere(served, third, 401), "a key that was revoked opens nothing")
    until(everywhere(served, second, 401), "nor does its secret before")
    assert said(served, "not valid YAML") == 2, "a mistake is told of once"
    assert not [row for row in served.rows() if row["event"] == "bug"]


def said(gate: Gate, words: str) -> int:
    rows = [row for row in gate.rows() if row["event"] == "keys" and words in row["text"]]
    assert all(row["line"] == 2 for row in rows)
    return len(rows)
