"""Money over real sockets: the gateway tells, compares, estimates and keeps what calls cost.

The costs of the attempts add up to the cost of the call.
"""

from collections.abc import Callable
from decimal import Decimal

import openai
import pytest

from gateway.core.ledger_rows import AttemptRow, IntentRow
from tests.e2e.upstream import DONE, ROLE, Upstream, chunk, failing, frames, stream, whole
from tests.e2e.world import Change, Config, Make, World, chat

HEL = chunk({"content": "Hel"})


def ledger(**parts: object) -> Change:
    def change(value: Config) -> None:
        value["ledger"] = parts

    return change


def stream_bytes(world: World, **headers: str) -> bytes:
    return world.ask(chat(stream=True), **headers).content


@pytest.mark.parametrize("cached", [False, True])
def test_a_stream_ends_with_its_cost_if_the_client_requests_it(
    make: Make, upstream: Upstream, cached: bool
) -> None:
    """The cost is in a comment after the stream's end, which no SDK sees, and equals the row's."""

    def change(value: Config) -> None:
        value["cache"] = {"default": "on", "ttl": "1h" if cached else "0s"}

    world = make(change)
    upstream.on("/acme", stream(), stream())
    plain = stream_bytes(world)
    assert plain.endswith(DONE)
    world.loop.run(world.gateway.engine.drain())
    streamed = stream_bytes(world, x_tiergate_stream_cost="on")
    row = world.entries()[-1]
    assert row.cost == (Decimal(0) if cached else Decimal("0.000019"))
    assert streamed == plain + f": x-tiergate-cost: {row.cost:f}\n\n".encode()


def test_an_estimated_cost_is_marked_as_estimated(make: Make, upstream: Upstream) -> None:
    world = make(lambda _: None)
    upstream.on("/acme", stream(*frames(counts=None)), whole(counts=None))
    streamed = stream_bytes(world, x_tiergate_stream_cost="on")
    head = world.ask(chat()).headers
    row, _ = world.entries()
    assert streamed.endswith(f": x-tiergate-cost: {row.cost:f} (estimated)\n\n".encode())
    assert (head["x-tiergate-cost"], head["x-tiergate-estimated"]) == ("0.000018", "cost")


def test_the_cost_of_a_model_without_a_price_is_unknown(make: Make, upstream: Upstream) -> None:
    """The cost is never 0, and the log names once what the model lacks."""

    def change(value: Config) -> None:
        del value["models"]["able-1"]["price"]

    world = make(change)
    upstream.on("/acme", stream(), whole())
    assert stream_bytes(world, x_tiergate_stream_cost="on").endswith(
        b": x-tiergate-cost: unknown\n\n"
    )
    assert "x-tiergate-cost" not in world.ask(chat()).headers
    assert {row.cost for row in world.entries()} == {None}
    assert [row for row in world.log if row["event"] == "unpriced"] == [
        {"event": "unpriced", "model": "acme/able-1", "lacks": "no price"}
    ]


def test_a_broken_stream_ends_with_its_cost_after_the_error(
    world: World, upstream: Upstream
) -> None:
    upstream.on("/acme", stream(ROLE, HEL, end="cut"))
    streamed = stream_bytes(world, x_tiergate_stream_cost="on")
    assert b'"code":"upstream_truncated"' in streamed
    assert streamed.endswith(b" (estimated)\n\n")
    assert world.entry().state == "aborted"


def test_an_sdk_ignores_the_cost_of_a_stream(world: World, upstream: Upstream) -> None:
    upstream.on("/acme", stream())
    sdk = openai.OpenAI(base_url=f"{world.url}/v1", api_key="any", max_retries=0)
    parts = sdk.chat.completions.create(
        model="smart",
        messages=[{"role": "user", "content": "Hello."}],
        stream=True,
        extra_headers={"x-tiergate-stream-cost": "on"},
    )
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == (
        "Hello you."
    )


def test_the_gateway_refuses_an_unknown_value_of_the_stream_cost_header(world: World) -> None:
    reply = world.ask(chat(), x_tiergate_stream_cost="please")
    assert (reply.status_code, "x-tiergate-stream-cost must be on or off" in reply.text) == (
        400,
        True,
    )


def test_a_failed_attempt_has_a_row_and_the_final_row_has_the_sum(
    make: Make, upstream: Upstream
) -> None:
    """An attempt that told its usage and ended before content was billed: its cost is wasted."""

    def change(value: Config) -> None:
        value["labs"]["acme"]["smart"].append({"provider": "spare", "model": "able-1"})
        value["providers"]["spare"] = {
            **value["providers"]["acme"],
            "base_url": value["providers"]["acme"]["base_url"].replace("/acme", "/spare"),
        }

    world = make(change)
    used = b'data: {"choices":[],"usage":{"prompt_tokens":50,"completion_tokens":0}}\n\n'
    upstream.on("/acme", stream(ROLE, used))
    upstream.on("/spare", stream())
    assert stream_bytes(world).endswith(DONE)
    row = world.entry()
    (failed,) = [item for item in world.rows() if isinstance(item, AttemptRow)]
    first, second = [item for item in world.rows() if isinstance(item, IntentRow)]
    assert (first.attempt, failed.attempt, second.attempt, row.attempts) == (1, 1, 2, 2)
    assert (failed.problem, failed.input, failed.cost) == (
        "upstream_truncated", 50, Decimal("0.00005")
    )  # fmt: skip
    assert (row.cost, row.wasted) == (Decimal("0.000069"), failed.cost)


@pytest.mark.parametrize(
    ("baseline", "expected"), [("smart", "0.000019"), ("acme/reasoning", "0.00019"), (None, None)]
)
def test_every_final_row_has_the_cost_of_the_baseline(
    make: Make, upstream: Upstream, baseline: str | None, expected: str | None
) -> None:
    def change(value: Config) -> None:
        value["ledger"] = {"baseline": baseline}
        value["labs"]["acme"]["reasoning"] = [{"model": "deep-1"}]
        value["models"]["deep-1"] = {"price": {"input": 10, "output": 40}}

    world = make(change)
    upstream.on("/acme", whole())
    world.ask(chat(model="auto"))
    world.ask(chat(model="smart"))
    chosen, named = world.entries()
    assert chosen.baseline == (None if expected is None else Decimal(expected))
    assert named.baseline == (None if expected is None else named.cost)  # the client's own choice


def test_durability_each_syncs_the_row_before_the_provider_is_called(
    make: Make, upstream: Upstream
) -> None:
    world = make(ledger(durability="each"))
    journal = world.gateway.ledger_runtime.journal
    unsynced: list[int] = []
    upstream.on("/acme", failing(429), whole())

    def look(request: object) -> None:
        unsynced.append(journal.written_rows - journal.synced_rows)

    watch(world, look)
    assert world.ask(chat()).status_code == 200
    assert unsynced == [0, 0]
    assert journal.written_rows == journal.synced_rows == 4


def watch(world: World, look: Callable[[object], None]) -> None:
    """Call `look` for each request before it is sent."""
    client = world.gateway.revision.client
    send = client.send

    async def spy(*args: object, **named: object) -> object:
        look(args)
        return await send(*args, **named)  # type: ignore[arg-type]  # as they came

    client.send = spy  # type: ignore[method-assign,assignment]  # a spy
