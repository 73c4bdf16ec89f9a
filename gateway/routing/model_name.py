"""What the model name, the headers and the key ask for by name, before anything is weighed."""

import difflib
from typing import NamedTuple

import msgspec

from gateway.core.decision import TraceStep
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import TIERS, Catalogue, Lab, Target, Tier
from gateway.routing import refusals, route_embeddings, unlisted_models, visible_models
from gateway.routing.features import Features

_LONG = 100
"""Characters of an unknown name that are looked at."""
_AUTO = ("auto", "claude-auto")
"""Names that leave the tier open. Claude Code lists a name only if it holds "claude"."""


class RequestedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. `tier` None leaves it to the rules and the classifier."""

    lab: str
    named_lab: bool
    """The caller named the lab: it is not exchanged for another."""
    tier: Tier | None = None
    model: str | None = None
    unlisted: Target | None = None
    """The target of a model that no lab lists. Its `tier` may be None, and stays so."""
    family: str | None = None
    """The beginning of the model's name that chose the tier."""
    steps: tuple[TraceStep, ...] = ()

    @property
    def open(self) -> bool:
        """True if the tier is left to the rules and the classifier."""
        return self.tier is None and self.unlisted is None


class _Meant(NamedTuple):
    """A model name, read."""

    lab: str
    tier: Tier | None = None
    model: str | None = None
    unlisted: Target | None = None
    family: str | None = None
    held: bool = False
    """The lab makes the model: it is not exchanged for another."""


def read(call: Features, catalogue: Catalogue) -> RequestedModel:
    """Resolve the names of a call. Raises ProblemError: model_not_found, not_allowed."""
    steps: list[TraceStep] = []
    asked = call.prompt.model
    if asked in catalogue.aliases:
        name = catalogue.aliases[asked]
        steps.append(
            TraceStep(step="pin", matched=True, effect=f"model {name}", why=f"alias {asked}")
        )
        asked = name
    behind = _lab_of(asked, catalogue)
    named = call.steer.lab or behind
    lab = named or call.key.lab or catalogue.default_lab
    _serving(lab, call, catalogue)
    rest = asked.partition("/")[2] if behind else asked
    meant = _name(asked, rest, lab, catalogue, call, named=bool(named))
    lab, tier, model = meant.lab, meant.tier, meant.model
    if call.steer.tier is not None:
        tier, model = _tier(call.steer.tier), None
        meant = _Meant(lab, tier)
        steps.append(
            TraceStep(step="pin", matched=True, effect=f"tier {tier}", why="x-tiergate-tier")
        )
    elif meant.unlisted is not None:
        effect = f"{lab}/{tier}, model {model}" if tier is not None else f"{lab}, model {model}"
        why = f"no lab lists it: a name of {meant.unlisted.provider.name}'s own"
        steps.append(TraceStep(step="pin", matched=True, effect=effect, why=why))
    elif model is not None:
        effect = f"{lab}/{tier}, model {model}"
        steps.append(TraceStep(step="pin", matched=True, effect=effect, why="a real model name"))
    elif meant.family is not None:
        why = f"{asked!r}: no provider of it is on, so its family {meant.family} chooses the tier"
        steps.append(TraceStep(step="pin", matched=True, effect=f"{lab}/{tier}", why=why))
    elif tier is not None:
        effect = f"{lab}/{tier}"
        steps.append(TraceStep(step="pin", matched=True, effect=effect, why=f"model {asked!r}"))
    else:
        why = f"{asked!r} leaves the tier open"
        steps.append(TraceStep(step="pin", matched=False, effect=f"lab {lab}", why=why))
    return RequestedModel(
        lab=lab,
        named_lab=bool(named) or model is not None or meant.held,
        tier=tier,
        model=model,
        unlisted=meant.unlisted,
        family=meant.family,
        steps=tuple(steps),
    )


def leaves(call: Features, catalogue: Catalogue) -> bool:
    """Whether a call leaves the tier open, as `read` would find, at a glance."""
    if call.steer.tier is not None:
        return False
    asked = call.prompt.model
    name = catalogue.aliases.get(asked, asked)
    return name in _AUTO or name.endswith("/auto")


def _lab_of(asked: str, catalogue: Catalogue) -> str | None:
    lab, slash, rest = asked.partition("/")
    if not slash or lab not in catalogue.labs:
        return None
    if rest in ("auto", *TIERS):
        return lab
    if any(place.lab == lab for place in catalogue.models.get(rest, ())):
        return lab
    unlisted = None if asked in catalogue.models else unlisted_models.find(asked, catalogue)
    return lab if unlisted is not None and unlisted.maker.lab == lab else None


def _name(
    asked: str, rest: str, lab: str, catalogue: Catalogue, call: Features, *, named: bool
) -> _Meant:
    """Say what a name means on a lab, which the caller has `named` or not. Raises ProblemError."""
    if rest in _AUTO:
        return _Meant(lab)
    if rest in TIERS:
        return _Meant(lab, _tier(rest))
    behind = any(place.target.name == asked for place in catalogue.models.get(asked, ()))
    for name in (asked, rest) if behind else (rest, asked):
        places = catalogue.models.get(name, ())
        own = [place for place in places if place.lab == lab]
        if own or (places and not named):
            place = (own or places)[0]
            return _Meant(place.lab, place.tier, name, held=True)
    if {asked, rest} & catalogue.models.keys():
        raise _unserved(call, lab)
    if _embeds(asked, rest, catalogue):
        raise _unknown(asked, rest, catalogue, call)
    unlisted = unlisted_models.find(asked, catalogue)
    if unlisted is not None:
        if named and unlisted.maker.lab != lab:
            raise _unserved(call, lab)
        target, tier = unlisted.maker.targets[unlisted.name], unlisted.tier(catalogue)
        return _Meant(unlisted.maker.lab, tier, unlisted.name, target, held=True)
    family = next((begin for begin in catalogue.families if rest.startswith(begin)), None)
    if family is None:
        raise _unknown(asked, rest, catalogue, call)
    return _family(asked, family, lab, catalogue, call, named=named)


def _family(
    asked: str, family: str, lab: str, catalogue: Catalogue, call: Features, *, named: bool
) -> _Meant:
    """Let the family of a name choose the tier, as no provider of the model itself is on.

    Where a host serves the lab of the maker, or some lab lists a name of its kind, the call stays
    in that lab.
    """
    tier, kind = catalogue.families[family], f"{family.partition('-')[0]}-"
    maker = unlisted_models.find(asked, catalogue, off=True)
    kin = None if maker is None else maker.maker.lab
    if kin is None or not catalogue.labs[kin].on:
        rows = catalogue.models.values()
        kin = next((row[0].lab for row in rows if row[0].target.model.startswith(kind)), None)
    if kin is None:
        return _Meant(lab, tier, family=family)
    if named and kin != lab:
        raise _unserved(call, lab)
    return _Meant(kin, tier, family=family, held=True)


def _embeds(asked: str, rest: str, catalogue: Catalogue) -> bool:
    """True if a name is that of an embedding model."""
    return any(
        {asked, rest} & route_embeddings.goes_by(item.name, target)
        for item in catalogue.labs.values()
        for target in item.embeddings
    )


def _serving(lab: str, call: Features, catalogue: Catalogue) -> None:
    """Raise ProblemError where a lab does not serve."""
    known = catalogue.labs.get(lab)
    if known is not None and known.on:
        return
    detail = ""
    on = [name for name, tiers in visible_models.labs(catalogue, call.key).items() if tiers]
    if known is not None:
        message, detail = f"The lab {lab!r} is off.", known.why
    elif any(item.on for item in catalogue.labs.values()):
        message = f"There is no lab {lab!r}."
    else:
        message = "No lab is on. `tiergate check` says why."
    if on:
        message = f"{message} Labs that are on: {', '.join(on)}."
    param = "x-tiergate-lab" if lab == call.steer.lab else "model"
    raise ProblemError(Problem(kind="model_not_found", message=message, detail=detail, param=param))


def _tier(name: str) -> Tier:
    for tier in TIERS:
        if tier == name:
            return tier
    message = f"There is no tier {name!r}: it is fast, smart or reasoning."
    raise ProblemError(Problem(kind="invalid_request", message=message, param="x-tiergate-tier"))


def _unserved(call: Features, lab: str) -> ProblemError:
    """Refuse a name that is served, but not by the lab that the caller has named."""
    message = f"The lab {lab!r} does not serve the model {refusals.shown(call.prompt.model)}."
    return ProblemError(Problem(kind="model_not_found", message=message, param="model"))


def _unknown(asked: str, rest: str, catalogue: Catalogue, call: Features) -> ProblemError:
    """Refuse a name that nobody serves, and say what the key may ask for instead."""
    shown, key = refusals.shown(call.prompt.model), call.key
    off = next((why for item in catalogue.labs.values() for why in _off(item, (asked, rest))), "")
    if not off and (unlisted := unlisted_models.find(asked, catalogue, off=True)) is not None:
        off = unlisted.maker.provider.why
    if off:
        message = f"The model {shown} is off: no provider of it is on."
    elif _embeds(asked, rest, catalogue):
        message = f"The model {shown} makes embeddings: ask for them at POST /v1/embeddings."
    else:
        names = visible_models.names(catalogue, key)
        close = difflib.get_close_matches(asked[:_LONG], names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        words = ", ".join(name for name in ("auto", *TIERS) if name in names)
        message = (
            f"The model {shown} is not served here.{hint} "
            f"Ask for {words}, lab/tier or a model that GET /v1/models lists."
        )
    return ProblemError(Problem(kind="model_not_found", message=message, detail=off, param="model"))


def _off(lab: Lab, names: tuple[str, ...]) -> list[str]:
    """Why targets of these names are off."""
    return [
        target.provider.why
        for targets in lab.tiers.values()
        for target in targets
        if not target.provider.on
        and not {target.model, target.name, f"{lab.name}/{target.model}"}.isdisjoint(names)
    ]
