"""Errors and warnings about `routing.judge`: its model, and a maker that no lab uses."""

from collections.abc import Iterator

from gateway.settings.catalogue import list_provider_labs
from gateway.settings.errors import Mistake, Path, suggest_name
from gateway.settings.loader import ConfigSource
from gateway.settings.model_names import (
    ROUTED_NAMES,
    is_known_name,
    list_common_names,
    list_decision_providers,
)
from gateway.settings.passthrough import DECISION_TABLES

_MODEL_PATH: Path = ("routing", "judge", "model")


def find_errors(source: ConfigSource) -> Iterator[Mistake]:
    """Yield an error if the judge's model is unknown, or is `auto`.

    With `auto`, the judge's own calls would be judged.
    """
    judge_part = source.config.routing.judge
    if judge_part is None:
        return
    if judge_part.kind == "decision":
        yield from _check_decision_model(source, judge_part.model)
        return
    if judge_part.calibration is not None:
        message = "calibrates probabilities, and a chat model gives none."
        yield source.make_mistake(("routing", "judge", "calibration"), message)
    name = source.config.aliases.get(judge_part.model, judge_part.model)
    if not is_known_name(source, name):
        message = f"no model or alias is called {name!r}."
        yield source.make_mistake(
            _MODEL_PATH, message, suggest_name(name, list_common_names(source))
        )
    elif name.rpartition("/")[2] == "auto":
        yield source.make_mistake(
            _MODEL_PATH,
            f"{name!r} cannot judge: the gateway would have to judge the judge's own call.",
            "Use a tier or a model.",
        )


def _check_decision_model(source: ConfigSource, model: str) -> Iterator[Mistake]:
    """Yield an error if no provider can have a decision model of this name."""
    requested = source.config.aliases.get(model, model)
    names = list_decision_providers(source.config)
    prefix, slash, _ = requested.partition("/")
    if not names:
        tables = " or ".join(DECISION_TABLES)
        message = f"no provider has {tables} among its `endpoints`."
        yield source.make_mistake(("routing", "judge", "kind"), message)
    elif requested.rpartition("/")[2] in ROUTED_NAMES:
        message = f"{requested!r} is no decision model."
        hint = f"Name one, as {names[0]}/MODEL."
        yield source.make_mistake(_MODEL_PATH, message, hint)
    elif slash and prefix in source.config.providers and prefix not in names:
        message = f"the provider {prefix!r} has none of {', '.join(DECISION_TABLES)}."
        yield source.make_mistake(_MODEL_PATH, message, f"These have one: {', '.join(names)}.")


def find_warnings(source: ConfigSource) -> Iterator[Mistake]:
    """Yield warnings about who gets texts of users, and about guards without effect."""
    yield from _check_maker(source)
    yield from _check_guards(source)


def _check_maker(source: ConfigSource) -> Iterator[Mistake]:
    """Yield a warning if texts go to a provider for the judge alone."""
    config, judge_part = source.config, source.config.routing.judge
    if judge_part is None or judge_part.kind != "decision":
        return
    requested = config.aliases.get(judge_part.model, judge_part.model)
    names = list_decision_providers(config)
    prefix, slash, _ = requested.partition("/")
    provider = prefix if slash and prefix in names else names[0] if len(names) == 1 else None
    if provider is not None and not list_provider_labs(config, provider):
        message = f"sends texts of users to {provider}, which no lab uses."
        hint = "Make sure that they may go there; a guard's `judge: off` keeps some back."
        yield source.make_mistake(_MODEL_PATH, message, hint, warn=True)


def _check_guards(source: ConfigSource) -> Iterator[Mistake]:
    """Yield a warning for each guard that keeps texts from models that nobody configured."""
    routing = source.config.routing
    if routing.judge is not None or routing.meaning is not None:
        return
    for index, guard in enumerate(source.config.guards):
        if guard.judge is not None:
            message = "has no effect: `routing.judge` names no judge."
            yield source.make_mistake(("guards", index, "judge"), message, warn=True)
