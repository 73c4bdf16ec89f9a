"""A hard budget and models with unknown prices or sizes: what bounds a call, and what is sent."""

import pytest

from tests.e2e.four_labs import CHAT, GEMINI, RESPONSES, make_request
from tests.e2e.test_limits import budgeted, error, used
from tests.e2e.upstream import Upstream, whole
from tests.e2e.world import Config, Make, chat

BUDGET = {"name": "b", "usd": 1, "every": "day"}


@pytest.mark.parametrize("cached", [False, True])
def test_the_next_target_serves_where_the_cost_of_the_first_is_unbounded(
    make: Make, upstream: Upstream, *, cached: bool
) -> None:
    """The row keeps the decided target; the target that serves is the bounded one."""

    def change(value: Config) -> None:
        value["budgets"] = [BUDGET]
        value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})
        value["models"]["able-2"] = {**value["models"]["able-1"], "max_output": 100}
        value["cache"] = {"ttl": "1h" if cached else "0s"}

    world = make(change)
    upstream.on("/spare", whole())
    reply = world.ask(chat(temperature=0) if cached else chat())
    assert (reply.status_code, reply.headers["x-tiergate-model"]) == (200, "able-2")
    assert upstream.called == ["spare"]
    assert used(world) == {"usd|b|all": 19}
    row = world.entry()
    assert (row.model, row.attempts, row.basis and row.basis.target) == ("able-2", 1, "acme/able-1")


@pytest.mark.parametrize(("usd", "status"), [("0.004999", 429), ("0.005", 200)])
def test_the_context_window_bounds_prompt_and_answer_and_is_not_sent_as_a_cap(
    make: Make, upstream: Upstream, usd: str, status: int
) -> None:
    """Neither client nor catalogue says how long an answer may be, as at xAI.

    The gateway reserves $0.001 for the prompt and $0.004 for the answer, the whole window each.
    """

    def change(value: Config) -> None:
        value["budgets"] = [{**BUDGET, "usd": usd}]
        value["models"]["able-1"]["context"] = 1_000

    world = make(change)
    upstream.on("/acme", whole())
    reply = world.ask(chat())
    assert reply.status_code == status
    if status == 200:
        assert "max_tokens" not in upstream.requests[0].json
    else:
        assert "may cost $0.005," in error(reply)["message"]


@pytest.mark.parametrize("client", [CHAT, RESPONSES, GEMINI])
def test_unknown_output_is_reserved_and_sent_as_the_cap(
    make: Make, upstream: Upstream, client: str
) -> None:
    """The provider cannot bill more than was reserved, in any dialect of the client."""

    def change(value: Config) -> None:
        value["budgets"] = [BUDGET]
        value["unknown_output"] = 300

    world = make(change)
    upstream.on("/acme", whole())
    path, body = make_request(client, "smart")
    assert world.client.post(path, json=body).status_code == 200
    assert upstream.requests[0].json["max_tokens"] == 300
    assert used(world) == {"usd|b|all": 19}


@pytest.mark.parametrize(
    ("client", "member"),
    [(CHAT, "max_tokens"), (RESPONSES, "max_output_tokens"), (GEMINI, "maxOutputTokens")],
)
def test_an_unbounded_call_gets_an_error_that_names_the_member_to_send(
    make: Make, upstream: Upstream, client: str, member: str
) -> None:
    world = make(budgeted(BUDGET))
    path, body = make_request(client, "smart")
    reply = world.client.post(path, json=body)
    assert reply.status_code == 400
    assert f"Send {member}." in reply.text
    assert reply.headers["x-should-retry"] == "false"
    assert not upstream.requests
