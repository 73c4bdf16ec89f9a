"""Member lists are true: each member called read changes an output, and a missing one is named."""

import json
from collections.abc import Mapping

import pytest

from gateway.core.errors import ProblemError
from gateway.core.target import ModelFacts, Target
from gateway.dialects import DIALECTS, Dialect, compatibility, translation
from gateway.dialects.base import RequestBody
from gateway.dialects.translation import get_translation
from tests.dialects.cases import target
from tests.dialects.members import anthropic_messages, gemini, openai_chat, openai_responses
from tests.dialects.members.samples import (
    list_members,
    list_places,
    with_member,
    without_member,
)
from tests.dialects.request_strategies import Object

REQUESTS: Mapping[str, tuple[Object, ...]] = {
    "openai-chat": openai_chat.REQUESTS,
    "openai-responses": openai_responses.REQUESTS,
    "anthropic-messages": anthropic_messages.REQUESTS,
    "gemini": gemini.REQUESTS,
}
CANARY = "tiergate_canary"
CASES = [
    pytest.param(DIALECTS[name], request, id=f"{name} {number}")
    for name, requests in REQUESTS.items()
    for number, request in enumerate(requests)
]


def read(client: Dialect, value: Object) -> RequestBody:
    """Read a request as a client sends it."""
    return client.read(json.dumps(value).encode())


def list_others(client: Dialect) -> list[Dialect]:
    """List the dialects that a request of this dialect may be translated to."""
    return [dialect for dialect in DIALECTS.values() if dialect is not client]


def make_target(dialect: Dialect) -> Target:
    """Return a target of a dialect that accepts everything."""
    return target(dialect.name, facts=ModelFacts(efforts=("low", "medium", "high")))


def translate(client: Dialect, value: Object) -> list[object]:
    """Return each other dialect's translation of a request: body and losses, or the refusals."""
    try:
        request = translation.decode_request(client, read(client, value))
    except ProblemError as error:
        return [error.problem.message]
    outputs: list[object] = [request.stream, request.stream_usage]
    for dialect in list_others(client):
        _, refusals = compatibility.check_request(request, dialect.name)
        if refusals:
            outputs.append(refusals)
        try:
            written = translation.write_request(request, dialect, make_target(dialect))
            outputs.append((written.body, [loss.field for loss in written.losses]))
        except ProblemError as error:
            outputs.append(error.problem.message)
    return outputs


@pytest.mark.parametrize(("client", "request_"), CASES)
def test_an_unknown_member_is_carried_named_or_refused_in_every_place(
    client: Dialect, request_: Object
) -> None:
    members = get_translation(client).request_members
    for place in list_places(request_, members):
        if place.is_whole:
            continue
        value = with_member(request_, place, CANARY, "sings")
        request = translation.decode_request(client, read(client, value))
        path = place.make_loss_path(CANARY)
        for dialect in list_others(client):
            losses, refusals = compatibility.check_request(request, dialect.name)
            is_named = path in {loss.field for loss in losses}
            assert is_named or any(CANARY in refusal for refusal in refusals), (place, dialect.name)


@pytest.mark.parametrize("name", REQUESTS)
def test_every_member_marked_as_read_changes_a_translation(name: str) -> None:
    client = DIALECTS[name]
    members = get_translation(client).request_members
    unproven = set(list_members(members, ("read", "carried", "approximated")))
    for request in REQUESTS[name]:
        before = translate(client, request)
        for place in list_places(request, members):
            for key in place.list_keys(request):
                if (place.name, key) in unproven and (
                    translate(client, without_member(request, place, key)) != before
                ):
                    unproven.discard((place.name, key))
    assert sorted(unproven) == []


@pytest.mark.parametrize("name", REQUESTS)
def test_every_member_that_is_left_out_is_named_or_refused(name: str) -> None:
    client = DIALECTS[name]
    members = get_translation(client).request_members
    unproven = set(list_members(members, ("approximated", "named", "refused")))
    for value in REQUESTS[name]:
        request = translation.decode_request(client, read(client, value))
        for place in list_places(value, members):
            for key in place.list_keys(value):
                path = place.make_loss_path(key)
                if all(
                    path in {loss.field for loss in losses}
                    or any(refusal.startswith(f"{path}:") for refusal in refusals)
                    for losses, refusals in (
                        compatibility.check_request(request, dialect.name)
                        for dialect in list_others(client)
                    )
                ):
                    unproven.discard((place.name, key))
    assert sorted(unproven) == []
