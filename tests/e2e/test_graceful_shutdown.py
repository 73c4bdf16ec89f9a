"""A gateway that stops loses no running call, and tells every client (promise 17)."""

import os
import re
import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.chain import CLOSED_LINE
from tests.e2e.child import until
from tests.e2e.four_labs import GEMINI, MESSAGES, RESPONSES, make_request
from tests.e2e.service import Serve, Service, read_until, rest
from tests.e2e.upstream import DONE, ROLE, SILENT, Upstream, chunk, stream, whole
from tests.e2e.world import Loop, chat

HEL, LO = (chunk({"content": word}) for word in ("Hel", "lo"))


def is_closed(service: Service) -> bool:
    """True if it takes no more connections."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", service.port), 1):
        return False
    return True


def call_ends(service: Service) -> list[str]:
    """Return how its calls ended, by their rows; check that the journal is closed."""
    (segment,) = (service.folder / "data" / "ledger").glob("*.jsonl")
    assert segment.read_bytes().endswith(CLOSED_LINE)
    rows = service.entries()
    return sorted(f"{row.state} {row.status} {row.aborted_by} {row.problem}" for row in rows)


def test_p_04_streams_end_whole_in_time_or_with_an_error(
    serve: Serve, upstream: Upstream, loop: Loop
) -> None:
    """P-04: one stream ends byte for byte; others and a whole answer end with a dialect error."""
    service = serve(drain=600)
    upstream.on("/acme", stream(ROLE, HEL, None, LO, chunk({}, "stop"), DONE))
    with ExitStack() as stack:
        short = stack.enter_context(service.open_call(chat(stream=True)))
        begun = read_until(short, b"Hel")
        upstream.on("/acme", stream(ROLE, HEL, end="stall"))
        long = stack.enter_context(service.open_call(chat(stream=True)))
        half = read_until(long, b"Hel")
        upstream.on("/acme", SILENT)
        quiet = stack.enter_context(service.open_call(chat()))
        early = stack.enter_context(service.open_call(chat(stream=True)))
        for _ in range(4):
            upstream.arrived()
        kept_connections = [stack.enter_context(service.dial()) for _ in range(2)]
        for connection in kept_connections:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            read_until(connection, b'"ok"')
        service.send_signal(signal.SIGTERM)
        until(lambda: is_closed(service), "it takes no more")
        kept_connections[0].sendall(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
        kept_connections[1].sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n"
        )
        for connection, expected in zip(
            kept_connections, (b'"status":"draining"', b"overloaded_error"), strict=True
        ):
            answer = rest(connection)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nconnection: close\r\n" in answer
            assert expected in answer
        loop.run(upstream.release())
        begun += rest(short)
        assert begun.endswith(DONE + b"\r\n0\r\n\r\n")
        service.send_signal(signal.SIGTERM)
        half += rest(long)
        for answer in (rest(quiet), rest(early)):
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"draining"' in answer
            assert b"\r\nretry-after: 1\r\n" in answer
            assert b"x-should-retry" not in answer
        assert service.ended() == 0
    assert b'"code":"draining"' in half
    assert half.endswith(b"\n\n\r\n0\r\n\r\n")
    assert DONE not in half
    assert call_ends(service) == [
        "aborted 200 drain draining",
        "aborted 503 drain draining",
        "aborted 503 drain draining",
        "estimated 200 None None",
    ]
    assert [row["ended"] for row in service.rows("drain")[1:]] == [3]


def test_p_04_each_dialect_has_its_error_for_a_shutdown(serve: Serve, upstream: Upstream) -> None:
    """P-04: the error follows the content, and the stream ends as HTTP ends."""
    errors = {
        MESSAGES: b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"',
        RESPONSES: b'"code":"draining"',
        GEMINI: b'"status":"UNAVAILABLE"',
    }
    service = serve(drain=1)
    upstream.on("/acme", stream(ROLE, HEL, end="stall"))
    with ExitStack() as stack:
        calls = []
        for client, expected in errors.items():
            path, body = make_request(client, "smart", stream=True)
            connection = stack.enter_context(service.open_call(body, path))
            calls.append((connection, expected, read_until(connection, b"Hel")))
        service.send_signal(signal.SIGTERM)
        for connection, expected, begun in calls:
            answer = begun + rest(connection)
            assert expected in answer[answer.index(b"Hel") :]
            assert answer.endswith(b"\r\n0\r\n\r\n")
        assert service.ended() == 0
    assert call_ends(service) == ["aborted 200 drain draining"] * 3


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_p_04_all_clients_that_share_an_answer_get_the_error(
    serve: Serve, upstream: Upstream, streamed: bool
) -> None:
    """P-04: the call that reads for the others ends too, and once; each has its row."""
    service = serve(drain=600, more={"cache": {"default": "on", "ttl": "1h"}})
    upstream.on("/acme", stream(ROLE, HEL, end="stall") if streamed else SILENT)
    with ExitStack() as stack:
        clients = [stack.enter_context(service.open_call(chat(stream=streamed))) for _ in range(4)]
        answers = [read_until(client, b"Hel") if streamed else b"" for client in clients]
        upstream.arrived()
        kept_connection = stack.enter_context(service.dial())
        for _ in range(20):  # by then all earlier calls share the answer
            kept_connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            read_until(kept_connection, b'"ok"')
        for _ in range(2):
            service.send_signal(signal.SIGTERM)
            until(lambda: is_closed(service), "it takes no more")
        for client, before in zip(clients, answers, strict=True):
            answer = before + rest(client)
            assert b'"code":"draining"' in answer
            assert answer.endswith(b"\r\n0\r\n\r\n" if streamed else b"}}")
        assert service.ended() == 0
    assert len(upstream.requests) == 1
    assert call_ends(service) == [f"aborted {200 if streamed else 503} drain draining"] * 4


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_p_05_a_second_signal_stops_the_gateway_at_once_and_in_good_order(
    serve: Serve, upstream: Upstream, second: signal.Signals
) -> None:
    """P-05: no client waits for the minutes of a drain, and each still gets its error."""
    service = serve(drain=600, lb_delay=300)
    upstream.on("/acme", stream(ROLE, HEL, end="stall"))
    with service.open_call(chat(stream=True)) as connection:
        answer = read_until(connection, b"Hel")
        service.send_signal(signal.SIGINT)
        until(lambda: service.get("/ready") == 503, "it says that it stops")
        assert service.get("/health") == 200  # and still takes connections
        service.send_signal(second)
        answer += rest(connection)
        assert service.ended() == 0
    assert answer.endswith(b"\n\n\r\n0\r\n\r\n")
    assert call_ends(service) == ["aborted 200 drain draining"]


def test_p_04_calls_are_served_until_the_load_balancer_sees_the_shutdown(
    serve: Serve, upstream: Upstream
) -> None:
    """P-04: for `lb_delay` it is not ready, but refuses no call; connections are used once more."""
    service = serve(lb_delay=300, drain=600)
    upstream.on("/acme", whole())
    with service.dial() as kept_connection:
        kept_connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        read_until(kept_connection, b'"ok"')
        service.send_signal(signal.SIGTERM)
        until(lambda: service.get("/ready") == 503, "it says that it stops")
        with service.open_call() as connection:
            answer = rest(connection)
        kept_connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"\r\nconnection: close\r\n" in rest(kept_connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    service.send_signal(signal.SIGTERM)
    assert service.ended() == 0
    assert call_ends(service) == ["settled 200 None None"]


@pytest.mark.parametrize(
    ("hangs", "status"),
    [("upstream.connection_pools.ConnectionPools.close", 0), ("pipeline.engine.Engine.drain", 1)],
)
def test_p_05_the_gateway_ends_in_time_although_a_task_hangs(
    tmp_path: Path, upstream: Upstream, hangs: str, status: int
) -> None:
    """P-05: it ends 3 s after its time, whatever hangs; the status tells if rows may be missing."""
    room, name, work = hangs.rsplit(".", 2)
    first = (
        f"import asyncio\nfrom gateway.{room} import {name}\n"
        f"async def for_ever(*_): await asyncio.Event().wait()\n{name}.{work} = for_ever"
    )
    service = Service(tmp_path / "hangs", upstream, {"drain": 1}, first=first)
    try:
        service.send_signal(signal.SIGTERM)
        assert service.ended() == status
    finally:
        service.kill()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_p_05_a_gateway_in_a_terminal_stops_without_delay(
    tmp_path: Path, upstream: Upstream, stop_signal: signal.Signals, workers: int
) -> None:
    """P-05: in a terminal no load balancer needs the delay; a hangup of it stops it too."""
    ours, theirs = os.openpty()
    server = {"lb_delay": 300, "drain": 600, "workers": workers}
    service = Service(tmp_path / "person", upstream, server, stdin=theirs)
    os.close(theirs)
    try:
        until(service.is_alive, "it serves")
        service.send_signal(stop_signal)
        assert service.ended() == 0
    finally:
        service.kill()
        os.close(ours)


def test_p_05_other_signals_do_not_stop_the_gateway(serve: Serve) -> None:
    """P-05: the log names them, except for SIGPIPE, which is ignored."""
    service = serve()
    service.send_signal(signal.SIGPIPE)
    names: list[str] = []
    for other_signal in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        service.send_signal(other_signal)
        names.append(other_signal.name)
        until(lambda: len(service.rows("signal")) >= len(names), "it tells of the signal")
        assert [row["name"] for row in service.rows("signal")] == names
        assert service.get("/ready") == 200
    service.send_signal(signal.SIGTERM)
    assert service.ended() == 0


def test_p_05_workers_end_their_streams_and_a_killed_worker_is_replaced(
    serve: Serve, upstream: Upstream
) -> None:
    """P-05: a killed worker is replaced, and others serve; both streams of two end as they must."""
    service = serve(workers=2, drain=2)
    upstream.on("/acme", stream(ROLE, HEL, end="stall"))
    pids = [row["pid"] for row in until(lambda: started_workers(service, 2), "two workers")]
    until(lambda: all(map(handles_sigterm, pids)), "both serve: one that does not yet just ends")
    service.send_signal(signal.SIGHUP)
    until(lambda: service.rows("signal"), "it tells of the signal")
    with ExitStack() as stack:
        streams = [stack.enter_context(service.open_call(chat(stream=True))) for _ in range(4)]
        answers = [read_until(connection, b"Hel") for connection in streams]
        service.send_signal(signal.SIGTERM)
        for connection, answer in zip(streams, answers, strict=True):
            assert (answer + rest(connection)).endswith(b"\n\n\r\n0\r\n\r\n")
        assert service.ended() == 0
    rows = service.entries()
    assert [(row.state, row.aborted_by) for row in rows] == [("aborted", "drain")] * 4
    over = [row for row in service.rows("worker") if row.get("text") == "ended"]
    assert sorted((row["pid"], row["status"]) for row in over) == sorted((pid, 0) for pid in pids)


def test_p_05_a_worker_that_hangs_is_replaced(serve: Serve) -> None:
    """P-05: a hung worker is logged, killed even if it cannot say where it hangs, and replaced."""
    service = serve(workers=2, hang=2)
    pid = until(lambda: started_workers(service, 2), "two workers")[0]["pid"]

    def works() -> bool:
        os.kill(pid, signal.SIGUSR1)  # a running loop logs it; before that it is ignored
        return bool(service.rows("signal"))

    until(works, "it works")
    os.kill(pid, signal.SIGSTOP)

    def worker_texts() -> list[str]:
        return [row["text"] for row in service.rows("worker") if row["pid"] == pid]

    until(lambda: worker_texts() == ["started", "hangs", "ended"], "it hangs, and is killed")
    until(lambda: started_workers(service, 3), "a third")
    assert service.get("/health") == 200


def handles_sigterm(pid: int) -> bool:
    """True if a process handles SIGTERM itself by now (proc_pid_status(5), SigCgt)."""
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & 1 << signal.SIGTERM - 1)


def started_workers(service: Service, count: int) -> list[dict[str, Any]]:
    rows = [row for row in service.rows("worker") if row.get("text") == "started"]
    return rows if len(rows) >= count else []


def test_sec_leak_5_a_crash_names_code_lines_and_no_prompt_or_key(
    serve: Serve, upstream: Upstream
) -> None:
    """SEC-LEAK 5: SIGABRT names files, lines and functions; no stream has a prompt or a key."""
    service = serve()
    upstream.on("/acme", stream(ROLE, HEL, end="stall"))
    with service.open_call(chat("canary-in-a-prompt", stream=True)) as connection:
        read_until(connection, b"Hel")
        service.send_signal(signal.SIGABRT)
        assert service.ended() == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in service.err
    assert "gateway/cli/serve/command.py" in service.err
    for canary in ("canary-in-a-prompt", "never-shown"):
        assert canary not in service.err + (service.folder / "out").read_text()
