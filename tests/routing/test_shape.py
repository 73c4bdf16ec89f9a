"""The form of a text: one number for each name, whatever the text is."""

from itertools import pairwise
from math import log1p
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing import shape
from gateway.routing.signals import Scan
from gateway.routing.token import tokens


def shaped(text: str) -> dict[str, float]:
    scan = Scan(text)
    found = shape.shape(scan, scan.signals(), scan.tokens, {*scan.tokens})
    return dict(zip(shape.NAMES, found, strict=True))


@given(st.text(max_size=300))
def test_every_text_has_a_finite_number_for_each_name(text: str) -> None:
    assert all(-1e6 < value < 1e6 for value in shaped(text).values())


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("What is it?", "ends_in_question", 1.0),
        ("What is it?", "opens:what", 1.0),
        ("Tell me who", "asks:who", 1.0),
        ("Which is false, all of them or none except one", "denied", 1.0),
        ("It is 123456", "long_number", 1.0),
        ("It is 1234", "long_number", 0.0),
        ("Put it in \\boxed{}", "boxed", 1.0),
        ("You are a poet", "role", 1.0),
        ("a\nb\nc", "lines", pytest.approx(1.0986, abs=1e-4)),
        ("the gene of a cell", "topic:life", 2.0),
        ("the man", "topic:stop", 0.5),
        ("é", "foreign", 1.0),
        ("AB cd", "capitals", 0.4),
        ("Which?\nA. 12 kg\nB. 4\nC. 5.5", "option_figures", 1.0),
        ("Which?\nA. red\nB. green\nC. blue", "option_figures", 0.0),
        ("Which?\nA. red\nB. green\nC. blue", "options", 1.0),
    ],
)
def test_what_the_numbers_are(text: str, name: str, value: float) -> None:
    assert shaped(text)[name] == value


def test_tokens_are_words_numbers_and_marks() -> None:
    assert tokens("Don't add 12+3, Jürgen") == [
        b"don", b"'", b"t", b"add", b"12", b"+", b"3", b",", b"j", "ü".encode(), b"rgen"
    ]  # fmt: skip


def test_words_are_the_same_however_many_there_were_before() -> None:
    """No numbers, no marks; what is kept of a word is forgotten when there are too many."""
    some = {b"word", b"12", b"!", "é".encode(), b"x" * 100}
    expected = {crc32(one) & 0xFFFF for one in some - {b"12", b"!"}}
    assert shape.words(some) == expected
    for at in range(5000):
        shape.words({b"w%d" % at})
    assert shape.words(some) == shape.words(some) == expected


def test_places_are_words_pairs_and_ends() -> None:
    """Each once, and within the table."""
    found = shape.places([b"a", b"b", b"a"], 32)
    assert {crc32(b"a"), crc32(b"b"), crc32(b"b", crc32(b"a")), crc32(b"a", crc32(b"b"))} <= found
    assert len(found) == 4 + 6
    assert max(shape.places([b"a", b"b", b"a"], 4)) < 16
    assert shape.places([], 4) == set()


def test_a_lone_surrogate_is_read() -> None:
    assert shaped("\ud800 what")["foreign"] > 0


def slowly(found: list[bytes], bits: int) -> set[int]:
    """As `places` is defined: one token after the other."""
    every = [crc32(one) for one in found]
    every += [crc32(two, crc32(one)) for one, two in pairwise(found)]
    for some, start in ((found, 0x5E), (found[::-1], 0x24)):
        every += [
            crc32(b"".join(some[:many]), start) for many in (1, 2, 3, 4, 6) if many <= len(some)
        ]
    return {one & (1 << bits) - 1 for one in every}


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=20), st.sampled_from([8, 16, 20]))
def test_places_are_the_same_however_many_tokens_there_are(found: list[bytes], bits: int) -> None:
    assert shape.places(found, bits) == slowly(found, bits)


@given(
    st.lists(st.sampled_from([*"ab1 .,?!'-:()\"=+*/^<>%{[;\\$_é“", ". ", "? ", "! ", ".\n"])).map(
        "".join
    )
)
def test_marks_are_counted_where_none_is_rare_and_where_one_is(text: str) -> None:
    seen, count, size = shaped(text), text.count, max(len(text), 1)
    words, raw = max(len(text.split()), 1), text.encode()
    assert seen["sentences"] == log1p(1 + sum(map(count, (". ", "? ", "! ", ".\n"))))
    assert seen["ends_in_question"] == text.rstrip().endswith("?")
    assert seen["blank"] == min(count("__"), 3)
    assert seen["latex"] == min(count("\\") + count("$"), 30)
    assert seen["dollars"] == min(count("$"), 6)
    assert seen["quotes"] == (count('"') + count("“")) / words
    assert seen["commas"] == count(",") / words
    assert seen["brackets"] == count("(") / words
    assert seen["stops"] == min(count("."), 30)
    assert seen["operators"] == min(sum(map(count, "+*/^<>")), 20)
    assert seen["foreign"] == (len(raw) - len(text)) / size
    for name, mark, most in (
        ("equals", "=", 12), ("percent", "%", 3), ("braces", "{", 12), ("squares", "[", 20),
        ("colons", ":", 8), ("semicolons", ";", 6),
    ):  # fmt: skip
        assert seen[name] == min(count(mark), most)
