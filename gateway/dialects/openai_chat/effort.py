"""Reasoning effort on openai-chat: one scale, written in each host's own members.

The catalogue names a style for each model. Member names come from the hosts' own API references:
DeepSeek, Moonshot and Z.ai `thinking`, DashScope `enable_thinking`, OpenRouter `reasoning`, vLLM
and llama.cpp `chat_template_kwargs`. A budget of reasoning tokens becomes an effort.
"""

from collections.abc import Callable, Mapping

from gateway.core.prompt import Prompt
from gateway.core.target import EFFORTS, ModelFacts, Target, find_nearest_effort

__all__ = [
    "EFFORTS",
    "MEMBERS",
    "ON_OFF",
    "STYLES",
    "accepted",
    "explain_unfit",
    "find_effective",
    "find_nearest_effort",
    "find_style",
    "from_budget",
    "write",
]

type Members = dict[str, object]

MEMBERS = frozenset(
    {
        "reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget",
        "chat_template_kwargs",
    }
)  # fmt: skip
"""Members by which a client chooses; if one is set, the gateway does not add the tier's effort."""


def _write_thinking(effort: str) -> Members:
    return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}


def _write_thinking_effort(effort: str) -> Members:
    more: Members = {} if effort == "none" else {"reasoning_effort": effort}
    return {**_write_thinking(effort), **more}


def _write_enable_thinking(effort: str) -> Members:
    more: Members = {} if effort == "none" else {"reasoning_effort": effort}
    return {"enable_thinking": effort != "none", **more}


def _write_reasoning(effort: str) -> Members:
    return {"reasoning": {"enabled": False} if effort == "none" else {"effort": effort}}


STYLES: Mapping[str, Callable[[str], Members]] = {
    "reasoning_effort": lambda effort: {"reasoning_effort": effort},
    "thinking": _write_thinking,
    "thinking+reasoning_effort": _write_thinking_effort,
    "enable_thinking": _write_enable_thinking,
    "reasoning": _write_reasoning,
    "template": lambda effort: {"chat_template_kwargs": {"enable_thinking": effort != "none"}},
}

_RESPONSES = "openai-responses"
ON_OFF = frozenset({"thinking", "template"})
"""Styles that can only turn reasoning on or off."""
_K = 1024
_BUDGET_EFFORTS = ((0, "none"), (2 * _K - 1, "low"), (8 * _K - 1, "medium"), (24 * _K - 1, "high"))
"""The highest budget of reasoning tokens, and its effort."""
_HIGHEST = "xhigh"


def write(style: str | None, effort: str) -> Members:
    """Return the members that set an effort in a style; none if the model has no such control."""
    return STYLES[style](effort) if style is not None else {}


def find_style(facts: ModelFacts) -> str | None:
    """Return the style of a model on openai-chat; None if it has no style of this dialect."""
    style_name = facts.find_effort_style("openai-chat")
    return style_name if style_name in STYLES else None


def accepted(facts: ModelFacts) -> tuple[str, ...]:
    """Return the efforts that a model accepts on openai-chat; empty if they are unknown."""
    return facts.efforts if facts.chat_efforts is None else facts.chat_efforts


def find_effective(prompt: Prompt, target: Target) -> str | None:
    """Return the effort of a call: the client's, else the target's, else the model's own."""
    if prompt.effort is not None:
        accepted_efforts = accepted(target.facts)
        if prompt.effort in EFFORTS and accepted_efforts and prompt.effort not in accepted_efforts:
            return find_nearest_effort(prompt.effort, accepted_efforts)
        return prompt.effort
    return target.effort if target.effort is not None else target.facts.default_effort


def explain_unfit(prompt: Prompt, target: Target) -> str:
    """Explain why a model refuses a request at its effort; empty if it does not.

    From GPT-5.6 on OpenAI answers 400 to function tools beside reasoning, and to logprobs.
    """
    facts = target.facts
    tool_efforts = facts.chat_tool_efforts
    if (
        prompt.tools
        and tool_efforts is not None
        and find_effective(prompt, target) not in tool_efforts
    ):
        return f"needs {_RESPONSES}"
    wanted = prompt.effort or target.effort
    if (
        wanted in facts.efforts
        and wanted not in accepted(facts)
        and _RESPONSES in target.provider.urls
    ):
        return f"needs {_RESPONSES} for effort {wanted}"
    if prompt.logprobs and facts.sampling != "always" and find_effective(prompt, target) != "none":
        return "sends no logprobs while it reasons"
    return ""


def from_budget(budget: int) -> str:
    """Return the effort that stands for a budget of reasoning tokens."""
    return next((word for limit, word in _BUDGET_EFFORTS if budget <= limit), _HIGHEST)
