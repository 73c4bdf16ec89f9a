"""What the model name, the headers and the key ask for by name, before anything is weighed."""

import difflib
from collections.abc import Mapping

import msgspec

from gateway.core.decision import Step
from gateway.core.problem import Problem, ProblemError
from gateway.core.target import TIERS, Catalogue, Lab, Tier
from gateway.routing import embed
from gateway.routing.features import Features

_LONG = 100
"""Characters of an unknown name that are looked at and repeated."""

_CLAUDE: Mapping[str, Tier] = {
    "claude-haiku": "fast",
    "claude-sonnet": "smart",
    "claude-opus": "reasoning",
    "claude-fable": "reasoning",
}
"""Where no provider can serve a Claude name, its family says which tier was meant."""


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. `tier` None leaves it to the rules and the classifier."""

    lab: str
    named_lab: bool
    """The caller named the lab: it is not exchanged for another."""
    tier: Tier | None = None
    model: str | None = None
    steps: tuple[Step, ...] = ()


def read(call: Features, catalogue: Catalogue) -> Pin:
    """Resolve the names of a call. Raises ProblemError: model_not_found, not_allowed."""
    steps: list[Step] = []
    asked = call.prompt.model
    if asked in catalogue.aliases:
        name = catalogue.aliases[asked]
        steps.append(Step(step="pin", matched=True, effect=f"model {name}", why=f"alias {asked}"))
        asked = name
    named = call.steer.lab or _lab_of(asked, catalogue)
    lab = named or call.key.lab or catalogue.default_lab
    _serving(lab, catalogue, "x-tiergate-lab" if lab == call.steer.lab else "model")
    rest = asked.partition("/")[2] if _lab_of(asked, catalogue) else asked
    tier, model = _name(asked, rest, lab, catalogue, named=bool(named))
    if model is not None and tier is not None:
        lab, tier, model = _place(model, lab, catalogue)
    if call.steer.tier is not None:
        tier, model = _tier(call.steer.tier), None
        steps.append(Step(step="pin", matched=True, effect=f"tier {tier}", why="x-tiergate-tier"))
    elif model is not None:
        effect = f"{lab}/{tier}, model {model}"
        steps.append(Step(step="pin", matched=True, effect=effect, why="a real model name"))
    elif tier is not None:
        effect = f"{lab}/{tier}"
        steps.append(Step(step="pin", matched=True, effect=effect, why=f"model {asked!r}"))
    else:
        why = f"{asked!r} leaves the tier open"
        steps.append(Step(step="pin", matched=False, effect=f"lab {lab}", why=why))
    named_lab = bool(named) or model is not None
    return Pin(lab=lab, named_lab=named_lab, tier=tier, model=model, steps=tuple(steps))


def leaves(call: Features, catalogue: Catalogue) -> bool:
    """Whether a call leaves the tier open, as `read` would find, at a glance."""
    if call.steer.tier is not None:
        return False
    asked = call.prompt.model
    name = catalogue.aliases.get(asked, asked)
    return name in ("auto", "claude-auto") or name.endswith("/auto")


def _lab_of(asked: str, catalogue: Catalogue) -> str | None:
    lab, slash, rest = asked.partition("/")
    if not slash or lab not in catalogue.labs:
        return None
    if rest in ("auto", *TIERS):
        return lab
    places = catalogue.models.get(rest, ())
    return lab if any(place.lab == lab for place in places) else None


def _name(
    asked: str, rest: str, lab: str, catalogue: Catalogue, *, named: bool
) -> tuple[Tier | None, str | None]:
    if rest == "auto":
        return None, None
    if rest in TIERS:
        return _tier(rest), None
    behind = any(place.target.name == asked for place in catalogue.models.get(asked, ()))
    for name in (asked, rest) if behind else (rest, asked):
        places = catalogue.models.get(name, ())
        own = [place for place in places if place.lab == lab]
        if own or (places and not named):
            return (own or places)[0].tier, name
    family = next((tier for word, tier in _CLAUDE.items() if rest.startswith(word)), None)
    if family is not None or rest == "claude-auto":
        return family, None
    raise ProblemError(_unknown(asked, rest, lab, catalogue))


def _place(model: str, lab: str, catalogue: Catalogue) -> tuple[str, Tier, str]:
    places = catalogue.models[model]
    place = next((place for place in places if place.lab == lab), places[0])
    return place.lab, place.tier, model


def _serving(lab: str, catalogue: Catalogue, param: str) -> None:
    known = catalogue.labs.get(lab)
    on = [name for name, item in catalogue.labs.items() if item.on]
    if known is not None and known.on:
        return
    if known is not None:
        message = f"The lab {lab!r} is off: {known.why}."
    elif on:
        message = f"There is no lab {lab!r}. Labs that are on: {', '.join(on)}."
    else:
        message = "No lab is on. `tiergate check` says why."
    raise ProblemError(Problem(kind="model_not_found", message=message, param=param))


def _tier(name: str) -> Tier:
    for tier in TIERS:
        if tier == name:
            return tier
    message = f"There is no tier {name!r}: it is fast, smart or reasoning."
    raise ProblemError(Problem(kind="invalid_request", message=message, param="x-tiergate-tier"))


def _unknown(asked: str, rest: str, lab: str, catalogue: Catalogue) -> Problem:
    shown = repr(asked if len(asked) <= _LONG else f"{asked[:_LONG]}...")
    off = next((why for item in catalogue.labs.values() for why in _off(item, (asked, rest))), "")
    if asked in catalogue.models or rest in catalogue.models:
        message = f"The lab {lab!r} does not serve the model {shown}."
    elif off:
        message = f"The model {shown} is off: {off}."
    elif any(
        {asked, rest} & embed.goes_by(item.name, target)
        for item in catalogue.labs.values()
        for target in item.embeddings
    ):
        message = f"The model {shown} makes embeddings: ask for them at POST /v1/embeddings."
    else:
        names = ["auto", *TIERS, *catalogue.aliases, *catalogue.models]
        names += [f"{name}/{tier}" for name in catalogue.labs for tier in ("auto", *TIERS)]
        close = difflib.get_close_matches(asked[:_LONG], names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        message = (
            f"The model {shown} is not served here.{hint} "
            "Ask for auto, fast, smart, reasoning, lab/tier or a model that GET /v1/models lists."
        )
    return Problem(kind="model_not_found", message=message, param="model")


def _off(lab: Lab, names: tuple[str, ...]) -> list[str]:
    """Why targets of these names are off."""
    return [
        target.provider.why
        for targets in lab.tiers.values()
        for target in targets
        if not target.provider.on
        and not {target.model, target.name, f"{lab.name}/{target.model}"}.isdisjoint(names)
    ]
