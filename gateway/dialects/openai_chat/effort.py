"""How effort is said on openai-chat: one scale, written in each host's own members.

Styles are named in the catalogue, one for each model; the member names are those of the hosts' own
API references (DeepSeek, Moonshot and Z.ai `thinking`, DashScope `enable_thinking`, OpenRouter
`reasoning`, vLLM and llama.cpp `chat_template_kwargs`). A budget of tokens becomes an effort.
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
    "effective",
    "explain_unfit",
    "find_nearest_effort",
    "from_budget",
    "style",
    "write",
]

type Members = dict[str, object]

MEMBERS = frozenset(
    {
        "reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget",
        "chat_template_kwargs",
    }
)  # fmt: skip
"""Where any of these is set, the client has chosen, and the tier's effort is not added."""


def _thinking(effort: str) -> Members:
    return {"thinking": {"type": "disabled" if effort == "none" else "enabled"}}


def _thinking_effort(effort: str) -> Members:
    more: Members = {} if effort == "none" else {"reasoning_effort": effort}
    return {**_thinking(effort), **more}


def _enable_thinking(effort: str) -> Members:
    more: Members = {} if effort == "none" else {"reasoning_effort": effort}
    return {"enable_thinking": effort != "none", **more}


def _reasoning(effort: str) -> Members:
    return {"reasoning": {"enabled": False} if effort == "none" else {"effort": effort}}


STYLES: Mapping[str, Callable[[str], Members]] = {
    "reasoning_effort": lambda effort: {"reasoning_effort": effort},
    "thinking": _thinking,
    "thinking+reasoning_effort": _thinking_effort,
    "enable_thinking": _enable_thinking,
    "reasoning": _reasoning,
    "template": lambda effort: {"chat_template_kwargs": {"enable_thinking": effort != "none"}},
}

_RESPONSES = "openai-responses"
ON_OFF = frozenset({"thinking", "template"})
"""Styles that can only say whether a model thinks."""
_K = 1024
_BUDGETS = ((0, "none"), (2 * _K - 1, "low"), (8 * _K - 1, "medium"), (24 * _K - 1, "high"))
"""Up to so many tokens to think with are such an effort."""
_MOST = "xhigh"


def write(style: str | None, effort: str) -> Members:
    """The members that say an effort in a style; none where the model has no such control."""
    return STYLES[style](effort) if style is not None else {}


def style(facts: ModelFacts) -> str | None:
    """The style of a model on openai-chat; None where it has no such control, or none of here."""
    named = facts.find_effort_style("openai-chat")
    return named if named in STYLES else None


def accepted(facts: ModelFacts) -> tuple[str, ...]:
    """Efforts that openai-chat takes for a model; empty where that is not known."""
    return facts.efforts if facts.chat_efforts is None else facts.chat_efforts


def effective(prompt: Prompt, target: Target) -> str | None:
    """The effort a call would run at: the client's, else the target's, else the model's own."""
    if prompt.effort is not None:
        known = accepted(target.facts)
        if prompt.effort in EFFORTS and known and prompt.effort not in known:
            return find_nearest_effort(prompt.effort, known)
        return prompt.effort
    return target.effort if target.effort is not None else target.facts.default_effort


def explain_unfit(prompt: Prompt, target: Target) -> str:
    """Why a model refuses a request on chat at its effort; empty where it does not.

    OpenAI answers 400 to function tools beside reasoning from GPT-5.6 on, and to logprobs.
    """
    facts = target.facts
    at = facts.chat_tool_efforts
    if prompt.tools and at is not None and effective(prompt, target) not in at:
        return f"needs {_RESPONSES}"
    asked = prompt.effort or target.effort
    if (
        asked in facts.efforts
        and asked not in accepted(facts)
        and _RESPONSES in target.provider.urls
    ):
        return f"needs {_RESPONSES} for effort {asked}"
    if prompt.logprobs and facts.sampling != "always" and effective(prompt, target) != "none":
        return "gives no logprobs while it reasons"
    return ""


def from_budget(budget: int) -> str:
    """The effort that a budget of tokens to think with comes to."""
    return next((word for most, word in _BUDGETS if budget <= most), _MOST)
