"""A recorded stream as a whole answer, and back: the same words either way."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.gemini import DIALECT
from tests.dialects.gemini.cases import (
    LAST,
    STREAM,
    USED,
    WHOLE,
    ask,
    candidate,
    chunk,
    stream,
    text,
)

FOLD, UNFOLD = DIALECT.fold, DIALECT.unfold


def folded(*chunks: Any) -> Any:
    return json.loads(FOLD(stream(*chunks)))


def parts(*rows: list[Any]) -> Any:
    found = folded(*[chunk(candidate(*row)) for row in rows])
    return found["candidates"][0]["content"]["parts"]


def test_text_grows_and_the_last_of_all_else_stands() -> None:
    assert json.loads(FOLD(WHOLE)) == chunk(
        candidate(text("hello"), finish="STOP"), usageMetadata=USED
    )


def test_parts_of_other_kinds_and_with_signatures_stand_alone() -> None:
    thought, call = text("a", thought=True), {"functionCall": {"name": "f"}}
    signed = text("", thoughtSignature="s")
    assert parts([thought], [text("b", thought=True)]) == [text("ab", thought=True)]
    assert parts([thought], [text("b")]) == [thought, text("b")]
    assert parts([text("a")], [signed]) == [text("a"), signed]
    assert parts([signed], [text("b")]) == [signed, text("b")]
    assert parts([text("a")], [text("b"), call], [call]) == [text("ab"), call, call]
    assert parts([text("a"), text("b")]) == [text("a"), text("b")]
    assert parts([call], [text("")]) == [call]
    assert parts([call], [text(None)]) == [call, text(None)]  # type: ignore[arg-type]  # odd
    assert parts([text("")], []) == [text("")]


def test_a_part_that_is_no_text_never_takes_any() -> None:
    assert parts([{"text": None}], [text("b")]) == [{"text": None}, text("b")]


def test_candidates_are_told_apart_by_index() -> None:
    found = folded(
        chunk(candidate(text("b"), index=1), candidate(text("a"), index=None)),
        chunk(candidate(text("c"), finish="STOP", index=1)),
    )
    assert [it.get("index", 0) for it in found["candidates"]] == [0, 1]
    assert found["candidates"][1]["content"]["parts"] == [text("bc")]


def test_lists_go_on_and_what_is_repeated_stands_once() -> None:
    one, two = {"uri": "1"}, {"uri": "2"}
    found = folded(
        chunk(candidate(citationMetadata={"citations": [one]}, logprobsResult={"chosenCandidates": [1]})),
        chunk(candidate(citationMetadata={"citations": [one, two]}, logprobsResult={"chosenCandidates": [1]}, groundingMetadata=None)),
    )["candidates"][0]  # fmt: skip
    assert found["citationMetadata"] == {"citations": [one, two]}
    assert found["logprobsResult"] == {"chosenCandidates": [1, 1]}
    assert "groundingMetadata" not in found
    odd = folded(chunk(candidate(content=7)), chunk(candidate(text("a"))))
    assert odd["candidates"][0]["content"]["parts"] == [text("a")]


def test_a_refused_prompt_has_no_candidates() -> None:
    said = {"promptFeedback": {"blockReason": "SAFETY"}}
    assert folded(said) == said
    assert FOLD(b": comment\n\n" + stream(LAST)) == FOLD(stream(LAST))


PART = st.one_of(
    st.builds(text, st.text()),
    st.builds(text, st.text(), thought=st.just(value=True)),
    st.builds(text, st.text(), thoughtSignature=st.text()),
    st.just({"functionCall": {"name": "f", "args": {}}}),
)


@given(st.lists(st.lists(PART, min_size=1), min_size=1, max_size=3), st.booleans())
def test_an_answer_is_the_same_after_it_was_streamed(rows: list[list[Any]], usage: bool) -> None:
    """Law 2, of any parts in any number of candidates."""
    value = chunk(*[candidate(*row, finish="STOP", index=at) for at, row in enumerate(rows)], new={"x": 1})  # fmt: skip
    data = json.dumps(value, indent=2).encode()
    assert json.loads(FOLD(UNFOLD(data, usage))) == value


@pytest.mark.parametrize("usage", [True, False])
def test_a_streamed_answer_ends_whole(usage: bool) -> None:
    data = UNFOLD(FOLD(WHOLE), usage)
    watch = DIALECT.inspect_stream(ask(STREAM))
    assert (watch.feed(data) + watch.end(), watch.complete) == (data, True)
