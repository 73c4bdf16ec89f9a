"""The form of a text: one number for each name, whatever the text is."""

from itertools import pairwise
from math import log1p
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.classifier import text_features
from gateway.routing.classifier.text_signals import TextScan
from gateway.routing.classifier.tokenizer import tokenize


def shaped(text: str) -> dict[str, float]:
    scan = TextScan(text)
    found = text_features.compute_shape(scan, scan.signals(), scan.tokens, {*scan.tokens})
    return dict(zip(text_features.SHAPE_NAMES, found, strict=True))


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
    assert tokenize("Don't add 12+3, Jürgen") == [
        b"don", b"'", b"t", b"add", b"12", b"+", b"3", b",", b"j", "ü".encode(), b"rgen"
    ]  # fmt: skip


def test_words_are_no_numbers_and_no_marks() -> None:
    some = [b"word", b"12", b"!", "é".encode(), b"x" * 100, b"_"]
    assert [*filter(text_features.is_word, some)] == [b"word", "é".encode(), b"x" * 100]


def test_a_reading_has_tokens_pairs_and_words() -> None:
    """Each once: the hash of a pair is that of both tokens in a row."""
    scan = TextScan("It is 12, is it?")
    found = text_features.read_features(scan, scan.signals())
    each = [b"it", b"is", b"12", b",", b"?"]
    pairs = [b"itis", b"is12", b"12,", b",is", b"isit", b"it?"]
    assert found.terms == {*map(crc32, (*each, *pairs))}
    assert found.words == {crc32(b"it"), crc32(b"is")}
    assert found.numbers == text_features.compute_shape(
        scan, scan.signals(), scan.tokens, {*scan.tokens}
    )


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=20))
def test_pairs_are_neighbours_in_their_order(found: list[bytes]) -> None:
    assert text_features.hash_pairs(found) == {crc32(one + two) for one, two in pairwise(found)}


def test_a_lone_surrogate_is_read() -> None:
    assert shaped("\ud800 what")["foreign"] > 0


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
