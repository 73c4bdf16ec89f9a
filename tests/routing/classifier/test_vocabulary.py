"""A token has the same facts however it is found, and whatever text came before."""

from binascii import crc_hqx

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.routing.classifier import language, phrases, tokenizer, vocabulary
from gateway.routing.classifier.word_lists import PROOF


@given(
    st.text("abz019 .,-(\n\t\x00\x1c\x7f", max_size=60)
    | st.lists(st.sampled_from(["prove", "a1", "12", "3d", ".", "b2b", " ", " "])).map("".join)
)
@example("one two three four five six seven eight nine ten 4k and 12x2")
def test_both_ways_to_split_a_text_give_the_same_tokens(text: str) -> None:
    """Splitting at spaces and marks finds all tokens; only letters next to digits need a search."""
    low = text.encode()
    tokens, facts = vocabulary.read_tokens(low, {*low.translate(None, tokenizer.PLAIN_BYTES)})
    assert tokens == tokenizer.tokenize(text)
    assert facts == vocabulary.find_text_facts(tokens)


def test_recent_tokens_are_cached_and_evicted() -> None:
    """Tokens of the word lists are never evicted."""
    tokens = [
        b"prove",
        b"integral",
        b"velocity",
        b"unheard",
        b"x" * 40,
        b"12",
        b"9" * 40,
        b"!",
        b".",
    ]
    expected, number, point = (
        vocabulary.find_token_facts(tokens),
        vocabulary.NUMBER,
        vocabulary._POINT,
    )
    assert expected[18::6] == bytes((0, 0, number, number, 255, point))
    for at in range(5000):
        vocabulary.find_token_facts([b"9%d" % at, b"no%s" % f"{at}".translate(LETTERED).encode()])
    assert vocabulary.find_token_facts(tokens) == expected
    assert len(vocabulary._TOKEN_FACTS) < len(vocabulary._TOKEN_FACTS._word_list_facts) + 5000
    kinds = vocabulary.find_text_facts(tokens).kinds
    assert kinds[0] == PROOF
    assert len(kinds) == 5


LETTERED = str.maketrans("0123456789", "abcdefghij")


def test_a_long_number_evicts_nothing_from_the_cache() -> None:
    """No two prompts share a long number, so the cache does not keep it."""
    before = len(vocabulary._TOKEN_FACTS)
    vocabulary.find_token_facts([b"8231%d" % at for at in range(9000)])
    assert len(vocabulary._TOKEN_FACTS) == before


@pytest.mark.parametrize(("mixed", "of"), [(0, 0), (0, 30), (1, 30), (3, 30), (4, 30), (30, 30)])
def test_few_or_many_mixed_words_are_split_alike(mixed: int, of: int) -> None:
    low = b" ".join(
        [b"a1b" if at % (of // mixed) == 0 else b"ab" for at in range(of)]
        if mixed
        else [b"ab"] * of
    )
    assert low.count(b"1") >= mixed
    tokens, facts = vocabulary.read_tokens(low, set())
    assert tokens == tokenizer.TOKEN.findall(low)
    assert facts == vocabulary.find_text_facts(tokens)


def test_each_kind_of_token_fact_has_its_own_column() -> None:
    words = [b"prove", b"show", b"der", b"12", b"and"]
    facts = vocabulary.find_text_facts(words)
    assert facts.phrase_starts == {phrases.find_phrase_start("show")}
    assert facts.list_hashes() == [crc_hqx(word, 0) for word in words]
    assert facts.language_signs == bytes(
        language.WORD_SIGNS.get(word, 0) for word in words[:3] + words[4:]
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [("1 2 a", 2), ("3.14", None), ("5, 6", None), ("a 5, b .", 1), ("a, 5 b", 1)],
)
def test_numbers_are_counted_if_none_can_have_a_decimal_point(text: str, count: int | None) -> None:
    assert vocabulary.find_text_facts(tokenizer.tokenize(text)).number_count == count
