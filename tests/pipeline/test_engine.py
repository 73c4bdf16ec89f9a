"""Test the engine alone: whatever fails inside, one final row, one answer, and no secret leaks."""

import asyncio
import errno
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import FrameType

import httpx
import pytest

from gateway.cache.coalescing import Flights
from gateway.cache.policy import CachePolicy
from gateway.cache.response_cache import ResponseStore
from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, Call, RequestOptions
from gateway.core.ledger_rows import FinalRow, IntentRow, Row
from gateway.core.target import Provider
from gateway.pipeline.accounting import CallRecorder
from gateway.pipeline.engine import Engine
from gateway.pipeline.response import Response
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from gateway.state.memory import MemoryStore
from gateway.upstream.client import ProviderClient
from gateway.upstream.connection_pools import ConnectionPools
from gateway.upstream.failover import Upstream
from gateway.upstream.provider_state import ProviderState
from tests.e2e.upstream import ROLE, WORDS, chunk, frames, whole
from tests.e2e.world import Body, Change, chat, config, spared

STREAMED = {"content-type": "text/event-stream"}
HEL = chunk({"content": WORDS[0]})


class Chunks(httpx.AsyncByteStream):
    """A body that counts how often it was closed."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed += 1


class EngineFixture:
    """An engine whose clock, ledger and provider belong to the test."""

    def __init__(
        self,
        folder: Path,
        *,
        cached: bool = False,
        on_loss: str = "drop-and-tell",
        change: Change = spared,
    ) -> None:
        value = config("http://provider.invalid")
        change(value)
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(value))
        self.router = build_config(load(file, {}), datetime(2026, 11, 24, tzinfo=UTC)).router
        self.rows: list[Row] = []
        self.log: list[tuple[str, dict[str, object]]] = []
        self.requests: list[httpx.Request] = []
        self.answers: list[httpx.Response | Exception] = []
        self.full: type[FinalRow | IntentRow] | None = None
        """The kind of row that the ledger does not take."""
        self.now = 100.0
        self.memory = MemoryStore(1_000_000, clock=lambda: self.now)
        cache = ResponseStore(
            self.memory, secret=b"s", ttl=60, clock=lambda: self.now, policy=CachePolicy("on")
        )
        self.client = client = ProviderClient(transports=lambda _: httpx.MockTransport(self.answer))
        self.engine = Engine(
            router=self.router,
            upstream=Upstream(
                client,
                wait_until_ready=self.ready,
                sleep=self.sleep,
                jitter=lambda: 1.0,
                provider_state=ProviderState(
                    jitter=lambda: 1.0, log=self.log_event, clock=lambda: self.now
                ),
            ),
            response_store=cache if cached else None,
            recorder=CallRecorder(
                self.record, self.log_event, clock=lambda: self.now, wall=lambda: 1e9
            ),
            log=self.log_event,
            on_loss=on_loss,
            clock=lambda: self.now,
            wall=lambda: 1e9,
        )

    def log_event(self, event: str, **fields: object) -> None:
        self.log.append((event, fields))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.now += 0.25
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ready(self, _: Provider) -> None: ...

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def record(self, row: Row) -> None:
        if type(row) is self.full:
            raise OSError(errno.ENOSPC, "No space left on device: my secret folder")
        self.rows.append(row)

    async def ask(
        self, body: Body | bytes, options: RequestOptions = NO_OPTIONS, *, retry_count: int = 0
    ) -> Response:
        data = body if isinstance(body, bytes) else jsonio.dumps(body)
        call = Call(
            id="tg-1", dialect="openai-chat", operation="generate", body=data,
            options=options, retry_count=retry_count, received_at=1e9, started_at=self.now,
        )  # fmt: skip
        return await self.engine.serve(call)

    @property
    def entry(self) -> FinalRow:
        (entry,) = [row for row in self.rows if isinstance(row, FinalRow)]
        return entry


def ok(*pieces: bytes) -> httpx.Response:
    return httpx.Response(200, content=b"".join(pieces) or whole().pieces[0])


def head(reply: Response) -> dict[str, str]:
    assert len({name for name, _ in reply.headers}) == len([*reply.headers])
    return {name.decode(): value.decode() for name, value in reply.headers}


async def drain(reply: Response) -> bytes:
    assert reply.stream is not None
    return b"".join([data async for data in reply.stream])


@pytest.fixture
def engine_fixture(tmp_path: Path) -> EngineFixture:
    return EngineFixture(tmp_path)


async def test_a_bug_is_answered_with_500_and_logged_without_the_prompt(
    engine_fixture: EngineFixture,
) -> None:
    """The client gets a 500 in its dialect; the log names the place; neither quotes the prompt."""
    engine_fixture.answers = [KeyError("my secret prompt")]
    reply = await engine_fixture.ask(chat())
    assert (reply.status, jsonio.loads(reply.body)["error"]["code"]) == (500, "internal")
    assert head(reply)["x-should-retry"] == "false"
    assert (
        engine_fixture.entry.state,
        engine_fixture.entry.status,
        engine_fixture.entry.problem,
    ) == (
        "failed",
        500,
        "internal",
    )
    ((event, fields),) = engine_fixture.log
    assert (event, fields["call"]) == ("bug", "tg-1")
    assert "my secret" not in f"{fields}{reply.body!r}"


async def test_a_bug_during_a_stream_ends_it_with_an_error_event(
    engine_fixture: EngineFixture,
) -> None:
    body = Chunks(ROLE, HEL, KeyError("my secret prompt"))
    engine_fixture.answers = [httpx.Response(200, stream=body)]
    received = await drain(await engine_fixture.ask(chat(stream=True)))
    assert received.startswith(ROLE + HEL + b'data: {"error":{')
    assert b'"code":"internal"' in received
    assert b"[DONE]" not in received
    assert (engine_fixture.entry.state, engine_fixture.entry.aborted_by) == ("aborted", None)
    assert engine_fixture.entry.problem == "internal"
    assert [event for event, _ in engine_fixture.log] == ["bug"]
    assert "my secret" not in f"{engine_fixture.log}{received!r}"
    assert body.closed


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_that_is_cancelled_while_it_waits_has_an_aborted_row(
    engine_fixture: EngineFixture, streamed: bool
) -> None:
    arrived, never = asyncio.Event(), asyncio.Event()

    async def wait(_: httpx.Request) -> httpx.Response:
        arrived.set()
        await never.wait()
        raise AssertionError

    engine_fixture.client._pools = ConnectionPools(lambda _: httpx.MockTransport(wait))
    task = asyncio.create_task(engine_fixture.ask(chat(stream=streamed)))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (
        engine_fixture.entry.state,
        engine_fixture.entry.status,
        engine_fixture.entry.aborted_by,
    ) == (
        "aborted",
        499,
        "client",
    )


async def test_a_failed_answer_is_closed_before_the_next_attempt(
    engine_fixture: EngineFixture,
) -> None:
    """The gateway closes the failed answer, however much of it was read, before it asks another
    target.
    """
    bodies = [Chunks(b"no"), Chunks(b"<html>"), Chunks(ROLE), Chunks(ROLE, httpx.ReadError("x"))]
    for body, status in zip(bodies, (503, 200, 200, 200), strict=True):
        engine_fixture.answers = [httpx.Response(status, stream=body), ok(*frames())]
        await drain(await engine_fixture.ask(chat(stream=True)))
    assert [body.closed for body in bodies] == [1, 1, 1, 1]


async def test_the_client_gets_the_providers_request_id(engine_fixture: EngineFixture) -> None:
    engine_fixture.answers = [
        httpx.Response(200, content=whole().pieces[0] or b"", headers={"x-request-id": "req\x7f1"})
    ]
    reply = await engine_fixture.ask(chat())
    assert head(reply)["x-upstream-request-id"] == "req?1"
    assert head(reply)["x-request-id"] == "tg-1"
    assert engine_fixture.entry.upstream_id == "req\x7f1"
    assert engine_fixture.entry.response_id == "up-1"


async def test_a_row_has_the_id_of_a_streamed_answer(engine_fixture: EngineFixture) -> None:
    """The row has the id even if the client leaves mid-stream; providers' own exports have it too."""
    engine_fixture.answers = [httpx.Response(200, stream=Chunks(ROLE, HEL, HEL), headers=STREAMED)]
    reply = await engine_fixture.ask(chat(stream=True))
    assert reply.stream is not None
    await anext(reply.stream)
    await reply.stream.aclose()
    assert (engine_fixture.entry.state, engine_fixture.entry.response_id) == ("aborted", "up-1")


async def test_a_cached_answer_has_no_response_id_in_its_row(tmp_path: Path) -> None:
    """Only the row of the call that a provider billed can be matched with its bill."""
    engine_fixture = EngineFixture(tmp_path, cached=True)
    engine_fixture.answers = [ok()]
    await engine_fixture.ask(chat())
    await engine_fixture.ask(chat())
    rows = [row for row in engine_fixture.rows if isinstance(row, FinalRow)]
    assert [(row.cache, row.response_id) for row in rows] == [("miss", "up-1"), ("hit", None)]


@pytest.mark.parametrize(("max_bytes", "cache_result"), [(10_000, "hit"), (100, "miss")])
async def test_a_long_stream_is_relayed_and_not_cached(
    tmp_path: Path, max_bytes: int, cache_result: str
) -> None:
    engine_fixture = EngineFixture(tmp_path, cached=True)
    engine_fixture.engine._coalescer._flights = Flights(max_bytes)
    engine_fixture.answers = [httpx.Response(200, stream=Chunks(*frames())) for _ in range(2)]
    received = await drain(await engine_fixture.ask(chat(stream=True)))
    await engine_fixture.engine.drain()
    repeated = await engine_fixture.ask(chat(stream=True))
    assert head(repeated)["x-tiergate-cache"] == cache_result
    assert (repeated.body or await drain(repeated)) == received


async def test_losses_are_refused_if_the_configuration_says_so(tmp_path: Path) -> None:
    """A call may override the configuration."""
    engine_fixture = EngineFixture(tmp_path, on_loss="refuse")
    body = chat(model="reasoning", temperature=0.5)
    reply = await engine_fixture.ask(body)
    assert (reply.status, jsonio.loads(reply.body)["error"]["param"]) == (400, "temperature")
    assert (engine_fixture.entry.state, engine_fixture.entry.cost) == ("refused", Decimal(0))
    engine_fixture.answers = [ok()]
    assert (
        head(await engine_fixture.ask(body, RequestOptions(on_loss="drop-and-tell")))[
            "x-tiergate-dropped"
        ]
        == "temperature"
    )


async def test_a_call_beyond_its_total_time_gets_no_further_attempt(
    engine_fixture: EngineFixture,
) -> None:
    """The tier's total time counts from the start of the call, over all attempts and waits."""
    engine_fixture.answers = [httpx.Response(503)]
    real_time = asyncio.get_running_loop().time

    async def attempt_later(*_: object) -> httpx.Response:
        engine_fixture.requests.append(httpx.Request("POST", "http://x"))
        times.append(real_time() + 10_000)
        return httpx.Response(503)

    times: list[float] = []
    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: times[-1] if times else real_time())
        engine_fixture.client._pools = ConnectionPools(lambda _: httpx.MockTransport(attempt_later))
        reply = await engine_fixture.ask(chat())
    assert (reply.status, jsonio.loads(reply.body)["error"]["code"]) == (503, "overloaded")
    assert len(engine_fixture.requests) == 1


async def test_draining_waits_for_background_tasks_that_have_just_ended(
    engine_fixture: EngineFixture,
) -> None:
    """A task may be done but not yet forgotten: drain() must let the event loop run."""

    async def nothing() -> None: ...

    def fail_on_alarm(_: int, __: FrameType | None) -> None:
        raise AssertionError("settling holds up the loop")

    engine_fixture.engine._response_cache._run_in_background(nothing())
    await asyncio.sleep(0)
    before = signal.signal(signal.SIGALRM, fail_on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 10)
    try:
        await engine_fixture.engine.drain()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not engine_fixture.engine._response_cache._background_tasks
