"""The SDKs that the tests install know no member that a list has no decision on."""

from collections.abc import Mapping

import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase
from google.genai import types
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from gateway.dialects import DIALECTS
from gateway.dialects.translation import get_translation
from tests.drift.sdk_types import find_undecided, read_fields

ROOTS: Mapping[str, Mapping[str, object]] = {
    "openai-chat": {"request": CompletionCreateParamsBase},
    "openai-responses": {"request": ResponseCreateParamsBase},
    "anthropic-messages": {"request": MessageCreateParamsBase},
    "gemini": {
        "content": types.Content,
        "tool": types.Tool,
        "tool_config": types.ToolConfig,
        "config": types.GenerationConfig,
    },
}
"""SDK types by dialect, and by the name that their objects have in the member list."""

GEMINI_CLIENT_OPTIONS = {
    "automaticContinuation", "automaticFunctionCalling", "httpOptions", "shouldReturnHttpResponse",
}  # fmt: skip
"""Members of a GenerateContentConfig that stay in the SDK."""
GEMINI_WIRE_NAMES = {"generationOutputConfig": "outputConfig"}
"""Members that the SDK sends by another name."""


@pytest.mark.parametrize(
    ("dialect", "name"), [(dialect, name) for dialect, roots in ROOTS.items() for name in roots]
)
def test_every_member_of_the_sdk_has_a_decision(dialect: str, name: str) -> None:
    members = get_translation(DIALECTS[dialect]).request_members
    assert [*find_undecided(ROOTS[dialect][name], members, name)] == []


def test_every_setting_of_googles_sdk_has_a_decision() -> None:
    """The SDK has the members of a request, and those of `generationConfig`, in one object."""
    members = get_translation(DIALECTS["gemini"]).request_members
    settings = read_fields(types.GenerateContentConfig).keys() - GEMINI_CLIENT_OPTIONS
    names = {GEMINI_WIRE_NAMES.get(name, name) for name in settings}
    assert names - members["request"].keys() - members["config"].keys() == set()
