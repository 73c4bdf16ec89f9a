"""The quick path for requests that a target takes as they are gives the same as the full path."""

from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.target import ModelFacts, Target
from gateway.dialects import ANTHROPIC_MESSAGES, DIALECTS, OPENAI_CHAT, OPENAI_RESPONSES
from gateway.dialects.anthropic_messages import request as messages
from gateway.dialects.openai_chat import request as chat
from gateway.dialects.openai_responses import request as responses
from tests.dialects.cases import target

TURNS = [{"role": "user", "content": "hi"}]
REQUEST_MODULES: dict[str, tuple[ModuleType, dict[str, Any]]] = {
    OPENAI_CHAT.name: (chat, {"messages": TURNS}),
    ANTHROPIC_MESSAGES.name: (messages, {"messages": TURNS, "max_tokens": 9}),
    OPENAI_RESPONSES.name: (responses, {"input": "hi"}),
}
CAP = st.sampled_from([None, 1, 9, 10, 11, True, "9"])
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.booleans(),
    "stream_options": st.sampled_from([None, {"include_usage": True}, {"include_usage": False}]),
    "temperature": st.sampled_from([0, 1]),
    "max_completion_tokens": CAP,
    "max_output_tokens": CAP,
    "reasoning_effort": st.sampled_from(["none", "high", None]),
    "reasoning": st.sampled_from([None, {"effort": "high"}, "odd"]),
    "thinking": st.sampled_from([None, {"type": "enabled", "budget_tokens": 5}]),
    "output_config": st.sampled_from([None, {"effort": "high"}]),
    "n": st.just(2),
}
STYLES = st.sampled_from([None, "reasoning_effort", "anthropic", "anthropic-budget", "odd"])
FACTS = st.builds(
    ModelFacts,
    max_output=st.sampled_from([None, 10]),
    sampling=st.sampled_from(["always", "always", "effort-none", "never"]),
    effort_style=STYLES,
    efforts=st.sampled_from([(), ("none", "low")]),
    refused_members=st.sampled_from([frozenset(), frozenset({"n", "temperature"})]),
    replays_reasoning=st.booleans(),
)


TARGETS = st.builds(
    target,
    st.sampled_from(["m", "other"]),
    facts=FACTS,
    effort=st.sampled_from([None, None, "low"]),
    max_output=st.sampled_from([None, None, 7]),
    params=st.sampled_from([{}, {}, {"top_k": 1}]),
    provider_max_tokens=st.sampled_from(["either", "either", "max_completion_tokens"]),
    provider_stream_usage=st.sampled_from(["ask", "always"]),
    provider_refused_members=st.sampled_from([frozenset(), frozenset({"n"})]),
)


@pytest.mark.parametrize("name", REQUEST_MODULES)
@given(
    members=st.fixed_dictionaries({}, optional=MEMBERS), target_=TARGETS, twice=st.booleans(),
    sealed=st.booleans(),
)  # fmt: skip
def test_the_quick_path_writes_the_same_as_the_full_path(
    name: str, members: dict[str, Any], target_: Target, *, twice: bool, sealed: bool
) -> None:
    module, base = REQUEST_MODULES[name]
    raw = jsonio.dumps({"model": "m", **base, **members, "user": "tg1." if sealed else "u"})
    body = DIALECTS[name].read(raw[:-1] + b',"model":"m"}' if twice else raw)
    assert DIALECTS[name].write(body, target_) == write_on_full_path(module, name, body, target_)


def write_on_full_path(module: ModuleType, name: str, body: Any, target_: Target) -> object:
    with mock.patch.object(module, "_as_it_is", return_value=False):
        return DIALECTS[name].write(body, target_)


def find_first_step(module: ModuleType) -> tuple[ModuleType, str]:
    """Return the function that begins to weigh a request, as a module and a name."""
    name = "remove_foreign_reasoning"
    return (module, name) if hasattr(module, name) else (module.reasoning_state, "edit")


@pytest.mark.parametrize("name", REQUEST_MODULES)
def test_a_request_without_changes_takes_the_quick_path(name: str) -> None:
    module, base = REQUEST_MODULES[name]
    raw = jsonio.dumps({"model": "m", **base})
    with mock.patch.object(*find_first_step(module), side_effect=AssertionError):
        assert DIALECTS[name].write(DIALECTS[name].read(raw), target(model="m")).body is raw


@given(model=st.sampled_from(["m", "other"]), twice=st.booleans(), has_usage=st.booleans())
def test_the_quick_path_adds_the_wish_for_usage_in_a_stream(
    model: str, *, twice: bool, has_usage: bool
) -> None:
    more = {"stream_options": {"include_usage": True}} if has_usage else {}
    raw = jsonio.dumps({"model": "m", "messages": TURNS, "stream": True, **more})
    body = OPENAI_CHAT.read(raw[:-1] + b',"stream":true}' if twice else raw)
    target_ = target(model=model, provider_stream_usage="ask")
    module: ModuleType = chat
    with mock.patch.object(*find_first_step(module), side_effect=AssertionError):
        written = OPENAI_CHAT.write(body, target_)
    assert written == write_on_full_path(module, OPENAI_CHAT.name, body, target_)
    assert jsonio.loads(written.body)["stream_options"] == {"include_usage": True}
