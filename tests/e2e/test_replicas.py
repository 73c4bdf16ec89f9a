"""Replicas and groups through a whole gateway: rows, sessions, other endpoints, and admins' views."""

import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from bench.free_port import find_free_port
from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FinalRow
from tests.e2e.upstream import Answer, Request, Upstream, failing, frames, stream, whole
from tests.e2e.world import Change, Config, Make, World, chat

SECRET = "tg-alice-0123456789abcdef0123456789"
KEYS = f"alice={hashlib.sha256(SECRET.encode()).hexdigest()}"
VECTORS = (
    b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"v"}'
)


def replicated(*paths: str, **more: Any) -> Change:
    """Give the provider acme replicas at these paths of the one server; "dead" is at none."""

    def change(value: Config) -> None:
        provider = value["providers"]["acme"]
        url = provider.pop("base_url").removesuffix("/acme")
        provider["replicas"] = [
            f"http://127.0.0.1:{find_free_port()}" if path == "dead" else f"{url}/{path}"
            for path in paths
        ]
        provider |= more
        value["labs"]["acme"]["embeddings"] = [{"model": "vector-1"}]

    return change


def grouped(balance: str) -> Change:
    """Let each tier have a group of acme and spare, and behind them other."""

    def change(value: Config) -> None:
        lab = value["labs"]["acme"]
        for tier in ("fast", "smart", "reasoning"):
            model = lab[tier][0]["model"]
            equals = [{"model": model, "group": "able"}]
            equals.append({"model": model, "provider": "spare", "group": "able"})
            lab[tier] = [*equals, {"model": "else-1", "provider": "other"}]
        lab["groups"] = {"able": {"balance": balance}}

    return change


def ask_all(world: World, count: int = 12, **more: Any) -> None:
    """Hold some conversations of two turns each."""
    for number in range(count):
        first = {"role": "user", "content": f"Question {number}?"}
        answer = {"role": "assistant", "content": "Hello you."}
        for messages in ([first], [first, answer, {"role": "user", "content": "And?"}]):
            body = chat(**more) | {"messages": messages}
            assert world.ask(body).status_code == 200


def conversations(upstream: Upstream) -> dict[str, set[str]]:
    """Return the first parts of the paths that served each conversation."""
    places: dict[str, set[str]] = {}
    for request in upstream.requests:
        first = request.json["messages"][0]["content"]
        places.setdefault(first, set()).add(request.path.split("/")[1])
    return places


@pytest.mark.parametrize(
    ("balance", "model"),
    [
        *(("hash", name) for name in ("auto", "smart", "acme/able-1", "acme/unheard-of")),
        *(("p2c", name) for name in ("smart", "acme/able-1")),
    ],
)
def test_a_conversation_stays_with_its_replica(
    make: Make, upstream: Upstream, balance: str, model: str
) -> None:
    """A call that names its model stays too; by hash also a model that no lab lists."""
    more = {} if balance == "hash" else {"balance": balance}
    world = make(replicated("one", "two", "three", **more))
    ask_all(world, 20, model=model)
    places = conversations(upstream)
    assert all(len(served) == 1 for served in places.values())
    assert len(set.union(*places.values())) > 1
    netloc = urlsplit(upstream.url).netloc
    rows = world.entries()
    assert {row.provider for row in rows} == {"acme"}
    assert {row.account for row in rows} == {f"{netloc}/{path}" for path in ("one", "two", "three")}


def test_a_replica_gets_the_one_credential_of_its_provider(make: Make, upstream: Upstream) -> None:
    world = make(replicated("one", "two"))
    ask_all(world, 4)
    sent = {request.header("authorization") for request in upstream.requests}
    assert sent == {"Bearer sk-acme-0123456789-never-shown"}


def test_the_next_replica_takes_over_before_another_target(make: Make, upstream: Upstream) -> None:
    """Each call is answered, by one further attempt at most, and the dead one is left alone."""
    world = make(replicated("dead", "two"), spared_twice)
    ask_all(world)
    assert set(upstream.called) == {"two"}
    rows = world.rows()
    failed = [row for row in rows if isinstance(row, AttemptRow)]
    assert 0 < len(failed) <= 12
    assert {row.problem for row in failed} == {"upstream_unreachable"}
    assert {row.attempts for row in rows if isinstance(row, FinalRow)} == {1, 2}


def spared_twice(value: Config) -> None:
    """Add a second target at another host."""
    value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})


def test_a_replica_that_breaks_an_answer_off_is_followed_by_another(
    make: Make, upstream: Upstream
) -> None:
    """The broken answer may be billed; another replica gives one, and other targets wait."""
    world = make(replicated("one", "two"), spared_twice)
    upstream.on("/", Answer(pieces=(b"{",), length=9, end="cut"), whole())
    assert world.ask(chat()).status_code == 200
    first, second = upstream.called
    assert {first, second} == {"one", "two"}


def test_with_complete_another_replica_finishes_a_stream(make: Make, upstream: Upstream) -> None:
    def held(value: Config) -> None:
        value["routing"]["complete"] = "hold"

    world = make(replicated("one", "two"), spared_twice, held)
    cut = stream(b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n', end="cut")
    upstream.on("/", cut, stream())
    reply = world.ask(chat(stream=True))
    assert reply.text.endswith("data: [DONE]\n\n")
    assert sorted(upstream.called) == ["one", "two"]
    assert [row["load"] for row in list_members(world, "able-1")] == [0, 0]


def test_vectors_are_drawn_among_replicas(make: Make, upstream: Upstream) -> None:
    """They have no conversation. Each call in flight counts, and a dead replica is passed over."""
    world = make(replicated("one", "dead"))
    upstream.on("/one/embeddings", Answer(pieces=(VECTORS,), length=len(VECTORS)))
    for number in range(8):
        body = {"model": "vector-1", "input": f"text {number}"}
        assert world.client.post("/v1/embeddings", json=body).status_code == 200
    assert upstream.called == ["one"] * 8


def sticky(value: Config) -> None:
    """Let conversations stay with their targets."""
    value["routing"]["conversation"] = "sticky"


@pytest.mark.parametrize("model", ["auto", "smart"])
@pytest.mark.parametrize("balance", ["hash", "p2c"])
def test_a_conversation_stays_in_its_group_and_with_its_target(
    make: Make, upstream: Upstream, balance: str, model: str
) -> None:
    world = make(grouped(balance), sticky)
    ask_all(world, 20, model=model)
    places = conversations(upstream)
    assert all(len(served) == 1 for served in places.values())
    assert set.union(*places.values()) == {"acme", "spare"}
    assert {row.switch_cost for row in world.entries()} == {None}


def test_a_group_fails_over_inside_before_the_next_target(make: Make, upstream: Upstream) -> None:
    world = make(grouped("order"))
    upstream.on("/acme", failing(500))
    for _ in range(3):
        assert world.ask(chat()).status_code == 200
    assert upstream.called == ["acme", "spare"] * 3
    upstream.on("/spare", failing(500))
    upstream.on("/other", whole())
    assert world.ask(chat()).status_code == 200
    assert upstream.called[6:] == ["acme", "spare", "other"]


def test_no_call_waits_for_a_busy_target_while_an_equal_is_free(
    make: Make, upstream: Upstream
) -> None:
    """Neither the call that is refused, nor those after it: no other model answers."""
    world = make(grouped("order"))
    upstream.on("/acme", failing(429, retry_after="2"))
    for _ in range(2):
        assert world.ask(chat()).status_code == 200
    assert upstream.called == ["acme", "spare", "spare"]
    assert sum(world.waits) == 0


def test_an_outage_of_one_equal_does_not_move_a_conversation_to_another_tier(
    make: Make, upstream: Upstream
) -> None:
    """Its session stays: an equal target serves meanwhile."""
    world = make(grouped("hash"), sticky)
    first = {"role": "user", "content": "Prove that 2 is prime, step by step."}
    messages: list[Any] = [first]
    tiers = set()
    for turn in range(6):
        reply = world.ask({"model": "auto", "messages": messages})
        assert reply.status_code == 200
        tiers.add(reply.headers["x-tiergate-tier"])
        home = upstream.called[0]
        messages += [{"role": "assistant", "content": "So."}, {"role": "user", "content": "And?"}]
        if turn == 1:
            upstream.on(f"/{home}", failing(500))
    assert len(tiers) == 1


def test_route_and_trace_say_by_what_balance_the_gateway_chooses(make: Make) -> None:
    world = make(grouped("p2c"), replicated("one", "two"))
    body = world.client.post("/v1/route", json=chat()).json()
    assert [
        (step["step"], step["effect"], step["why"])
        for step in body["trace"]
        if step["step"] == "balance"
    ] == [
        ("balance", "p2c", "the group acme/smart/able: acme/able-1, spare/able-1"),
        ("balance", "hash", "acme has 2 replicas"),
    ]
    body = world.client.post("/v1/route", json=chat(model="other/smart")).json()
    assert "balance" not in {step["step"] for step in body["trace"]}


def test_admins_see_the_group_and_the_load_of_each_member(make: Make, upstream: Upstream) -> None:
    """A stream is a load until its end. Health of members is of each alone."""
    world = make(grouped("p2c"), replicated("one", "two"))
    ask_all(world, 4)
    upstream.on("/", stream(*frames()[:2], None, *frames()[2:]))
    with world.leaving(chat(stream=True)) as connection:
        connection.recv(1)
        assert sum(row["load"] for row in list_members(world, "able-1")) == 1
        world.release()
        while connection.recv(65_536)[-5:] != b"0\r\n\r\n":
            pass
    members = list_members(world, "able-1")
    assert [row["load"] for row in members] == [0, 0, 0]
    assert {(row["group"], row["balance"]) for row in members} == {("acme/smart/able", "p2c")}
    netloc = urlsplit(upstream.url).netloc
    accounts = [row["account"] for row in members]
    assert accounts == [f"{netloc}/one", f"{netloc}/two", "main"]
    others = list_members(world, "else-1")
    assert {(row["group"], row["load"], row["conversations"]) for row in others} == {(None,) * 3}


def test_admins_see_the_conversations_at_home_at_each_replica(make: Make) -> None:
    world = make(replicated("one", "two"))
    ask_all(world, 4)
    members = list_members(world, "able-1")
    assert {(row["group"], row["balance"]) for row in members} == {("acme", "hash")}
    assert sum(row["conversations"] for row in members) == 4


def list_members(world: World, model: str) -> list[dict[str, Any]]:
    """Return the targets of a model as an admin sees them."""
    rows = world.client.get("/admin/health").json()["targets"]
    return [row for row in rows if row["model"] == model]


def passing(*paths: str) -> Change:
    return replicated(*paths, endpoints={"openai-files": "", "rerank": ""})


def test_other_endpoints_take_turns_and_pass_over_a_dead_replica(
    make: Make, upstream: Upstream
) -> None:
    world = make(passing("one", "dead", "two"))
    for path in ("/one", "/two"):
        upstream.on(path, Answer(pieces=(b'{"results": []}',), length=15))
    for _ in range(6):
        body = {"model": "acme/able-1", "query": "q", "documents": ["d"]}
        assert world.client.post("/v1/rerank", json=body).status_code == 200
    assert upstream.called == ["one", "two", "two"] * 2
    rows = world.rows()
    assert sum(isinstance(row, AttemptRow) for row in rows) == 2


def test_an_error_of_a_replica_goes_to_the_client(make: Make, upstream: Upstream) -> None:
    """Only a request that never arrived goes to the next: a provider may have worked on others."""
    world = make(passing("one", "two"))
    upstream.on("/one", failing(500))
    body = {"model": "acme/able-1", "query": "q", "documents": ["d"]}
    assert world.client.post("/v1/rerank", json=body).status_code == 502
    assert upstream.called == ["one"]


def test_without_a_living_replica_the_client_gets_an_error(make: Make) -> None:
    world = make(passing("dead", "dead"))
    body = {"model": "acme/able-1", "query": "q", "documents": ["d"]}
    assert world.client.post("/v1/rerank", json=body).status_code == 502
    assert sum(isinstance(row, AttemptRow) for row in world.rows()) == 2


def test_a_file_is_asked_of_no_other_replica(make: Make) -> None:
    """Not even if its own cannot be reached: no other has the file."""
    urls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        urls.append(f"{request.method} {request.url.path}")
        if request.method == "GET":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={"id": "file-1", "object": "file"})

    world = make(
        passing("one", "two"),
        transports=lambda _: httpx.MockTransport(answer),
        TIERGATE_KEYS=KEYS,
    )
    headers = {"authorization": f"Bearer {SECRET}"}
    world.client.post("/v1/files", files={"file": b"1"}, headers=headers)
    assert world.client.get("/v1/files/file-1", headers=headers).status_code == 502
    assert urls == ["POST /one/files", "GET /one/files/file-1"]


def test_a_file_is_asked_of_the_replica_that_has_it(make: Make, upstream: Upstream) -> None:
    world = make(passing("one", "two"), TIERGATE_KEYS=KEYS)

    def serve(name: str) -> Callable[[Request], Answer]:
        body = jsonio.dumps({"id": f"file-{name}", "object": "file"})
        return lambda _: Answer(pieces=(body,), length=len(body))

    for name in ("one", "two"):
        upstream.on(f"/{name}", serve(name))
    headers = {"authorization": f"Bearer {SECRET}"}
    for _ in range(2):
        reply = world.client.post("/v1/files", files={"file": b"1"}, headers=headers)
        assert reply.status_code == 200
    for name in ("two", "one", "two"):
        assert world.client.get(f"/v1/files/file-{name}", headers=headers).status_code == 200
    assert upstream.called == ["one", "two", "two", "one", "two"]
