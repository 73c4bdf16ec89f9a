"""Test many calls at once: no request leaves without its row, and a full disk loses no call."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, IntentRow
from gateway.ledger.journal import decode_row
from tests.e2e.upstream import Upstream
from tests.server.gate import Gate, Told, answers, request

_FULL = """
import errno, os, pathlib

def write(descriptor, data, *, real=os.write):
    if data.startswith(b'{"kind":') and pathlib.Path(os.environ["FULL"]).exists():
        raise OSError(errno.ENOSPC, "No space left on device")
    return real(descriptor, data)

os.write = write
"""
_MANY = 12
_BODY = jsonio.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hello."}]})


@pytest.fixture
def full(tmp_path: Path) -> Path:
    return tmp_path / "full"


@pytest.fixture
def gate(tmp_path: Path, provider: Upstream, full: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate", provider.url, first=_FULL, FULL=str(full))
    yield gate
    gate.stop()


def ask(gate: Gate, body: bytes = _BODY) -> Told:
    (told,) = answers(gate.exchange(request("/v1/chat/completions", body, b"connection: close")))
    return told


def many(gate: Gate, body: bytes = _BODY) -> list[Told]:
    with ThreadPoolExecutor(_MANY) as pool:
        return [*pool.map(lambda _: ask(gate, body), range(_MANY))]


@pytest.mark.parametrize("size", [0, 100_000])
def test_a_full_disk_lets_no_request_out(
    gate: Gate, provider: Upstream, full: Path, size: int
) -> None:
    body = _BODY + b" " * size
    assert {told.status for told in many(gate, body)} == {200}
    seen = len(provider.requests)
    full.touch()
    refused = many(gate, body)
    assert {told.status for told in refused} == {503}
    assert {told.json["error"]["code"] for told in refused} == {"ledger_unavailable"}
    assert len(provider.requests) == seen == _MANY
    full.unlink()
    assert {told.status for told in many(gate, body)} == {200}
    rows = [decode_row(line) for line in gate.journal().splitlines()]
    asked = {row.id for row in rows if isinstance(row, IntentRow)}
    ends = {row.id: row for row in rows if isinstance(row, FinalRow)}
    assert len(ends) == 3 * _MANY
    assert len(asked) == len(provider.requests) == 2 * _MANY
    unasked = [row for id, row in ends.items() if id not in asked]
    assert {(row.state, row.attempts, row.problem) for row in unasked} == {("refused", 0, "ledger")}
