"""A rolling restart of real processes: under load, with a running stream, and a refused restart."""

import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from tests.e2e.child import until
from tests.e2e.roll_trial import trial
from tests.e2e.service import Serve, Service, read_until, rest
from tests.e2e.upstream import DONE, ROLE, Upstream, chunk, stream
from tests.e2e.world import Loop, chat

_LONG = 120.0
"""Seconds in which even a busy machine gets anything done."""

HEL, LO = (chunk({"content": word}) for word in ("Hel", "lo"))


def test_a_rolling_restart_under_load_fails_no_call_and_loses_no_row(tmp_path: Path) -> None:
    """Calls are whole and streamed, on kept and new connections, in two dialects.

    New workers replace all old ones, which end well. The ledger, the store and the provider's bill
    agree. The long form is `make roll`.
    """
    result = trial(tmp_path, 1, seed="1")
    assert result.wrong == []
    assert result.workers == 4
    assert len(result.load.whole) > 32


def test_a_rolling_restart_ends_running_streams_and_applies_new_settings(
    serve: Serve, upstream: Upstream, loop: Loop
) -> None:
    """The process stays; new workers replace the old ones, as many as the file says now.

    A connected client gets one more answer, and metrics go on. A configuration that cannot start
    replaces no worker.
    """
    service = serve(workers=2, drain=600)
    pids = until(lambda: worker_pids(service, "started", 2), "two workers", _LONG)
    file = service.folder / "gateway.yaml"
    value = jsonio.loads(file.read_bytes())
    file.write_bytes(b"version: 1\nserverr: {}\n")
    service.send_signal(signal.SIGUSR2)
    refusals = until(lambda: restart_rows(service, "refused"), "it is refused", _LONG)
    assert refusals[0]["status"] == 1
    assert "serverr: no such key" in service.err
    assert not worker_pids(service, "ended", 1)
    value["server"].update(workers=1, hang="29s")
    file.write_bytes(jsonio.dumps(value))
    upstream.on("/acme", stream(ROLE, HEL, None, LO, chunk({}, "stop"), DONE))
    with service.open_call(chat(stream=True)) as connection, service.dial() as idle:
        begun = read_until(connection, b"Hel")
        idle.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        read_until(idle, b'"ok"')
        service.send_signal(signal.SIGUSR2)
        until(lambda: worker_pids(service, "started", 3), "one that follows", _LONG)
        until(lambda: restart_rows(service, "begun"), "it is told of", _LONG)
        until(lambda: service.rows("drain"), "one leaves", _LONG)
        assert service.get("/ready") == 200
        loop.run(upstream.release())
        begun += read_until(connection, b"0\r\n\r\n")
        # Either may be of the worker that leaves first: its connections end after one more answer.
        open_connections = [connection, idle]
        until(
            lambda: (
                [
                    item
                    for item in tuple(open_connections)
                    if not closes_after_reply(item, open_connections)
                ]
                == []
            ),
            "they are to connect again",
        )
        until(lambda: restart_rows(service, "done"), "it is done", _LONG)
    assert begun.endswith(DONE + b"\r\n0\r\n\r\n")
    assert sorted(worker_pids(service, "ended", 2)) == sorted(pids)
    assert len(worker_pids(service, "started", 3)) == 3
    os.kill(service.process.pid, 0)
    assert service.get("/ready") == 200
    with service.dial() as connection:  # figures of workers that have ended
        connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        figures = rest(connection)
    assert re.findall(rb"\ntiergate_calls_total{[^}]+} (.+)\n", figures) == [b"1.0"]
    service.send_signal(signal.SIGTERM)
    assert service.ended() == 0
    assert [row.state for row in service.entries()] == ["estimated"]


def closes_after_reply(connection: socket.socket, open_connections: list[socket.socket]) -> bool:
    """Ask once more; return True if the answer was the last on its connection."""
    connection.sendall(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
    reply = read_until(connection, b'"ok"')
    assert reply.startswith(b"HTTP/1.1 200 ")
    last = b"connection: close" in reply
    if last:
        rest(connection)
        open_connections.remove(connection)
    return last


def restart_rows(service: Service, word: str) -> list[dict[str, Any]]:
    return [row for row in service.rows("restart") if row["text"].startswith(word)]


def worker_pids(service: Service, event: str, count: int) -> list[int]:
    """Return the ids of workers that have done something, once there are `count` of them."""
    pids = [row["pid"] for row in service.rows("worker") if row.get("text") == event]
    return pids if len(pids) >= count else []
