"""Test that JSON values are counted before a body is parsed; texts may hold any character."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.server.body import BodyReader
from gateway.server.json_value_count import ValueCount
from gateway.settings.schema.server import ServerPart
from tests.e2e.upstream import Upstream
from tests.server.gate import (
    CHAT,
    CLIENT_KEY,
    DOORS,
    KEYS,
    Gate,
    answers,
    chat,
    family,
    plain,
    request,
    shaped,
)
from tests.server.test_body import giving, hold

MOST = 200_000
SIGNS = ',:{}[]"\\\n\t é☃'

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(SIGNS, max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(SIGNS, max_size=4), inner),
    max_leaves=40,
)


def size(value: Any) -> int:
    """Count the values in a value, itself included; an empty object or list counts twice."""
    if not isinstance(value, dict | list):
        return 1
    parts = value.values() if isinstance(value, dict) else value
    return 1 + (sum(map(size, parts)) if value else 1)


def count(body: bytes, at: int, most: int) -> int:
    """Count the values of a body that arrives in pieces of `at` bytes."""
    counter = ValueCount(most)
    for begin in range(0, len(body), at):
        counter.add(body[begin : begin + at])
    counter.check()
    return counter.count


@given(value=values, at=st.integers(1, 9))
def test_every_value_is_counted_once_however_it_comes(value: Any, at: int) -> None:
    """However the body is cut, characters in texts, and escapes or halves of them, do not count."""
    body = jsonio.dumps(value) + b" "
    assert count(b" " * 1_000 + body, at, 1_000) == size(value)


@pytest.mark.parametrize("at", [1, 2, 3, 64])
@pytest.mark.parametrize("slashes", range(1, 8))
def test_backslashes_at_the_end_of_a_piece(at: int, slashes: int) -> None:
    """A quote after an odd number of backslashes belongs to the text, after an even number it ends
    it.
    """
    text = b'"' + b"\\" * slashes + b'"'
    body = b"[" + (text + b',,,"' if slashes % 2 else text) + b"," + b"1]" + b" " * 40
    counter = ValueCount(8)
    for begin in range(0, len(body), at):
        counter.add(body[begin : begin + at])
    assert counter.count == 3


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 101, b'[{"a":' * 60, b"1," * 101, b'{"a":1,' + b'"b":2,' * 101, b'"' * 404, b'""' * 202,
        b'["",' + b'"",' * 101,
    ],
)  # fmt: skip
def test_more_are_refused(body: bytes) -> None:
    """A body that is no JSON is refused too: the gateway does not parse it to find out."""
    with pytest.raises(ProblemError, match="more than 100 JSON values") as found:
        count(body + b" " * 101, 7, 100)
    assert found.value.problem.kind == "request_too_large"


def test_as_many_as_may_be(gate: Gate, provider: Upstream) -> None:
    """Exactly 200,000 values pass, one more does not."""
    body = chat()
    given = size(jsonio.loads(body))
    fill = MOST - given - 1
    whole = body[:-1] + b',"x":[' + b",".join([b"1"] * fill) + b"]}"
    assert len(whole) > MOST
    assert gate.ask(CHAT, whole).status == 200
    assert provider.requests[-1].body == whole
    told = gate.ask(CHAT, whole.replace(b"[1,", b"[1,1,"))
    message = shaped(told, CHAT, 413)
    assert message == (
        "The request body has more than 200,000 JSON values (server.max_values)."
        " Send less in one request."
    )
    assert told.headers["connection"] == "close"


@pytest.mark.parametrize("path", DOORS)
def test_more_are_refused_at_every_door(gate: Gate, path: str) -> None:
    """The refusal is in the dialect, with or without a length; the client can read it undisturbed."""
    body = plain(path)[:-1] + b',"x":[' + b"[]," * 150_000 + b"1]}"
    assert "200,000 JSON values" in shaped(gate.ask(path, body), path, 413)
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    chunked = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    (told,) = answers(gate.exchange(chunked))
    shaped(told, family(path), 413)


async def test_nothing_is_kept_of_a_body_that_is_refused() -> None:
    """The gateway reads the rest, so that the client has sent all before its answer comes."""
    held = hold()
    pieces = [b"[" * 60_000] * 100
    with pytest.raises(ProblemError, match="JSON values"):
        await BodyReader(ServerPart()).read(giving(*pieces), None, held)
    assert held._bytes < 5 * 400_000
    with pytest.raises(ProblemError, match="larger than 1,000,000 bytes"):
        await BodyReader(ServerPart(max_body=1_000_000)).read(giving(*pieces), None, hold())


@pytest.mark.parametrize("path", ["/v1/route", "/v1/feedback", "/admin/replay", "/v1/embeddings"])
def test_more_are_refused_where_no_provider_is_asked(gate: Gate, path: str) -> None:
    body = b'{"x":[' + b"1," * 450_000 + b"1]}"
    assert "JSON values" in shaped(gate.ask(path, body), path, 413)


def test_a_text_may_hold_any_sign(gate: Gate, provider: Upstream) -> None:
    """5 MB of commas, brackets, quotes and backslashes are one value."""
    text = ',:{["}]\\' * 625_000
    body = chat(messages=[{"role": "user", "content": text}])
    assert gate.ask(CHAT, body).status == 200
    assert provider.requests[-1].body == body


def test_embeddings_of_token_ids(gate: Gate) -> None:
    """300,000 ids in 2,048 lists, the most that OpenAI takes, reach the embeddings endpoint."""
    ids = b",".join([b"[" + b",".join([b"100257"] * 146) + b"]"] * 2_048)
    told = gate.ask("/v1/embeddings", b'{"model":"not-there","input":[' + ids + b"]}")
    assert "not-there" in shaped(told, "/v1/embeddings", 404)
    more = b'{"model":"not-there","input":[' + b"1," * 400_000 + b"1]}"
    assert "400,000 JSON values" in shaped(gate.ask("/v1/embeddings", more), CHAT, 413)


def test_a_body_that_comes_with_its_head(gate: Gate) -> None:
    """The limit holds for a request in one piece too, whose body nothing waits for."""
    data = request(CHAT, chat()[:-1] + b',"x":' + b"[" * 230_000 + b"]" * 9 + b"}")
    (told,) = answers(gate.exchange(data))
    assert "200,000 JSON values" in shaped(told, CHAT, 413)


def test_the_number_is_the_operators(provider: Upstream, tmp_path_factory: Any) -> None:
    """Each gateway has its own limit; the gateway checks the key first."""

    def few(value: Any) -> None:
        value["server"] = {"max_values": 10}

    folder = tmp_path_factory.mktemp("few") / "gateway"
    made = Gate(folder, provider.url, few, TIERGATE_KEYS=KEYS)
    try:
        body = chat(x=list(range(99)))
        assert made.ask(CHAT, body).status == 401
        told = made.ask(CHAT, body, authorization=f"Bearer {CLIENT_KEY}")
        assert "more than 10 JSON values" in shaped(told, CHAT, 413)
        assert made.ask(CHAT, chat(), authorization=f"Bearer {CLIENT_KEY}").status == 200
    finally:
        made.stop()
