"""Rows are made by place where calls are served: they are those that names would make."""

from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.call import Call, Key
from gateway.core.call_accounting import CallAccount, CallTotals
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, SessionSwitch
from gateway.core.decision_record import DecisionRecord
from gateway.core.ledger_rows import (
    CLASS_ATTRIBUTE,
    CallState,
    FinalRow,
    IntentRow,
    make_row_builder,
    set_row_class,
)
from gateway.core.loss import Loss
from gateway.core.price import Price, Rates, compute_cost
from gateway.core.target import Account, Provider, Target
from gateway.core.usage import Usage

_RATES = Rates(input=Decimal(1), output=Decimal(2))
_USD = st.none() | st.sampled_from([Decimal(0), Decimal("0.0012")])
_COUNT = st.none() | st.integers(0, 5000)
_PRICES = st.sampled_from([None, Price(rates=_RATES, version="v1")])
_TARGETS = st.none() | st.builds(
    Target,
    provider=st.just(Provider(name="p", urls={})),
    model=st.just("m"),
    effort=st.sampled_from([None, "low"]),
    price=_PRICES,
)
_SWITCHES = st.none() | st.builds(
    SessionSwitch,
    has_moved=st.booleans(),
    lab=st.just("l"),
    tier=st.just("fast"),
    target=st.just("p/m"),
    destination=st.just("p/n"),
    tokens=st.just(7),
    cost=_USD,
)
_DECISIONS = st.none() | st.builds(
    Decision,
    lab=st.just("l"),
    tier=st.sampled_from([None, "fast"]),
    source=st.sampled_from(["pin", "rule"]),
    rule=st.sampled_from([None, "r"]),
    confidence=st.none() | st.floats(0, 1),
    tags=st.sampled_from([(), ("a", "b")]),
    switch=_SWITCHES,
)
_USAGES = st.none() | st.builds(
    Usage,
    input=_COUNT,
    cache_read=_COUNT,
    cache_write=st.sampled_from([{}, {"5m": 0}, {"5m": 1, "1h": 2}]),
    output=_COUNT,
    reasoning=_COUNT,
    tools=st.sampled_from([{}, {"web_search": 1}]),
    media=st.sampled_from([{}, {"input_image": 3}, {"output_audio": 3}]),
    service=st.sampled_from([None, "priority"]),
    billed=_USD,
)
_BASES = st.sampled_from(
    [
        None,
        DecisionRecord(chars=3),
        DecisionRecord(turn=ConversationTurn(client="codex")),
        DecisionRecord(turn=ConversationTurn(conversation="c")),
    ]
)
_CALLS = st.builds(
    Call,
    id=st.just("tg-1"),
    dialect=st.just("openai-chat"),
    operation=st.sampled_from(["generate", "embeddings", "count_tokens"]),
    body=st.just(b"{}"),
    key=st.sampled_from([Key(name="k"), Key(name="k", tenant="t")]),
    received_at=st.just(1000.5),
    started_at=st.just(50.0),
)
_STATES = st.sampled_from(get_args(CallState.__value__))
_TEXT = st.sampled_from([None, "", "auto", "x" * 300])


def named(
    tally: CallAccount,
    sums: CallTotals,
    state: CallState,
    status: int,
    problem: str | None,
    by: str | None,
) -> FinalRow:
    """The row, each value by its name."""
    call, decision, target, basis = (
        tally.call,
        tally.decision,
        tally.target,
        tally.make_decision_record,
    )
    told = basis() if basis is not None else None
    turn = told.turn if told is not None else None
    switch = decision.switch if decision is not None else None
    usage, hit = sums.usage or Usage(), tally.cache == "hit"
    return FinalRow(
        id=call.id,
        at=call.received_at,
        key=call.key.name,
        tenant=call.key.tenant,
        tags=decision.tags if decision is not None else (),
        dialect=call.dialect,
        asked=tally.requested_model and tally.requested_model[:200],
        stream=tally.stream,
        state="estimated" if state == "settled" and sums.usage_source != "provider" else state,
        status=status,
        problem=problem,
        aborted_by=by,
        lab=decision.lab if decision is not None else None,
        tier=decision.tier if decision is not None else None,
        source=decision.source if decision is not None else None,
        rule=decision.rule if decision is not None else None,
        confidence=decision.confidence if decision is not None else None,
        conversation=(turn.conversation or None) if turn is not None else None,
        switch_cost=switch.cost if switch is not None and switch.has_moved else None,
        provider=target.provider.name if target is not None else None,
        account=tally.account.name if tally.account is not None else None,
        model=target.model if target is not None else None,
        effort=tally.effort or (target.effort if target is not None else None),
        service=usage.service,
        served=tally.served_model and tally.served_model[:200],
        attempts=tally.attempt_count,
        cache=tally.cache,
        near=tally.cache_similarity,
        dropped=tuple(dict.fromkeys(loss.field for loss in tally.losses)),
        usage=sums.usage_source,
        input=usage.input,
        cache_read=usage.cache_read,
        cache_write=sum(usage.cache_write.values()) if usage.cache_write else None,
        cache_write_by=usage.cache_write,
        output=usage.output,
        reasoning=usage.reasoning,
        tools=usage.tools,
        media=_media(tally, usage),
        cost=sums.cost,
        wasted=None if tally._has_unknown_cost else tally._wasted_cost,
        estimate=sums.estimate,
        billed=None if hit else usage.billed,
        reserved=tally._compute_unknown_bound(sums.answer_cost),
        baseline=tally._compute_baseline(sums.usage, sums.price)
        if tally.compares_baseline
        else None,
        price=None if hit else _version(usage, sums),
        first_content=tally.first_content,
        duration=1.25,
        upstream_id=tally.upstream_id,
        response_id=None if hit or tally.response_id is None else tally.response_id[:200],
        config=tally.config,
        basis=told,
    )


def _media(tally: CallAccount, usage: Usage) -> dict[str, int]:
    """The tokens of the row that are not text: all of a prompt of which nobody tells them apart."""
    asked = (
        tally.has_open_attempt and tally.cache != "hit" and tally.call.operation != "count_tokens"
    )
    return usage.media or ({"input_other": usage.input or 0} if tally.has_media and asked else {})


def _version(usage: Usage, sums: CallTotals) -> str | None:
    """The version of the price that a row names."""
    if usage.billed is not None and compute_cost(usage, sums.price) is None:
        return "provider"
    return sums.price.version if sums.price is not None and usage.service is None else None


@given(st.data())
def test_a_last_row_made_by_place_is_the_one_that_names_make(data: st.DataObject) -> None:
    tally = CallAccount(data.draw(_CALLS), "c1")
    tally.decision = data.draw(_DECISIONS)
    target = data.draw(_TARGETS)
    if target is not None:
        tally.start_attempt(target, Account("main", "s"), 1000.5, 50.5)
        tally.has_open_attempt = data.draw(st.booleans())
    basis = data.draw(_BASES)
    tally.make_decision_record = data.draw(st.sampled_from([None, lambda: basis]))
    tally.requested_model, tally.served_model = data.draw(_TEXT), data.draw(_TEXT)
    tally.effort, tally.upstream_id = data.draw(_TEXT), data.draw(_TEXT)
    tally.response_id, tally.has_media = data.draw(_TEXT), data.draw(st.booleans())
    tally.stream, tally.compares_baseline = data.draw(st.booleans()), data.draw(st.booleans())
    tally.baseline = data.draw(_TARGETS)
    tally.cache = data.draw(st.sampled_from(["off", "hit", "miss"]))
    tally.cache_similarity = data.draw(st.sampled_from([None, 0.9]))
    tally.losses = data.draw(st.sampled_from([(), (Loss("n", "dropped", "w"),) * 2]))
    tally.usage, tally.content_bytes = data.draw(_USAGES), data.draw(_COUNT)
    tally.is_complete, tally._has_unknown_cost = data.draw(st.booleans()), data.draw(st.booleans())
    tally.first_content = data.draw(st.sampled_from([None, 0.25]))
    state = data.draw(_STATES)
    problem, by = data.draw(_TEXT), data.draw(_TEXT)
    sums = tally.close()
    row = tally.make_final_row(sums, state, 200, 51.25, problem=problem, aborted_by=by)
    expected = named(tally, sums, state, 200, problem, by)
    assert type(row) is FinalRow
    assert row == expected
    assert jsonio.dumps(row) == jsonio.dumps(expected)


@given(_CALLS, _DECISIONS, _TARGETS.filter(bool), _COUNT, st.booleans())
def test_a_row_of_a_request_made_by_place_is_the_one_that_names_make(
    call: Call, decision: Decision | None, target: Target, most: int | None, stream: bool
) -> None:
    tally = CallAccount(call, "c1")
    tally.decision, tally.max_output, tally.stream, tally.prompt_tokens = (
        decision,
        most,
        stream,
        400,
    )
    row = tally.start_attempt(target, Account("main", "s"), 1000.75, 50.5)()
    expected = IntentRow(
        id=call.id,
        at=1000.75,
        key=call.key.name,
        tenant=call.key.tenant,
        tags=decision.tags if decision is not None else (),
        dialect=call.dialect,
        stream=stream,
        lab=decision.lab if decision is not None else "",
        tier=(decision.tier or "") if decision is not None else "",
        provider="p",
        account="main",
        model="m",
        input=400,
        most=0 if call.operation == "embeddings" else target.compute_max_output(most, 1),
        reserved=tally.reservation,
        price=target.price.version if target.price is not None else None,
        config="c1",
    )
    assert type(row) is IntentRow
    assert jsonio.dumps(row) == jsonio.dumps(expected)


@pytest.mark.parametrize("kind", [FinalRow, IntentRow])
def test_what_is_placed_is_of_its_kind_and_as_safe(kind: type[FinalRow | IntentRow]) -> None:
    values: list[Any] = [f"value of {name}" for name in kind.__struct_fields__]
    row = make_row_builder(kind)(*values)
    assert isinstance(row, kind)
    set_row_class(row, CLASS_ATTRIBUTE, kind)
    assert type(row) is kind
    assert msgspec.structs.astuple(row) == tuple(values)
    assert row == kind(**dict(zip(kind.__struct_fields__, values, strict=True)))
    with pytest.raises(AttributeError, match="immutable"):
        setattr(row, "id", "another")  # noqa: B010 - what mypy knows, too
    with pytest.raises(TypeError):
        make_row_builder(kind)(*values[:-1])
