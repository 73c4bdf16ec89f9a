"""The search finds a phrase wherever it stands in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.classifier import language, phrases, vocabulary
from gateway.routing.classifier.tokenizer import tokenize

ASCII = [one for one in phrases.ALL_PHRASES if one.isascii()]


def searched(text: str) -> set[str]:
    """Return the phrases that the search looks for in an ASCII text, chosen by its words."""
    words = [word.decode() for word in tokenize(text) if word.isalpha()]
    return {
        one for word in words for one in phrases.PHRASES_BY_START[phrases.find_phrase_start(word)]
    }


@pytest.mark.parametrize("one", ASCII)
@pytest.mark.parametrize("before", ["", "un", "the ", "1", ".", "show", "combien"])
@pytest.mark.parametrize("after", ["", "s", " it", "1", "."])
def test_all_that_a_text_has_is_searched_for(one: str, before: str, after: str) -> None:
    """A phrase within another word counts too."""
    assert one in searched(f"{before}{one}{after}")


@given(
    st.lists(st.sampled_from([*ASCII, *(one[:-1] for one in ASCII), *(one[1:] for one in ASCII)]))
)
def test_what_is_not_searched_for_is_not_there(parts: list[str]) -> None:
    text = "".join(parts)
    assert {one for one in ASCII if one in text} <= searched(text)


def test_prose_is_searched_for_nothing() -> None:
    assert searched("the tent was pitched on short grass and all of the vents were open") == set()


def test_numbers_are_bytes_of_which_the_first_says_nothing() -> None:
    assert len(phrases.PHRASES_BY_START) < vocabulary._MIXED
    assert max(language.WORD_SIGNS.values()) < vocabulary._MIXED
    assert phrases.PHRASES_BY_START[0] == ()
