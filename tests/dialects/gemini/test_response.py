"""Whole answers: usage for accounting, bodies that are no answer, and streams to and from them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects.gemini import DIALECT
from gateway.dialects.gemini.reasoning_state import encode_state
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
def test_the_gateway_reads_finish_and_model_of_an_answer(body: bytes, finish: str | None) -> None:
    summary = DIALECT.summarize(body)
    assert (summary.problem, summary.finish, summary.served_model) == (None, finish, "m-1")


def test_the_last_usage_of_a_list_counts() -> None:
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
def test_a_body_that_is_no_answer_fails(body: bytes) -> None:
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
def test_an_error_beside_content_fails_the_answer(where: str) -> None:
    error = {"code": 503, "message": "m", "status": "UNAVAILABLE"}
    answer = {**chunk(STOPPED), "error": error} if where == "chunk" else chunk({**STOPPED, "error": error})  # fmt: skip
    summary = DIALECT.summarize(json.dumps(answer).encode())
    assert summary.problem is not None
    assert (summary.problem.kind, summary.complete) == ("upstream_overloaded", False)


FOLD, UNFOLD = DIALECT.fold, DIALECT.unfold


def fold_chunks(*chunks: Any) -> Any:
    return json.loads(FOLD(stream(*chunks)))


def fold_parts(*rows: list[Any]) -> Any:
    answer = fold_chunks(*[chunk(candidate(*row)) for row in rows])
    return answer["candidates"][0]["content"]["parts"]


def test_text_is_joined_and_the_last_value_of_other_members_counts() -> None:
    assert json.loads(FOLD(WHOLE)) == chunk(
        candidate(text("hello"), finish="STOP"), usageMetadata=USED
    )


def test_signed_and_other_parts_stay_separate() -> None:
    thought, call = text("a", thought=True), {"functionCall": {"name": "f"}}
    signed = text("", thoughtSignature="s")
    assert fold_parts([thought], [text("b", thought=True)]) == [text("ab", thought=True)]
    assert fold_parts([thought], [text("b")]) == [thought, text("b")]
    assert fold_parts([text("a")], [signed]) == [text("a"), signed]
    assert fold_parts([signed], [text("b")]) == [signed, text("b")]
    assert fold_parts([text("a")], [text("b"), call], [call]) == [text("ab"), call, call]
    assert fold_parts([text("a"), text("b")]) == [text("a"), text("b")]
    assert fold_parts([call], [text("")]) == [call]
    assert fold_parts([call], [text(None)]) == [call, text(None)]  # type: ignore[arg-type]  # odd
    assert fold_parts([text("")], []) == [text("")]


def test_the_state_that_the_gateway_wrote_for_a_thought_joins_its_text() -> None:
    thought, label = text("a", thought=True), encode_state("maker", "state")
    state = text("", thought=True, thoughtSignature=label)
    whole = text("a", thought=True, thoughtSignature=label)
    assert fold_parts([thought], [state]) == [whole]
    assert fold_parts([thought], [state], [state]) == [whole, state]
    assert fold_parts([thought], [state], [thought]) == [whole, thought]
    assert fold_parts([text("a")], [state]) == [text("a"), state]
    google = text("", thought=True, thoughtSignature="c3RhdGU=")
    assert fold_parts([thought], [google]) == [thought, google]


def test_text_is_never_joined_to_another_part() -> None:
    assert fold_parts([{"text": None}], [text("b")]) == [{"text": None}, text("b")]


def test_candidates_fold_by_their_index() -> None:
    answer = fold_chunks(
        chunk(candidate(text("b"), index=1), candidate(text("a"), index=None)),
        chunk(candidate(text("c"), finish="STOP", index=1)),
    )
    assert [candidate.get("index", 0) for candidate in answer["candidates"]] == [0, 1]
    assert answer["candidates"][1]["content"]["parts"] == [text("bc")]


def test_lists_are_joined_without_repeats() -> None:
    first, second = {"uri": "1"}, {"uri": "2"}
    candidate_ = fold_chunks(
        chunk(candidate(citationMetadata={"citations": [first]}, logprobsResult={"chosenCandidates": [1]})),
        chunk(candidate(citationMetadata={"citations": [first, second]}, logprobsResult={"chosenCandidates": [1]}, groundingMetadata=None)),
    )["candidates"][0]  # fmt: skip
    assert candidate_["citationMetadata"] == {"citations": [first, second]}
    assert candidate_["logprobsResult"] == {"chosenCandidates": [1, 1]}
    assert "groundingMetadata" not in candidate_
    odd = fold_chunks(chunk(candidate(content=7)), chunk(candidate(text("a"))))
    assert odd["candidates"][0]["content"]["parts"] == [text("a")]


def test_a_blocked_prompt_folds_without_candidates() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}}
    assert fold_chunks(blocked) == blocked
    assert FOLD(b": comment\n\n" + stream(LAST)) == FOLD(stream(LAST))


PART = st.one_of(
    st.builds(text, st.text()),
    st.builds(text, st.text(), thought=st.just(value=True)),
    st.builds(text, st.text(), thoughtSignature=st.text()),
    st.just({"functionCall": {"name": "f", "args": {}}}),
)


@given(st.lists(st.lists(PART, min_size=1), min_size=1, max_size=3), st.booleans())
def test_any_answer_survives_unfolding_and_folding(rows: list[list[Any]], usage: bool) -> None:
    """Law 2: any parts in any number of candidates come back the same."""
    value = chunk(*[candidate(*row, finish="STOP", index=at) for at, row in enumerate(rows)], new={"x": 1})  # fmt: skip
    data = json.dumps(value, indent=2).encode()
    assert json.loads(FOLD(UNFOLD(data, usage))) == value


@pytest.mark.parametrize("usage", [True, False])
def test_an_unfolded_answer_is_complete(usage: bool) -> None:
    data = UNFOLD(FOLD(WHOLE), usage)
    inspector = DIALECT.inspect_stream(ask(STREAM))
    assert (inspector.feed(data) + inspector.end(), inspector.complete) == (data, True)
