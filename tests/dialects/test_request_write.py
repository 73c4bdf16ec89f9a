"""A target gets its own words for model, effort and caps, and no member that it refuses."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.loss import Loss
from gateway.core.target import EFFORTS, ModelFacts, Target
from gateway.dialects import OPENAI_CHAT
from gateway.dialects.openai_chat import effort
from tests.dialects.cases import Object, target

BASE = b'{"model":"m","messages":[]'


def send(asked: str, here: Target) -> tuple[Object, tuple[Loss, ...]]:
    """Return the members that the gateway adds or changes for a request, and the losses."""
    body = OPENAI_CHAT.read(BASE + (b"," + asked.encode() if asked else b"") + b"}")
    written = OPENAI_CHAT.write(body, here)
    sent = json.loads(written.body)
    assert sent.pop("messages") == []
    assert sent.pop("model") == here.model
    return sent, written.losses


def thinks(style: str | None, accepts: tuple[str, ...] = (), **more: Any) -> ModelFacts:
    return ModelFacts(effort_style=style, efforts=accepts, **more)


STYLES: dict[str, tuple[Object, Object]] = {
    "reasoning_effort": ({"reasoning_effort": "none"}, {"reasoning_effort": "high"}),
    "thinking": ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled"}}),
    "thinking+reasoning_effort": (
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
    ),
    "enable_thinking": (
        {"enable_thinking": False},
        {"enable_thinking": True, "reasoning_effort": "high"},
    ),
    "reasoning": ({"reasoning": {"enabled": False}}, {"reasoning": {"effort": "high"}}),
    "template": (
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"enable_thinking": True}},
    ),
}
"""Each host's members for no effort and for a high one, from the hosts' own references."""


def test_every_style_is_known_here() -> None:
    assert set(STYLES) == set(effort.STYLES)
    members = {name for pair in STYLES.values() for said in pair for name in said}
    assert members | {"thinking_budget"} == effort.MEMBERS


@pytest.mark.parametrize("style", STYLES)
def test_the_tier_says_effort_in_the_host_s_own_words(style: str) -> None:
    none, high = STYLES[style]
    assert send("", target(effort="none", facts=thinks(style))) == (none, ())
    assert send("", target(effort="high", facts=thinks(style))) == (high, ())


@pytest.mark.parametrize("style", STYLES)
def test_what_the_client_set_is_said_in_the_host_s_own_words(style: str) -> None:
    """The client's member is reasoning_effort; a host with another switch gets that switch."""
    none, high = STYLES[style]
    here = target(effort="low", facts=thinks(style))
    assert send('"reasoning_effort":"none"', here) == (none, ())
    sent, losses = send('"reasoning_effort":"high"', here)
    assert sent == high
    said = [(loss.field, loss.action) for loss in losses]
    on_off = style in ("thinking", "template")
    assert said == ([("reasoning_effort", "approximated")] if on_off else [])


@pytest.mark.parametrize("member", sorted(effort.MEMBERS))
def test_a_switch_that_the_client_set_is_left_alone(member: str) -> None:
    """A client that sets any of them has chosen."""
    sent, losses = send(f'"{member}":1', target(effort="low", facts=thinks("reasoning_effort")))
    assert (sent, losses) == ({member: 1}, ())


def test_two_switches_of_the_client_are_both_its_own() -> None:
    asked = '"reasoning_effort":"high","thinking":{"type":"disabled"}'
    sent, _ = send(asked, target(facts=thinks("thinking+reasoning_effort")))
    assert sent == {"reasoning_effort": "high", "thinking": {"type": "disabled"}}


def test_effort_without_a_control_is_dropped_and_named() -> None:
    """A tier's effort is dropped silently; a client's is a loss."""
    here = target(effort="low", facts=ModelFacts(context=8000))
    assert send("", here) == ({}, ())
    why = "m has no control of effort"
    assert send('"reasoning_effort":"low"', here) == (
        {},
        (Loss("reasoning_effort", "dropped", why),),
    )


@pytest.mark.parametrize("facts", [{}, {"facts": ModelFacts()}])
def test_an_unknown_model_gets_what_the_client_wrote(facts: Any) -> None:
    """An unknown model refuses nothing, even if the configuration names it to give its price."""
    assert send('"reasoning_effort":"low"', target(**facts)) == ({"reasoning_effort": "low"}, ())


def test_an_effort_of_no_scale_is_the_provider_s_to_judge() -> None:
    here = target(facts=thinks("reasoning_effort", ("low", "high")))
    assert send('"reasoning_effort":"ultra"', here) == ({"reasoning_effort": "ultra"}, ())


@given(
    st.sampled_from(EFFORTS),
    st.lists(st.sampled_from(EFFORTS), min_size=1, unique=True),
    st.sampled_from(sorted(STYLES)),
)
def test_effort_is_clamped_to_what_the_model_accepts(
    asked: str, accepted: list[str], style: str
) -> None:
    """The clamp is a loss; the model always accepts the sent effort."""
    here = target(facts=thinks(style, tuple(accepted)))
    sent, losses = send(f'"reasoning_effort":"{asked}"', here)
    reached = [effort.write(style, item) for item in accepted]
    assert sent in reached
    clamped = [loss for loss in losses if loss.action == "clamped"]
    assert bool(clamped) == (asked not in accepted)
    if clamped:
        assert all(item in clamped[0].reason for item in accepted)


def test_chat_may_accept_less_than_the_model() -> None:
    """The highest effort may be for another dialect alone."""
    facts = thinks("reasoning_effort", ("high", "max"), chat_efforts=("high",))
    sent, losses = send('"reasoning_effort":"max"', target(facts=facts))
    assert sent == {"reasoning_effort": "high"}
    assert losses == (Loss("reasoning_effort", "clamped", "m accepts high; sent high"),)


EITHER, OLD, NEW = "either", "max_tokens", "max_completion_tokens"


@pytest.mark.parametrize(
    ("theirs", "asked", "most", "tier", "sent", "clamped"),
    [
        (EITHER, "", None, None, {}, None),
        (EITHER, "", None, 7, {OLD: 7}, None),
        (NEW, "", None, 7, {NEW: 7}, None),
        (OLD, "", 5, 7, {OLD: 7}, None),
        (EITHER, f'"{OLD}":9', None, 7, {OLD: 9}, None),
        (EITHER, f'"{NEW}":9', None, 7, {NEW: 9}, None),
        (OLD, f'"{OLD}":9', None, None, {OLD: 9}, None),
        (OLD, f'"{NEW}":9', None, None, {OLD: 9}, None),
        (NEW, f'"{OLD}":9', None, None, {NEW: 9}, None),
        (NEW, f'"{OLD}":9,"{NEW}":8', None, None, {NEW: 8}, None),
        (OLD, f'"{OLD}":9,"{NEW}":8', None, None, {OLD: 8}, None),
        (EITHER, f'"{OLD}":9,"{NEW}":8', None, None, {OLD: 9, NEW: 8}, None),
        (EITHER, f'"{OLD}":9,"{NEW}":8', 5, None, {NEW: 5}, NEW),
        (EITHER, f'"{OLD}":9', 5, None, {OLD: 5}, OLD),
        (NEW, f'"{OLD}":9', 5, None, {NEW: 5}, OLD),
        (NEW, f'"{OLD}":5', 5, None, {NEW: 5}, None),
        (NEW, f'"{OLD}":null', None, 7, {NEW: 7}, None),
        (NEW, f'"{OLD}":null', None, None, {OLD: None}, None),
        (EITHER, f'"{OLD}":"9"', 5, 7, {OLD: "9"}, None),
        (EITHER, f'"{OLD}":true', 5, 7, {OLD: True}, None),
    ],
)
def test_the_cap_has_the_provider_s_name_and_the_model_s_limit(
    theirs: Any, asked: str, most: int | None, tier: int | None, sent: Object, clamped: str | None
) -> None:
    """A new name loses nothing and is not reported; a clamp is.

    The client's cap goes before the tier's.
    """
    here = target(facts=ModelFacts(max_output=most), max_output=tier, provider_max_tokens=theirs)
    found, losses = send(asked, here)
    assert found == sent
    why = f"m gives at most {most}"
    assert losses == ((Loss(clamped, "clamped", why),) if clamped else ())


KNOBS = '"temperature":1.50,"top_p":0.9,"presence_penalty":0,"frequency_penalty":0,"seed":1'


@pytest.mark.parametrize(
    ("sampling", "at", "asked", "kept"),
    [
        ("always", "high", "", True),
        ("never", "none", "", False),
        ("never", None, "", False),
        ("effort-none", "none", "", True),
        ("effort-none", "high", "", False),
        ("effort-none", None, "", False),
        ("effort-none", "high", '"reasoning_effort":"none",', True),
        ("effort-none", "none", '"reasoning_effort":"low",', False),
    ],
)
def test_sampling_goes_only_to_models_that_take_it(
    sampling: Any, at: str | None, asked: str, kept: bool
) -> None:
    """The gateway drops and names them; they tune an answer and change no meaning."""
    facts = thinks("reasoning_effort", sampling=sampling, default_effort="medium")
    sent, losses = send(asked + KNOBS, target(effort=at, facts=facts))
    names = ["temperature", "top_p", "presence_penalty", "frequency_penalty"]
    assert [name in sent for name in names] == [kept] * 4
    assert sent["seed"] == 1
    why = "m takes no sampling parameters"
    assert losses == (() if kept else tuple(Loss(name, "dropped", why) for name in names))


def test_a_clamped_effort_decides_on_sampling() -> None:
    """The client asked for none, which the model lacks: it reasons, and takes no temperature."""
    facts = thinks("reasoning_effort", ("low", "high"), sampling="effort-none")
    sent, losses = send('"reasoning_effort":"none","temperature":1', target(facts=facts))
    assert sent == {"reasoning_effort": "low"}
    assert [loss.field for loss in losses] == ["reasoning_effort", "temperature"]


def test_what_is_refused_is_dropped_and_named() -> None:
    """The model or its provider refuses them; losses come in the order of names."""
    here = target(
        facts=ModelFacts(refused_members=frozenset({"verbosity"})),
        provider_refused_members=frozenset({"store", "user"}),
    )
    sent, losses = send('"verbosity":"low","store":false,"x":1', here)
    assert sent == {"x": 1}
    assert losses == (
        Loss("store", "dropped", "here/m refuses it"),
        Loss("verbosity", "dropped", "here/m refuses it"),
    )


def test_what_was_renamed_is_not_refused_again() -> None:
    """A provider that refuses max_tokens gets max_completion_tokens instead."""
    here = target(provider_max_tokens=NEW, provider_refused_members=frozenset({OLD}))
    assert send(f'"{OLD}":9', here) == ({NEW: 9}, ())


@pytest.mark.parametrize(
    ("asked", "provider", "options"),
    [
        ('"stream":true', {}, {"include_usage": True}),
        ('"stream":true,"stream_options":null', {}, {"include_usage": True}),
        ('"stream":true,"stream_options":{"include_usage":false,"x":1}', {}, {"include_usage": True, "x": 1}),
        ('"stream":true,"stream_options":{"include_usage":true}', {}, {"include_usage": True}),
        ('"stream":true', {"provider_stream_usage": "always"}, None),
        ('"stream":true', {"provider_refused_members": frozenset({"stream_options"})}, None),
        ('"stream":true,"stream_options":{}', {"provider_refused_members": frozenset({"stream_options"})}, None),
        ('"stream":false', {}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_usage_in_a_stream_is_always_asked_for(asked: str, provider: Any, options: Any) -> None:
    """Accounting needs usage. A host that always sends it, or refuses the option, is not asked."""
    sent, _ = send(asked, target(**provider))
    assert sent.get("stream_options") == options
    body = OPENAI_CHAT.read(f'{{"model":"m","messages":[]{asked and "," + asked}}}'.encode())
    written = OPENAI_CHAT.write(body, target(**provider))
    assert written.asks_usage == (options is not None and not OPENAI_CHAT.asks_usage(body))


def test_parameters_fill_what_the_client_left_unset() -> None:
    here = target(params={"verbosity": "low", "temperature": 0, "top_k": {"a": [1]}})
    sent, losses = send('"temperature":1.50', here)
    assert sent == {"temperature": 1.5, "verbosity": "low", "top_k": {"a": [1]}}
    assert losses == ()


def test_a_parameter_does_not_bring_back_what_was_dropped() -> None:
    facts = thinks("reasoning_effort", sampling="never")
    sent, losses = send('"temperature":1', target(facts=facts, params={"temperature": 0}))
    assert sent == {}
    assert [loss.field for loss in losses] == ["temperature"]


@given(st.data())
def test_nothing_disappears_without_a_loss(data: st.DataObject) -> None:
    """Law 4, native: each member is sent, renamed as a cap, said as effort, or named as a loss."""
    some = st.sampled_from
    members: Object = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "temperature": some([0, 1.5]), "top_p": some([1]), OLD: some([3, 9, None]), NEW: some([3, 9]),
                "store": st.booleans(), "reasoning_effort": some([*EFFORTS, "odd"]), "seed": some([1]), "x_other": some([{}]),
                "stream": st.booleans(), "stream_options": some([{}, {"include_usage": True}]),
            },
        )
    )  # fmt: skip
    facts = ModelFacts(
        sampling=data.draw(some(["always", "effort-none", "never"])),
        effort_style=data.draw(some([None, *sorted(STYLES)])),
        efforts=data.draw(some([(), ("none", "high"), ("low",)])),
        max_output=data.draw(some([None, 5])),
        refused_members=data.draw(st.frozensets(some(["seed", "store"]))),
    )
    here = target(
        facts=facts,
        effort=data.draw(some([None, "none", "high"])),
        max_output=data.draw(some([None, 4])),
        provider_max_tokens=data.draw(some([EITHER, OLD, NEW])),
        provider_refused_members=data.draw(st.frozensets(some(["x_other", "top_p"]))),
    )
    sent, losses = send(json.dumps(members)[1:-1], here)
    lost = {loss.field for loss in losses}
    caps = {OLD, NEW} & set(sent)
    for name, value in members.items():
        if name in (OLD, NEW):
            assert value is None or caps
        elif name == "reasoning_effort":
            assert sent.get(name) == value or name in lost or effort.MEMBERS & set(sent)
        elif name == "stream_options":
            assert name in sent
        else:
            assert (name in sent) != (name in lost)
            assert name in lost or sent[name] == value
