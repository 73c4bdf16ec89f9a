"""Test a key file that changes while several workers serve: each takes changes, none a mistake."""

import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.limits.key_admin import KeyAdmin
from gateway.limits.key_file import KeyFile
from tests.e2e.child import until
from tests.e2e.upstream import PATIENCE, Upstream
from tests.server.gate import Gate

SURE = 12
"""Number of equal results in a row after which both workers have answered, except once in 2,000
times.
"""


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.yaml")


@pytest.fixture
def two_workers(key_file: KeyFile, provider: Upstream, tmp_path: Path) -> Iterator[Gate]:
    """A gateway with two workers."""
    KeyAdmin(key_file, clock=time.time).create("first", {}, "me")

    def configure(value: dict[str, Any]) -> None:
        value["keys"] = str(key_file.file)
        value["server"] = {"workers": 2}

    gateway = Gate(tmp_path / "gateway", provider.url, configure)
    yield gateway
    gateway.stop()


def status(gate: Gate, secret: str) -> int:
    """Ask on a new connection, which any worker may take; return the status."""
    client = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=PATIENCE)
    client.request("GET", "/v1/models", headers={"x-api-key": secret, "connection": "close"})
    status_code = client.getresponse().status
    client.close()
    return status_code


def all_workers_answer(gate: Gate, secret: str, expected: int) -> Callable[[], bool]:
    return lambda: all(status(gate, secret) == expected for _ in range(SURE))


def test_every_worker_takes_key_changes_and_ignores_a_file_with_a_mistake(
    two_workers: Gate, key_file: KeyFile
) -> None:
    admin = KeyAdmin(key_file, clock=time.time)
    second = str(admin.create("second", {}, "me").secret)
    until(all_workers_answer(two_workers, second, 200), "a key that was added opens")
    third = str(admin.rotate("second", 3600, "me").secret)
    until(all_workers_answer(two_workers, third, 200), "a key that was rotated opens")
    assert all_workers_answer(two_workers, second, 200)(), "and the secret before too"
    good = key_file.file.read_text()
    key_file.file.write_text("second: [\n")
    until(
        lambda: count_key_errors(two_workers, "not valid YAML") == 2,
        "each worker tells of the mistake",
    )
    assert all_workers_answer(two_workers, second, 200)()
    key_file.file.write_text(good)
    admin.revoke("second", "me")
    until(all_workers_answer(two_workers, third, 401), "a key that was revoked opens nothing")
    until(all_workers_answer(two_workers, second, 401), "nor does its secret before")
    assert count_key_errors(two_workers, "not valid YAML") == 2, "a mistake is told of once"
    assert not [row for row in two_workers.rows() if row["event"] == "bug"]


def count_key_errors(gate: Gate, words: str) -> int:
    rows = [row for row in gate.rows() if row["event"] == "keys" and words in row["text"]]
    assert all(row["line"] == 2 for row in rows)
    return len(rows)
