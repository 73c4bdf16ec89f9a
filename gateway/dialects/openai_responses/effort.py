"""Reasoning effort on openai-responses: `reasoning.effort`, on one scale for all hosts.

Source: the Reasoning object of OpenAI's API reference, which the other hosts of this API follow.
"""

from gateway.core.jsonio import Json
from gateway.core.prompt import Prompt
from gateway.core.target import EFFORTS, UNKNOWN_FACTS, ModelFacts, Target, find_nearest_effort
from gateway.dialects.body_patch import BodyPatch

STYLES = frozenset({"reasoning", "reasoning_effort"})
"""Effort styles of the catalogue that this API writes as `reasoning.effort`."""

_MEMBER = "reasoning.effort"


def read(value: dict[str, Json]) -> str | None:
    """Return the effort that a client set; None if it left it to the model."""
    reasoning = value.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return effort if isinstance(effort, str) else None


def read_style(facts: ModelFacts) -> str | None:
    """Return the effort style of a model here; None if it has no effort setting."""
    style = facts.find_effort_style("openai-responses")
    return style if style in STYLES else None


def write(patch: BodyPatch, target: Target) -> None:
    """Write the effort for one target: the client's if the model accepts it, else the nearest."""
    facts, wanted = target.facts, patch.body.prompt.effort
    if not isinstance(patch.body.outline.get("reasoning") or {}, dict):
        return  # the provider will say what is wrong with it
    if wanted is None:
        if target.effort is not None and read_style(facts) is not None:
            patch.set_inner_member("reasoning", "effort", target.effort)
        return
    if facts == UNKNOWN_FACTS or wanted not in EFFORTS:
        return
    if read_style(facts) is None:
        patch.set_inner_member("reasoning", "effort", None)
        patch.record_loss(_MEMBER, "dropped", f"{target.model} has no effort setting")
    elif facts.efforts and wanted not in facts.efforts:
        nearest = find_nearest_effort(wanted, facts.efforts)
        patch.set_inner_member("reasoning", "effort", nearest)
        reason = f"{target.model} accepts {', '.join(facts.efforts)}; sent {nearest}"
        patch.record_loss(_MEMBER, "clamped", reason)


def find_effective(prompt: Prompt, target: Target) -> str | None:
    """Return the effort of a call: the client's, else the target's, else the model's default."""
    efforts = target.facts.efforts
    if prompt.effort in EFFORTS and efforts and prompt.effort not in efforts:
        return find_nearest_effort(prompt.effort, efforts)
    return prompt.effort or target.effort or target.facts.default_effort


def may_reason(prompt: Prompt, target: Target) -> bool:
    """True if a call may reason: the model then refuses sampling and log probabilities."""
    sampling = target.facts.sampling
    return sampling == "never" or (
        sampling == "effort-none" and find_effective(prompt, target) != "none"
    )


def explain_unfit(prompt: Prompt, target: Target) -> str:
    """Tell why a model cannot take a call in this dialect; empty if it can."""
    if not prompt.logprobs:
        return ""
    if may_reason(prompt, target):
        return "sends no logprobs while it reasons"
    refused = target.facts.refused_members | target.provider.refused_members
    return "sends no logprobs" if "include" in refused else ""
