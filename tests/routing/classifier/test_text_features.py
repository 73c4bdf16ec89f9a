"""The input of a learned classifier: places of words and pairs, and one number for each name."""

from binascii import crc_hqx
from math import log1p

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.classifier import text_features
from gateway.routing.classifier.text_features import NUMBER_NAMES, PLACES
from gateway.routing.classifier.text_signals import TextScan
from gateway.routing.classifier.tokenizer import tokenize


def read_text(text: str) -> text_features.TextFeatures:
    """Return the features of a text."""
    scan = TextScan(text)
    return text_features.read_features(scan, scan.signals())


def name_numbers(text: str) -> dict[str, float]:
    """Return the numbers of a text by their names."""
    return dict(zip(NUMBER_NAMES, read_text(text).numbers, strict=True))


@given(st.text(max_size=300))
def test_every_text_has_a_finite_number_for_each_name(text: str) -> None:
    features = read_text(text)
    assert len(features.numbers) == len(NUMBER_NAMES)
    assert all(0 <= number < 1e6 for number in features.numbers)
    assert all(0 <= place < PLACES for place in features.places)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("What is it?", "ends in a question", 1.0),
        ("What is it? Tell me.", "ends in a question", 0.0),
        ("a\nb\nc", "lines", log1p(2)),
        ("One. Two! Three? Four", "sentences", log1p(4)),
        ("one two three. four five six", "sentence length", log1p(3)),
        ("12 and 13", "numbers", log1p(2)),
        ("Which?\nA. red\nB. green\nC. blue", "options", 1.0),
        ("Prove it", "proof", 1.0),
        ("Why? Why? Why? Why? Why?", "questions", 4.0),
    ],
)
def test_a_text_has_the_expected_numbers(text: str, name: str, value: float) -> None:
    assert name_numbers(text)[name] == pytest.approx(value)


def test_each_word_and_each_pair_of_neighbours_has_a_place() -> None:
    first, second = crc_hqx(b"one", 0), crc_hqx(b"two", 0)
    assert read_text("One two").places == {first, second, crc_hqx(b"two", first)}


def test_tokens_are_words_numbers_and_marks() -> None:
    assert tokenize("Don't add 12+3, Jürgen") == [
        b"don", b"'", b"t", b"add", b"12", b"+", b"3", b",", b"j", "ü".encode(), b"rgen"
    ]  # fmt: skip


def test_a_script_without_spaces_is_read_character_by_character() -> None:
    assert tokenize("证明 привет") == ["证".encode(), "明".encode(), "привет".encode()]
