"""A call leaves no reference cycle behind, however it ends.

The gateway rarely searches for cycles: objects that wait for a search are wasted memory.
"""

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType

import pytest

from tests.e2e.child import until
from tests.e2e.test_final_rows import CASES, EndingCase
from tests.e2e.test_hedge import SILENT, hedged
from tests.e2e.upstream import PATIENCE, Answer, Upstream, failing, frames, stream, whole
from tests.e2e.world import Config, Make, World, chat, spared

_CALLS = 2


@contextmanager
def search_cycles() -> Iterator[list[object]]:
    """Collect the gateway's own objects that only a cycle search frees."""
    objects: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield objects
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        objects += sorted(filter(None, map(_ours, gc.garbage)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _ours(value: object) -> str:
    """Return its name if it is the gateway's own: one of its values, or a frame of its code."""
    for name in ("f_code", "cr_code", "ag_code", "gi_code", "__code__"):
        code = getattr(value, name, None)
        if isinstance(code, CodeType):
            return code.co_qualname if "/gateway/" in code.co_filename else ""
    kind = type(value)
    return kind.__qualname__ if kind.__module__.startswith("gateway.") else ""


def has_no_calls(world: World) -> Callable[[], bool]:
    """Return a check that a gateway has no calls and no connections left."""
    return lambda: not (world._server.server_state.connections or world._server.server_state.tasks)


def make_calls(world: World, count: int = _CALLS, *, streamed: bool) -> None:
    """Make some calls on new connections; some of their bodies come after their heads."""
    data = b'{"model":"smart","messages":[{"role":"user","content":"Hi"}],"max_tokens":100'
    data += b',"stream":true}' if streamed else b"}"
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    head += b"content-length: %d\r\n\r\n" % len(data)
    for at in range(count):
        with socket.create_connection(("127.0.0.1", world.port), PATIENCE) as connection:
            if at % 2:
                connection.sendall(head)
                until(lambda: bool(world._server.server_state.tasks), "its head is read")
                connection.sendall(data)
            else:
                connection.sendall(head + data)
            while connection.recv(65_536):
                pass
    until(has_no_calls(world), "all calls are over")


@pytest.mark.parametrize(
    "case", [item for item in CASES if item.timer is None], ids=lambda case: case.id
)
def test_a_call_leaves_no_reference_cycle(make: Make, upstream: Upstream, case: EndingCase) -> None:
    """An answer may be whole or streamed, fail at every target, or be cut."""
    world = make(spared)
    upstream.on("/", case.script)
    make_calls(world, 1, streamed=case.streamed)  # exclude one-time allocations
    request_count = len(upstream.requests)
    with search_cycles() as leftovers:
        make_calls(world, streamed=case.streamed)
    assert not leftovers, leftovers
    assert len(upstream.requests) >= request_count + _CALLS


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-host.invalid"])
def test_a_call_to_an_unreachable_provider_leaves_no_reference_cycle(make: Make, host: str) -> None:
    """No server listens there, or its name is unknown."""

    def gone(value: Config) -> None:
        value["providers"]["acme"]["base_url"] = f"http://{host}"

    world = make(gone)
    make_calls(world, 1, streamed=False)
    with search_cycles() as leftovers:
        make_calls(world, streamed=False)
    assert not leftovers, leftovers


@pytest.mark.parametrize("behind", [b"", b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"])
def test_a_client_that_leaves_leaves_no_reference_cycle(
    world: World, upstream: Upstream, behind: bytes
) -> None:
    """The client leaves in the middle of its answer, with or without another request behind it."""
    stream_frames = frames()
    upstream.on("/", stream(*stream_frames[:2], None, *stream_frames[2:]))

    def leave() -> None:
        for _ in range(_CALLS):
            with world.leaving(chat(stream=True)) as connection:
                connection.sendall(behind)
                assert connection.recv(65_536)
            world.release()  # with a request behind, only a write notices it
        until(has_no_calls(world), "all have left")

    leave()
    with search_cycles() as leftovers:
        leave()
    assert not leftovers, leftovers


@pytest.mark.parametrize(
    ("first", "second"),
    [(failing(500), failing(500)), (SILENT, whole()), (failing(500), whole())],
    ids=["both fail", "the second wins", "the first fails"],
)
def test_a_hedged_call_leaves_no_reference_cycle(
    make: Make, upstream: Upstream, first: Answer, second: Answer
) -> None:
    """A hedge: the task of an attempt holds its failure."""
    world = make(hedged)
    upstream.on("/acme", first)
    upstream.on("/spare", second)
    make_calls(world, 1, streamed=False)
    with search_cycles() as leftovers:
        make_calls(world, streamed=False)
    assert not leftovers, leftovers
