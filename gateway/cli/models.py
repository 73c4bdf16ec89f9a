"""`tiergate models`: facts and price of a model name, their sources, and what a key may do."""

import sys
import time
from typing import NamedTuple

import click

from gateway.cli.explain import find_key
from gateway.cli.session import CommandSession, pass_session
from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, Key
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import ProblemError
from gateway.core.name_patterns import matches_name
from gateway.core.price import Price
from gateway.core.prompt import Prompt
from gateway.core.target import TIERS, Catalogue, Lab, Target
from gateway.dialects import OPENAI_CHAT, Dialect
from gateway.dialects.embeddings import OPERATION
from gateway.dialects.openai_chat import EMBEDDINGS
from gateway.routing import features, unlisted_models, visible_models
from gateway.routing.router import Router, decide
from gateway.settings.loader import ConfigSource
from gateway.settings.model_knowledge import (
    ModelKnowledge,
    find_knowledge,
    list_known_facts,
    list_known_rates,
    list_known_unit_prices,
)

_EXAMPLE_TEXT = "Hello"
_WIDTH = 8


class _Place(NamedTuple):
    """A provider that may serve a name, and why."""

    knowledge: ModelKnowledge
    lab: str
    row: str | None
    """The tier, or "embeddings"; None if the model has no tier."""
    reason: str
    """Why the name reaches this provider."""


class _Verdict(NamedTuple):
    """The permission of a key for a name, in words."""

    is_allowed: bool
    text: str


@click.command("models")
@click.argument("name", required=False)
@click.option("--key", "key_name", help="The name of a client's key; by default any caller.")
@click.option("--json", "as_json", is_flag=True, help="Print values as JSON.")
@pass_session
def command(
    session: CommandSession, name: str | None, key_name: str | None, *, as_json: bool
) -> None:
    """Say what is known of a model NAME, and why; without NAME, list what a key may ask for.

    Any model of a provider that is on can be asked for, also those that no tier has. The command
    says which provider would get the name, with which facts and price, and where each stands.

    \b
    Examples:
      tiergate models
      tiergate models gpt-4o-2024-08-06
      tiergate models groq/llama-3.3-70b-versatile --key web
      tiergate models claude-3-5-haiku-latest --json

    \b
    Exit status:
      0  the key may ask for it
      1  such a call would be refused
      2  the command itself was not understood
    """  # noqa: D301 - the mark keeps click from filling these lines
    key = find_key(session, key_name)
    router = session.built_config.router
    catalogue = router.catalogue
    if name is None:
        _print_names(visible_models.list_names(catalogue, key), as_json=as_json)
        return
    resolved_name = catalogue.aliases.get(name, name)
    places = _find_places(session.source, catalogue, resolved_name)
    has_embeddings = bool(places) and all(place.row == OPERATION for place in places)
    verdict = _judge(router, name, key, EMBEDDINGS if has_embeddings else OPENAI_CHAT)
    budgets = _list_hard_budgets(session.source, key)
    if as_json:
        value = {
            "name": name,
            "alias_of": resolved_name if resolved_name != name else None,
            "places": [_describe(place, budgets) for place in places],
            "key": key.name,
            "allowed": verdict.is_allowed,
            "why": verdict.text,
        }
        click.echo(jsonio.dumps_printable(value))
    else:
        if resolved_name != name:
            click.echo(f"{name} is an alias of {resolved_name}.")
        for place in places:
            _print_place(place, budgets)
        color = "green" if verdict.is_allowed else "red"
        click.secho(f"key {key.name}: {verdict.text}", fg=color)
    sys.exit(0 if verdict.is_allowed else 1)


def _print_names(owners: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        click.echo(jsonio.dumps_printable(owners))
        return
    width = max(map(len, owners), default=0)
    for name, owner in owners.items():
        click.echo(f"{name:<{width}}  {owner}")


def _find_places(source: ConfigSource, catalogue: Catalogue, name: str) -> list[_Place]:
    """Return the places of a name: where labs list it, else each provider that may serve it."""
    places = [
        _Place(find_knowledge(source, target), lab.name, row, "a lab lists it")
        for lab in catalogue.labs.values()
        for row, target in _iter_targets(lab)
        if name in (target.model, target.name, f"{lab.name}/{target.model}")
    ]
    if places:
        return places
    models = unlisted_models.find_all(name, catalogue) or unlisted_models.find_all(
        name, catalogue, is_off=True
    )
    return [
        _Place(
            find_knowledge(source, model.owner.targets[model.name]),
            model.lab,
            model.find_tier(catalogue),
            _explain_owner(model, name),
        )
        for model in models
    ]


def _iter_targets(lab: Lab) -> list[tuple[str, Target]]:
    tiers = [(tier, target) for tier in TIERS for target in lab.tiers.get(tier, ())]
    return [*tiers, *[(OPERATION, target) for target in lab.embeddings]]


def _explain_owner(model: unlisted_models.UnlistedModel, name: str) -> str:
    provider = model.owner.provider.name
    if matches_name(model.owner.names, model.name):
        return f"no lab lists it; the `names` of {provider} have it"
    if matches_name(model.owner.hosted_names, name):
        return f"no lab lists it; the `hosted_names` of {provider} have it"
    return f"no lab lists it; the name begins with {provider}"


def _judge(router: Router, name: str, key: Key, dialect: Dialect) -> _Verdict:
    """Return whether a call of a key that asks for a name would be served."""
    prompt = Prompt(model=name, user=_EXAMPLE_TEXT, chars=len(_EXAMPLE_TEXT), user_turns=1)
    call_features = features.read(prompt, dialect.name, key, NO_OPTIONS)
    try:
        decision, plan = decide(router, call_features, dialect, DecisionContext(at=time.time()))
    except ProblemError as error:
        return _Verdict(is_allowed=False, text=error.problem.operator_message)
    targets = ", then ".join(target.name for target in plan.targets)
    tier = "" if decision.tier is None else f"/{decision.tier}"
    return _Verdict(is_allowed=True, text=f"may ask for it: {decision.lab}{tier}, {targets}")


def _list_hard_budgets(source: ConfigSource, key: Key) -> list[str]:
    """Return the names of the hard budgets in USD that may count the calls of a key."""
    names = [part.name for part in source.config.budgets if part.hard and part.usd is not None]
    has_own = any(budget.hard and budget.usd is not None for budget in key.budgets)
    return [*names, f"key {key.name}"] if has_own else names


def _explain_reservation(target: Target, budgets: list[str]) -> str:
    """Say what hard budgets make of a model without a price; empty if that does not matter."""
    if target.price is not None or not budgets:
        return ""
    names = ", ".join(budgets)
    if target.bound_price is None:
        return f"hard budgets refuse it ({names}): give it a price, or set `unknown_price`"
    return f"hard budgets reserve `unknown_price` for it ({names})"


def _describe(place: _Place, budgets: list[str]) -> dict[str, object]:
    target, facts_source, price_source = place.knowledge
    now, price = time.time(), target.price
    rates = {} if price is None else list_known_rates(price, now)
    units = {} if price is None else list_known_unit_prices(price, now)
    return {
        "provider": target.provider.name,
        "model": target.model,
        "lab": place.lab,
        "tier": place.row,
        "why": place.reason,
        "off": target.provider.disabled_reason or None,
        "facts": list_known_facts(target.facts),
        "facts_from": facts_source or None,
        "price": {name: str(rate) for name, rate in rates.items()} or None,
        "unit_prices": {unit: f"{usd:f}" for unit, usd in units.items()} or None,
        "price_from": price_source or None,
        "budgets": _explain_reservation(target, budgets) or None,
    }


def _print_place(place: _Place, budgets: list[str]) -> None:
    target, facts_source, price_source = place.knowledge
    facts = list_known_facts(target.facts)
    facts_text = ", ".join(f"{name} {_format(value)}" for name, value in facts.items())
    lines = {
        "why": place.reason,
        "lab": place.lab,
        "tier": place.row or "none",
        "facts": f"{facts_text} ({facts_source})" if facts else "unknown, which refuses nothing",
        "price": "unknown: its calls have no cost"
        if target.price is None
        else f"{_format_price(target.price)} ({price_source})",
        "budgets": _explain_reservation(target, budgets),
        "off": target.provider.disabled_reason,
    }
    click.secho(target.name, bold=True)
    for name, text in lines.items():
        if text:
            click.echo(f"  {name:<{_WIDTH}}{text}")


def _format_price(price: Price) -> str:
    """Return the rates in force of a price, and the prices of its units."""
    now = time.time()
    rates = list_known_rates(price, now)
    texts = [f"{usd:f} USD per {unit}" for unit, usd in list_known_unit_prices(price, now).items()]
    if rates:
        rates_text = ", ".join(f"{name} {rate:f}" for name, rate in rates.items())
        texts.insert(0, f"{rates_text} USD per million tokens")
    return "; ".join(texts) or "without a rate in force"


def _format(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
