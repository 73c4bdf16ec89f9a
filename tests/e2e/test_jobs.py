"""Batches and fine-tuning over real sockets: reservations, costs, restarts, and models in files."""

from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.core.ledger_rows import FinalRow, RepriceRow
from tests.e2e.test_passthrough import answer
from tests.e2e.upstream import Answer, Request, Upstream, failing
from tests.e2e.world import Change, Config, Make, World, config

LINE: dict[str, Any] = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {
        "model": "swift-1",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "hi"}],
    },
}
"""A request of the cheap model: $0.1 and $0.4 for a million tokens of input and output."""


def batches(value: Config) -> None:
    acme = value["providers"]["acme"]
    acme["endpoints"] = {"openai-files": "", "openai-batches": "", "openai-fine-tuning": ""}
    acme["batch_price"] = 0.5
    value["passthrough"] = {"poll": "0s"}


def capped(usd: float) -> Change:
    def change(value: Config) -> None:
        batches(value)
        value["budgets"] = [{"name": "all", "usd": usd, "every": "day"}]

    return change


class Provider:
    """A provider with files and batches, each of which ends when it is told to."""

    def __init__(self, upstream: Upstream) -> None:
        self.status = "in_progress"
        self.batches = 0
        self.more: dict[str, Any] = {}
        self.results = b""
        upstream.on("/acme/files", self.serve_file)
        upstream.on("/acme/batches", self.serve_batch)

    def serve_file(self, request: Request) -> Answer:
        if request.path.endswith("/content"):
            return Answer(pieces=(self.results,), headers=(), length=len(self.results))
        return answer(b'{"id": "file-1", "object": "file", "bytes": 200}')

    def serve_batch(self, request: Request) -> Answer:
        if request.method == "POST" and not request.path.endswith("/cancel"):
            self.batches += 1
        value = {"id": f"batch_{self.batches}", "status": self.status, **self.more}
        return answer(jsonio.dumps(value))

    def end(self, **more: Any) -> None:
        self.status, self.more = "completed", more


@pytest.fixture
def provider(upstream: Upstream) -> Provider:
    return Provider(upstream)


def upload(world: World, *lines: dict[str, Any], purpose: str = "batch", **headers: str) -> str:
    data = b"\n".join(jsonio.dumps(line) for line in lines)
    reply = world.client.post(
        "/v1/files", files={"file": ("a.jsonl", data)}, data={"purpose": purpose}, headers=headers
    )
    return str(reply.json()["id"])


def create(world: World, file: str = "file-1", **headers: str) -> httpx.Response:
    body = {
        "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h",
    }  # fmt: skip
    return world.client.post("/v1/batches", json=body, headers=headers)


def poll(world: World) -> None:
    world.loop.run(world.gateway.revision.passthrough.jobs.poll())


def spent(world: World) -> int:
    """Return the micro-USD that the budget counts."""

    async def read() -> int:
        await world.gateway.limiter.wait_settled()
        counters = await world.gateway._counter_store.read_counters(None)
        return sum(counters.values())

    return world.loop.run(read())


def rows(world: World) -> tuple[FinalRow, list[RepriceRow]]:
    """Return the row of the batch's creation, and its later costs."""
    all_rows = world.rows()
    (row,) = [
        row for row in all_rows if isinstance(row, FinalRow) and row.operation == "batches.create"
    ]
    return row, [item for item in all_rows if isinstance(item, RepriceRow)]


def world_config(upstream: Upstream, change: Change) -> Config:
    value = config(upstream.url)
    change(value)
    return value


def rows_of(world: World) -> list[RepriceRow]:
    return [row for row in world.rows() if isinstance(row, RepriceRow)]


USAGE = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}


def test_a_batch_reserves_its_bound_and_gets_its_cost_at_half_the_price(
    make: Make, provider: Provider
) -> None:
    world = make(capped(1))
    upload(world, LINE, LINE)
    assert create(world).status_code == 200
    reserved = spent(world)
    assert 0 < reserved < 1_000_000
    provider.end(usage=USAGE, model="swift-1")
    assert world.client.get("/v1/batches/batch_1").json()["status"] == "completed"
    world.loop.run(world.gateway.revision.passthrough.jobs.drain())
    assert spent(world) == 150
    row, reprices = rows(world)
    assert (row.model, row.cost, row.state) == ("swift-1", None, "estimated")
    assert row.reserved is not None
    assert abs(int(row.reserved * 1_000_000) - reserved) <= 1
    assert [(item.id, item.cost) for item in reprices] == [(row.id, Decimal("0.00015"))]


def test_the_gateway_asks_about_jobs_itself_and_reads_their_results(
    make: Make, provider: Provider
) -> None:
    world = make(capped(1))
    able = {**LINE, "body": {**LINE["body"], "model": "able-1"}}
    upload(world, LINE, able)
    create(world)
    poll(world)
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    provider.results = b"\n".join(
        jsonio.dumps({"response": {"status_code": 200, "body": {"model": model, "usage": usage}}})
        for model in ("swift-1", "able-1")
    )
    provider.end(output_file_id="file-2", model="swift-1", usage=USAGE)
    poll(world)
    poll(world)  # nothing is left to do
    assert spent(world) == 150 + 1500
    _, reprices = rows(world)
    assert [item.cost for item in reprices] == [Decimal("0.00165")]


def test_batches_at_once_never_overshoot_a_budget(make: Make, provider: Provider) -> None:
    world = make(capped(0.01))
    upload(world, *[LINE] * 10)
    statuses = [create(world).status_code for _ in range(6)]
    assert statuses.count(200) == provider.batches > 0
    assert 429 in statuses
    assert spent(world) <= 10_000


def test_a_file_without_a_bound_is_refused_under_a_hard_budget(
    make: Make, provider: Provider
) -> None:
    world = make(capped(1))
    upload(world, {**LINE, "body": {"model": "unpriced", "messages": []}})
    reply = create(world)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "budget_unbounded")
    assert provider.batches == 0


def test_a_refused_batch_gives_its_reservation_back(
    make: Make, provider: Provider, upstream: Upstream
) -> None:
    world = make(capped(1))
    upload(world, LINE)
    upstream.on("/acme/batches", failing(400))
    assert create(world).status_code == 400
    assert spent(world) == 0


def test_a_batch_that_fails_costs_what_was_done(make: Make, provider: Provider) -> None:
    world = make(capped(1))
    upload(world, LINE)
    create(world)
    provider.end()
    provider.status = "failed"
    poll(world)
    assert spent(world) == 0
    _, reprices = rows(world)
    assert [item.cost for item in reprices] == [Decimal(0)]


def test_a_job_of_unknown_cost_stays_charged(make: Make, provider: Provider) -> None:
    def unknown(value: Config) -> None:
        capped(1)(value)
        del value["providers"]["acme"]["batch_price"]

    world = make(unknown)
    upload(world, LINE)
    create(world)
    reserved = spent(world)
    provider.end(usage=USAGE, model="swift-1")
    poll(world)
    assert spent(world) == reserved > 0
    _, reprices = rows(world)
    assert reprices == []


def test_a_job_outlives_the_gateway_that_began_it(
    make: Make, provider: Provider, upstream: Upstream
) -> None:
    world = make(capped(1))
    upload(world, LINE)
    create(world)
    reserved = spent(world)
    world.close()
    again = World(world.loop, world.folder, upstream, world_config(upstream, capped(1)), {})
    try:
        create(again, "file-1")  # its counter begins with what the ledger knows
        assert spent(again) >= 2 * reserved
        provider.end(usage=USAGE, model="swift-1")
        poll(again)
        reprices = rows_of(again)
        assert {item.cost for item in reprices} == {Decimal("0.00015")}
        assert len({item.id for item in reprices}) == 2
    finally:
        again.close()


def test_a_batch_may_use_only_the_models_of_its_key(make: Make, provider: Provider) -> None:
    def scoped(value: Config) -> None:
        batches(value)
        value["guards"] = [{"name": "cheap", "when": {}, "max_tier": "fast"}]

    world = make(scoped)
    able = {**LINE, "body": {**LINE["body"], "model": "able-1"}}
    upload(world, LINE, able)
    assert create(world).status_code == 403
    upload(world, LINE)
    assert create(world).status_code == 200


def test_a_batch_of_messages_costs_its_factor_once(make: Make, upstream: Upstream) -> None:
    def messages(value: Config) -> None:
        capped(1)(value)
        value["providers"]["acme"]["endpoints"] = {"anthropic-batches": ""}

    usage = {"input_tokens": 1000, "output_tokens": 500, "service_tier": "batch"}
    message = {"type": "message", "model": "swift-1", "usage": usage}
    line = jsonio.dumps({"custom_id": "1", "result": {"type": "succeeded", "message": message}})
    ended = {
        "id": "msgbatch_1", "processing_status": "ended",
        "results_url": f"{upstream.url}/acme/messages/batches/msgbatch_1/results",
    }  # fmt: skip

    def serve(request: Request) -> Answer:
        if request.method == "POST":
            return answer(b'{"id": "msgbatch_1", "processing_status": "in_progress"}')
        if request.path.endswith("/results"):
            return Answer(pieces=(line,), headers=(), length=len(line))
        return answer(jsonio.dumps(ended))

    upstream.on("/acme/messages/batches", serve)
    world = make(messages)
    params = {"model": "swift-1", "max_tokens": 1000, "messages": []}
    body = {"requests": [{"custom_id": "1", "params": params}]}
    assert world.client.post("/v1/messages/batches", json=body).status_code == 200
    poll(world)
    _, reprices = rows(world)
    assert [item.cost for item in reprices] == [Decimal("0.00015")]


def test_a_batch_whose_account_has_gone_reserves_nothing(make: Make, provider: Provider) -> None:
    world = make(capped(1))
    upload(world, LINE)
    match = world.gateway.built_config.built_catalogue.passthrough.match("POST", b"/v1/batches")
    assert match is not None
    msgspec.structs.force_setattr(match.candidates[0].provider, "accounts", ())
    assert create(world).status_code == 404
    assert spent(world) == 0
    row, _ = rows(world)
    assert (row.cost, row.reserved, row.attempts) == (Decimal(0), None, 0)


def test_a_batch_that_was_made_is_never_free(
    make: Make, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(capped(1))
    upload(world, LINE)

    async def fail(*_args: object, **_options: object) -> None:
        raise ProblemError(Problem(kind="ledger", message="The disk is full."))

    monkeypatch.setattr(world.gateway.passthrough.owners, "add", fail)
    assert create(world).status_code == 503
    reserved = spent(world)
    assert reserved > 0
    row, _ = rows(world)
    assert (row.cost, row.attempts, row.state) == (None, 1, "failed")
    assert row.reserved is not None
    assert abs(int(row.reserved * 1_000_000) - reserved) <= 1


def test_training_that_does_not_state_its_tokens_has_no_known_cost(
    make: Make, provider: Provider, upstream: Upstream
) -> None:
    world = make(batches)
    upload(world, LINE, purpose="fine-tune")
    job = {"id": "ftjob-1", "status": "running", "trained_tokens": None}
    upstream.on("/acme/fine_tuning/jobs", lambda _: answer(jsonio.dumps(job)))
    body = {"model": "swift-1", "training_file": "file-1"}
    assert world.client.post("/v1/fine_tuning/jobs", json=body).status_code == 200
    job["status"] = "succeeded"
    poll(world)
    assert rows_of(world) == []


def test_a_batch_whose_answers_lie_elsewhere_has_no_known_cost(
    make: Make, provider: Provider
) -> None:
    world = make(capped(1))
    upload(world, LINE)
    create(world)
    provider.end(output_file_id="", request_counts={"total": 1, "completed": 1, "failed": 0})
    poll(world)
    assert rows_of(world) == []


def test_a_batch_that_its_client_deletes_still_gets_its_cost(
    make: Make, upstream: Upstream, provider: Provider
) -> None:
    def google(value: Config) -> None:
        capped(1)(value)
        acme = value["providers"]["acme"]
        acme["endpoints"] = {"gemini-batches": ""}

    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 500, "totalTokenCount": 1500}
    response = {"response": {"modelVersion": "swift-1", "usageMetadata": usage}}
    ended = {
        "name": "batches/b1", "done": True,
        "response": {"inlinedResponses": {"inlinedResponses": [response]}},
    }  # fmt: skip

    def serve(request: Request) -> Answer:
        if request.method == "POST":
            return answer(b'{"name": "batches/b1", "done": false}')
        return answer(b"{}" if request.method == "DELETE" else jsonio.dumps(ended))

    upstream.on("/acme/models", serve)
    upstream.on("/acme/batches", serve)
    world = make(google)
    inlined = {"request": {"contents": [], "generationConfig": {"maxOutputTokens": 1000}}}
    body = {"batch": {"inputConfig": {"requests": {"requests": [inlined]}}}}
    url = "/v1beta/models/swift-1:batchGenerateContent"
    assert world.client.post(url, json=body).status_code == 200
    assert world.client.delete("/v1beta/batches/b1").status_code == 200
    _, reprices = rows(world)
    assert [item.cost for item in reprices] == [Decimal("0.00015")]
