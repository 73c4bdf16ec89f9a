"""Requests that continue an answer which the gateway has not stored, through the official SDK."""

from hashlib import sha256
from typing import Any

import openai
import pytest

from gateway.core import jsonio
from tests.e2e.four_labs import CHAT, ENDPOINTS, RESPONSES, answer, four
from tests.e2e.test_stored_responses import FIRST, SECOND, ask, sdk, stored
from tests.e2e.upstream import Answer, Upstream, failing
from tests.e2e.world import Change, Config, Make, World

FOREIGN = "resp_made_before"
"""The id of an answer that the provider has and the gateway has never seen."""
KEYS = ",".join(f"{name}={sha256(name.encode()).hexdigest()}" for name in ("one", "two"))


def foreign(setting: str | None = None, **more: Any) -> Change:
    """Configure four labs, of which the Responses lab keeps answers, and the setting."""

    def change(value: Config) -> None:
        stored(value)
        value["responses"] = {**({} if setting is None else {"foreign": setting}), **more}

    return change


def missing(status: int = 400) -> Answer:
    """Build OpenAI's error for an id that its account does not have."""
    error = {
        "message": f"Previous response with id '{FOREIGN}' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }
    return failing(status, jsonio.dumps({"error": error}))


def credentials(upstream: Upstream) -> list[str]:
    return [
        (request.header("authorization") or "").removeprefix("Bearer ")
        for request in upstream.requests
    ]


@pytest.mark.parametrize(
    ("setting", "keyed", "passes"),
    [
        (None, False, True),
        (None, True, False),
        ("pass", False, True),
        ("pass", True, True),
        ("refuse", False, False),
        ("refuse", True, False),
    ],
)
@pytest.mark.parametrize("ttl", ["24h", "0s"])
def test_the_foreign_setting_decides_whether_an_unknown_id_reaches_the_provider(
    make: Make, upstream: Upstream, setting: str | None, keyed: bool, passes: bool, ttl: str
) -> None:
    world = make(foreign(setting, ttl=ttl), **({"TIERGATE_KEYS": KEYS} if keyed else {}))
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    if passes:
        ask(world, RESPONSES, SECOND, key="one", previous_response_id=FOREIGN)
        body = upstream.requests[0].json
        assert (body["previous_response_id"], body["input"]) == (FOREIGN, SECOND)
        assert world.entry().state == "settled"
        return
    with pytest.raises(openai.NotFoundError, match="Send the whole conversation") as caught:
        ask(world, RESPONSES, SECOND, key="one", previous_response_id=FOREIGN)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"
    assert not upstream.requests


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_next_turn_goes_to_the_account_that_answered(
    make: Make, upstream: Upstream, stream: bool
) -> None:
    """The first account does not know the id, the second does: it gets the next call too."""
    world = make(foreign())
    upstream.on(ENDPOINTS[RESPONSES], missing(), answer(RESPONSES, stream=stream))
    first = ask(world, RESPONSES, FIRST, stream=stream, previous_response_id=FOREIGN)
    ask(world, RESPONSES, SECOND, stream=stream, previous_response_id=first.id)
    assert credentials(upstream) == ["key-1", "key-2", "key-2"]
    assert [request.json["previous_response_id"] for request in upstream.requests] == [
        FOREIGN, FOREIGN, first.id,
    ]  # fmt: skip


@pytest.mark.parametrize("status", [400, 404])
def test_the_client_gets_the_providers_error_for_an_id_that_no_account_has(
    make: Make, upstream: Upstream, status: int
) -> None:
    """The target stays in use, however often a client asks for it."""
    world = make(foreign())
    upstream.on(ENDPOINTS[RESPONSES], *[missing(status)] * 20, answer(RESPONSES))
    for _ in range(10):
        with pytest.raises(openai.APIStatusError, match=FOREIGN) as caught:
            ask(world, RESPONSES, SECOND, previous_response_id=FOREIGN)
        assert caught.value.status_code == status
        assert caught.value.code == "previous_response_not_found"
    assert set(credentials(upstream)) == {"key-1", "key-2"}
    assert world.gateway.upstream.health.all_closed
    ask(world, RESPONSES, FIRST)


def test_a_failing_account_may_still_have_the_answer(make: Make, upstream: Upstream) -> None:
    """A second account that lacks the answer does not prove that the conversation is gone."""
    world = make(foreign())
    upstream.on(ENDPOINTS[RESPONSES], failing(503), missing())
    with pytest.raises(openai.InternalServerError):
        ask(world, RESPONSES, SECOND, previous_response_id=FOREIGN)
    assert credentials(upstream) == ["key-1", "key-2"]


def test_a_call_without_a_lab_goes_to_a_lab_that_keeps_answers(
    make: Make, upstream: Upstream
) -> None:
    world = make(foreign())
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    with sdk(world) as client:
        client.responses.create(model="smart", input=SECOND, previous_response_id=FOREIGN)
    assert upstream.requests[0].json["previous_response_id"] == FOREIGN
    body = {"model": "smart", "input": SECOND, "previous_response_id": FOREIGN}
    trace = world.client.post("/v1/route", json=body, params={"dialect": RESPONSES}).text
    assert f"{CHAT} does not keep earlier answers" in trace


def test_the_gateway_calls_no_provider_where_no_target_keeps_answers(
    make: Make, upstream: Upstream
) -> None:
    """The named lab speaks another dialect, or speaks Responses and keeps nothing."""
    with pytest.raises(openai.NotFoundError, match="does not keep earlier answers") as caught:
        ask(make(foreign()), CHAT, SECOND, previous_response_id=FOREIGN)
    assert caught.value.code == "previous_response_not_found"
    with pytest.raises(openai.NotFoundError, match="does not keep earlier answers"):
        ask(make(four), RESPONSES, SECOND, previous_response_id=FOREIGN)
    assert not upstream.requests


def test_a_deleted_answer_is_gone_although_its_provider_has_it(
    make: Make, upstream: Upstream
) -> None:
    world = make(foreign("pass"))
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    first = ask(world, RESPONSES, FIRST)
    with sdk(world) as client:
        client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        ask(world, RESPONSES, SECOND, previous_response_id=first.id)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("setting", [None, "pass"])
def test_pass_gives_a_client_key_the_answers_of_other_keys(
    make: Make, upstream: Upstream, setting: str | None
) -> None:
    """The provider knows only one client, the gateway, as docs/security.md says."""
    world = make(foreign(setting), TIERGATE_KEYS=KEYS)
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    first = ask(world, RESPONSES, FIRST, key="one")
    if setting == "pass":
        ask(world, RESPONSES, SECOND, key="two", previous_response_id=first.id)
    else:
        with pytest.raises(openai.NotFoundError):
            ask(world, RESPONSES, SECOND, key="two", previous_response_id=first.id)
    assert len(upstream.requests) == (2 if setting == "pass" else 1)


def test_the_log_names_the_setting_once_and_no_error_names_it(
    make: Make, upstream: Upstream
) -> None:
    world = make(foreign("refuse"))
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    for _ in range(3):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(world, RESPONSES, SECOND, previous_response_id=FOREIGN)
        assert "foreign" not in caught.value.message
    (line,) = [line for line in world.log if line["event"] == "responses"]
    assert "`responses: {foreign: pass}`" in str(line["text"])
    assert FOREIGN not in str(line["text"])


def test_the_gateway_refuses_unknown_items_without_a_store(make: Make, upstream: Upstream) -> None:
    world = make(foreign("refuse", ttl="0s"))
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    with pytest.raises(openai.BadRequestError, match="Item with id 'msg_theirs' not found"):
        ask(world, RESPONSES, [{"type": "item_reference", "id": "msg_theirs"}])
    ask(world, RESPONSES, FIRST)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("setting", ["pass", "refuse"])
def test_a_client_retrieves_and_deletes_only_stored_answers(
    make: Make, upstream: Upstream, setting: str
) -> None:
    world: World = make(foreign(setting))
    with sdk(world) as client:
        for operation in (client.responses.retrieve, client.responses.delete):
            with pytest.raises(openai.NotFoundError) as caught:
                operation(FOREIGN)
            assert caught.value.code == "response_not_found"
    assert not upstream.requests


def test_the_row_records_that_a_call_continues_an_earlier_answer(
    make: Make, upstream: Upstream
) -> None:
    """Replay decides among the same targets by it."""
    world = make(foreign())
    upstream.on(ENDPOINTS[RESPONSES], answer(RESPONSES))
    ask(world, RESPONSES, SECOND, previous_response_id=FOREIGN)
    entry = world.entry()
    assert entry.basis is not None
    assert entry.basis.continuation_member == "previous_response_id"
