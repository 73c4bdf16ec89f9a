"""Which targets can say what a call needs: a reason for each that cannot; nothing is faked."""

from gateway.core.facts import Facts
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.dialects import Dialect
from gateway.routing.features import Features


def unfit(target: Target, call: Features, dialect: Dialect) -> str:
    """Why a target may not serve a call; empty where it may. What is unknown refuses nothing."""
    prompt, facts, provider = call.prompt, target.facts, target.provider
    if not provider.on:
        return f"{provider.name} is off: {provider.why}"
    if dialect.name not in provider.doors:
        return f"needs {' or '.join(provider.doors)}"
    if prompt.tools:
        reason = _tools(target, call)
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
    if facts.window is not None and call.prompt_tokens > facts.window:
        return f"about {call.prompt_tokens:,} tokens do not fit its window of {facts.window:,}"
    return ""


def _content(prompt: Prompt, facts: Facts) -> str:
    for present, able, what in (
        (prompt.images > 0, facts.vision, "takes no images"),
        (prompt.files > 0, facts.files, "takes no files"),
        (prompt.audio > 0, facts.audio, "takes no audio"),
        (prompt.json_schema, facts.json_schema, "has no structured output"),
    ):
        if present and able is False:
            return what
    return ""


def _tools(target: Target, call: Features) -> str:
    facts = target.facts
    if facts.tools is False:
        return "takes no tools"
    if call.prompt.forced_tool and facts.forced_tools is False:
        return "cannot be forced to use a tool"
    return ""
