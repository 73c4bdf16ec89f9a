"""The search finds a phrase wherever it stands in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.classifier import language, phrases, vocabulary
from gateway.routing.classifier.tokenizer import tokenize

ASCII = [phrase for phrase in phrases.ALL_PHRASES if phrase.isascii()]


def find_searched_phrases(text: str) -> set[str]:
    """Return the phrases that the search looks for in an ASCII text, chosen by its words."""
    words = [word.decode() for word in tokenize(text) if word.isalpha()]
    return {
        phrase
        for word in words
        for phrase in phrases.PHRASES_BY_START[phrases.find_phrase_start(word)]
    }


@pytest.mark.parametrize("phrase", ASCII)
@pytest.mark.parametrize("before", ["", "un", "the ", "1", ".", "show", "combien"])
@pytest.mark.parametrize("after", ["", "s", " it", "1", "."])
def test_every_phrase_in_a_text_is_searched_for(phrase: str, before: str, after: str) -> None:
    """A phrase within another word counts too."""
    assert phrase in find_searched_phrases(f"{before}{phrase}{after}")


@given(
    st.lists(
        st.sampled_from(
            [*ASCII, *(phrase[:-1] for phrase in ASCII), *(phrase[1:] for phrase in ASCII)]
        )
    )
)
def test_a_phrase_that_is_not_searched_for_is_not_in_the_text(parts: list[str]) -> None:
    text = "".join(parts)
    assert {phrase for phrase in ASCII if phrase in text} <= find_searched_phrases(text)


def test_plain_prose_is_searched_for_no_phrase() -> None:
    assert (
        find_searched_phrases("the tent was pitched on short grass and all of the vents were open")
        == set()
    )


def test_phrase_numbers_fit_into_a_byte_and_zero_means_none() -> None:
    assert len(phrases.PHRASES_BY_START) < vocabulary._MIXED
    assert max(language.WORD_SIGNS.values()) < vocabulary._MIXED
    assert phrases.PHRASES_BY_START[0] == ()
