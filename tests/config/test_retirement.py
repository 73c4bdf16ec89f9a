"""No shipped target has retired, according to its file and to a price list."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from genai_prices.data_snapshot import get_snapshot

from gateway.core.target import Target
from tests.config import shipped

BUILT = date(2026, 11, 29)
"""The day of the last look at the shipped targets. Look at them again with each release."""
SOON = timedelta(days=30)
ENDING = {"azure-foundry/MAI-Code-1.1-Flash": date(2026, 12, 9)}
"""Targets that retire within a month, about which `check` warns."""


def targets() -> Iterator[tuple[str, Target]]:
    """Yield every target with its lab and tier."""
    for lab in shipped.built(shipped.ALL_SET).catalogue.labs.values():
        for tier, row in (*lab.tiers.items(), ("embeddings", lab.embeddings)):
            for target in row:
                yield f"{lab.name}/{tier}", target


def retired(day: date) -> dict[str, str]:
    """Return the targets that have retired on a day, with their places."""
    return {
        f"{place}: {target.name}": f"retired on {target.facts.retirement_date}"
        for place, target in targets()
        if target.facts.retirement_date is not None and target.facts.retirement_date <= day
    }


def test_no_target_has_retired() -> None:
    assert retired(BUILT) == {}


def test_no_target_had_retired_when_its_price_was_checked() -> None:
    for place, target in targets():
        version = "" if target.price is None else target.price.version
        if target.facts.retirement_date is not None and version.startswith("config "):
            checked = date.fromisoformat(version.removeprefix("config "))
            assert target.facts.retirement_date > checked, (place, target.name)


def test_targets_that_retire_within_a_month_are_listed_here() -> None:
    ending = {
        target.name: target.facts.retirement_date
        for _, target in targets()
        if target.facts.retirement_date is not None and target.facts.retirement_date <= BUILT + SOON
    }
    assert ending == ENDING


def test_a_retired_target_would_fail_these_tests() -> None:
    assert retired(date(2026, 12, 9)) == {
        "microsoft/fast: azure-foundry/MAI-Code-1.1-Flash": "retired on 2026-12-09"
    }
    assert len(retired(date(2028, 12, 31))) > 10


def test_the_price_list_marks_no_target_as_deprecated() -> None:
    source, deprecated = shipped.source(shipped.ALL_SET), list[str]()
    for _, target in targets():
        name = target.provider.name
        listed = source.config.providers[name].prices or name
        try:
            _, model = get_snapshot().find_provider_model(target.model, None, listed, None)
        except LookupError:
            continue
        if model.deprecated:
            deprecated.append(target.name)
    assert deprecated == []


@pytest.mark.parametrize(
    ("model", "day"),
    [
        ("azure-openai/gpt-6-luna", "2028-03-11"),
        ("azure-openai/text-embedding-3-small", "2028-02-09"),
        ("azure-claude/claude-opus-5-5", "2027-09-18"),
        ("azure-claude/claude-sonnet-5-5", "2027-09-29"),
        ("azure-foundry/Phi-4-mini-instruct", "2027-01-17"),
        ("mistral/mistral-medium-3-5", "2027-04-30"),
        ("mistral/mistral-large-2512", "2027-04-30"),
        ("gemini/gemini-3.1-flash-lite", "2027-05-07"),
        ("gemini/gemini-embedding-001", "2028-05-14"),
        ("bedrock-converse/us.meta.llama3-3-70b-instruct-v1:0", "2027-03-30"),
    ],
)
def test_retirement_dates_are_those_of_the_sources(model: str, day: str) -> None:
    (dates,) = {target.facts.retirement_date for _, target in targets() if target.name == model}
    assert dates == date.fromisoformat(day)


def test_a_retirement_date_of_one_host_does_not_apply_to_others() -> None:
    """The model itself, and other hosts of it, go on."""
    for name in ("openai/gpt-6-luna", "openrouter/openai/gpt-6-luna", "anthropic/claude-opus-5-5"):
        assert {target.facts.retirement_date for _, target in targets() if target.name == name} == {
            None
        }
