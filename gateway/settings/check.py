"""What the schema cannot see: names that must exist, efforts a model lacks, prices nobody knows."""

from collections.abc import Iterator
from datetime import date, timedelta

from gateway.core.target import TIERS, Tier
from gateway.settings.build import describe
from gateway.settings.load import Source
from gateway.settings.mistake import Mistake, Path, nearest
from gateway.settings.schema import LabPart, Range, TargetPart, When

_SOON = timedelta(days=30)
_ASKABLE = ("auto", *TIERS)


def errors(source: Source, dialects: frozenset[str], styles: frozenset[str]) -> list[Mistake]:
    """What makes a configuration unusable, in the order it is written."""
    found = [
        *_providers(source, dialects),
        *_labs(source),
        *_models(source, styles),
        *_defaults(source),
        *_guards(source),
        *_choices(source),
        *_conditions(source, dialects),
        *_names(source),
    ]
    return sorted(found, key=lambda item: (item.file, item.line or 0))


def warnings(source: Source, today: date) -> list[Mistake]:
    """What is allowed and probably not meant, or will soon matter."""
    return sorted(_doubtful(source, today), key=lambda item: (item.file, item.line or 0))


def targets(source: Source) -> Iterator[tuple[Path, str, Tier, str, TargetPart]]:
    """Every target: its path, lab, tier, provider and what is written of it."""
    for lab, part in source.config.labs.items():
        for tier in TIERS:
            for at, target in enumerate(_tier(part, tier)):
                yield ("labs", lab, tier, at), lab, tier, target.provider or lab, target


def _tier(part: LabPart, tier: str) -> list[TargetPart]:
    return {"fast": part.fast, "smart": part.smart, "reasoning": part.reasoning}[tier]


def _providers(source: Source, dialects: frozenset[str]) -> Iterator[Mistake]:
    for name, part in source.config.providers.items():
        at: Path = ("providers", name)
        for dialect, path in part.dialects.items():
            if dialect not in dialects:
                hint = nearest(dialect, dialects)
                yield source.mistake((*at, "dialects", dialect), "no such dialect.", hint)
            elif "://" not in path and not part.base_url and not part.command:
                yield source.mistake((*at, "dialects", dialect), "needs a `base_url`.")
        if part.base_url and not part.base_url.startswith(("http://", "https://")):
            yield source.mistake((*at, "base_url"), "must start with http:// or https://.")
        if part.auth != "none" and not part.accounts and not part.optional_key:
            yield source.mistake(at, "has no `accounts`.", "Without any, write `auth: none`.")


def _labs(source: Source) -> Iterator[Mistake]:
    config = source.config
    for path, lab, _, provider, target in targets(source):
        if provider not in config.providers:
            if target.provider is None:
                message = f"names no `provider`, and none is called {lab!r}."
                yield source.mistake(path, message)
            else:
                hint = nearest(provider, config.providers)
                yield source.mistake((*path, "provider"), f"no provider {provider!r}.", hint)
            continue
        model = describe(config.models, provider, target.model)
        effort = model.effort if model is not None else None
        if target.effort is None or model is None:
            continue
        if effort is None:
            yield source.mistake((*path, "effort"), f"{target.model} has no control of effort.")
        else:
            accepts = effort.accepts
            if model.chat is not None and model.chat.efforts is not None:
                accepts = model.chat.efforts
            if accepts and target.effort not in accepts:
                message = f"{target.model} does not accept {target.effort!r}."
                yield source.mistake(
                    (*path, "effort"), message, f"It accepts {', '.join(accepts)}."
                )


def _models(source: Source, styles: frozenset[str]) -> Iterator[Mistake]:
    models = source.config.models
    for name, part in models.items():
        at: Path = ("models", name)
        if part.like is not None and part.like not in models:
            hint = nearest(part.like, models)
            yield source.mistake((*at, "like"), f"no model {part.like!r} is described.", hint)
        seen, like = {name}, part.like
        while like is not None and like in models:
            if like in seen:
                yield source.mistake((*at, "like"), "is like itself, in a circle.")
                break
            seen.add(like)
            like = models[like].like
        if part.effort is not None and part.effort.style not in styles:
            hint = nearest(part.effort.style, styles)
            yield source.mistake((*at, "effort", "style"), f"no style {part.effort.style!r}.", hint)
        if part.retires is not None and _day(part.retires) is None:
            yield source.mistake((*at, "retires"), "must be a date, as 2027-01-14.")


def _defaults(source: Source) -> Iterator[Mistake]:
    config = source.config
    if config.default.lab is not None and config.default.lab not in config.labs:
        message = f"no lab {config.default.lab!r}."
        yield source.mistake(("default", "lab"), message, nearest(config.default.lab, config.labs))
    for alias, name in config.aliases.items():
        at: Path = ("aliases", alias)
        if alias in _ASKABLE or name == alias or name in config.aliases:
            yield source.mistake(at, "an alias must lead from a free name to one that is no alias.")
        elif not _askable(source, name):
            known = {*_ASKABLE, *(target.model for *_, target in targets(source))}
            known |= {f"{lab}/{tier}" for lab in config.labs for tier in _ASKABLE}
            yield source.mistake(at, f"nothing is called {name!r}.", nearest(name, known))


def _askable(source: Source, name: str) -> bool:
    lab, slash, rest = name.partition("/")
    if slash and lab in source.config.labs and rest in _ASKABLE:
        return True
    behind = {f"{lab}/{target.model}" for _, lab, _, _, target in targets(source)}
    return name in _ASKABLE or name in behind | _served(source)


def _served(source: Source) -> set[str]:
    """Models of targets, alone and behind their provider."""
    return {
        name
        for *_, provider, target in targets(source)
        for name in (target.model, f"{provider}/{target.model}")
    }


def _guards(source: Source) -> Iterator[Mistake]:
    config = source.config
    for at, guard in enumerate(config.guards):
        here: Path = ("guards", at)
        for field in ("allow", "deny"):
            for lab in getattr(guard, field) or ():
                if lab not in config.labs:
                    yield source.mistake(
                        (*here, field), f"no lab {lab!r}.", nearest(lab, config.labs)
                    )
        low, high = guard.min_tier, guard.max_tier
        if low is not None and high is not None and TIERS.index(low) > TIERS.index(high):
            yield source.mistake((*here, "min_tier"), "is above max_tier: no tier is left.")
        effects = (low, high, guard.allow, guard.deny, guard.refuse, guard.tag)
        if not any(effects) and not guard.no_cache:
            yield source.mistake(here, "has no effect.", "Give it one, as `max_tier: smart`.")


def _choices(source: Source) -> Iterator[Mistake]:
    config = source.config
    for at, choice in enumerate(config.choices):
        here: Path = ("choices", at)
        if choice.tier is None and choice.lab is None and choice.model is None:
            yield source.mistake(here, "decides nothing.", "Give it a `tier`, `lab` or `model`.")
        if choice.lab is not None and choice.lab not in config.labs:
            hint = nearest(choice.lab, config.labs)
            yield source.mistake((*here, "lab"), f"no lab {choice.lab!r}.", hint)
        if choice.model is not None and choice.model not in _served(source):
            hint = nearest(choice.model, {target.model for *_, target in targets(source)})
            yield source.mistake(
                (*here, "model"), f"no target has the model {choice.model!r}.", hint
            )


def _conditions(source: Source, dialects: frozenset[str]) -> Iterator[Mistake]:
    config = source.config
    rules = [("guards", at, rule.when) for at, rule in enumerate(config.guards)]
    rules += [("choices", at, rule.when) for at, rule in enumerate(config.choices)]
    for kind, at, when in rules:
        for path, part in _parts((kind, at, "when"), when):
            for name, value in part:
                if isinstance(value, Range) and value.min is not None and value.max is not None:
                    if value.min <= value.max:
                        continue
                    yield source.mistake((*path, name), "min is above max: it never holds.")
            for dialect in part.dialect or ():
                if dialect not in dialects:
                    hint = nearest(dialect, dialects)
                    yield source.mistake((*path, "dialect"), f"no dialect {dialect!r}.", hint)


def _parts(path: Path, when: When) -> Iterator[tuple[Path, When]]:
    """A condition and all that stand inside it."""
    yield path, when
    for name, inner in (("any", when.any), ("all", when.all)):
        for at, item in enumerate(inner or ()):
            yield from _parts((*path, name, at), item)
    if when.not_ is not None:
        yield from _parts((*path, "not"), when.not_)


def _names(source: Source) -> Iterator[Mistake]:
    config = source.config
    groups: dict[str, list[str]] = {
        "guards": [rule.name for rule in config.guards],
        "choices": [rule.name for rule in config.choices],
    }
    for kind, names in groups.items():
        for at, name in enumerate(names):
            if name in names[:at]:
                yield source.mistake((kind, at, "name"), f"{name!r} is given twice.")


def _doubtful(source: Source, today: date) -> Iterator[Mistake]:
    config = source.config
    for path, _, _, provider, target in targets(source):
        model = describe(config.models, provider, target.model)
        if model is None:
            message = f"no facts of {target.model!r} are known: nothing it refuses is kept from it."
            yield source.mistake((*path, "model"), message, warn=True)
            continue
        ends = _day(model.retires or "")
        if ends is not None and ends <= today + _SOON:
            word = "has retired on" if ends <= today else "retires on"
            yield source.mistake((*path, "model"), f"{target.model} {word} {ends}.", warn=True)
    yield from _unreached(source)
    for name, part in config.models.items():
        steps = [part.price, *part.price.above] if part.price is not None else []
        if any(rates.input is None or rates.output is None for rates in steps):
            message = "lacks `input` or `output`: calls have no cost where it is needed."
            yield source.mistake(("models", name, "price"), message, warn=True)


def _unreached(source: Source) -> Iterator[Mistake]:
    choices = source.config.choices
    for at, choice in enumerate(choices):
        first = next((c for c in choices[:at] if c.when in (When(), choice.when)), None)
        if first is not None:
            message = f"is never reached: {first.name!r} matches first."
            yield source.mistake(("choices", at), message, warn=True)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
