"""Round trips to Redis: how many a call waits for before its first byte; afterwards, none."""

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from gateway.limits.counters import AdmissionRequest, Admitted, CounterDemand
from gateway.runtime import composition
from gateway.state.redis.store import RedisStore
from tests.e2e.redis_port import Place
from tests.e2e.redis_round_trips import Trips
from tests.e2e.upstream import Answer, Request, Upstream, stream, whole
from tests.e2e.upstream import frames as stream_frames
from tests.e2e.world import Body, Config, Loop, Make, World, chat

LIMITS = [{"name": "all", "requests": "100/m", "tokens": "1M/m", "concurrency": 9, "per": "tenant"}]
BUDGETS = [
    {"name": "all", "usd": 1, "every": "day", "per": "tenant"},
    {"name": "key", "usd": 1, "every": "month", "per": "key"},
]
SHARED = {"name": "shared", "usd": 1, "every": "day"}
"""A budget of all tenants; the other limits and budgets count one tenant."""
DEAR = {"name": "dear", "usd": 0, "every": "day", "tier": "smart", "then": "fast", "per": "tenant"}


class PatientStore(RedisStore):
    """A store that waits 10 s for Redis: after a late answer the gateway skips Redis for a while."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, deadline=10.0, **options)


@pytest.fixture(autouse=True)
def patient_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "RedisStore", PatientStore)


@pytest.fixture
def trips(loop: Loop, place: Place) -> Iterator[Trips]:
    counter = Trips(loop, place.port)
    yield counter
    counter.close()


class Counted:
    """A gateway that counts in Redis, and the round trips that each part of a call takes."""

    def __init__(self, make: Make, upstream: Upstream, trips: Trips, **more: Any) -> None:
        def change(value: Config) -> None:
            value.update(
                {
                    "limits": LIMITS,
                    "budgets": BUDGETS,
                    "cache": {"default": "on", "ttl": "1h"},
                    **more,
                }
            )

        self._upstream, self._trips = upstream, trips
        self.world: World = make(change, REDIS_URL=trips.url)
        self.world.loop.run(self._warm())

    async def _warm(self) -> None:
        """Send the scripts to Redis: a server that has just started knows none."""
        meter: Any = self.world.gateway._counter_store
        place = CounterDemand(kind="concurrency", name="w", field="warm", limit=1)
        request = AdmissionRequest(
            id="warm", tenant="default", demands=(place,), expires_at=time.time() + 60
        )
        assert await meter.admit(request, time.time()) == Admitted()
        assert await meter.settle("default", "warm", None, None)

    def call(self, body: Body, answer: Answer, path: str = "/v1/chat/completions") -> list[int]:
        """Return the round trips before the provider's request, and those until all is settled.

        Without a request to the provider there is one number.
        """
        moments: list[int] = []

        def serve(_: Request) -> Answer:
            moments.append(self._trips.count)
            return answer

        self._upstream.on("/acme", serve)
        before = self._trips.count
        reply = self.world.client.post(path, json=body)
        self.world.loop.run(self.world.gateway.engine.drain())
        self.reply = reply
        moments = [before, *moments, self._trips.count]
        return [later - sooner for sooner, later in pairwise(moments)]


def test_a_call_waits_for_redis_once_before_its_first_byte(
    make: Make, upstream: Upstream, trips: Trips
) -> None:
    """One round trip is for limits, budgets and cache; one more reports the end and the answer."""
    world = Counted(make, upstream, trips)
    world.call(chat("warm", max_tokens=9), whole())
    assert world.call(chat("one", max_tokens=9), whole()) == [1, 1]
    assert world.call(chat("one", max_tokens=9), whole()) == [2]  # a hit, and its end
    assert world.reply.headers["x-tiergate-cache"] == "hit"
    streamed = chat("two", max_tokens=9, stream=True)
    assert world.call(streamed, stream(*stream_frames())) == [1, 1]
    assert trips.connections == 1


@pytest.mark.parametrize(
    "more",
    [
        {"cache": {"ttl": "0s"}},
        {"limits": [], "budgets": []},
        {"limits": [], "budgets": [SHARED]},
        {"limits": [{"name": "all", "concurrency": 9}], "budgets": [SHARED]},
    ],
    ids=["no cache", "no counters", "a shared budget", "shared counters"],
)
def test_a_call_without_cache_or_tenant_counters_waits_for_redis_once(
    make: Make, upstream: Upstream, trips: Trips, more: Config
) -> None:
    world = Counted(make, upstream, trips, **more)
    world.call(chat("warm", max_tokens=9), whole())
    assert world.call(chat("one", max_tokens=9), whole()) == [1, 1]


def test_the_first_call_of_a_window_waits_for_redis_twice(
    make: Make, upstream: Upstream, trips: Trips
) -> None:
    """The gateway reads the spending from the ledger, and creates the counters on admission."""
    world = Counted(make, upstream, trips)
    assert world.call(chat("one", max_tokens=9), whole()) == [2, 1]
    assert world.call(chat("two", max_tokens=9), whole()) == [1, 1]


def test_a_call_that_moves_to_a_cheaper_tier_waits_for_its_cache_too(
    make: Make, upstream: Upstream, trips: Trips
) -> None:
    """The cache of that tier costs a third wait, also where counters are missing.

    Without a cache there is no third wait.
    """
    world = Counted(
        make, upstream, trips, budgets=[DEAR, {**BUDGETS[0], "per": ["tenant", "tier"]}]
    )
    for text in ("first", "second"):
        assert world.call(chat(text, max_tokens=9), whole()) == [3, 1]
        assert world.reply.headers["x-tiergate-tier"] == "fast"
    assert world.call(chat("second", max_tokens=9), whole()) == [4]
    assert world.reply.headers["x-tiergate-cache"] == "hit"
    plain = Counted(make, upstream, trips, budgets=[DEAR], cache={"ttl": "0s"})
    assert plain.call(chat("third", max_tokens=9), whole()) == [2, 1]
    assert plain.reply.headers["x-tiergate-tier"] == "fast"


def test_shared_and_tenant_counters_are_read_at_once(
    make: Make, upstream: Upstream, trips: Trips
) -> None:
    """After a refusal the gateway gives back what the other counters gave; nobody waits for it.

    The gateway settles both at once too.
    """
    world = Counted(make, upstream, trips, budgets=[SHARED, *BUDGETS])
    assert world.call(chat("first", max_tokens=9), whole()) == [2, 1]
    assert world.call(chat("one", max_tokens=9), whole()) == [1, 1]
    none = {"name": "none", "requests": "0/m"}
    for per in ("all", "tenant"):
        limits = [{**none, "per": per}]
        refusing = Counted(make, upstream, trips, limits=limits, budgets=[SHARED, *BUDGETS])
        refusing.call(chat("warm", max_tokens=9), whole())
        assert refusing.call(chat("two", max_tokens=9), whole()) == [2]
        assert refusing.reply.status_code == 429


def test_a_refused_call_waits_for_redis_once(make: Make, upstream: Upstream, trips: Trips) -> None:
    world = Counted(make, upstream, trips, limits=[{"name": "none", "requests": "0/m"}], budgets=[])
    assert world.call(chat("one", max_tokens=9), whole()) == [1]
    assert world.reply.status_code == 429


def test_a_call_in_a_tool_loop_waits_for_redis_once(
    make: Make, upstream: Upstream, trips: Trips
) -> None:
    """The gateway reads the reasoning note together with the rest."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    used = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "warm"},
        {"role": "assistant", "content": None, "tool_calls": [used]},
        {"role": "tool", "tool_call_id": "t1", "content": "rain"},
    ]
    body = {"model": "smart", "messages": messages, "tools": tools, "max_tokens": 9}
    world = Counted(make, upstream, trips)
    world.call(chat("warm", max_tokens=9), whole())
    trips.commands.clear()
    assert world.call(body, whole()) == [1, 1]
    assert trips.commands.count(b"GETRANGE") == 2


def test_a_call_that_may_have_a_session_waits_for_redis_once_more(
    make: Make, upstream: Upstream, trips: Trips
) -> None:
    """A first turn does not wait for a session, nor does a call that names its target.

    The gateway stores the session with the end of the call.
    """
    world = Counted(make, upstream, trips)
    first = chat("Hi!", model="auto", max_tokens=9)
    assert world.call(first, whole())[-1] == 1
    turns = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And now?"}]
    more = {**first, "messages": [*first["messages"], *turns]}
    assert world.call(more, whole()) == [2, 1]
    assert world.reply.headers["x-tiergate-decision"].startswith("seat;")
    assert world.call({**more, "model": "smart"}, whole()) == [1, 1]


def test_the_account_of_a_conversation_is_read_together_with_the_rest(
    make: Make, upstream: Upstream, trips: Trips
) -> None:
    """The caller names the model, and the provider has several accounts."""
    accounts = {"main": "one-secret", "second": "two-secret"}
    acme = {"base_url": f"{upstream.url}/acme", "dialects": {"openai-chat": "/chat/completions"}}
    providers = {"acme": {**acme, "accounts": accounts}, "other": {**acme, "auth": "none"}}
    world = Counted(make, upstream, trips, providers=providers)
    first = chat("Hi!", max_tokens=9)
    world.call(first, whole())
    turns = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And now?"}]
    more = {**first, "messages": [*first["messages"], *turns]}
    trips.commands.clear()
    assert world.call(more, whole()) == [1, 1]
    assert trips.commands.count(b"GETRANGE") == 2


def test_a_call_that_continues_an_earlier_answer_waits_for_redis_twice(
    make: Make, upstream: Upstream, trips: Trips
) -> None:
    """The gateway reads what came before first, which may be the most of the request.

    It stores the answer before the client has it, so that the next request finds it.
    """
    world = Counted(make, upstream, trips, budgets=[DEAR, BUDGETS[0]])
    body = {"model": "smart", "input": "Hello.", "max_output_tokens": 9}
    world.call(body, whole(), "/v1/responses")
    world.call({**body, "input": "warm"}, whole(), "/v1/responses")
    id = world.reply.json()["id"]
    more = {**body, "previous_response_id": id}
    assert world.call(more, whole(), "/v1/responses") == [2, 2]
    assert world.reply.headers["x-tiergate-tier"] == "fast"
