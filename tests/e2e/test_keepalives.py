"""Keep-alives in a stream that has no content yet; no SDK takes them for an answer."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import openai
import pytest

from gateway.core import jsonio
from gateway.server import keepalive
from tests.e2e.child import until
from tests.e2e.four_labs import ASKS, CHAT, DIALECTS, ENDPOINTS, MESSAGES, TEXT, answer, four
from tests.e2e.service import read_until
from tests.e2e.upstream import PATIENCE, SSE, Answer, Upstream, failing
from tests.e2e.world import Make, World


@pytest.fixture
def keepalives(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record one item for each keep-alive that was sent."""
    sent: list[bytes] = []
    send = keepalive.Keepalive._send_keepalive

    async def counted(self: keepalive.Keepalive) -> None:
        await send(self)
        sent.append(b"")

    monkeypatch.setattr(keepalive.Keepalive, "_send_keepalive", counted)
    monkeypatch.setattr(keepalive, "INTERVAL_SECONDS", 0.02)
    return sent


@pytest.fixture
def world(make: Make, keepalives: list[bytes]) -> World:
    return make(four)


def release_after_keepalives(world: World, keepalives: list[bytes], times: int) -> threading.Thread:
    """Let the provider send a piece whenever two more keep-alives were sent."""

    def run() -> None:
        for _ in range(times):
            least = len(keepalives) + 2
            until(lambda: len(keepalives) >= least, "keep-alives")  # noqa: B023 - called before the next round
            world.release()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("lab", [CHAT, MESSAGES])
def test_sdks_ignore_keepalives_in_a_stream(
    world: World, upstream: Upstream, keepalives: list[bytes], client: str, lab: str
) -> None:
    """Keep-alives come before the head of the answer, before its content and in its middle."""
    pieces = answer(lab, stream=True).pieces
    held = (None, *pieces[:2], None, *pieces[2:4], None, *pieces[4:])
    upstream.on(ENDPOINTS[lab], Answer(pieces=held, headers=SSE))
    thread = release_after_keepalives(world, keepalives, 3)
    assert ASKS[client](world, f"{lab}/smart", False, True).text == TEXT
    thread.join()


def stream_request(world: World) -> bytes:
    body = {
        "model": f"{CHAT}/smart",
        "stream": True,
        "messages": [{"role": "user", "content": "Hi."}],
    }
    data = jsonio.dumps(body)
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
        % (
            len(data),
            data,
        )
    )


def test_a_reply_that_begins_with_a_keepalive_names_no_target(
    world: World, upstream: Upstream
) -> None:
    """A second target may still take over; only the id of the call is certain."""
    upstream.on(ENDPOINTS[CHAT], replace(answer(CHAT, stream=True), pieces=(None,), end="stall"))
    with socket.create_connection(("127.0.0.1", world.port)) as client:
        client.sendall(stream_request(world))
        received = read_until(client, b": ping\n\n")
    head = received.partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert b"x-request-id: tg-" in head
    assert b"text/event-stream" in head
    assert b"x-tiergate" not in head


def test_an_error_after_a_keepalive_comes_in_the_stream(
    world: World, upstream: Upstream, keepalives: list[bytes]
) -> None:
    """The SDK raises it; the ledger has the status that was sent."""
    upstream.on(ENDPOINTS[CHAT], replace(failing(400), pieces=(None, *failing(400).pieces)))
    thread = release_after_keepalives(world, keepalives, 1)
    with (
        openai.OpenAI(base_url=f"{world.url}/v1", api_key="k", max_retries=0) as sdk,
        pytest.raises(openai.APIError, match="No"),
    ):
        list(
            sdk.chat.completions.create(
                model=f"{CHAT}/smart", messages=[{"role": "user", "content": "Hi."}], stream=True
            )
        )
    thread.join()
    entry = world.entry()
    assert (entry.state, entry.status, entry.problem) == ("failed", 200, "upstream_rejected")


def test_a_call_without_streaming_gets_no_keepalives(
    world: World, upstream: Upstream, keepalives: list[bytes]
) -> None:
    """A whole answer has a status of its own, which the gateway does not know yet."""
    whole = failing(400)
    upstream.on(ENDPOINTS[CHAT], replace(whole, pieces=(None, *whole.pieces)))
    body = {"model": f"{CHAT}/smart", "messages": [{"role": "user", "content": "Hi."}]}
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(world.client.post, "/v1/chat/completions", json=body)
        upstream.arrived()
        with socket.create_connection(("127.0.0.1", world.port)) as other:
            other.sendall(
                stream_request(world)
            )  # keep-alives of another call show that time has passed
            until(lambda: len(keepalives) > 3, "keep-alives")
            assert not call.done()
            world.release()
            world.release()
            assert call.result(PATIENCE).status_code == 400
