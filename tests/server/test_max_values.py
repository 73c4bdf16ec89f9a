"""Test that JSON values and names are counted before a body is parsed; texts may hold anything."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.core.json_size import ValueCount
from gateway.server.body import BodyReader
from gateway.settings.schema.server import ServerPart
from tests.e2e.upstream import Upstream
from tests.server.gate import (
    CHAT,
    CLIENT_KEY,
    ENDPOINTS,
    KEYS,
    Gate,
    answers,
    chat,
    check_refusal,
    family,
    request,
    valid_body,
)
from tests.server.test_body import client_sending, memory_reservation

MAX_VALUES = 200_000
SIGNS = ',:{}[]"\\\n\t é☃'

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(SIGNS, max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(SIGNS, max_size=4), inner),
    max_leaves=40,
)


def count_values(value: Any) -> int:
    """Count the values and names in a value, itself included; an empty object or list counts
    twice.
    """
    if not isinstance(value, dict | list):
        return 1
    parts = value.values() if isinstance(value, dict) else value
    names = len(value) if isinstance(value, dict) else 0
    return 1 + names + (sum(map(count_values, parts)) if value else 1)


def count(body: bytes, piece_size: int, limit: int) -> int:
    """Count the values of a body that arrives in pieces of `at` bytes."""
    counter = ValueCount(limit)
    for begin in range(0, len(body), piece_size):
        counter.add(body[begin : begin + piece_size])
    BodyReader._check_count(counter)
    return counter.count


@given(value=values, piece_size=st.integers(1, 9))
def test_the_count_does_not_depend_on_how_a_body_is_cut(value: Any, piece_size: int) -> None:
    """However the body is cut, characters in texts, and escapes or halves of them, do not count."""
    body = jsonio.dumps(value) + b" "
    assert count(b" " * 1_000 + body, piece_size, 1_000) == count_values(value)


@pytest.mark.parametrize("piece_size", [1, 2, 3, 64])
@pytest.mark.parametrize("slashes", range(1, 8))
def test_backslashes_at_the_end_of_a_piece_are_counted_right(piece_size: int, slashes: int) -> None:
    """A quote after an odd number of backslashes belongs to the text, after an even number it ends
    it.
    """
    text = b'"' + b"\\" * slashes + b'"'
    body = b"[" + (text + b',,,"' if slashes % 2 else text) + b"," + b"1]" + b" " * 40
    counter = ValueCount(8)
    for begin in range(0, len(body), piece_size):
        counter.add(body[begin : begin + piece_size])
    assert counter.count == 3


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 101, b'[{"a":' * 60, b"1," * 101, b'{"a":1,' + b'"b":2,' * 101, b'"' * 404, b'""' * 202,
        b'["",' + b'"",' * 101,
    ],
)  # fmt: skip
def test_a_body_with_too_many_values_is_refused_before_it_is_parsed(body: bytes) -> None:
    """A body that is no JSON is refused too: the gateway does not parse it to find out."""
    with pytest.raises(ProblemError, match="more than 100 JSON values") as caught:
        count(body + b" " * 101, 7, 100)
    assert caught.value.problem.kind == "request_too_large"


def test_200_000_values_pass_and_one_more_does_not(gate: Gate, provider: Upstream) -> None:
    """Exactly 200,000 values pass, one more does not."""
    body = chat()
    own_values = count_values(jsonio.loads(body))
    fill = MAX_VALUES - own_values - 2  # with the list and its name
    whole = body[:-1] + b',"x":[' + b",".join([b"1"] * fill) + b"]}"
    assert len(whole) > MAX_VALUES
    assert gate.ask(CHAT, whole).status == 200
    assert provider.requests[-1].body == whole
    reply = gate.ask(CHAT, whole.replace(b"[1,", b"[1,1,"))
    message = check_refusal(reply, CHAT, 413)
    assert message == (
        "The request body has more than 200,000 JSON values (server.max_values)."
        " Send less in one request."
    )
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_too_many_values_are_refused_at_every_endpoint(gate: Gate, path: str) -> None:
    """The refusal is in the dialect, with or without a length; the client can read it undisturbed."""
    body = valid_body(path)[:-1] + b',"x":[' + b"[]," * 150_000 + b"1]}"
    assert "200,000 JSON values" in check_refusal(gate.ask(path, body), path, 413)
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    chunked = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    (reply,) = answers(gate.exchange(chunked))
    check_refusal(reply, family(path), 413)


async def test_a_refused_body_is_read_to_its_end_and_not_stored() -> None:
    """The gateway reads the rest, so that the client has sent all before its answer comes."""
    memory = memory_reservation()
    pieces = [b"[" * 60_000] * 100
    with pytest.raises(ProblemError, match="JSON values"):
        await BodyReader(ServerPart()).read(client_sending(*pieces), None, memory)
    assert memory.reserved_bytes < 5 * 400_000
    with pytest.raises(ProblemError, match="larger than 1,000,000 bytes"):
        await BodyReader(ServerPart(max_body=1_000_000)).read(
            client_sending(*pieces), None, memory_reservation()
        )


@pytest.mark.parametrize("path", ["/v1/route", "/v1/feedback", "/admin/replay", "/v1/embeddings"])
def test_too_many_values_are_refused_at_endpoints_without_a_provider(gate: Gate, path: str) -> None:
    body = b'{"x":[' + b"1," * 450_000 + b"1]}"
    assert "JSON values" in check_refusal(gate.ask(path, body), path, 413)


def test_a_text_may_contain_any_character(gate: Gate, provider: Upstream) -> None:
    """5 MB of commas, brackets, quotes and backslashes are one value."""
    text = ',:{["}]\\' * 625_000
    body = chat(messages=[{"role": "user", "content": text}])
    assert gate.ask(CHAT, body).status == 200
    assert provider.requests[-1].body == body


@pytest.mark.parametrize("path", ENDPOINTS)
def test_too_much_complex_text_is_refused_at_every_endpoint(gate: Gate, path: str) -> None:
    body = valid_body(path)[:-1] + b',"x":"' + b"ab\\n" * 2_600_000 + b'"}'
    message = check_refusal(gate.ask(path, body), path, 413)
    assert message == (
        "The request body has more than 10,000,000 bytes of strings with escapes or with characters"
        " outside of ASCII. Send less text in one request; base64 does not count."
    )


def test_images_of_any_size_pass_beside_text(gate: Gate, provider: Upstream) -> None:
    image = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + "QUJD" * 4_000_000},
    }
    content = [{"type": "text", "text": "What is this? \U0001f600\n"}, image]
    body = chat(messages=[{"role": "user", "content": content}])
    assert gate.ask(CHAT, body).status == 200
    assert provider.requests[-1].body == body


def test_embeddings_may_have_400_000_values(gate: Gate) -> None:
    """300,000 ids in 2,048 lists, the most that OpenAI takes, reach the embeddings endpoint."""
    ids = b",".join([b"[" + b",".join([b"100257"] * 146) + b"]"] * 2_048)
    reply = gate.ask("/v1/embeddings", b'{"model":"not-there","input":[' + ids + b"]}")
    assert "not-there" in check_refusal(reply, "/v1/embeddings", 404)
    more = b'{"model":"not-there","input":[' + b"1," * 400_000 + b"1]}"
    assert "400,000 JSON values" in check_refusal(gate.ask("/v1/embeddings", more), CHAT, 413)


def test_the_limit_holds_for_a_request_in_one_piece(gate: Gate) -> None:
    """The limit holds for a request in one piece too, whose body nothing waits for."""
    data = request(CHAT, chat()[:-1] + b',"x":' + b"[" * 230_000 + b"]" * 9 + b"}")
    (reply,) = answers(gate.exchange(data))
    assert "200,000 JSON values" in check_refusal(reply, CHAT, 413)


def test_the_operator_sets_the_limit_and_the_key_is_checked_first(
    provider: Upstream, tmp_path_factory: Any
) -> None:
    """Each gateway has its own limit; the gateway checks the key first."""

    def set_limit(value: Any) -> None:
        value["server"] = {"max_values": 10}

    folder = tmp_path_factory.mktemp("few") / "gateway"
    gateway = Gate(folder, provider.url, set_limit, TIERGATE_KEYS=KEYS)
    try:
        body = chat(x=list(range(99)))
        assert gateway.ask(CHAT, body).status == 401
        reply = gateway.ask(CHAT, body, authorization=f"Bearer {CLIENT_KEY}")
        assert "more than 10 JSON values" in check_refusal(reply, CHAT, 413)
        assert gateway.ask(CHAT, chat(), authorization=f"Bearer {CLIENT_KEY}").status == 200
    finally:
        gateway.stop()
