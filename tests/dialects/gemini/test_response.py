"""Whole answers: usage for accounting, bodies that are no answer, and streams to and from them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
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
    whole,
)

STOPPED = candidate(text("a"), finish="STOP")


@pytest.mark.parametrize(
    ("body", "finish"),
    [
        (whole(chunk(STOPPED)), "STOP"),
        (whole(chunk(candidate(text("a")), STOPPED)), "STOP"),
        (whole(chunk(candidate(finish=2))), "MAX_TOKENS"),
        (whole(chunk(candidate(finish=17))), "17"),
        (whole(chunk(candidate(text("a")))), None),
        (whole(chunk(candidate(text("a"), finish=True))), None),
        (whole(chunk(promptFeedback={"blockReason": "SAFETY"})), "SAFETY"),
        (whole(chunk(candidate(text("a"))), chunk(STOPPED)), "STOP"),
    ],
)
def test_an_answer_is_read(body: bytes, finish: str | None) -> None:
    glance = DIALECT.summarize(body)
    assert (glance.problem, glance.finish, glance.served_model) == (None, finish, "m-1")


def test_the_last_usage_of_a_list_stands() -> None:
    first = chunk(candidate(text("a")), usageMetadata={"promptTokenCount": 5})
    body = whole(first, chunk(STOPPED, usageMetadata=USED))
    assert DIALECT.summarize(body).usage == Usage(input=5, output=2)
    assert DIALECT.summarize(whole(first)).usage == Usage(input=5)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"7", b"[]", b"[7]", b"{}", b'{"candidates":[]}', b'{"candidates":7}', b'{"error":{"code":503}}', b'[{"error":{"code":503}}]',
        json.dumps({"promptFeedback": {}}).encode(),
    ],
)  # fmt: skip
def test_anything_else_is_a_problem(body: bytes) -> None:
    problem = DIALECT.summarize(body).problem
    assert problem is not None
    assert problem.kind == ("upstream_overloaded" if b"503" in body else "upstream_error")


def test_an_answer_is_complete_if_each_candidate_has_a_reason() -> None:
    """The last reason counts. More content after it takes it back; an empty part does not."""

    def complete(*chunks: Any) -> bool:
        return DIALECT.summarize(json.dumps(list(chunks)).encode()).complete

    stop, quiet = chunk(STOPPED), chunk(candidate(text("")))
    assert complete(stop)
    assert complete(stop, quiet)
    assert complete(chunk(candidate(text("a"))), stop)
    assert not complete(stop, chunk(candidate(text("b"))))
    assert not complete(chunk(candidate(text("a"))))
    assert not complete(stop, chunk(candidate(text("b"), index=1)))
    assert complete({"promptFeedback": {"blockReason": "SAFETY"}})


@pytest.mark.parametrize("where", ["chunk", "candidate"])
def test_an_error_beside_content_fails_it(where: str) -> None:
    error = {"code": 503, "message": "m", "status": "UNAVAILABLE"}
    told = {**chunk(STOPPED), "error": error} if where == "chunk" else chunk({**STOPPED, "error": error})  # fmt: skip
    glance = DIALECT.summarize(json.dumps(told).encode())
    assert glance.problem is not None
    assert (glance.problem.kind, glance.complete) == ("upstream_overloaded", False)


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
    """Law 2: any parts in any number of candidates come back the same."""
    value = chunk(*[candidate(*row, finish="STOP", index=at) for at, row in enumerate(rows)], new={"x": 1})  # fmt: skip
    data = json.dumps(value, indent=2).encode()
    assert json.loads(FOLD(UNFOLD(data, usage))) == value


@pytest.mark.parametrize("usage", [True, False])
def test_a_streamed_answer_ends_whole(usage: bool) -> None:
    data = UNFOLD(FOLD(WHOLE), usage)
    watch = DIALECT.inspect_stream(ask(STREAM))
    assert (watch.feed(data) + watch.end(), watch.complete) == (data, True)
