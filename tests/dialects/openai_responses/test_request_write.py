"""What a target of this dialect gets: the client's bytes, and only what must change changed."""

import json
from typing import Any

import pytest

from gateway.core.target import ModelFacts
from gateway.dialects.openai_responses import DIALECT
from tests.dialects.openai_responses.cases import Object, ask, raw, sent, target

LUNA = ModelFacts(
    sampling="effort-none",
    efforts=("none", "low", "medium", "high"),
    effort_style="reasoning_effort",
    default_effort="medium",
    max_output=1000,
)
PLAIN = ModelFacts(max_output=1000)


def write(facts: ModelFacts = LUNA, more: Object | None = None, **kind: Any) -> tuple[Object, list[str]]:  # fmt: skip
    written = DIALECT.write(ask(**(more or {})), target(facts=facts, **kind))
    return sent(written), [f"{loss.field} {loss.action}" for loss in written.losses]


def test_nothing_changes_where_nothing_must() -> None:
    """Law 1: the very bytes, numbers and unknown members among them."""
    body = DIALECT.read(b'{ "model":"m", "input" : "h\\u00e9", "x":1.50, "n":12345678901234567890}')
    assert DIALECT.write(body, target()).body is body.raw


def test_the_model_alone_is_replaced() -> None:
    body = DIALECT.read(b'{"model":"auto", "input":[ {"role":"user" , "content":"a"} ]}')
    written = DIALECT.write(body, target("m-2")).body
    assert written == b'{"model":"m-2","input":[ {"role":"user" , "content":"a"} ]}'


def test_a_tier_s_effort_fills_what_the_client_left_out() -> None:
    assert write(effort="low")[0]["reasoning"] == {"effort": "low"}
    kept, lost = write(more={"reasoning": {"summary": "auto"}}, effort="low")
    assert (kept["reasoning"], lost) == ({"summary": "auto", "effort": "low"}, [])
    assert write(more={"reasoning": None}, effort="low")[0]["reasoning"] == {"effort": "low"}
    assert write(more={"reasoning": {"effort": "high"}}, effort="low")[0]["reasoning"] == {
        "effort": "high"
    }
    assert "reasoning" not in write(PLAIN, effort="low")[0]
    assert write(more={"reasoning": "odd"}, effort="low")[0]["reasoning"] == "odd"


def test_an_effort_that_the_model_does_not_take_is_clamped() -> None:
    said, lost = write(more={"reasoning": {"effort": "max", "summary": "auto"}})
    assert said["reasoning"] == {"effort": "high", "summary": "auto"}
    assert lost == ["reasoning.effort clamped"]


def test_effort_is_dropped_where_the_model_has_none() -> None:
    said, lost = write(PLAIN, {"reasoning": {"effort": "low"}})
    assert "reasoning" not in said
    assert lost == ["reasoning.effort dropped"]


def test_words_that_are_not_known_go_on() -> None:
    assert write(more={"reasoning": {"effort": "silly"}})[0]["reasoning"] == {"effort": "silly"}
    assert write(ModelFacts(), {"reasoning": {"effort": "low"}})[0]["reasoning"] == {
        "effort": "low"
    }


def test_the_cap_is_filled_or_clamped() -> None:
    assert write(max_output=50)[0]["max_output_tokens"] == 50
    assert write(more={"max_output_tokens": None}, max_output=50)[0]["max_output_tokens"] == 50
    assert write(more={"max_output_tokens": 20}, max_output=50)[0]["max_output_tokens"] == 20
    said, lost = write(more={"max_output_tokens": 2000})
    assert (said["max_output_tokens"], lost) == (1000, ["max_output_tokens clamped"])
    assert write(ModelFacts(), {"max_output_tokens": 2000})[0]["max_output_tokens"] == 2000
    assert write(more={"max_output_tokens": "x"})[0]["max_output_tokens"] == "x"


@pytest.mark.parametrize(
    ("facts", "more", "effort", "kept"),
    [
        (ModelFacts(), {}, None, True),
        (LUNA, {}, None, False),
        (LUNA, {}, "none", True),
        (LUNA, {"reasoning": {"effort": "none"}}, "high", True),
        (LUNA, {"reasoning": {"effort": "minimal"}}, None, True),
        (LUNA, {"reasoning": {"effort": "max"}}, "none", False),
        (ModelFacts(sampling="never"), {"reasoning": {"effort": "none"}}, None, False),
    ],
)
def test_sampling_goes_where_the_model_would_refuse_it(
    facts: ModelFacts, more: Object, effort: str | None, kept: bool
) -> None:
    said, lost = write(facts, {"temperature": 0.2, **more}, effort=effort)
    assert ("temperature" in said) is kept
    assert ("temperature dropped" in lost) is not kept


def test_members_that_a_provider_refuses_are_dropped_and_named() -> None:
    said, lost = write(
        more={"truncation": "auto", "temperature": 1},
        refuses=frozenset({"truncation", "temperature", "store"}),
    )
    assert not {"truncation", "temperature"} & set(said)
    assert lost == ["temperature dropped", "truncation dropped"]


def test_log_probabilities_are_only_asked_of_a_model_that_gives_them() -> None:
    prompt = ask(top_logprobs=2).prompt
    assert DIALECT.explain_unfit(prompt, target(facts=LUNA)) == "gives no logprobs while it reasons"
    assert DIALECT.explain_unfit(prompt, target(facts=LUNA, effort="none")) == ""
    assert (
        DIALECT.explain_unfit(prompt, target(refuses=frozenset({"include"}))) == "gives no logprobs"
    )
    assert DIALECT.explain_unfit(ask().prompt, target(facts=LUNA)) == ""


def test_a_name_that_stands_twice_goes_on_once() -> None:
    body = DIALECT.read(b'{"model":"m","input":"a","input":"b"}')
    assert json.loads(DIALECT.write(body, target()).body) == {"model": "m", "input": "b"}
    assert raw(input="b") == b'{"model": "m", "input": "b"}'
