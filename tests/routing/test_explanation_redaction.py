"""An explanation hides from a key what it may not use; a key without a scope sees everything."""

import msgspec
import pytest

from gateway.core.call import Key, RequestOptions
from gateway.core.errors import ProblemError
from gateway.routing import explain
from gateway.routing.explanation_redaction import find_hidden_names, redact_explanation
from tests.routing import test_route_embeddings, world

CATALOGUE = world.catalogue(
    (
        world.lab("google", [world.LITE], [world.HYDROGEN], [world.ARGON]),
        world.lab("openai", [world.LUNA], [world.SOL, world.TERRA], [world.ASTRA]),
    ),
    default="google",
    jewel="argon",
    mine="google/smart",
)
GOOGLE = {"google", "gemini", "gemini/lite", "gemini/hydrogen", "gemini/argon", "lite", "hydrogen", "argon"}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (Key(name="k"), set()),
        (Key(name="k", tiers=("fast",)), set()),
        (Key(name="k", labs=("openai",)), GOOGLE),
        (Key(name="k", labs=("openai", "google")), set()),
        (Key(name="k", models=("luna", "lite")), {"gemini/hydrogen", "gemini/argon", "hydrogen", "argon", "openai/sol", "openai/terra", "openai/astra", "sol", "terra", "astra"}),
        (Key(name="k", models=("luna", "sol", "terra", "astra")), GOOGLE),
        (Key(name="k", regions=("mars",)), {*GOOGLE, "openai", "luna", "openai/luna", "sol", "openai/sol", "terra", "openai/terra", "astra", "openai/astra"}),
    ],
)  # fmt: skip
def test_names_outside_the_scope_of_a_key_are_hidden(key: Key, names: set[str]) -> None:
    assert find_hidden_names(CATALOGUE, key) == names


def test_an_embedding_model_outside_the_scope_of_a_key_is_hidden() -> None:
    assert "own" in find_hidden_names(
        test_route_embeddings.CATALOGUE, Key(name="k", labs=("openai",))
    )
    assert "own" not in find_hidden_names(
        test_route_embeddings.CATALOGUE, Key(name="k", labs=("other",))
    )


def test_hidden_names_are_masked_and_nothing_else() -> None:
    """Only whole names are masked: `lite` is not in `elite`, nor `sol` in `sol-2`."""
    key = Key(name="k", models=("luna", "terra"))
    decision, plan = world.decided(
        world.router(known=CATALOGUE), world.call("x", model="openai/smart", key=key)
    )
    explanation = explain.describe(decision, plan, [None], 0.0)
    shown = redact_explanation(explanation, CATALOGUE, key)
    assert "openai/sol" in str(explanation["skipped"])
    assert shown["skipped"] == [
        {"target": "(hidden)", "tier": "smart", "reason": "is not a model of this key"}
    ]
    assert "sol" not in str(shown["trace"])
    assert shown["plan"] == explanation["plan"]
    assert redact_explanation(explanation, CATALOGUE, Key(name="k")) == explanation
    explanation["trace"] = ["an elite, sol-2, sol: lite, and gemini/argon.", 1, None]
    assert redact_explanation(explanation, CATALOGUE, key)["trace"] == [
        "an elite, sol-2, (hidden): (hidden), and (hidden).",
        1,
        None,
    ]


@pytest.mark.parametrize(
    ("model", "key", "message"),
    [
        ("mine", Key(name="k", labs=("openai",)), "This key may not use the model 'mine' for this call."),
        ("google/smart", Key(name="k", labs=("openai",)), "This key may not use the lab 'google' for this call."),
        ("mine", Key(name="k", models=("luna",)), "This key may not use any model for this call: each is not a model of this key."),
        ("google/smart", Key(name="k", models=("luna",)), "This key may not use any model of google/smart for this call: each is not a model of this key."),
        ("argo", Key(name="k", labs=("openai",)), "The gateway does not serve the model 'argo'. Ask for auto, fast, smart, reasoning, lab/tier or a model that GET /v1/models lists."),
    ],
)  # fmt: skip
def test_errors_name_only_what_the_client_wrote(model: str, key: Key, message: str) -> None:
    with pytest.raises(ProblemError) as caught:
        world.decided(world.router(known=CATALOGUE), world.call("x", model=model, key=key))
    assert caught.value.problem.message == message


def test_the_error_of_a_lab_that_does_not_serve_an_alias_names_the_alias() -> None:
    call = world.call("x", model="jewel", steer=RequestOptions(lab="openai"))
    with pytest.raises(ProblemError, match="does not serve the model 'jewel'"):
        world.decided(world.router(known=CATALOGUE), call)


def test_no_lab_takes_over_if_the_key_may_not_use_its_models() -> None:
    """The error is that of the requested lab, and names no other lab."""
    lab = msgspec.structs.replace(CATALOGUE.labs["openai"], fallback=("google",))
    catalogue = msgspec.structs.replace(
        CATALOGUE, labs={**CATALOGUE.labs, "openai": lab}, default_lab="openai"
    )
    key = Key(name="k", models=("terra",))
    with pytest.raises(ProblemError) as caught:
        world.decided(
            world.router(known=catalogue), world.call("x", model="smart", key=key, images=1)
        )
    assert caught.value.problem.kind == "no_target"
    assert not [name for name in GOOGLE if name in caught.value.problem.message]
