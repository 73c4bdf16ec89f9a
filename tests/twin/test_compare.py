"""The comparison of an exchange sees each planted difference in its place, and no random or measured value."""

import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.twin import compare
from tests.twin.diff import bodies
from tests.twin.exchanges.exchange import Observation, ProviderRequest, TwinExchange, http_request
from tests.twin.masks import Masks

EXCHANGE = TwinExchange("a section", "an exchange", http_request("GET", "/"))
ID, OTHER_ID = "tg-1a2264c3df2243e2815a3a7", "tg-1a2264c3f5a6c362d3f61c3"
BODY: dict[str, object] = {
    "id": "chatcmpl-1", "created": 1_700_000_000, "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}}],
    "usage": {"prompt_tokens": 7},
}  # fmt: skip


def observation(body: object = BODY, call: str = ID, *headers: str) -> Observation:
    data = json.dumps(body).encode()
    head = ["content-type: application/json", f"x-request-id: {call}", "x-tiergate-tier: fast", f"content-length: {len(data)}", *headers]  # fmt: skip
    sent = ProviderRequest(
        b"POST /a/chat HTTP/1.1",
        b"host: h\r\nauthorization: Bearer twin-base-placeholder",
        b'{"model":"m"}',
    )
    return Observation([sent], b"HTTP/1.1 200 OK", [line.encode() for line in head], data)


def compared(tree: Observation, base: Observation | None = None) -> dict[str, str]:
    """Compare two observations; return what differs, by place."""
    before = compare.parts(base or observation(), Masks(), 12)
    after = compare.parts(tree, Masks(), 12)
    return dict(difference.kind for difference in compare.differences(EXCHANGE, before, after))


def test_random_and_measured_values_are_no_difference() -> None:
    """Other ids of calls and answers, another credential, other times, and the lengths that follow."""
    now = int(time.time())
    base = observation({**BODY, "id": f"resp_{ID}", "created": now}, ID, "retry-after: 2")
    other = {**BODY, "id": f"resp_{OTHER_ID}", "created": now + 1}
    tree = observation(other, OTHER_ID, "retry-after: 5")
    head = tree.sent[0].head.replace(b"twin-base", b"twin-tree")
    tree.sent[0] = replace(tree.sent[0], head=head)
    assert compared(tree, base) == {}


type Change = Callable[[Observation], object]


def header(index: int, line: bytes) -> Change:
    return lambda tree: tree.head.__setitem__(index, line)


def attribute(name: str, value: object) -> Change:
    return lambda tree: setattr(tree, name, value)


def request(**members: bytes) -> Change:
    return lambda tree: tree.sent.__setitem__(0, replace(tree.sent[0], **members))


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        pytest.param(header(2, b"x-tiergate-tier: smart"), "client head", "x-tiergate-tier", id="another value"),
        pytest.param(header(2, b"X-Tiergate-Tier: fast"), "client head", "X-Tiergate-Tier", id="another case"),
        pytest.param(lambda tree: tree.head.pop(2), "client head", "x-tiergate-tier", id="no header"),
        pytest.param(lambda tree: tree.head.reverse(), "client head", "order of headers", id="another order"),
        pytest.param(header(2, b"x-tiergate-tier:  fast"), "client head", "white space of headers", id="a space more"),
        pytest.param(lambda tree: tree.head.append(b"retry-after: 9"), "client head", "retry-after", id="a header more"),
        pytest.param(attribute("status", b"HTTP/1.1 201 Created"), "client status", "differs", id="a status"),
        pytest.param(attribute("end", "cut"), "client end", "differs", id="a cut"),
        pytest.param(attribute("others", [b"HTTP/1.1 100 Continue"]), "client other", "is not there", id="an interim answer"),
        pytest.param(attribute("body", json.dumps(BODY).replace("Hi.", "Hi!").encode()), "client body", "$.choices[].message.content", id="a byte"),
        pytest.param(lambda tree: tree.sent.append(tree.sent[0]), "provider body", "is not there", id="a request more"),
        pytest.param(request(line=b"POST /b/chat HTTP/1.1"), "provider requests", "differs", id="a path"),
        pytest.param(request(body=b'{"model":"n"}'), "provider body", "$.model", id="a member"),
        pytest.param(request(body=b'{"model": "m"}'), "provider body", "bytes of equal JSON", id="a space"),
        pytest.param(request(head=b"host: h"), "provider head", "authorization", id="no credential"),
    ],
)  # fmt: skip
def test_a_planted_difference_is_seen(change: Change, where: str, what: str) -> None:
    tree = observation()
    change(tree)
    assert compared(tree).get(where) == what


def test_members_of_json_are_named_by_their_paths() -> None:
    def differing(body: dict[str, object]) -> dict[str, str]:
        return compared(observation(body))

    assert differing({**BODY, "created": 1_700_000_001}) == {"client body": "$.created"}
    assert differing({**BODY, "usage": None}) == {"client body": "$.usage"}
    assert differing({**BODY, "more": 1}) == {"client body": "$.more"}
    assert differing(dict(reversed(BODY.items()))) == {"client body": "$ order of members"}
    tokens = {"prompt_tokens": 7.0}
    assert differing({**BODY, "usage": tokens}) == {"client body": "$.usage.prompt_tokens"}


def test_the_id_of_another_call_is_seen() -> None:
    """A masked id still identifies its call: an answer that names an earlier call differs."""
    masks = Masks(), Masks()
    for mask in masks:
        mask.begin("11")
        mask.text(ID)
    right = compare.parts(observation({**BODY, "of": OTHER_ID}, OTHER_ID), masks[0], 12)
    wrong = compare.parts(observation({**BODY, "of": ID}, OTHER_ID), masks[1], 12)
    (difference,) = compare.differences(EXCHANGE, right, wrong)
    assert difference.what == "$.of"
    assert (difference.base, difference.tree) == ("tg-<12.1>", "tg-<11.1>")


def kinds(base: str, tree: str) -> list[str]:
    return [what for what, _, _ in bodies(base, tree)]


def test_frames_of_a_stream_are_matched() -> None:
    frames = [
        f'event: delta\ndata: {{"type": "delta", "text": "{letter}"}}\n\n' for letter in "abcdef"
    ]
    stream = "".join(frames)
    assert kinds(stream, stream.replace('"c"', '"x"')) == ["delta $.text"]
    assert kinds(stream, "".join(frames[:2] + frames[3:])) == ["frame delta"]
    assert kinds(stream, stream + ": x-tiergate-cost: 0.1\n\n") == ["frame comment"]
    unspaced = stream.replace('"text": "c"', '"text":"c"')
    assert kinds(stream, unspaced) == ["delta bytes of equal JSON"]
    assert kinds(stream, stream.replace("\n\n", "\r\n\r\n")) == ["bytes"]


def test_figures_are_compared_line_by_line() -> None:
    base = '# TYPE tiergate_calls_total counter\ntiergate_calls_total{lab="a"} 3\n'
    lines = [*bodies(base, base.replace("} 3", "} 4"))]
    assert [what for what, _, _ in lines] == ["line tiergate_calls_total"] * 2
    assert lines[1][2] == 'tiergate_calls_total{lab="a"} 4'
