"""An answer with the form of one before it is read as a parser reads it, or by the parser.

One reading knows the form of an answer, another does not: what they tell of whatever comes is the
same, also where it was made to be read in two ways.
"""

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.upstream.http1 import head_template as forms
from gateway.upstream.http1.connection import ProviderConnection
from gateway.upstream.http1.head_template import get_template
from gateway.upstream.http1.response import IncomingResponse
from tests.upstream.http1.line import Line

PLAIN = b"HTTP/1.1 200 OK\r\nDate: Tue\r\nx-request-id: 1\r\nContent-Length: 2\r\n\r\n{}"
NAMES = st.sampled_from(
    [
        b"Date", b"x-request-id", b"Set-Cookie", b"x_odd", b"content-type", b"Connection", b"upgrade",
        b"Transfer-Encoding", b"content-length", b"proxy-connection", b"keep-alive", b"te", b"trailer",
        b"x y", b"", b"x-a:",
    ]
)  # fmt: skip
VALUES = st.sampled_from(
    [
        b"1", b"", b"a b", b" a", b"a ", b"a\tb", b"caf\xe9", b"\x7f", b"\0", b"close", b"keep-alive",
        b"chunked", b"3", b"a: 3", b"content-length: 3", b"a\r\n b", b"a\nb", b"a\rb", b"x" * 5000,
    ]
)  # fmt: skip
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=5)
BODIES = st.binary(max_size=40)


def told(data: list[bytes], first: bytes | None = None) -> tuple[Any, ...]:
    """What a reading tells of pieces, with the form of `first`; and not how it came to it."""
    reading = IncomingResponse(None if first is None else get_template(first))
    error = ""
    try:
        for piece in data:
            reading.feed(piece)
    except httpx.RemoteProtocolError as failed:
        error = str(failed)
    if error and not reading.head_complete:
        return (error,)
    return (
        error, reading.status, reading.headers, reading.fields, reading.buffered, reading.take_body(),
        reading.head_complete, reading.complete, reading.can_keep_alive, reading.has_data, reading.feed_eof(),
    )  # fmt: skip


def answer(lines: list[tuple[bytes, bytes]], at: int, number: bytes, body: bytes) -> bytes:
    """One with its length among other headers."""
    rows = [b"%b: %b\r\n" % row for row in lines]
    rows.insert(at % (len(rows) + 1), b"content-length: %b\r\n" % number)
    return b"HTTP/1.1 200 OK\r\n" + b"".join(rows) + b"\r\n" + body


@given(
    lines=LINES,
    values=st.lists(VALUES, min_size=5, max_size=5),
    at=st.integers(0, 9),
    bodies=st.tuples(BODIES, BODIES),
    number=st.sampled_from([b"%d"] * 5 + [b"0%d", b"+%d", b"%d ", b" %d", b"%d1", b"-%d", b"0x%x"]),
    more=st.sampled_from([b"", b"", b"", b"x", PLAIN]),
)
@example(
    lines=[(b"Date", b"1")], values=[b"a b"] * 5, at=0, bodies=(b"{}", b"{ }"), number=b"%d", more=b""
)  # fmt: skip
def test_what_has_another_value_is_told_as_a_parser_tells_it(
    lines: list[tuple[bytes, bytes]],
    values: list[bytes],
    at: int,
    bodies: tuple[bytes, bytes],
    number: bytes,
    more: bytes,
) -> None:
    """Other values and another body; numbers that are none, bytes behind, the same and less."""
    first = answer(lines, at, b"%d" % len(bodies[0]), bodies[0])
    others = [(name, value) for (name, _), value in zip(lines, values, strict=False)]
    then = answer(others, at, number % len(bodies[1]), bodies[1]) + more
    for data in ([first], [then], [then[:-1]], [then[:30], then[30:]], [first, then]):
        assert told(data, first) == told(data)


@given(
    rounds=st.lists(
        st.tuples(st.sets(st.integers(0, 9)), VALUES, BODIES, st.sampled_from([b""] * 5 + [b"x"])),
        min_size=1,
        max_size=8,
    ),
    at=st.integers(0, 9),
)
@example(rounds=[(set(range(n)), b"%d" % n, b"{}", b"") for n in range(10)] * 2, at=9)
@example(
    rounds=[({2}, b"a b", b"{}", b""), ({2}, b"a ", b"{}", b""), ({2}, b"c", b"{}", b"")], at=0
)
def test_some_other_values_in_each_answer_are_told_as_a_parser_tells_them(
    rounds: list[tuple[set[int], bytes, bytes, bytes]], at: int
) -> None:
    """Of one connection's answers, few values differ, then many; what differed may be as before."""
    lines = [(b"x-%d" % name, b"v") for name in range(9)]
    known = answer(lines, at, b"2", b"{}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(forms, "_templates", {})
        for changed, value, body, more in rounds:
            others = [
                (name, value if place in changed else was)
                for place, (name, was) in enumerate(lines)
            ]
            data = answer(others, at, b"%d" % len(body), body) + more
            assert told([data], known) == told([data])


@given(st.lists(st.tuples(st.integers(0, len(PLAIN)), st.binary(max_size=2)), max_size=3))
def test_what_differs_in_a_byte_is_told_as_a_parser_tells_it(
    flips: list[tuple[int, bytes]],
) -> None:
    data = PLAIN
    for at, put in flips:
        data = data[:at] + put + data[at + len(put) :]
    assert told([data], PLAIN) == told([data])


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding: chunked", b"connection: close", b"Content-Length: 2", b"Upgrade: h2c",
        b"proxy-connection: close", b"no colon", b"x:1", b": 1", b"x y: 1",
    ],
)  # fmt: skip
def test_an_answer_that_says_more_has_no_form(line: bytes) -> None:
    assert get_template(PLAIN) is not None
    assert get_template(PLAIN.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")) is None


def test_an_answer_that_is_no_plain_200_has_no_form() -> None:
    assert get_template(PLAIN.replace(b"200 OK", b"201 OK")) is None
    assert get_template(PLAIN.replace(b"Tue", b"x" * forms.MAX_HEAD_BYTES)) is None
    assert get_template(PLAIN.replace(b"Content-Length: 2\r\n", b"")) is None


def test_forms_are_shared_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_templates", {})
    assert get_template(PLAIN) is get_template(PLAIN.replace(b"Tue", b"Wed"))
    for number in range(forms._MAX_TEMPLATES):
        get_template(PLAIN.replace(b"Date", b"x-%d" % number))
    assert len(forms._templates) == 1


async def test_a_connection_knows_its_last_answer_until_they_never_come_again() -> None:
    connection, wire = ProviderConnection(asyncio.get_running_loop()), Line()
    connection.connection_made(wire)
    known: list[bool] = []

    def ask(data: bytes) -> None:
        connection.begin(b"x")
        connection.data_received(data)
        assert connection._response is not None
        known.append(connection._response.matched_template)
        assert connection._response.can_keep_alive
        assert connection.take_whole() == b"{}"
        assert connection.finish_exchange()

    for value in (b"1", b"2", b"3"):
        ask(PLAIN.replace(b"id: 1", b"id: " + value))
    assert known == [False, True, True]
    for number in range(20):
        ask(PLAIN.replace(b"Date", b"x-%d" % number))
    assert known[3:] == [False] * 20
    ask(PLAIN.replace(b"Date", b"x-19"))
    ask(PLAIN.replace(b"Date", b"x-7"))
    assert known[23:] == [False, True]
