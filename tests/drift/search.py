"""Print members, betas and endpoints that this Python's SDKs have and nothing decides on.

python -m tests.drift.search         1 where there is anything
"""

import sys
from collections.abc import Iterator, Mapping
from importlib import metadata

from anthropic.types import AnthropicBetaParam
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from anthropic.types.beta.message_create_params import MessageCreateParamsBase
from google.genai import types
from openai.types.beta.response_create_params import (
    ResponseCreateParamsBase as BetaResponseCreateParamsBase,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from gateway.dialects import DIALECTS
from gateway.dialects.beta_headers import BetaHeader
from gateway.dialects.translation import get_translation
from tests.drift.endpoint_decisions import list_undecided_endpoints
from tests.drift.sdk_types import find_undecided, read_fields, read_type_words

SDKS = ("openai", "anthropic", "google-genai")
"""The official SDKs, by their names on the package index."""
ROOTS: Mapping[str, Mapping[str, object]] = {
    "openai-chat": {"request": CompletionCreateParamsBase},
    "openai-responses": {"request": ResponseCreateParamsBase | BetaResponseCreateParamsBase},
    "anthropic-messages": {"request": MessageCreateParamsBase},
    "gemini": {
        "content": types.Content,
        "tool": types.Tool,
        "tool_config": types.ToolConfig,
        "config": types.GenerationConfig,
    },
}
"""Types of requests by dialect, and by the name that their objects have in its member list."""
ANSWER_ROOTS: Mapping[str, Mapping[str, object]] = {
    "openai-chat": {"answer": ChatCompletion, "event": ChatCompletionChunk},
    "anthropic-messages": {"answer": BetaMessage, "event": BetaRawMessageStreamEvent},
    "openai-responses": {"answer": Response, "event": ResponseStreamEvent},
    "gemini": {"answer": types.GenerateContentResponse},
}
"""Types of answers and of the events of streams, likewise."""
BETAS: Mapping[str, object] = {
    "openai-responses": read_fields(BetaResponseCreateParamsBase)["openai-beta"],
    "anthropic-messages": AnthropicBetaParam,
}
"""The types of the words of a beta header, by dialect."""
_GEMINI_CLIENT_OPTIONS = {
    "automaticContinuation", "automaticFunctionCalling", "httpOptions", "shouldReturnHttpResponse",
}  # fmt: skip
"""Members of a GenerateContentConfig that stay in Google's SDK."""
_GEMINI_SDK_MEMBERS = {
    "answer.automaticFunctionCallingHistory", "answer.parsed", "answer.sdkHttpResponse",
}  # fmt: skip
"""Members of an answer that Google's SDK makes itself."""
_GEMINI_WIRE_NAMES = {"generationOutputConfig": "outputConfig"}
"""Members that Google's SDK sends by another name."""


def list_undecided(dialect: str) -> Iterator[str]:
    """List the members, type words and betas of a dialect's SDK that have no decision."""
    functions = get_translation(DIALECTS[dialect])
    members, beta_header = functions.request_members, functions.beta_header
    for name, sdk_type in ROOTS[dialect].items():
        for path in find_undecided(sdk_type, members, name):
            if path != f"request.{beta_header.name}":  # which the SDK sends as a header
                yield path
    yield from list_undecided_betas(BETAS.get(dialect), beta_header)
    if dialect == "gemini":  # its SDK has a request's members and the settings in one object
        settings = read_fields(types.GenerateContentConfig).keys() - _GEMINI_CLIENT_OPTIONS
        names = {_GEMINI_WIRE_NAMES.get(setting, setting) for setting in settings}
        yield from sorted(names - members["request"].keys() - members["config"].keys())


def list_undecided_in_answers(dialect: str) -> Iterator[str]:
    """List the members and type words of a dialect's answers that its member list lacks."""
    members = get_translation(DIALECTS[dialect]).answer_members
    for name, sdk_type in ANSWER_ROOTS[dialect].items():
        for path in find_undecided(sdk_type, members, name):
            if dialect != "gemini" or path not in _GEMINI_SDK_MEMBERS:
                yield path


def list_undecided_betas(sdk_type: object, header: BetaHeader) -> Iterator[str]:
    """List the words of an SDK's type that a beta header has no decision on."""
    for word in read_type_words(sdk_type):
        if word not in header.words:
            yield f"{header.name} {word}"


def main() -> int:
    """Print all that has no decision; return 1 if there is any."""
    print("SDKs:", ", ".join(f"{name} {metadata.version(name)}" for name in SDKS))
    undecided = [f"{dialect} {path}" for dialect in ROOTS for path in list_undecided(dialect)]
    undecided += [
        f"{dialect} {path}"
        for dialect in ANSWER_ROOTS
        for path in list_undecided_in_answers(dialect)
    ]
    undecided += [f"{sdk} {path}" for sdk in SDKS for path in list_undecided_endpoints(sdk)]
    for line in undecided:
        print(f"UNDECIDED {line}")
    print(
        f"{len(undecided)} without a decision, in requests and answers of {', '.join(ROOTS)},"
        " and in the endpoints of the SDKs"
    )
    return 1 if undecided else 0


if __name__ == "__main__":
    sys.exit(main())
