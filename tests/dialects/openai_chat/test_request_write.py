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


def send(requested: str, target_: Target) -> tuple[Object, tuple[Loss, ...]]:
    """Return the members that the gateway adds or changes for a request, and the losses."""
    body = OPENAI_CHAT.read(BASE + (b"," + requested.encode() if requested else b"") + b"}")
    written = OPENAI_CHAT.write(body, target_)
    sent = json.loads(written.body)
    assert sent.pop("messages") == []
    assert sent.pop("model") == target_.model
    return sent, written.losses


def effort_facts(style: str | None, accepts: tuple[str, ...] = (), **more: Any) -> ModelFacts:
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


def test_the_tests_cover_every_effort_style() -> None:
    assert set(STYLES) == set(effort.STYLES)
    members = {name for pair in STYLES.values() for member in pair for name in member}
    assert members | {"thinking_budget"} == effort.MEMBERS


@pytest.mark.parametrize("style", STYLES)
def test_a_tiers_effort_is_sent_in_the_members_of_the_host(style: str) -> None:
    none, high = STYLES[style]
    assert send("", target(effort="none", facts=effort_facts(style))) == (none, ())
    assert send("", target(effort="high", facts=effort_facts(style))) == (high, ())


@pytest.mark.parametrize("style", STYLES)
def test_a_clients_effort_is_sent_in_the_members_of_the_host(style: str) -> None:
    """The client's member is reasoning_effort; a host with another switch gets that switch."""
    none, high = STYLES[style]
    target_ = target(effort="low", facts=effort_facts(style))
    assert send('"reasoning_effort":"none"', target_) == (none, ())
    sent, losses = send('"reasoning_effort":"high"', target_)
    assert sent == high
    lost = [(loss.field, loss.action) for loss in losses]
    on_off = style in ("thinking", "template")
    assert lost == ([("reasoning_effort", "approximated")] if on_off else [])


@pytest.mark.parametrize("member", sorted(effort.MEMBERS))
def test_an_effort_member_of_the_host_set_by_the_client_stays(member: str) -> None:
    """A client that sets any of them has chosen."""
    sent, losses = send(
        f'"{member}":1', target(effort="low", facts=effort_facts("reasoning_effort"))
    )
    assert (sent, losses) == ({member: 1}, ())


def test_two_effort_members_set_by_the_client_both_stay() -> None:
    requested = '"reasoning_effort":"high","thinking":{"type":"disabled"}'
    sent, _ = send(requested, target(facts=effort_facts("thinking+reasoning_effort")))
    assert sent == {"reasoning_effort": "high", "thinking": {"type": "disabled"}}


def test_an_effort_for_a_model_without_control_is_dropped_and_named() -> None:
    """A tier's effort is dropped silently; a client's is a loss."""
    target_ = target(effort="low", facts=ModelFacts(context=8000))
    assert send("", target_) == ({}, ())
    why = "m has no effort setting"
    assert send('"reasoning_effort":"low"', target_) == (
        {},
        (Loss("reasoning_effort", "dropped", why),),
    )


@pytest.mark.parametrize("facts", [{}, {"facts": ModelFacts()}])
def test_an_unknown_model_gets_the_clients_effort(facts: Any) -> None:
    """An unknown model refuses nothing, even if the configuration names it to give its price."""
    assert send('"reasoning_effort":"low"', target(**facts)) == ({"reasoning_effort": "low"}, ())


def test_the_provider_judges_an_unknown_effort() -> None:
    target_ = target(facts=effort_facts("reasoning_effort", ("low", "high")))
    assert send('"reasoning_effort":"ultra"', target_) == ({"reasoning_effort": "ultra"}, ())


@given(
    st.sampled_from(EFFORTS),
    st.lists(st.sampled_from(EFFORTS), min_size=1, unique=True),
    st.sampled_from(sorted(STYLES)),
)
def test_effort_is_clamped_to_what_the_model_accepts(
    requested: str, accepted: list[str], style: str
) -> None:
    """The clamp is a loss; the model always accepts the sent effort."""
    target_ = target(facts=effort_facts(style, tuple(accepted)))
    sent, losses = send(f'"reasoning_effort":"{requested}"', target_)
    reached = [effort.write(style, item) for item in accepted]
    assert sent in reached
    clamped = [loss for loss in losses if loss.action == "clamped"]
    assert bool(clamped) == (requested not in accepted)
    if clamped:
        assert all(item in clamped[0].reason for item in accepted)


def test_chat_may_accept_fewer_efforts_than_the_model() -> None:
    """The highest effort may be for another dialect alone."""
    facts = effort_facts("reasoning_effort", ("high", "max"), chat_efforts=("high",))
    sent, losses = send('"reasoning_effort":"max"', target(facts=facts))
    assert sent == {"reasoning_effort": "high"}
    assert losses == (Loss("reasoning_effort", "clamped", "m accepts high; sent high"),)


EITHER, OLD, NEW = "either", "max_tokens", "max_completion_tokens"


@pytest.mark.parametrize(
    ("cap_name", "requested", "most", "tier", "sent", "clamped"),
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
def test_the_output_cap_has_the_providers_name_and_the_models_limit(
    cap_name: Any,
    requested: str,
    most: int | None,
    tier: int | None,
    sent: Object,
    clamped: str | None,
) -> None:
    """A new name loses nothing and is not reported; a clamp is.

    The client's cap goes before the tier's.
    """
    target_ = target(
        facts=ModelFacts(max_output=most), max_output=tier, provider_max_tokens=cap_name
    )
    members, losses = send(requested, target_)
    assert members == sent
    why = f"m allows at most {most}"
    assert losses == ((Loss(clamped, "clamped", why),) if clamped else ())


SAMPLING = '"temperature":1.50,"top_p":0.9,"presence_penalty":0,"frequency_penalty":0,"seed":1'


@pytest.mark.parametrize(
    ("sampling", "tier_effort", "requested", "is_sent"),
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
def test_sampling_is_sent_only_to_models_that_take_it(
    sampling: Any, tier_effort: str | None, requested: str, is_sent: bool
) -> None:
    """The gateway drops and names them; they tune an answer and change no meaning."""
    facts = effort_facts("reasoning_effort", sampling=sampling, default_effort="medium")
    sent, losses = send(requested + SAMPLING, target(effort=tier_effort, facts=facts))
    names = ["temperature", "top_p", "presence_penalty", "frequency_penalty"]
    assert [name in sent for name in names] == [is_sent] * 4
    assert sent["seed"] == 1
    why = "m does not accept sampling parameters"
    assert losses == (() if is_sent else tuple(Loss(name, "dropped", why) for name in names))


def test_a_clamped_effort_decides_if_sampling_is_sent() -> None:
    """The client asked for none, which the model lacks: it reasons, and takes no temperature."""
    facts = effort_facts("reasoning_effort", ("low", "high"), sampling="effort-none")
    sent, losses = send('"reasoning_effort":"none","temperature":1', target(facts=facts))
    assert sent == {"reasoning_effort": "low"}
    assert [loss.field for loss in losses] == ["reasoning_effort", "temperature"]


def test_refused_members_are_dropped_and_named() -> None:
    """The model or its provider refuses them; losses come in the order of names."""
    target_ = target(
        facts=ModelFacts(refused_members=frozenset({"verbosity"})),
        provider_refused_members=frozenset({"store", "user"}),
    )
    sent, losses = send('"verbosity":"low","store":false,"x":1', target_)
    assert sent == {"x": 1}
    assert losses == (
        Loss("store", "dropped", "here/m refuses it"),
        Loss("verbosity", "dropped", "here/m refuses it"),
    )


def test_a_renamed_cap_is_not_refused_by_its_old_name() -> None:
    """A provider that refuses max_tokens gets max_completion_tokens instead."""
    target_ = target(provider_max_tokens=NEW, provider_refused_members=frozenset({OLD}))
    assert send(f'"{OLD}":9', target_) == ({NEW: 9}, ())


@pytest.mark.parametrize(
    ("requested", "provider", "options"),
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
def test_the_gateway_asks_for_usage_in_every_stream(
    requested: str, provider: Any, options: Any
) -> None:
    """Accounting needs usage. A host that always sends it, or refuses the option, is not asked."""
    sent, _ = send(requested, target(**provider))
    assert sent.get("stream_options") == options
    body = OPENAI_CHAT.read(
        f'{{"model":"m","messages":[]{requested and "," + requested}}}'.encode()
    )
    written = OPENAI_CHAT.write(body, target(**provider))
    assert written.asks_usage == (options is not None and not OPENAI_CHAT.asks_usage(body))


def test_target_parameters_fill_members_that_the_client_left_unset() -> None:
    target_ = target(params={"verbosity": "low", "temperature": 0, "top_k": {"a": [1]}})
    sent, losses = send('"temperature":1.50', target_)
    assert sent == {"temperature": 1.5, "verbosity": "low", "top_k": {"a": [1]}}
    assert losses == ()


def test_target_parameters_do_not_restore_dropped_members() -> None:
    facts = effort_facts("reasoning_effort", sampling="never")
    sent, losses = send('"temperature":1', target(facts=facts, params={"temperature": 0}))
    assert sent == {}
    assert [loss.field for loss in losses] == ["temperature"]


@given(st.data())
def test_every_native_member_is_sent_or_named_as_a_loss(data: st.DataObject) -> None:
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
    target_ = target(
        facts=facts,
        effort=data.draw(some([None, "none", "high"])),
        max_output=data.draw(some([None, 4])),
        provider_max_tokens=data.draw(some([EITHER, OLD, NEW])),
        provider_refused_members=data.draw(st.frozensets(some(["x_other", "top_p"]))),
    )
    sent, losses = send(json.dumps(members)[1:-1], target_)
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
