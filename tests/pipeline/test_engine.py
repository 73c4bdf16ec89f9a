"""Test the engine alone: whatever fails inside, one final row, one answer, and no secret leaks."""

import asyncio
import errno
import signal
from collections.abc import AsyncIterator, Callable
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
from gateway.upstream.client import ConnectionPools, ProviderClient
from gateway.upstream.failover import Upstream
from gateway.upstream.provider_state import ProviderState
from tests.e2e.upstream import DONE, ROLE, WORDS, chunk, frames, whole
from tests.e2e.world import Body, Change, chat, config, spared

type Handler = Callable[[httpx.Request], httpx.Response]

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
                    jitter=lambda: 1.0, log=self.say, clock=lambda: self.now
                ),
            ),
            response_store=cache if cached else None,
            recorder=CallRecorder(self.record, self.say, clock=lambda: self.now, wall=lambda: 1e9),
            log=self.say,
            on_loss=on_loss,
            clock=lambda: self.now,
            wall=lambda: 1e9,
        )

    def say(self, event: str, **fields: object) -> None:
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
        self, body: Body | bytes, steer: RequestOptions = NO_OPTIONS, *, retried: int = 0
    ) -> Response:
        data = body if isinstance(body, bytes) else jsonio.dumps(body)
        call = Call(
            id="tg-1", dialect="openai-chat", operation="generate", body=data,
            options=steer, retry_count=retried, received_at=1e9, started_at=self.now,
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
def stage(tmp_path: Path) -> EngineFixture:
    return EngineFixture(tmp_path)


async def test_the_rows_of_one_call(stage: EngineFixture) -> None:
    """An intent row precedes the request, and a final row follows; both use the given clocks."""
    stage.answers = [ok()]
    assert (await stage.ask(chat())).body == whole().pieces[0]
    intent, entry = stage.rows
    assert isinstance(intent, IntentRow)
    assert isinstance(entry, FinalRow)
    assert (intent.id, intent.at, intent.provider, intent.model) == ("tg-1", 1e9, "acme", "able-1")
    assert (entry.duration, entry.first_content, entry.at) == (0.25, 0.25, 1e9)
    assert entry.config == intent.config == stage.router.catalogue.version


async def test_an_intent_for_each_attempt(stage: EngineFixture) -> None:
    stage.answers = [httpx.ConnectError("x"), httpx.ConnectError("x"), ok()]
    await stage.ask(chat())
    providers = [row.provider for row in stage.rows if isinstance(row, IntentRow)]
    assert providers == ["acme", "acme", "spare"]
    assert (stage.entry.provider, stage.entry.attempts) == ("spare", 3)


async def test_a_bug_is_an_answer_too(stage: EngineFixture) -> None:
    """The client gets a 500 in its dialect; the log names the place; neither quotes the prompt."""
    stage.answers = [KeyError("my secret prompt")]
    reply = await stage.ask(chat())
    assert (reply.status, jsonio.loads(reply.body)["error"]["code"]) == (500, "internal")
    assert head(reply)["x-should-retry"] == "false"
    assert (stage.entry.state, stage.entry.status, stage.entry.problem) == (
        "failed",
        500,
        "internal",
    )
    ((event, fields),) = stage.log
    assert (event, fields["call"]) == ("bug", "tg-1")
    assert "my secret" not in f"{fields}{reply.body!r}"


async def test_a_bug_in_a_stream_is_told_in_it(stage: EngineFixture) -> None:
    body = Chunks(ROLE, HEL, KeyError("my secret prompt"))
    stage.answers = [httpx.Response(200, stream=body)]
    said = await drain(await stage.ask(chat(stream=True)))
    assert said.startswith(ROLE + HEL + b'data: {"error":{')
    assert b'"code":"internal"' in said
    assert b"[DONE]" not in said
    assert (stage.entry.state, stage.entry.aborted_by) == ("aborted", None)
    assert stage.entry.problem == "internal"
    assert [event for event, _ in stage.log] == ["bug"]
    assert "my secret" not in f"{stage.log}{said!r}"
    assert body.closed


async def test_nothing_is_sent_that_cannot_be_written_down(stage: EngineFixture) -> None:
    """The client may retry: the gateway has tried nothing."""
    stage.full = IntentRow
    reply = await stage.ask(chat())
    assert (reply.status, jsonio.loads(reply.body)["error"]["code"]) == (503, "ledger_unavailable")
    assert head(reply)["retry-after"] == "5"
    assert "x-should-retry" not in head(reply)
    assert not stage.requests
    assert b"secret" not in reply.body


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_whose_entry_is_lost_is_given(stage: EngineFixture, streamed: bool) -> None:
    stage.full = FinalRow
    stage.answers = [ok(*frames()) if streamed else ok()]
    reply = await stage.ask(chat(stream=streamed))
    assert (await drain(reply) if streamed else reply.body).endswith(DONE if streamed else b"}")
    assert [event for event, _ in stage.log] == ["ledger"]


async def test_a_stream_that_is_closed_early(stage: EngineFixture) -> None:
    """Closing the stream counts as the client leaving; the provider's connection closes with it."""
    body = Chunks(ROLE, HEL, HEL)
    stage.answers = [httpx.Response(200, stream=body)]
    reply = await stage.ask(chat(stream=True))
    assert reply.stream is not None
    assert await anext(reply.stream) == ROLE + HEL
    assert not body.closed
    await reply.stream.aclose()
    assert (stage.entry.state, stage.entry.aborted_by) == ("aborted", "client")
    assert body.closed


@pytest.mark.parametrize("streamed", [False, True])
async def test_cancelled_while_it_waits(stage: EngineFixture, streamed: bool) -> None:
    arrived, never = asyncio.Event(), asyncio.Event()

    async def wait(_: httpx.Request) -> httpx.Response:
        arrived.set()
        await never.wait()
        raise AssertionError

    stage.client._pools = ConnectionPools(lambda _: httpx.MockTransport(wait))
    task = asyncio.create_task(stage.ask(chat(stream=streamed)))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (stage.entry.state, stage.entry.status, stage.entry.aborted_by) == (
        "aborted",
        499,
        "client",
    )


async def test_a_failed_answer_is_closed(stage: EngineFixture) -> None:
    """The gateway closes the failed answer, however much of it was read, before it asks another
    target.
    """
    bodies = [Chunks(b"no"), Chunks(b"<html>"), Chunks(ROLE), Chunks(ROLE, httpx.ReadError("x"))]
    for body, status in zip(bodies, (503, 200, 200, 200), strict=True):
        stage.answers = [httpx.Response(status, stream=body), ok(*frames())]
        await drain(await stage.ask(chat(stream=True)))
    assert [body.closed for body in bodies] == [1, 1, 1, 1]


async def test_a_whole_answer_is_closed(stage: EngineFixture) -> None:
    body = Chunks(whole().pieces[0] or b"")
    stage.answers = [httpx.Response(200, stream=body)]
    await stage.ask(chat())
    assert body.closed == 1


async def test_the_providers_id_is_passed_on(stage: EngineFixture) -> None:
    stage.answers = [
        httpx.Response(200, content=whole().pieces[0] or b"", headers={"x-request-id": "req\x7f1"})
    ]
    reply = await stage.ask(chat())
    assert head(reply)["x-upstream-request-id"] == "req?1"
    assert head(reply)["x-request-id"] == "tg-1"
    assert stage.entry.upstream_id == "req\x7f1"
    assert stage.entry.response_id == "up-1"


async def test_a_row_has_the_id_of_a_streamed_answer(stage: EngineFixture) -> None:
    """The row has the id even if the client leaves mid-stream; providers' own exports have it too."""
    stage.answers = [httpx.Response(200, stream=Chunks(ROLE, HEL, HEL), headers=STREAMED)]
    reply = await stage.ask(chat(stream=True))
    assert reply.stream is not None
    await anext(reply.stream)
    await reply.stream.aclose()
    assert (stage.entry.state, stage.entry.response_id) == ("aborted", "up-1")


async def test_an_answer_of_the_cache_has_no_id_of_a_provider(tmp_path: Path) -> None:
    """Only the row of the call that a provider billed can be matched with its bill."""
    stage = EngineFixture(tmp_path, cached=True)
    stage.answers = [ok()]
    await stage.ask(chat())
    await stage.ask(chat())
    rows = [row for row in stage.rows if isinstance(row, FinalRow)]
    assert [(row.cache, row.response_id) for row in rows] == [("miss", "up-1"), ("hit", None)]


async def test_a_recording_of_another_kind_is_a_miss(tmp_path: Path) -> None:
    stage = EngineFixture(tmp_path, cached=True)
    stage.answers = [ok(), ok()]
    await stage.ask(chat())
    await stage.engine.drain()
    (name,) = stage.memory._items
    await stage.memory.put(name, b"garbage", 60)
    assert head(await stage.ask(chat()))["x-tiergate-cache"] == "miss"


@pytest.mark.parametrize(("most", "told"), [(10_000, "hit"), (100, "miss")])
async def test_a_long_stream_is_relayed_and_not_kept(tmp_path: Path, most: int, told: str) -> None:
    stage = EngineFixture(tmp_path, cached=True)
    stage.engine._coalescer._flights = Flights(most)
    stage.answers = [httpx.Response(200, stream=Chunks(*frames())) for _ in range(2)]
    said = await drain(await stage.ask(chat(stream=True)))
    await stage.engine.drain()
    again = await stage.ask(chat(stream=True))
    assert head(again)["x-tiergate-cache"] == told
    assert (again.body or await drain(again)) == said


async def test_what_is_cached_expires(tmp_path: Path) -> None:
    stage = EngineFixture(tmp_path, cached=True)
    stage.answers = [ok(), ok()]
    for seconds, told in ((0, "miss"), (30, "hit"), (60, "miss")):
        stage.now += seconds
        assert head(await stage.ask(chat()))["x-tiergate-cache"] == told
        await stage.engine.drain()


async def test_losses_are_refused_where_the_configuration_says_so(tmp_path: Path) -> None:
    """A call may override the configuration."""
    stage = EngineFixture(tmp_path, on_loss="refuse")
    body = chat(model="reasoning", temperature=0.5)
    reply = await stage.ask(body)
    assert (reply.status, jsonio.loads(reply.body)["error"]["param"]) == (400, "temperature")
    assert (stage.entry.state, stage.entry.cost) == ("refused", Decimal(0))
    stage.answers = [ok()]
    assert (
        head(await stage.ask(body, RequestOptions(on_loss="drop-and-tell")))["x-tiergate-dropped"]
        == "temperature"
    )


async def test_a_call_that_took_too_long_is_not_begun_again(stage: EngineFixture) -> None:
    """The tier's total time counts from the start of the call, over all attempts and waits."""
    stage.answers = [httpx.Response(503)]
    begin = asyncio.get_running_loop().time

    async def attempt_later(*_: object) -> httpx.Response:
        stage.requests.append(httpx.Request("POST", "http://x"))
        monkeypatched.append(begin() + 10_000)
        return httpx.Response(503)

    monkeypatched: list[float] = []
    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: monkeypatched[-1] if monkeypatched else begin())
        stage.client._pools = ConnectionPools(lambda _: httpx.MockTransport(attempt_later))
        reply = await stage.ask(chat())
    assert (reply.status, jsonio.loads(reply.body)["error"]["code"]) == (503, "overloaded")
    assert len(stage.requests) == 1


async def test_settling_waits_for_what_has_just_ended(stage: EngineFixture) -> None:
    """A task may be done but not yet forgotten: drain() must let the event loop run."""

    async def nothing() -> None: ...

    def struck(_: int, __: FrameType | None) -> None:
        raise AssertionError("settling holds up the loop")

    stage.engine._response_cache._run_in_background(nothing())
    await asyncio.sleep(0)
    before = signal.signal(signal.SIGALRM, struck)
    signal.setitimer(signal.ITIMER_REAL, 10)
    try:
        await stage.engine.drain()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not stage.engine._response_cache._background_tasks
