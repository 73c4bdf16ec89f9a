"""How effort is said on openai-responses: `reasoning.effort`, on one scale for all hosts.

Source: the Reasoning object of OpenAI's API reference, which the other hosts of this API follow.
"""

from gateway.core.jsonio import Json
from gateway.core.prompt import Prompt
from gateway.core.target import EFFORTS, UNKNOWN_FACTS, ModelFacts, Target, find_nearest_effort
from gateway.dialects.body_patch import BodyPatch

STYLES = frozenset({"reasoning", "reasoning_effort"})
"""Styles of the catalogue that this API says in its one way."""

_NAME = "reasoning.effort"


def read(value: dict[str, Json]) -> str | None:
    """The effort that a client set; None where it left it to the model."""
    reasoning = value.get("reasoning")
    said = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return said if isinstance(said, str) else None


def read_style(facts: ModelFacts) -> str | None:
    """The style of a model here; None where it has no control of effort."""
    named = facts.find_effort_style("openai-responses")
    return named if named in STYLES else None


def write(edit: BodyPatch, target: Target) -> None:
    """Say effort to one target, the client's as far as it is accepted, else the target's."""
    facts, asked = target.facts, edit.body.prompt.effort
    if not isinstance(edit.body.outline.get("reasoning") or {}, dict):
        return  # the provider will say what is wrong with it
    if asked is None:
        if target.effort is not None and read_style(facts) is not None:
            edit.set_inner_member("reasoning", "effort", target.effort)
        return
    if facts == UNKNOWN_FACTS or asked not in EFFORTS:
        return
    if read_style(facts) is None:
        edit.set_inner_member("reasoning", "effort", None)
        edit.record_loss(_NAME, "dropped", f"{target.model} has no control of effort")
    elif facts.efforts and asked not in facts.efforts:
        sent = find_nearest_effort(asked, facts.efforts)
        edit.set_inner_member("reasoning", "effort", sent)
        why = f"{target.model} accepts {', '.join(facts.efforts)}; sent {sent}"
        edit.record_loss(_NAME, "clamped", why)


def find_effective(prompt: Prompt, target: Target) -> str | None:
    """The effort a call would run at: the client's, else the target's, else the model's own."""
    known = target.facts.efforts
    if prompt.effort in EFFORTS and known and prompt.effort not in known:
        return find_nearest_effort(prompt.effort, known)
    return prompt.effort or target.effort or target.facts.default_effort


def may_reason(prompt: Prompt, target: Target) -> bool:
    """Whether a call would reason, or may: where sampling and log probabilities are refused."""
    sampling = target.facts.sampling
    return sampling == "never" or (
        sampling == "effort-none" and find_effective(prompt, target) != "none"
    )


def explain_unfit(prompt: Prompt, target: Target) -> str:
    """Why a model cannot be asked this here; empty where it can."""
    if not prompt.logprobs:
        return ""
    if may_reason(prompt, target):
        return "gives no logprobs while it reasons"
    refused = target.facts.refused_members | target.provider.refused_members
    return "gives no logprobs" if "include" in refused else ""
