"""A native provider gets what an SDK sends; a translated one gets it, or its loss has a name."""

from collections import Counter
from functools import cache
from itertools import permutations

import pytest

from gateway.dialects import DIALECTS
from gateway.dialects.translation import decode_request
from tests.dialects.cases import target
from tests.dialects.request_strategies import Object
from tests.dialects.sdk_requests.defaults import DEFAULTS
from tests.dialects.sdk_requests.outcomes import find_outcome, read
from tests.dialects.sdk_requests.requests import MadeRequest, make_requests

FLOORS = {"openai-chat": 140, "openai-responses": 350, "anthropic-messages": 240, "gemini": 130}
"""The fewest requests that each SDK gives: fewer means that the walk of its types has ended early."""
_PLAIN: Object = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


@cache
def list_requests(dialect: str) -> list[MadeRequest]:
    """List the made requests of a dialect."""
    return [*make_requests(dialect)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_sdk_gives_many_requests_and_always_the_same(dialect: str) -> None:
    requests = list_requests(dialect)
    print(f"{dialect}: {len(requests)} requests")
    assert len(requests) >= FLOORS[dialect]
    assert requests == [*make_requests(dialect)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_native_provider_gets_the_bytes_of_each_request(dialect: str) -> None:
    client = DIALECTS[dialect]
    changed = []
    for request in list_requests(dialect):
        body = read(client, request.request)
        written = client.write(body, target("other"))
        if written.body != body.raw.replace(b'"model":"auto"', b'"model":"other"', 1):
            changed.append((request.name, written.body))
    assert changed == []


@pytest.mark.parametrize(("dialect", "name"), [*permutations(DIALECTS, 2)])
def test_a_translated_request_loses_nothing_silently(dialect: str, name: str) -> None:
    outcomes = [
        (request.name, find_outcome(DIALECTS[dialect], request, DIALECTS[name]))
        for request in list_requests(dialect)
    ]
    print(f"{dialect} to {name}: {dict(Counter(outcome for _, outcome in outcomes))}")
    assert [request for request, outcome in outcomes if outcome == "lost"] == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_decoder_reads_each_request(dialect: str) -> None:
    """A request that the gateway refuses as malformed says nothing of its member."""
    client = DIALECTS[dialect]
    for request in list_requests(dialect):
        decode_request(client, read(client, request.request))


def test_the_search_finds_a_lost_member() -> None:
    member = MadeRequest("seed", "7", _PLAIN, _PLAIN, "read")
    client, target_dialect = DIALECTS["openai-chat"], DIALECTS["anthropic-messages"]
    assert find_outcome(client, member, target_dialect) == "lost"
    misnamed = member._replace(path="user", request={**_PLAIN, "seed": 7})
    assert find_outcome(client, misnamed, target_dialect) == "lost"
    refused = member._replace(request={**_PLAIN, "logprobs": True})
    assert find_outcome(client, refused, target_dialect) == "lost"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_default_belongs_to_a_request(dialect: str) -> None:
    assert DEFAULTS[dialect].keys() <= {request.name for request in list_requests(dialect)}
