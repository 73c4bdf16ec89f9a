"""Pins: what a model name, a header, a key and an alias ask for, and the errors for wrong names."""

import pytest

from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key, RequestOptions
from gateway.routing import model_name as pins
from tests.routing import world

GOOGLE_KEY = Key(name="g", lab="google")

PINNED: list[tuple[str, RequestOptions, Key, str, str, str, str | None]] = [
    # model, headers, key -> lab, tier, source, pinned model
    ("auto", NO_OPTIONS, OPEN_KEY, "openai", "smart", "default", None),
    ("fast", NO_OPTIONS, OPEN_KEY, "openai", "fast", "pin", None),
    ("smart", NO_OPTIONS, OPEN_KEY, "openai", "smart", "pin", None),
    ("reasoning", NO_OPTIONS, OPEN_KEY, "openai", "reasoning", "pin", None),
    ("openai/auto", NO_OPTIONS, OPEN_KEY, "openai", "smart", "default", None),
    ("google/auto", NO_OPTIONS, OPEN_KEY, "google", "smart", "default", None),
    ("google/fast", NO_OPTIONS, OPEN_KEY, "google", "fast", "pin", None),
    ("google/reasoning", NO_OPTIONS, OPEN_KEY, "google", "reasoning", "pin", None),
    # a real model: its own lab and tier, the first tier if it is in several
    ("luna", NO_OPTIONS, OPEN_KEY, "openai", "fast", "pin", "luna"),
    ("sol", NO_OPTIONS, OPEN_KEY, "openai", "smart", "pin", "sol"),
    ("argon", NO_OPTIONS, OPEN_KEY, "google", "reasoning", "pin", "argon"),
    # the model after its provider or its lab
    ("gemini/argon", NO_OPTIONS, OPEN_KEY, "google", "reasoning", "pin", "gemini/argon"),
    ("google/argon", NO_OPTIONS, OPEN_KEY, "google", "reasoning", "pin", "argon"),
    ("openai/terra", NO_OPTIONS, OPEN_KEY, "openai", "smart", "pin", "openai/terra"),
    # aliases of the configuration
    ("old", NO_OPTIONS, OPEN_KEY, "openai", "smart", "default", None),
    ("older", NO_OPTIONS, OPEN_KEY, "openai", "reasoning", "pin", None),
    ("oldest", NO_OPTIONS, OPEN_KEY, "openai", "smart", "pin", "terra"),
    ("old", NO_OPTIONS, GOOGLE_KEY, "google", "smart", "default", None),
    # the key's lab applies to names without a lab
    ("fast", NO_OPTIONS, GOOGLE_KEY, "google", "fast", "pin", None),
    ("auto", NO_OPTIONS, GOOGLE_KEY, "google", "smart", "default", None),
    ("openai/fast", NO_OPTIONS, GOOGLE_KEY, "openai", "fast", "pin", None),
    ("luna", NO_OPTIONS, GOOGLE_KEY, "openai", "fast", "pin", "luna"),
    # headers win over the name and the key
    ("auto", RequestOptions(lab="google"), OPEN_KEY, "google", "smart", "default", None),
    ("fast", RequestOptions(lab="google"), OPEN_KEY, "google", "fast", "pin", None),
    ("openai/fast", RequestOptions(lab="google"), OPEN_KEY, "google", "fast", "pin", None),
    ("auto", RequestOptions(lab="openai"), GOOGLE_KEY, "openai", "smart", "default", None),
    ("auto", RequestOptions(tier="reasoning"), OPEN_KEY, "openai", "reasoning", "pin", None),
    ("fast", RequestOptions(tier="reasoning"), OPEN_KEY, "openai", "reasoning", "pin", None),
    ("luna", RequestOptions(tier="smart"), OPEN_KEY, "openai", "smart", "pin", None),
    ("auto", RequestOptions(lab="google", tier="fast"), OPEN_KEY, "google", "fast", "pin", None),
    ("argon", RequestOptions(lab="google"), OPEN_KEY, "google", "reasoning", "pin", "argon"),
]


@pytest.mark.parametrize(("model", "steer", "key", "lab", "tier", "source", "pinned"), PINNED)
def test_each_model_name_gives_the_lab_tier_and_model_of_the_table(
    model: str,
    steer: RequestOptions,
    key: Key,
    lab: str,
    tier: str,
    source: str,
    pinned: str | None,
) -> None:
    decision, plan = world.decided(world.router(), world.call(model=model, key=key, steer=steer))
    assert (decision.lab, decision.tier, decision.source) == (lab, tier, source)
    assert decision.model == pinned
    if pinned is not None:
        assert {item.model for item in plan.targets} == {pinned.rpartition("/")[2]}


@pytest.mark.parametrize(("model", "steer", "key", "lab", "tier", "source", "pinned"), PINNED)
def test_the_quick_check_for_an_open_tier_agrees_with_the_decision(
    model: str,
    steer: RequestOptions,
    key: Key,
    lab: str,
    tier: str,
    source: str,
    pinned: str | None,
) -> None:
    call = world.call(model=model, key=key, steer=steer)
    assert pins.leaves_tier_open(call, world.CATALOGUE) == (source != "pin")


def test_a_pinned_model_is_called_without_the_effort_of_its_tier() -> None:
    _, plan = world.decided(world.router(), world.call(model="sol"))
    assert [(item.model, item.effort) for item in plan.targets] == [("sol", None)]
    _, plan = world.decided(world.router(), world.call(model="smart"))
    assert [(item.model, item.effort) for item in plan.targets] == [
        ("sol", "low"),
        ("terra", "none"),
    ]


def test_the_trace_says_where_a_pin_comes_from() -> None:
    def first(model: str, steer: RequestOptions = NO_OPTIONS) -> list[str]:
        decision, _ = world.decided(world.router(), world.call(model=model, steer=steer))
        return world.lines(decision)[:2]

    assert first("google/fast") == ["pin: google/fast (model 'google/fast')"]
    assert first("sol") == ["pin: openai/smart, model sol (a real model name)"]
    assert first("older")[0] == "pin: model openai/reasoning (alias older)"
    assert first("older")[1] == "pin: openai/reasoning (model 'openai/reasoning')"
    assert first("luna", RequestOptions(tier="smart")) == ["pin: tier smart (x-tiergate-tier)"]
    assert first("auto")[0] == "-pin: lab openai ('auto' leaves the tier open)"


ASK = "Ask for auto, fast, smart, reasoning, lab/tier or a model that GET /v1/models lists."

REFUSED: list[tuple[str, RequestOptions, Key, str, str, str]] = [
    # model, headers, key -> kind, parameter, message
    ("anthropic/auto", NO_OPTIONS, OPEN_KEY, "model_not_found", "model",
     "The lab 'anthropic' is off. Labs that are on: google, openai."),
    ("auto", RequestOptions(lab="anthropic"), OPEN_KEY, "model_not_found", "x-tiergate-lab",
     "The lab 'anthropic' is off. Labs that are on: google, openai."),
    ("auto", NO_OPTIONS, Key(name="k", lab="anthropic"), "model_not_found", "model",
     "The lab 'anthropic' is off. Labs that are on: google, openai."),
    ("auto", RequestOptions(lab="mistral"), OPEN_KEY, "model_not_found", "x-tiergate-lab",
     "There is no lab 'mistral'. Labs that are on: google, openai."),
    ("opus", NO_OPTIONS, OPEN_KEY, "model_not_found", "model",
     "The model 'opus' is off: none of its providers is on."),
    ("anthropic/opus", NO_OPTIONS, OPEN_KEY, "model_not_found", "model",
     "The model 'anthropic/opus' is off: none of its providers is on."),
    ("host/luna", NO_OPTIONS, OPEN_KEY, "model_not_found", "model",
     "The model 'host/luna' is off: none of its providers is on."),
    ("argon", RequestOptions(lab="openai"), OPEN_KEY, "model_not_found", "model",
     "The lab 'openai' does not serve the model 'argon'."),
    ("google/argon", RequestOptions(lab="openai"), OPEN_KEY, "model_not_found", "model",
     "The lab 'openai' does not serve the model 'google/argon'."),
    ("lunar", NO_OPTIONS, OPEN_KEY, "model_not_found", "model",
     f"The gateway does not serve the model 'lunar'. Did you mean 'luna'? {ASK}"),
    ("reasonig", NO_OPTIONS, OPEN_KEY, "model_not_found", "model",
     f"The gateway does not serve the model 'reasonig'. Did you mean 'reasoning'? {ASK}"),
    ("google/fats", NO_OPTIONS, OPEN_KEY, "model_not_found", "model",
     f"The gateway does not serve the model 'google/fats'. Did you mean 'google/fast'? {ASK}"),
    ("gpt-4o", NO_OPTIONS, OPEN_KEY, "model_not_found", "model",
     f"The gateway does not serve the model 'gpt-4o'. {ASK}"),
    ("x" * 101, NO_OPTIONS, OPEN_KEY, "model_not_found", "model",
     f"The gateway does not serve the model '{'x' * 100}...'. {ASK}"),
    ("auto", RequestOptions(tier="reasoner"), OPEN_KEY, "invalid_request", "x-tiergate-tier",
     "There is no tier 'reasoner'. The tiers are fast, smart and reasoning."),
]  # fmt: skip


@pytest.mark.parametrize(("model", "steer", "key", "kind", "param", "message"), REFUSED)
def test_the_error_for_a_wrong_model_name_says_what_to_do(
    model: str, steer: RequestOptions, key: Key, kind: str, param: str, message: str
) -> None:
    problem = world.refusal(world.router(), world.call(model=model, key=key, steer=steer))
    assert (problem.kind, problem.param, problem.message) == (kind, param, message)


DETAILED: list[tuple[str, RequestOptions, str]] = [
    ("anthropic/auto", NO_OPTIONS, "set ANTHROPIC_API_KEY"),
    ("opus", NO_OPTIONS, "set ANTHROPIC_API_KEY"),
    ("host/luna", NO_OPTIONS, "set HOST_API_KEY"),
    ("lunar", NO_OPTIONS, ""),
    ("argon", RequestOptions(lab="openai"), ""),
]


@pytest.mark.parametrize(("model", "steer", "detail"), DETAILED)
def test_hints_for_the_operator_are_not_in_the_message_to_the_client(
    model: str, steer: RequestOptions, detail: str
) -> None:
    """A client cannot act on it, and need not know the operator's settings."""
    problem = world.refusal(world.router(), world.call(model=model, steer=steer))
    assert problem.detail == detail
    assert "API_KEY" not in problem.message
    assert problem.operator_message == problem.message + (f" ({detail})" if detail else "")


SUGGESTED: list[tuple[Key, str, str, str]] = [
    # key, requested model -> a text in the message, and a text that is not in it
    (Key(name="k", labs=("google",)), "lunar", "ask", "luna'"),
    (Key(name="k", labs=("google",)), "argo", "Did you mean 'argon'?", "luna"),
    (Key(name="k", models=("sol",)), "lunar", "ask", "luna'"),
    (Key(name="k", models=("sol",)), "so", "Did you mean 'sol'?", "luna"),
    (Key(name="k", tiers=("fast",)), "argo", "Ask for auto, fast, lab/tier or", "argon"),
    (Key(name="k", tiers=("fast",)), "smrt", "Ask for auto, fast, lab/tier or", "smart"),
    (Key(name="k", labs=("google",)), "openai/fats", "ask", "openai/fast"),
]


@pytest.mark.parametrize(("key", "model", "present", "absent"), SUGGESTED)
def test_errors_suggest_only_names_that_the_key_may_use(
    key: Key, model: str, present: str, absent: str
) -> None:
    message = world.refusal(world.router(), world.call(model=model, key=key)).message
    assert present.lower() in message.lower()
    assert absent not in message


def test_errors_list_only_labs_that_the_key_may_use() -> None:
    key = Key(name="k", labs=("google",))
    call = world.call(key=key, steer=RequestOptions(lab="mistral"))
    message = world.refusal(world.router(), call).message
    assert message == "There is no lab 'mistral'. Labs that are on: google."
    none = world.call(key=Key(name="k", labs=()), steer=RequestOptions(lab="mistral"))
    assert world.refusal(world.router(), none).message == "There is no lab 'mistral'."


def test_with_all_labs_off_the_error_lists_none() -> None:
    catalogue = world.catalogue([world.lab("anthropic", reasoning=[world.OPUS])], default="")
    problem = world.refusal(world.router(known=catalogue), world.call())
    assert problem.message == "No lab is on. `tiergate check` says why."


def test_the_own_model_of_a_lab_comes_before_a_host_model_of_the_same_name() -> None:
    """OpenRouter has a model named "google/argon": the gateway calls the lab's own model."""
    routed = world.target(world.OPENAI, "google/argon")
    catalogue = world.catalogue([world.lab("google", reasoning=[world.ARGON, routed])])
    _, plan = world.decided(world.router(known=catalogue), world.call("a", model="google/argon"))
    assert world.names(plan) == ["gemini/argon"]
