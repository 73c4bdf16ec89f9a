"""The JSON module: what it refuses, and that members keep the bytes they were read from."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.jsonio import JsonError

NAMES = st.sampled_from(["a", "b", "model", "caf\u00e9", 'quo"te', "back\\slash"])
VALUES = st.sampled_from(
    [
        b"1", b"12", b"1.50", b"-0", b"1e5", b"123456789012345678901234567890", b'"x"', b'"x\\"y"',
        b'"\\u00e9\\ud83d\\ude00"', '"\u2028 \u0085"'.encode(), b"[1 , 2]", b'{"a":1,"a":2}', b"{}", b"[]",
        b"true", b"false", b"null", b'"},{"', b'"a\\\\"',
    ]
)  # fmt: skip
SPACE = st.sampled_from([b"", b" ", b"\n", b"\t", b"\r\n", b"  "])


@st.composite
def bodies_with_members(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Draw an object as bytes with space anywhere, and its members in order, with repeats."""
    parts = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    written = [
        draw(SPACE) + jsonio.dumps(name) + draw(SPACE) + b":" + draw(SPACE) + value + draw(SPACE)
        for name, value in parts
    ]
    body = draw(SPACE) + b"{" + (b",".join(written) or draw(SPACE)) + b"}" + draw(SPACE)
    return body, parts


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"NaN", b"Infinity", b"[1,]", b"{'a':1}", b"1e999", b'"\xff"', b'"\\ud800"', b"{}{}", b"\xef\xbb\xbf{}",
        b"[" * 5000 + b"]" * 5000,
    ],
)  # fmt: skip
def test_json_outside_rfc_8259_is_refused(data: bytes) -> None:
    """Only RFC 8259 counts, without the extensions that Python's own reader accepts."""
    with pytest.raises(JsonError):
        jsonio.loads(data)


def test_a_json_error_names_the_position_and_not_the_content() -> None:
    """A key or a prompt in the text must not reach a log or a client."""
    with pytest.raises(JsonError) as caught:
        jsonio.loads(b'{"secret": tok-1}')
    assert "byte 11" in str(caught.value)
    assert "tok-1" not in str(caught.value)


@pytest.mark.parametrize("data", [b"[1]", b"7", b"null", b'{"a":', b"{" + b'"a":{' * 20_000])
def test_reading_members_of_anything_but_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(JsonError):
        jsonio.read_members(data)


def test_dumps_is_compact_and_writes_money_as_a_string() -> None:
    """USD amounts never pass through a float."""
    assert (
        jsonio.dumps({"cost": Decimal("0.10"), "n": [1, None]}) == b'{"cost":"0.10","n":[1,null]}'
    )


@given(bodies_with_members())
def test_read_members_keeps_the_original_bytes_of_each_value(
    drawn: tuple[bytes, list[tuple[str, bytes]]],
) -> None:
    """1.50 stays 1.50, big integers and escapes stay; a repeated name's last value counts."""
    body, parts = drawn
    members = {name: bytes(memoryview(raw)) for name, raw in jsonio.read_members(body).items()}
    assert members == dict(parts)


@given(bodies_with_members())
def test_joined_members_read_as_the_same_object(
    drawn: tuple[bytes, list[tuple[str, bytes]]],
) -> None:
    """Joining loses repeats and the space between members, and nothing else."""
    body, parts = drawn
    joined = jsonio.join_members(jsonio.read_members(body))
    assert jsonio.loads(joined) == jsonio.loads(body)
    members = dict(parts)
    expected = b",".join(jsonio.dumps(name) + b":" + value for name, value in members.items())
    assert joined == b"{" + expected + b"}"


@given(bodies_with_members())
def test_a_repeated_member_is_detected_exactly(
    drawn: tuple[bytes, list[tuple[str, bytes]]],
) -> None:
    body, parts = drawn
    names = [name for name, _ in parts]
    assert jsonio.has_repeated_member(body, jsonio.read_members(body)) == (
        len(set(names)) < len(names)
    )


@pytest.mark.parametrize(
    "data", [b'{"n":12,"n":1}', b'{"n":1.5,"n":1}', b'{"n":1e9,"n":1}', b'{"a":0,"n":12, "n" : 1}']
)
def test_a_repeated_number_that_starts_with_the_kept_value_is_detected(data: bytes) -> None:
    """The value that is kept is a prefix of the first one: `1` of `12`."""
    assert jsonio.has_repeated_member(data, jsonio.read_members(data))


def test_an_escaped_name_equals_its_plain_spelling() -> None:
    """Two spellings of one name are a repeat, and a receiver may take either."""
    data = b'{"\\u006dodel":"a","model":"b"}'
    assert jsonio.has_repeated_member(data, jsonio.read_members(data))
    assert jsonio.join_members(jsonio.read_members(data)) == b'{"model":"b"}'


@given(st.text() | st.dictionaries(st.text(), st.integers(-(2**53), 2**53) | st.text()))
def test_printable_json_holds_no_control_characters_and_reads_the_same(value: object) -> None:
    """C1 controls, which JSON leaves unescaped, steer a terminal; other signs turn or hide text."""
    text = jsonio.dumps_printable(value)
    assert jsonio.loads(text.encode()) == value
    assert not set(text) & {*map(chr, (*range(32), *range(0x7F, 0xA0))), "\u202e", "\u2028"}
