"""Requests of clients, without a dialect, and how each of the four dialects writes them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES
from tests.twin.exchanges.exchange import Json, http_request

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of one pixel."""
PDF = "JVBERi0xLjQKJSVFT0YK"
PICTURE_URL = "https://pictures.example.com/cat.png"
SCHEMA: Json = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "A city"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}  # fmt: skip
SCHEMA_ANSWER = json.dumps({"city": "Rome", "days": 3})
"""An answer that the schema allows."""
_TOOL = "get_weather"
_ARGUMENTS = {"city": "Rome"}
_RESULT = "12.50 degrees"


@dataclass(frozen=True)
class ClientRequest:
    """One request of a client. The dialects leave out None and empty values."""

    turns: tuple[tuple[str, str], ...]
    """Turns of `user` and `assistant`, each with its text."""
    system: str = ""
    tools: int = 0
    """Number of function tools that it offers."""
    tool_choice: str = ""
    """`auto`, `none`, `required` or the name of a tool."""
    tool_result: bool = False
    """True if the last turn is the result of a tool."""
    image: str = ""
    """`data` or `url`."""
    file: bool = False
    schema: bool = False
    effort: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    candidates: int | None = None
    user: str = ""
    metadata: Mapping[str, str] | None = None
    service_tier: str = ""
    parallel_tools: bool | None = None
    stream: bool = False
    stream_usage: bool = True
    """True if a stream of Chat Completions asks for usage."""
    extra: Mapping[str, Any] | None = None
    """Members that are added as they are."""


def tool_names(count: int) -> list[str]:
    """Name some tools."""
    return [f"{_TOOL}_{number}" if number else _TOOL for number in range(count)]


def write(
    dialect: str,
    request: ClientRequest,
    model: str,
    headers: Mapping[str, str] | None = None,
    key: str = "main",
) -> bytes:
    """Write the HTTP request of a client of a dialect."""
    body = {**_BODIES[dialect](request), **(request.extra or {})}
    if dialect == GEMINI:
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        return http_request("POST", f"/v1beta/models/{model}:{method}", body, key, headers)
    body = {"model": model, **body}
    if request.stream:
        body["stream"] = True
        if dialect == CHAT and request.stream_usage:
            body["stream_options"] = {"include_usage": True}
    version = {"anthropic-version": "2023-06-01"} if dialect == MESSAGES else {}
    paths = {CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses", MESSAGES: "/v1/messages"}
    return http_request("POST", paths[dialect], body, key, {**version, **(headers or {})})


def _present(**members: Any) -> Json:
    """Leave out None and empty values."""
    return {name: value for name, value in members.items() if value not in (None, "", (), [], {})}


def _tools(request: ClientRequest) -> list[tuple[str, str]]:
    """List the names and descriptions of the tools."""
    return [(name, f"Tells the weather by {name}.") for name in tool_names(request.tools)]


def _image_url(request: ClientRequest) -> str:
    return PICTURE_URL if request.image == "url" else f"data:image/png;base64,{PNG}"


def _chat(request: ClientRequest) -> Json:
    messages: list[Json] = [{"role": role, "content": text} for role, text in request.turns]
    parts: list[Json] = []
    if request.image:
        parts.append({"type": "image_url", "image_url": {"url": _image_url(request)}})
    if request.file:
        data = f"data:application/pdf;base64,{PDF}"
        parts.append({"type": "file", "file": {"filename": "a.pdf", "file_data": data}})
    if parts:
        messages[-1]["content"] = [{"type": "text", "text": messages[-1]["content"]}, *parts]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    if request.tool_result:
        function = {"name": _TOOL, "arguments": json.dumps(_ARGUMENTS)}
        call = {"id": "call_twin1", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": "call_twin1", "content": _RESULT})
    tools = [
        {"type": "function", "function": {"name": name, "description": text, "parameters": SCHEMA}}
        for name, text in _tools(request)
    ]
    choice: Any = request.tool_choice
    if choice not in ("", "auto", "none", "required"):
        choice = {"type": "function", "function": {"name": choice}}
    schema = {"name": "answer", "strict": True, "schema": SCHEMA}
    return _present(
        messages=messages, tools=tools, tool_choice=choice, response_format={"type": "json_schema", "json_schema": schema} if request.schema else None,
        reasoning_effort=request.effort, temperature=request.temperature, top_p=request.top_p, max_completion_tokens=request.max_tokens,
        stop=list(request.stop), seed=request.seed, n=request.candidates, user=request.user, metadata=request.metadata,
        service_tier=request.service_tier, parallel_tool_calls=request.parallel_tools,
    )  # fmt: skip


def _responses(request: ClientRequest) -> Json:
    items: list[Json] = []
    for role, text in request.turns:
        kind = "input_text" if role == "user" else "output_text"
        items.append({"role": role, "content": [{"type": kind, "text": text}]})
    if request.image:
        items[-1]["content"].append({"type": "input_image", "image_url": _image_url(request)})
    if request.file:
        data = f"data:application/pdf;base64,{PDF}"
        items[-1]["content"].append({"type": "input_file", "filename": "a.pdf", "file_data": data})
    if request.tool_result:
        call = {"call_id": "call_twin1", "name": _TOOL, "arguments": json.dumps(_ARGUMENTS)}
        items.append({"type": "function_call", **call})
        items.append({"type": "function_call_output", "call_id": "call_twin1", "output": _RESULT})
    is_text = len(request.turns) == 1 and not (request.image or request.file or request.tool_result)
    tools = [
        {"type": "function", "name": name, "description": text, "parameters": SCHEMA}
        for name, text in _tools(request)
    ]
    choice: Any = request.tool_choice
    if choice not in ("", "auto", "none", "required"):
        choice = {"type": "function", "name": choice}
    schema = {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA}
    return _present(
        input=request.turns[0][1] if is_text else items, instructions=request.system, tools=tools, tool_choice=choice,
        text={"format": schema} if request.schema else None, reasoning={"effort": request.effort, "summary": "auto"} if request.effort else None,
        temperature=request.temperature, top_p=request.top_p, max_output_tokens=request.max_tokens, user=request.user,
        metadata=request.metadata, service_tier=request.service_tier, parallel_tool_calls=request.parallel_tools,
    )  # fmt: skip


def _messages(request: ClientRequest) -> Json:
    messages: list[Json] = [{"role": role, "content": text} for role, text in request.turns]
    parts: list[Json] = []
    if request.file:
        pdf = {"type": "base64", "media_type": "application/pdf", "data": PDF}
        parts.append({"type": "document", "source": pdf})
    if request.image:
        png = {"type": "base64", "media_type": "image/png", "data": PNG}
        url = {"type": "url", "url": PICTURE_URL}
        parts.append({"type": "image", "source": url if request.image == "url" else png})
    if parts:
        text = {"type": "text", "text": messages[-1]["content"]}
        messages[-1]["content"] = [*parts, {**text, "cache_control": {"type": "ephemeral"}}]
    if request.tool_result:
        call = {"type": "tool_use", "id": "toolu_twin1", "name": _TOOL, "input": _ARGUMENTS}
        result = {"type": "tool_result", "tool_use_id": "toolu_twin1", "content": _RESULT}
        messages.append({"role": "assistant", "content": [call]})
        messages.append({"role": "user", "content": [result]})
    tools = [
        {"name": name, "description": text, "input_schema": SCHEMA}
        for name, text in _tools(request)
    ]
    choices = {"": None, **{name: {"type": name} for name in ("auto", "none")}, "required": {"type": "any"}}  # fmt: skip
    budget = {"low": 1024, "medium": 2048, "high": 4096}.get(request.effort)
    schema = {"format": {"type": "json_schema", "schema": SCHEMA}}
    return _present(
        max_tokens=request.max_tokens or 8192, system=request.system, messages=messages, tools=tools,
        tool_choice=choices.get(request.tool_choice, {"type": "tool", "name": request.tool_choice}), temperature=request.temperature,
        thinking={"type": "enabled", "budget_tokens": budget} if budget else None, top_p=request.top_p, stop_sequences=list(request.stop),
        metadata={"user_id": request.user} if request.user else None, service_tier="auto" if request.service_tier else None,
        output_config=schema if request.schema else None,
    )  # fmt: skip


def _gemini(request: ClientRequest) -> Json:
    roles = {"user": "user", "assistant": "model"}
    contents: list[Json] = [
        {"role": roles[role], "parts": [{"text": text}]} for role, text in request.turns
    ]
    if request.image == "url":
        part = {"fileData": {"mimeType": "image/png", "fileUri": PICTURE_URL}}
        contents[-1]["parts"].append(part)
    elif request.image:
        contents[-1]["parts"].append({"inlineData": {"mimeType": "image/png", "data": PNG}})
    if request.file:
        contents[-1]["parts"].append({"inlineData": {"mimeType": "application/pdf", "data": PDF}})
    if request.tool_result:
        call = {"functionCall": {"name": _TOOL, "args": _ARGUMENTS}}
        result = {"functionResponse": {"name": _TOOL, "response": {"degrees": 12.5}}}
        contents.append({"role": "model", "parts": [call]})
        contents.append({"role": "user", "parts": [result]})
    schema = {name: value for name, value in SCHEMA.items() if name != "additionalProperties"}
    declared = [
        {"name": name, "description": text, "parameters": schema} for name, text in _tools(request)
    ]
    modes = {"": None, "auto": {"mode": "AUTO"}, "none": {"mode": "NONE"}, "required": {"mode": "ANY"}}  # fmt: skip
    choice = modes.get(request.tool_choice, {"mode": "ANY", "allowedFunctionNames": [request.tool_choice]})  # fmt: skip
    budget = {"none": 0, "low": 1024}.get(request.effort, 4096)
    config = _present(
        temperature=request.temperature, topP=request.top_p, maxOutputTokens=request.max_tokens, stopSequences=list(request.stop), seed=request.seed,
        candidateCount=request.candidates, responseMimeType="application/json" if request.schema else None, responseSchema=schema if request.schema else None,
        thinkingConfig={"thinkingBudget": budget, "includeThoughts": True} if request.effort else None,
    )  # fmt: skip
    return _present(
        contents=contents, systemInstruction={"parts": [{"text": request.system}]} if request.system else None,
        tools=[{"functionDeclarations": declared}] if declared else None, toolConfig={"functionCallingConfig": choice} if choice else None,
        generationConfig=config,
    )  # fmt: skip


_BODIES: dict[str, Callable[[ClientRequest], Json]] = {
    CHAT: _chat, RESPONSES: _responses, MESSAGES: _messages, GEMINI: _gemini,
}  # fmt: skip
