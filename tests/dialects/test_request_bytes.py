"""The gateway sends the client's bytes unchanged, except for the members that must differ."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.dialects import OPENAI_CHAT, WrittenBody
from tests.dialects.cases import requests, target

READ, WRITE = OPENAI_CHAT.read, OPENAI_CHAT.write


def read_raw_members(body: bytes) -> dict[str, bytes]:
    """Return the top-level members of a body, with their values as bytes."""
    return {name: bytes(memoryview(value)) for name, value in jsonio.read_members(body).items()}


@given(requests())
def test_a_request_without_changes_keeps_the_received_bytes(
    drawn: tuple[bytes, list[tuple[str, str]]],
) -> None:
    """Law 1: write(read(body), nothing) is body. It is not a copy: the bytes are those received."""
    body, _ = drawn
    assert WRITE(READ(body), target("m")).body is body


@given(requests())
def test_another_model_changes_only_that_member(drawn: tuple[bytes, list[tuple[str, str]]]) -> None:
    """Unknown members, spaces inside values, 1.50, big integers and escapes stay byte for byte."""
    body, parts = drawn
    written = WRITE(READ(body), target("other"))
    assert written == WrittenBody(written.body, ())
    expected = [(name, '"other"' if name == "model" else value) for name, value in parts]
    assert list(read_raw_members(written.body).items()) == [
        (name, value.encode()) for name, value in expected
    ]


@given(requests(repeats=True))
def test_only_the_last_of_repeated_members_is_read_and_sent(
    drawn: tuple[bytes, list[tuple[str, str]]],
) -> None:
    """Two receivers must never read one body in two ways."""
    body, parts = drawn
    request = READ(body)
    written = WRITE(request, target("m")).body
    assert written is not body
    assert list(read_raw_members(written).items()) == [
        (n, v.encode()) for n, v in dict(parts).items()
    ]
    assert request.value == jsonio.loads(written)
    assert READ(written).prompt == request.prompt
    assert WRITE(READ(written), target("m")).body is written


@given(requests(), st.sampled_from(["max_tokens", "max_completion_tokens"]), st.booleans())
def test_added_members_leave_the_others_unchanged(
    drawn: tuple[bytes, list[tuple[str, str]]], name: str, streamed: bool
) -> None:
    """Caps, effort, parameters and the request for usage are new members; the rest is unchanged."""
    body, parts = drawn
    if streamed:
        body = body.rstrip()[:-1] + b',"stream":true}'
        parts = [*parts, ("stream", "true")]
    target_ = target("m", max_output=7, params={"seed": 1}, provider_max_tokens=name)
    written = read_raw_members(WRITE(READ(body), target_).body)
    added = {name: b"7", "seed": b"1"}
    if streamed:
        added["stream_options"] = b'{"include_usage":true}'
    assert written == {**{n: v.encode() for n, v in parts}, **added}


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (
            b'{"model":"a","messages":[],"model":"m"}',
            b'{"model":"m","messages":[]}',
        ),
        (
            b'{"model":"m","messages":[],"max_tokens":12,"max_tokens":1}',
            b'{"model":"m","messages":[],"max_tokens":1}',
        ),
        (
            b'{"\\u006dodel":"a","model":"m","messages":[ ]}',
            b'{"model":"m","messages":[ ]}',
        ),
    ],
)
def test_repeated_members_are_removed_however_they_are_spelt(body: bytes, sent: bytes) -> None:
    """The kept value may be a prefix of the one before it, and a name may be spelt in escapes."""
    assert WRITE(READ(body), target("m")).body == sent


def test_writing_a_request_never_changes_the_body() -> None:
    """The gateway writes the request for a second target from the same body."""
    body = READ(b'{"model":"m","messages":[],"temperature":1.50}')
    first = WRITE(body, target("one")).body
    second = WRITE(body, target("two")).body
    assert first == b'{"model":"one","messages":[],"temperature":1.50}'
    assert second == b'{"model":"two","messages":[],"temperature":1.50}'
    assert WRITE(body, target("m")).body is body.raw
