"""Requests made from prompts, so that evaluation decides them as the gateway decides calls."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key, RequestOptions
from gateway.core.jsonio import Json
from gateway.dialects import DIALECTS, Dialect, RequestBody, TranslatableRequest
from gateway.routing import features
from gateway.routing.client_detection import USER_AGENT_PREFIXES
from gateway.routing.features import Features
from gateway.routing.router import Router


class SampleTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model called, with its result."""

    name: str = "work"
    arguments: dict[str, Json] = {}
    result: str = "done"
    failed: bool = False

    @property
    def result_text(self) -> str:
        """The result as text, with `Error:` before a failure.

        OpenAI's dialects have no other way to mark one.
        """
        return f"Error: {self.result}" if self.failed else self.result


type SampleMessage = tuple[Literal["user", "answer"], str] | SampleTool
"""A text of the user, an answer of the model, or a tool that the model called."""
type AnswerForm = bool | dict[str, Json]
"""True if answers must be JSON; or the schema that they must follow."""
USUAL_TIME = 561_600.0
"""The time of a call without one of its own: a fixed Wednesday at noon in UTC.

If decisions depended on the machine's clock, CI would fail at night.
"""
_CALL_ID = "t1"


def _build_chat(model: str, conversation: Sequence[SampleMessage], form: AnswerForm) -> Json:
    messages: list[Json] = []
    for message in conversation:
        if isinstance(message, SampleTool):
            arguments = jsonio.dumps(message.arguments).decode()
            function = {"name": message.name, "arguments": arguments}
            tool_call = {"id": _CALL_ID, "type": "function", "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [tool_call]})
            result = {"role": "tool", "tool_call_id": _CALL_ID, "content": message.result_text}
            messages.append(result)
        else:
            messages.append({"role": _find_role(message[0]), "content": message[1]})
    body: dict[str, Json] = {"model": model, "messages": messages}
    if isinstance(form, dict):
        inside = {"name": "answer", "schema": form}
        body["response_format"] = {"type": "json_schema", "json_schema": inside}
    elif form:
        body["response_format"] = {"type": "json_object"}
    return body


def _build_responses(model: str, conversation: Sequence[SampleMessage], form: AnswerForm) -> Json:
    items: list[Json] = []
    for message in conversation:
        if isinstance(message, SampleTool):
            tool_call = {
                "type": "function_call",
                "call_id": _CALL_ID,
                "name": message.name,
                "arguments": jsonio.dumps(message.arguments).decode(),
            }
            items.append(tool_call)
            result = {"type": "function_call_output", "call_id": _CALL_ID}
            items.append({**result, "output": message.result_text})
        else:
            items.append({"role": _find_role(message[0]), "content": message[1]})
    body: dict[str, Json] = {"model": model, "input": items}
    if isinstance(form, dict):
        body["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": form}}
    elif form:
        body["text"] = {"format": {"type": "json_object"}}
    return body


def _build_messages(model: str, conversation: Sequence[SampleMessage], form: AnswerForm) -> Json:
    messages: list[Json] = []
    for message in conversation:
        if isinstance(message, SampleTool):
            tool_use = {"type": "tool_use", "id": _CALL_ID, "name": message.name}
            messages.append(
                {"role": "assistant", "content": [{**tool_use, "input": message.arguments}]}
            )
            result: Json = {
                "type": "tool_result",
                "tool_use_id": _CALL_ID,
                "content": message.result,
            }
            if message.failed:
                result["is_error"] = True
            messages.append({"role": "user", "content": [result]})
        else:
            messages.append({"role": _find_role(message[0]), "content": message[1]})
    body: dict[str, Json] = {"model": model, "max_tokens": 4096, "messages": messages}
    if form:
        schema = form if isinstance(form, dict) else {"type": "object"}
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return body


def _build_gemini(_: str, conversation: Sequence[SampleMessage], form: AnswerForm) -> Json:
    contents: list[Json] = []
    for message in conversation:
        if isinstance(message, SampleTool):
            tool_call = {"functionCall": {"name": message.name, "args": message.arguments}}
            response = {"error" if message.failed else "output": message.result}
            result = {"functionResponse": {"name": message.name, "response": response}}
            contents.append({"role": "model", "parts": [tool_call]})
            contents.append({"role": "user", "parts": [result]})
        else:
            role = "user" if message[0] == "user" else "model"
            contents.append({"role": role, "parts": [{"text": message[1]}]})
    body: dict[str, Json] = {"contents": contents}
    if form:
        body["generationConfig"] = {"responseMimeType": "application/json"}
    if isinstance(form, dict):
        body["generationConfig"]["responseJsonSchema"] = form
    return body


def _find_role(speaker: Literal["user", "answer"]) -> str:
    return "user" if speaker == "user" else "assistant"


_BODY_BUILDERS: Mapping[str, Callable[[str, Sequence[SampleMessage], AnswerForm], Json]] = {
    "openai-chat": _build_chat,
    "openai-responses": _build_responses,
    "anthropic-messages": _build_messages,
    "gemini": _build_gemini,
}
"""Functions that build the plainest request of each dialect."""


def build_body(
    dialect: str, model: str, text: str | Sequence[SampleMessage], *, form: AnswerForm = False
) -> bytes:
    """Return the body that a client of a dialect would send for a prompt or a conversation."""
    conversation: Sequence[SampleMessage] = [("user", text)] if isinstance(text, str) else text
    return jsonio.dumps(_BODY_BUILDERS[dialect](model, conversation, form))


def read_body(dialect: Dialect, raw: bytes, model: str) -> RequestBody:
    """Read a body. `model` counts only for a dialect that names the model in the path."""
    if dialect.read_with_path is None:
        return dialect.read(raw)
    return dialect.read_with_path(raw, f"models/{model}:generateContent")


def build_features(
    router: Router,
    text: str | Sequence[SampleMessage],
    *,
    model: str = "auto",
    key: Key = OPEN_KEY,
    options: RequestOptions = NO_OPTIONS,
    dialect: str = "openai-chat",
    hints: Mapping[str, str] = {},
    form: AnswerForm = False,
) -> tuple[Features, Dialect]:
    """Return the features of a prompt or of a conversation, and the client's dialect."""
    client_dialect = DIALECTS[dialect]
    body = read_body(client_dialect, build_body(dialect, model, text, form=form), model)
    request = TranslatableRequest(client_dialect, body, router.fetched_media)
    return features.read(body.prompt, dialect, key, options, request, hints), client_dialect


def describe_client(client: str) -> dict[str, str]:
    """Return the headers of an application. `client` is a name that rules know, or a user agent."""
    prefix = next((prefix for prefix, name in USER_AGENT_PREFIXES if name == client), client)
    return {"user-agent": prefix} if prefix else {}


def find_key(name: str | None, keys: Mapping[str, Key]) -> Key:
    """Return the key of a name. For an unknown name, return a key that has only this name."""
    return OPEN_KEY if name is None else keys.get(name) or Key(name=name)
