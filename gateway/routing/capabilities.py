"""Which targets can serve a call, with a reason for each that cannot. The gateway fakes nothing."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from gateway.core.call import Key
from gateway.core.decision import SkippedTarget
from gateway.core.owned_object import ObjectPlace
from gateway.core.prompt import Prompt
from gateway.core.target import Lab, ModelFacts, Provider, Target, Tier
from gateway.dialects import TARGET_OPERATIONS, Dialect, TargetDialect
from gateway.dialects.openai_responses.request import PREVIOUS_RESPONSE
from gateway.routing.features import Features, estimate_tokens

_MODEL_NOT_ALLOWED = "is not a model of this key"
_REGION_NOT_ALLOWED = "is outside the regions of this key"
KEY_SCOPE_REASONS = frozenset({_MODEL_NOT_ALLOWED, _REGION_NOT_ALLOWED})
"""Reasons that come from the key alone."""
OFF_REASON = "is off"
"""The reason that comes from the operator's settings alone."""
NO_EARLIER_RESPONSES = "does not keep earlier answers"
"""The reason for a target that does not keep the earlier answer which a call names."""

_NO_OBJECTS = "does not have the objects that the request names"


def find_key_restriction(key: Key, target: Target) -> str:
    """Return why a key may not use a target; empty if it may."""
    if key.models is not None:
        names = [target.model, target.name]
        if target.is_listed:  # else the client has made up the path, and anybody's model may end so
            names.append(target.model.rpartition("/")[2])
        if not any(fnmatchcase(name, pattern) for pattern in key.models for name in names):
            return _MODEL_NOT_ALLOWED
    if key.regions is not None and target.provider.region not in key.regions:
        return _REGION_NOT_ALLOWED
    return ""


def may_use(key: Key, lab: str, target: Target) -> bool:
    """True if a key may use a target of a lab, whatever its tier."""
    return (key.labs is None or lab in key.labs) and not find_key_restriction(key, target)


def may_use_lab(key: Key, lab: Lab, tiers: Iterable[Tier]) -> bool:
    """True if a key may use some target of these tiers of a lab."""
    if key.models is None and key.regions is None:
        return True
    targets = (target for tier in tiers for target in lab.tiers.get(tier, ()))
    return any(
        target.provider.enabled and not find_key_restriction(key, target) for target in targets
    )


def choose_dialect(target: Target, call: Features, dialect: Dialect) -> tuple[str, str]:
    """Return the dialect in which a target can serve a call, or "" and the reason why none can.

    The client's own dialect comes first. Then comes each other dialect of the provider that can
    express everything the call depends on.
    """
    if first_reason := find_key_restriction(call.key, target):
        return "", first_reason
    provider = target.provider
    if not provider.enabled:
        return "", OFF_REASON
    if not _may_have_earlier_response(provider, call.prompt):
        return "", NO_EARLIER_RESPONSES
    if call.object_place is not None and not _has_objects(provider, call.object_place):
        return "", _explain_no_objects(provider, call.object_place)
    first_reason = ""
    if _serves(provider, dialect):
        first_reason = _check_capabilities(target, call.prompt, dialect) or _check_media_urls(
            target, call
        )
        if not first_reason:
            return dialect.name, ""
    for name in provider.urls:
        target_dialect = _find_translation(name, provider, call, dialect)
        if target_dialect is None:
            continue
        reason = _check_answer_media(target, dialect) or _check_translation(
            target_dialect, target, call
        )
        if not reason:
            return name, ""
        first_reason = first_reason or reason
    return "", first_reason or _explain_no_dialect(provider, dialect)


def _serves(provider: Provider, dialect: TargetDialect) -> bool:
    """True if a provider supports the dialect's operation; rare operations need known support."""
    return dialect.name in provider.urls and (
        provider.counts_tokens or not dialect.needs_known_support
    )


def _explain_no_dialect(provider: Provider, dialect: Dialect) -> str:
    """Return why a provider has no endpoint for a call."""
    if dialect.name in provider.urls:
        return "is not known to count tokens"
    return f"needs {' or '.join(provider.urls)}"


def make_skipped_target(target: Target, tier: Tier | None, reason: str) -> SkippedTarget:
    """Return a target that may not serve a call.

    If it is off, the detail tells the operator why.
    """
    detail = target.provider.disabled_reason if reason == OFF_REASON else ""
    return SkippedTarget(target.name, tier, reason, detail)


def can_reach_provider(provider: Provider, call: Features, dialect: Dialect) -> bool:
    """True if a call of a dialect can reach a provider."""
    if call.object_place is not None and not _has_objects(provider, call.object_place):
        return False
    return _may_have_earlier_response(provider, call.prompt) and (
        _serves(provider, dialect)
        or any(
            _find_translation(name, provider, call, dialect) is not None for name in provider.urls
        )
    )


def explain_unreachable(call: Features, dialect: Dialect) -> str:
    """Return why a call of a dialect can reach no provider of a lab."""
    if call.object_place is not None:
        return f"{_NO_OBJECTS}, which are at {call.object_place.provider}"
    if call.prompt.continuation_member == PREVIOUS_RESPONSE:
        return NO_EARLIER_RESPONSES
    return f"does not speak {dialect.name}"


def _may_have_earlier_response(provider: Provider, prompt: Prompt) -> bool:
    """True if a provider may keep the earlier answer that a call names, or the call names none."""
    return prompt.continuation_member != PREVIOUS_RESPONSE or provider.keeps_responses


def _has_objects(provider: Provider, place: ObjectPlace) -> bool:
    """True if a provider has the account with the objects that a call names."""
    return provider.name == place.provider and any(
        account.name == place.account for account in provider.accounts
    )


def _explain_no_objects(provider: Provider, place: ObjectPlace) -> str:
    if provider.name == place.provider:
        return f"{_NO_OBJECTS}: their account is no longer in the configuration"
    return f"{_NO_OBJECTS}, which are at {place.provider}"


def _check_answer_media(target: Target, dialect: Dialect) -> str:
    """Return why a client of a dialect cannot take what a target answers with; empty if it can."""
    lost = [kind for kind in target.facts.answer_media if kind not in dialect.answer_media]
    if not lost or dialect.operation != "generate":
        return ""
    return f"answers with {' and '.join(lost)}, which {dialect.name} cannot carry"


def _check_translation(target_dialect: TargetDialect, target: Target, call: Features) -> str:
    """Return why a target cannot serve a translated call; empty if it can."""
    check_key = f"{target_dialect.name} {target.name} {target.effort or ''}".rstrip()
    reason = call.translation_checks.get(check_key)
    if reason is None:
        prompt = call.translate_prompt(target_dialect, target)
        reason = (
            prompt
            if isinstance(prompt, str)
            else _check_capabilities(target, prompt, target_dialect)
        )
        call.translation_checks[check_key] = reason
    return reason


def _find_translation(
    name: str, provider: Provider, call: Features, dialect: Dialect
) -> TargetDialect | None:
    if name == dialect.name:
        return None
    target_dialect = TARGET_OPERATIONS.get((name, dialect.operation))
    if target_dialect is None or not _serves(provider, target_dialect):
        return None
    return target_dialect if call.can_translate_to(target_dialect) else None


def _check_capabilities(target: Target, prompt: Prompt, dialect: TargetDialect) -> str:
    """Return why a target may not get a prompt; empty if it may. Unknown facts refuse nothing."""
    facts, provider = target.facts, target.provider
    if prompt.tools:
        reason = _check_tools(target, prompt)
        if reason:
            return reason
    if prompt.images or prompt.files or prompt.audio or prompt.json_schema:
        reason = _check_content(prompt, facts)
        if reason:
            return reason
    if facts.refused_members or provider.refused_members:
        refused_members = (
            dialect.essential_members
            & prompt.members
            & (facts.refused_members | provider.refused_members)
        )
        if refused_members:
            return f"refuses {', '.join(sorted(refused_members))}"
    dialect_reason = dialect.explain_unfit(prompt, target)
    if dialect_reason:
        return dialect_reason
    if (
        facts.prompt_window is not None
        and (prompt_tokens := estimate_tokens(prompt)) > facts.prompt_window
    ):
        return f"about {prompt_tokens:,} tokens do not fit its window of {facts.prompt_window:,}"
    return ""


def _check_media_urls(target: Target, call: Features) -> str:
    """Return why a target that opens no URL cannot get the call's media; empty if it can."""
    prompt = call.prompt
    if target.provider.media != "data" or not (prompt.images or prompt.files or prompt.audio):
        return ""
    check_key = f"{target.provider.name} has no URL"
    reason = call.translation_checks.get(check_key)
    if reason is None:
        reason = call.translation_checks[check_key] = call.find_media_problem(target)
    return reason


def _check_content(prompt: Prompt, facts: ModelFacts) -> str:
    for is_present, is_supported, reason in (
        (prompt.images > 0, facts.vision, "does not accept images"),
        (prompt.files > 0, facts.files, "does not accept files"),
        (prompt.audio > 0, facts.audio, "does not accept audio"),
        (prompt.json_schema, facts.json_schema, "has no structured output"),
    ):
        if is_present and is_supported is False:
            return reason
    return ""


def _check_tools(target: Target, prompt: Prompt) -> str:
    facts = target.facts
    if facts.tools is False:
        return "does not accept tools"
    if prompt.forced_tool and facts.forced_tools is False:
        return "cannot be forced to use a tool"
    return ""
