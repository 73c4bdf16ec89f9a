"""Test many calls at once: no request leaves without its row, and a full disk loses no call."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, IntentRow
from gateway.ledger.journal import decode_row
from tests.e2e.upstream import Upstream
from tests.server.gate import Gate, Reply, answers, request

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
def full_disk_marker(tmp_path: Path) -> Path:
    return tmp_path / "full"


@pytest.fixture
def gate(tmp_path: Path, provider: Upstream, full_disk_marker: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate", provider.url, first=_FULL, FULL=str(full_disk_marker))
    yield gate
    gate.stop()


def ask(gate: Gate, body: bytes = _BODY) -> Reply:
    (reply,) = answers(gate.exchange(request("/v1/chat/completions", body, b"connection: close")))
    return reply


def ask_many(gate: Gate, body: bytes = _BODY) -> list[Reply]:
    with ThreadPoolExecutor(_MANY) as pool:
        return [*pool.map(lambda _: ask(gate, body), range(_MANY))]


@pytest.mark.parametrize("size", [0, 100_000])
def test_with_a_full_disk_no_request_leaves_and_no_call_is_lost(
    gate: Gate, provider: Upstream, full_disk_marker: Path, size: int
) -> None:
    body = _BODY + b" " * size
    assert {reply.status for reply in ask_many(gate, body)} == {200}
    requests_before = len(provider.requests)
    full_disk_marker.touch()
    refused = ask_many(gate, body)
    assert {reply.status for reply in refused} == {503}
    assert {reply.json["error"]["code"] for reply in refused} == {"ledger_unavailable"}
    assert len(provider.requests) == requests_before == _MANY
    full_disk_marker.unlink()
    assert {reply.status for reply in ask_many(gate, body)} == {200}
    rows = [decode_row(line) for line in gate.journal().splitlines()]
    sent_ids = {row.id for row in rows if isinstance(row, IntentRow)}
    final_rows = {row.id: row for row in rows if isinstance(row, FinalRow)}
    assert len(final_rows) == 3 * _MANY
    assert len(sent_ids) == len(provider.requests) == 2 * _MANY
    unsent_rows = [row for id, row in final_rows.items() if id not in sent_ids]
    assert {(row.state, row.attempts, row.problem) for row in unsent_rows} == {
        ("refused", 0, "ledger")
    }
