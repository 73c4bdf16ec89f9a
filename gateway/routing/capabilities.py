"""Which targets can say what a call needs: a reason for each that cannot; nothing is faked."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from gateway.core.call import Key
from gateway.core.decision import SkippedTarget
from gateway.core.prompt import Prompt
from gateway.core.target import Lab, ModelFacts, Provider, Target, Tier
from gateway.dialects import OPERATIONS, Dialect
from gateway.routing.features import Features, tokens

_MODEL = "is no model of this key"
_REGION = "is in no region of this key"
SCOPE = frozenset({_MODEL, _REGION})
"""Reasons that lie in the key alone."""
OFF = "is off"
"""The reason that lies in the operator's settings alone."""


def barred(key: Key, target: Target) -> str:
    """Why a key may not use a target; empty where it may."""
    if key.models is not None:
        names = (target.model, target.name, target.model.rpartition("/")[2])
        if not any(fnmatchcase(name, pattern) for pattern in key.models for name in names):
            return _MODEL
    if key.regions is not None and target.provider.region not in key.regions:
        return _REGION
    return ""


def may_use(key: Key, lab: str, target: Target) -> bool:
    """True if a key may use a target of a lab, whatever its tier."""
    return (key.labs is None or lab in key.labs) and not barred(key, target)


def open_to(key: Key, lab: Lab, tiers: Iterable[Tier]) -> bool:
    """Whether a key may use some target of these tiers of a lab."""
    if key.models is None and key.regions is None:
        return True
    found = (target for tier in tiers for target in lab.tiers.get(tier, ()))
    return any(target.provider.on and not barred(key, target) for target in found)


def door(target: Target, call: Features, dialect: Dialect) -> tuple[str, str]:
    """The dialect in which a target can serve a call, or "" and why there is none.

    The client's own comes first; then each other one that its provider speaks, as long as all that
    the call depends on can be said there.
    """
    if why := barred(call.key, target):
        return "", why
    provider = target.provider
    if not provider.on:
        return "", OFF
    why = ""
    if _serves(provider, dialect):
        why = _unfit(target, call.prompt, dialect) or _closed(target, call)
        if not why:
            return dialect.name, ""
    for name in provider.doors:
        other = _translated(name, provider, call, dialect)
        if other is None:
            continue
        reason = _abroad(other, target, call)
        if not reason:
            return name, ""
        why = why or reason
    return "", why or _unspoken(provider, dialect)


def _serves(provider: Provider, dialect: Dialect) -> bool:
    """True if a provider has an operation of a dialect: a rare one must be known of it."""
    return dialect.name in provider.doors and (provider.counts_tokens or not dialect.rare)


def _unspoken(provider: Provider, dialect: Dialect) -> str:
    """Return why a provider has no door for a call."""
    if dialect.name in provider.doors:
        return "is not known to count tokens"
    return f"needs {' or '.join(provider.doors)}"


def skip(target: Target, tier: Tier | None, reason: str) -> SkippedTarget:
    """Return a target that may not serve a call, with what the operator can do about it."""
    detail = target.provider.why if reason == OFF else ""
    return SkippedTarget(target.name, tier, reason, detail)


def speaks(provider: Provider, call: Features, dialect: Dialect) -> bool:
    """Whether a call of a dialect can reach a provider at all."""
    return _serves(provider, dialect) or any(
        _translated(name, provider, call, dialect) is not None for name in provider.doors
    )


def _abroad(other: Dialect, target: Target, call: Features) -> str:
    """Why a target cannot be asked in a dialect that is not the client's; empty where it can."""
    place = f"{other.name} {target.name} {target.effort or ''}".rstrip()
    reason = call.doors.get(place)
    if reason is None:
        prompt = call.prompt_at(other, target)
        reason = prompt if isinstance(prompt, str) else _unfit(target, prompt, other)
        call.doors[place] = reason
    return reason


def _translated(name: str, provider: Provider, call: Features, dialect: Dialect) -> Dialect | None:
    if name == dialect.name:
        return None
    other = OPERATIONS.get((name, dialect.operation))
    if other is None or not _serves(provider, other):
        return None
    return other if call.speaks(other) else None


def _unfit(target: Target, prompt: Prompt, dialect: Dialect) -> str:
    """Why a target may not be asked this; empty where it may. What is unknown refuses nothing."""
    facts, provider = target.facts, target.provider
    if prompt.tools:
        reason = _tools(target, prompt)
        if reason:
            return reason
    if prompt.images or prompt.files or prompt.audio or prompt.json_schema:
        reason = _content(prompt, facts)
        if reason:
            return reason
    if facts.refuses or provider.refuses:
        refused = dialect.features & prompt.members & (facts.refuses | provider.refuses)
        if refused:
            return f"refuses {', '.join(sorted(refused))}"
    own = dialect.unfit(prompt, target)
    if own:
        return own
    if facts.window is not None and (size := tokens(prompt)) > facts.window:
        return f"about {size:,} tokens do not fit its window of {facts.window:,}"
    return ""


def _closed(target: Target, call: Features) -> str:
    """Why a target that opens no URL cannot be given what a call has by URL."""
    prompt = call.prompt
    if target.provider.media != "data" or not (prompt.images or prompt.files or prompt.audio):
        return ""
    place = f"{target.provider.name} has no URL"
    reason = call.doors.get(place)
    if reason is None:
        reason = call.doors[place] = call.closed(target)
    return reason


def _content(prompt: Prompt, facts: ModelFacts) -> str:
    for present, able, what in (
        (prompt.images > 0, facts.vision, "takes no images"),
        (prompt.files > 0, facts.files, "takes no files"),
        (prompt.audio > 0, facts.audio, "takes no audio"),
        (prompt.json_schema, facts.json_schema, "has no structured output"),
    ):
        if present and able is False:
            return what
    return ""


def _tools(target: Target, prompt: Prompt) -> str:
    facts = target.facts
    if facts.tools is False:
        return "takes no tools"
    if prompt.forced_tool and facts.forced_tools is False:
        return "cannot be forced to use a tool"
    return ""
