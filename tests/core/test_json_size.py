"""The count of values: never too low, in short slices, and before anything is parsed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.core import json_size, jsonio
from gateway.core.json_size import ValueCount

SIGNS = ',:{}[]"\\\n é☃'
values = some.recursive(
    some.none() | some.integers(-9, 9) | some.text(SIGNS, max_size=6),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(SIGNS, max_size=4), inner),
    max_leaves=40,
)  # fmt: skip


def count(body: bytes) -> int:
    """Count the values and names of a body exactly."""
    counter = ValueCount(10_000)
    counter.add(b" " * 10_000 + body)
    return counter.count


@given(value=values)
def test_the_fast_bound_is_never_below_the_exact_count(value: Any) -> None:
    body = jsonio.dumps(value)
    assert json_size.bound_values(body) >= count(body)


@given(value=values, max_values=some.integers(1, 30))
def test_a_text_is_too_much_only_by_its_exact_count(value: Any, max_values: int) -> None:
    """Characters in strings make the gateway count exactly, but refuse nothing."""
    body = jsonio.dumps(value)
    # A body shorter than the limit has fewer values; an empty list counts twice there.
    expected = count(body) > max_values and len(body) > max_values
    assert json_size.exceeds(body, max_values) == expected


def test_a_name_counts_like_a_value() -> None:
    assert count(b'{"a":1,"b":[2]}') == 6
    assert count(b"[1,2]") == 3


def test_a_long_body_is_counted_in_short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts between quotes need memory: 64 kB of them, however long the body is."""
    sizes: list[int] = []
    count_slice = ValueCount._count_slice

    def record(self: ValueCount, chunk: bytes) -> None:
        sizes.append(len(chunk))
        count_slice(self, chunk)

    monkeypatch.setattr(ValueCount, "_count_slice", record)
    body = b"[" + b'"a\\"b",' * 200_000 + b"1]"
    counter = ValueCount(1_000_000)
    counter.add(body)
    assert counter.count == 200_002
    assert max(sizes) <= 65_536
    assert sum(sizes) == len(body)


def test_counting_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has too many values is not read to its end."""
    slices: list[bytes] = []
    count_slice = ValueCount._count_slice

    def record(self: ValueCount, chunk: bytes) -> None:
        slices.append(chunk)
        count_slice(self, chunk)

    monkeypatch.setattr(ValueCount, "_count_slice", record)
    assert json_size.exceeds(b"[" * 5_000_000, 10_000)
    assert len(slices) == 1


def fail(*_: object) -> None:
    """Stand for a JSON library that must not be called."""
    raise AssertionError("parsed")


@pytest.mark.parametrize(
    "item", [b"1", b"[]", b"{}", b'{"a":1}', b'""', b"[[[[1]]]]", b'"\\u00e9\\""', b"-1.5e300"]
)
def test_json_with_too_many_values_is_never_parsed(
    item: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"[" + b",".join([item] * 400_000) + b"]"
    monkeypatch.setattr("gateway.core.jsonio.orjson.loads", fail)
    with pytest.raises(jsonio.JsonError, match="more than 400,000 values"):
        jsonio.loads_bounded(body)
    with pytest.raises(jsonio.JsonError, match="more than 100,000 values"):
        jsonio.loads_text(body.decode())


@pytest.mark.parametrize(
    "read", [jsonio.loads_bounded, lambda data: jsonio.loads_text(data.decode())]
)
def test_json_of_few_values_is_read_whatever_is_in_its_texts(read: Callable[[bytes], Any]) -> None:
    text = ',:{["}]' * 100_000
    assert read(jsonio.dumps([text, 1])) == [text, 1]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"1" * 1_000_001, True),
        (b"1" * 1_000_000, False),
        (b"[" + b"1," * 80_000 + b"1]", True),
        (b"[" + b"1," * 5_000 + b"1]" + b" " * 160_000, False),
        (b"," * 130_000, False),  # so few bytes cannot take long
    ],
)
def test_work_is_large_by_its_bytes_or_by_its_values(body: bytes, *, expected: bool) -> None:
    assert json_size.is_large(body) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, \u00e9, \u8a9e, \ud55c", False),
        ("a smile: \U0001f600", True),
        ("the last plane: \U0010fffd", True),
    ],
)
def test_characters_above_u_ffff_make_a_text_wide(text: str, *, expected: bool) -> None:
    """Python takes 4 bytes for each character of such a text."""
    assert json_size.has_wide_text(text.encode()) == expected
    assert json_size.has_wide_text(json.dumps(text).encode()) == expected


COMPLEX = ("\u00e9", "\u8a9e", "\U0001f600", '"', "\\", "\n")
plain_texts = some.text("aZ09+/= ", max_size=60)
texts = some.lists(
    some.tuples(plain_texts, some.sampled_from((*COMPLEX, "")), plain_texts).map("".join),
    max_size=12,
)  # fmt: skip


@given(texts=texts, piece_size=some.integers(1, 40), ensure_ascii=some.booleans())
def test_no_complex_text_is_missed(texts: list[str], piece_size: int, ensure_ascii: bool) -> None:
    """However a body is cut, each string with an escape or beyond ASCII counts with all its bytes."""
    written = [json.dumps(text, ensure_ascii=ensure_ascii).encode() for text in texts]
    expected = sum(len(it) - 2 for it in written if b"\\" in it or not it.isascii())
    body = b"[" + b",".join(written) + b"]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_size, "_SLICE_BYTES", 7)
        patch.setattr(json_size, "LARGE_BYTES", 0)
        counter = ValueCount(10_000)
        for begin in range(0, len(body), piece_size):
            counter.add(body[begin : begin + piece_size])
    assert expected <= counter.complex_bytes <= len(body)
    assert expected or not counter.complex_bytes
    if "\U0001f600" in "".join(texts):
        assert counter.has_wide_text


def test_data_beside_complex_text_does_not_count() -> None:
    """A conversation with emojis may have images of any size."""
    image = "QUJD" * 3_000_000
    body = json.dumps(["see \U0001f600", image, "and \u00e9", image]).encode()
    counter = ValueCount(200_000)
    counter.add(body)
    assert len("see and") < counter.complex_bytes < 3 * 65_536
    assert not json_size.exceeds(body, 400_000)


@pytest.mark.parametrize("text", COMPLEX)
@pytest.mark.parametrize("place", [0, 5_000_000, 9_999_999])
def test_one_complex_character_makes_a_whole_text_complex(text: str, place: int) -> None:
    plain = "a" * 10_000_000
    for bound_text, expected in ((plain, False), (plain[:place] + text + plain[place:], True)):
        body = json.dumps(["a", bound_text, "b"], ensure_ascii=False).encode()
        assert json_size.exceeds(body, 400_000) == expected
        if expected:
            with pytest.raises(jsonio.JsonError, match="too much text"):
                jsonio.loads_bounded(body)


def test_few_values_are_bounded_before_they_are_counted() -> None:
    counter = ValueCount(100)
    counter.add(b"[1,2,3]")
    assert (counter.count, counter.bound) == (1, 4)
    counter.add(b"[1]," * 100)
    assert counter.bound == counter.count > 100
