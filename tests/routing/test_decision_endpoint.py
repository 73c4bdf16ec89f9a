"""The endpoint of a decision model: by its provider, its lab, or the only provider that has one."""

import pytest

from gateway.core.errors import ProblemError
from gateway.core.passthrough import PassThroughRoutes, ProviderEndpoint
from gateway.core.target import Provider
from gateway.routing.decision_endpoint import find_decision_endpoint
from gateway.settings.passthrough import TABLES
from tests.routing import world
from tests.routing.test_hosted_models import ALL_ON, OPENAI, ROUTER

LONE = world.provider("lone")
LABS = {"openai": "openai", "openrouter": "openai", "lone": "lone"}


def routes(*parts: tuple[Provider, str]) -> PassThroughRoutes:
    return PassThroughRoutes(
        ProviderEndpoint(
            endpoint=TABLES[table].endpoints[0],
            table=TABLES[table],
            provider=provider,
            lab=LABS[provider.name],
            base_url="https://x.test",
        )
        for provider, table in parts
    )


def find(model: str, *parts: tuple[Provider, str]) -> tuple[str, str] | None:
    endpoint = find_decision_endpoint(ALL_ON, routes(*parts), model)
    return None if endpoint is None else (endpoint.provider.name, endpoint.table.name)


DECISIONS, SYSTEM_ONE = "openai-decisions", "systemone"
ALL = ((ROUTER, SYSTEM_ONE), (LONE, SYSTEM_ONE), (OPENAI, DECISIONS))


@pytest.mark.parametrize(
    ("model", "parts", "expected"),
    [
        ("gpt-6", ALL, ("openai", DECISIONS)),  # a lab lists it
        ("lone/decide-1", ALL, ("lone", SYSTEM_ONE)),
        ("openrouter/typesafe/jev-1.13", ALL, ("openrouter", SYSTEM_ONE)),
        ("decide-1", ((LONE, SYSTEM_ONE),), ("lone", SYSTEM_ONE)),  # nobody else has one
        ("lone/x", ((LONE, SYSTEM_ONE), (LONE, DECISIONS)), ("lone", DECISIONS)),  # both forms
        ("lone/x", ((LONE, "rerank"),), None),
        ("lone/x", (), None),
    ],
)
def test_a_decision_model_has_one_endpoint(
    model: str, parts: tuple[tuple[Provider, str], ...], expected: tuple[str, str] | None
) -> None:
    assert find(model, *parts) == expected


def test_a_name_that_several_providers_may_have_is_refused() -> None:
    with pytest.raises(ProblemError) as refusal:
        find("decide-1", *ALL)
    assert "Name one" in refusal.value.problem.message
