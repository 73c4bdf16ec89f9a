"""Test keys in a database with real processes: each worker and each gateway takes a change."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.limits.key_admin import KeyAdmin
from gateway.limits.key_store.store import open_database
from tests.cli.run import program
from tests.e2e.child import until
from tests.e2e.upstream import Upstream
from tests.ledger.postgres import PostgresServer, server
from tests.server.gate import Gate
from tests.server.test_key_file_changes import all_workers_answer, status

ADMIN_KEY = "of-an-admin-and-no-client"
MAX_SECONDS = 5.0
"""Seconds within which every gateway takes a change."""


def start(
    folder: Path, provider: Upstream, workers: int, copy: Path | None = None, **keys: Any
) -> Gate:
    """Start a gateway; `copy` is in its data folder already."""

    def configure(value: dict[str, Any]) -> None:
        value["keys"] = keys
        value["server"] = {"workers": workers}

    script = f'mkdir {folder}/data && cp {copy} {folder}/data && exec "$0" "$@"'
    before = () if copy is None else ("/bin/sh", "-c", script)
    return Gate(folder, provider.url, configure, before=before, TIERGATE_ADMIN_KEY=ADMIN_KEY)


def change(gate: Gate, method: str, path: str, **body: Any) -> Any:
    reply = gate.ask(
        f"/admin/keys{path}", jsonio.dumps(body), method, authorization=f"Bearer {ADMIN_KEY}"
    )
    assert reply.status in (200, 201), reply.body
    return reply.json


def in_time(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds everywhere, for as long as it is promised to take."""
    begun = time.monotonic()
    until(holds, what)
    assert time.monotonic() - begun < MAX_SECONDS + 2, "the last look takes a while too"


def test_every_worker_takes_a_change(provider: Upstream, tmp_path: Path) -> None:
    gate = start(tmp_path / "gateway", provider, 2, store="sqlite:///keys.db")
    try:
        first = change(gate, "POST", "", name="web")["secret"]
        in_time(all_workers_answer(gate, first, 200), "a new key opens")
        second = change(gate, "POST", "/web/rotate", keep="1h")["secret"]
        in_time(all_workers_answer(gate, second, 200), "a rotated key opens")
        assert status(gate, first) == 200
        reply = gate.ask(
            "/admin/keys/web", b'{"limits": {"requests": "1/m"}}', "PATCH",
            authorization=f"Bearer {ADMIN_KEY}",
        )  # fmt: skip
        assert (reply.status, b"Set REDIS_URL" in reply.body) == (409, True)
        url = f"http://127.0.0.1:{gate.port}"
        done = program(
            "keys", "revoke", "web", "--url", url, environ={"TIERGATE_ADMIN_KEY": ADMIN_KEY}
        )
        assert (done.returncode, done.stderr) == (0, "Revoked 'web'.\n")
        in_time(all_workers_answer(gate, second, 401), "a revoked key opens nothing")
        assert not [row for row in gate.rows() if row["event"] == "bug"]
    finally:
        gate.stop()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with server() as running_server:
        yield running_server


def test_gateways_share_a_database_and_outlive_its_outage(
    provider: Upstream, tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.url()
    admin = KeyAdmin(open_database(url, tmp_path), clock=time.time)
    secret = str(admin.create("web", {}, "me").secret)
    gates = [start(tmp_path / name, provider, 1, store=url, stale="5m") for name in ("a", "b")]
    try:
        new = change(gates[0], "POST", "", name="app")["secret"]
        for gate in gates:
            in_time(lambda gate=gate: status(gate, new) == 200, "the other gateway knows it")  # type: ignore[misc]
        audit = "/admin/audit?subject=app"
        (row,) = gates[1].ask(audit, method="GET", authorization=f"Bearer {ADMIN_KEY}").json["rows"]
        assert (row["act"], row["via"]) == ("key.create", "api"), "told by the other gateway"
        copies = [tmp_path / name / "data" / "known_keys.jsonl" for name in ("a", "b")]
        until(lambda: all("app" in copy.read_text() for copy in copies), "each has a copy")
        postgres.stop()
        until(lambda: "keys" in gates[0].ask("/ready", method="GET").json, "told by /ready")
        assert [status(gate, secret) for gate in gates] == [200, 200]
        gates.pop().stop()
        gates.append(start(tmp_path / "c", provider, 1, copies[1], store=url, stale="5m"))
        assert [status(gates[1], one) for one in (secret, new, "wrong")] == [200, 200, 401]
        postgres.start()
        admin.revoke("app", "me")
        for gate in gates:
            in_time(lambda gate=gate: status(gate, new) == 401, "they follow it again")  # type: ignore[misc]
    finally:
        for gate in gates:
            gate.stop()
