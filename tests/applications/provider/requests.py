"""Read requests as a provider does: turns, tools, effort, and blocks for its prompt cache."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES

type Json = Any

_REF = re.compile(r"\(ref ([a-z]+\d+)\.(\d+)\)")
"""The name of a conversation and the number of a turn, which applications write into what they send."""


def latest_ref(text: str) -> str:
    """Return the newest reference of a request, as `chat3.12`; empty where it has none."""
    references = _REF.findall(text)
    return "{}.{}".format(*max(references, key=lambda ref: int(ref[1]))) if references else ""


@dataclass
class ParsedRequest:
    """One request for an answer, in the same form for all dialects."""

    blocks: list[bytes] = field(default_factory=list)
    """All blocks that the model reads, in order."""
    marks: list[int] = field(default_factory=list)
    """Positions of the blocks that the client marks for the prompt cache."""
    tools: list[tuple[str, Json]] = field(default_factory=list)
    """Names and schemas of the functions on offer."""
    rounds: int = 0
    """Rounds of tool calls since the user last spoke."""
    results: list[str] = field(default_factory=list)
    """Results of these calls."""
    states: list[str] = field(default_factory=list)
    """Reasoning states that the client sent back."""
    effort: str = "none"
    """The effort that the client asks for, on the scale of OpenAI and Anthropic."""

    @property
    def thinks(self) -> bool:
        return self.effort != "none"

    def add(self, block: Json) -> None:
        """Add a block that the model reads, without its cache mark."""
        if isinstance(block, dict) and "cache_control" in block:
            self.marks.append(len(self.blocks))
            block = {name: value for name, value in block.items() if name != "cache_control"}
        self.blocks.append(orjson.dumps(block))

    def begin_turn(self) -> None:
        """Forget calls and results: the user speaks."""
        self.rounds, self.results = 0, []


def parse(dialect: str, body: Json) -> ParsedRequest:
    """Read a request for an answer."""
    request = ParsedRequest()
    _PARSE[dialect](body, request)
    return request


def _chat(body: Json, request: ParsedRequest) -> None:
    thinking = (body.get("thinking") or {}).get("type")
    request.effort = body.get("reasoning_effort") or ("high" if thinking == "enabled" else "none")
    for tool in body.get("tools") or ():
        request.add(tool)
        request.tools.append((tool["function"]["name"], tool["function"].get("parameters") or {}))
    for message in body["messages"]:
        request.add(message)
        if message["role"] == "user":
            request.begin_turn()
        elif message["role"] == "tool":
            request.results.append(_text(message["content"]))
        elif message.get("tool_calls"):
            request.rounds += 1


def _responses(body: Json, request: ParsedRequest) -> None:
    request.effort = (body.get("reasoning") or {}).get("effort") or "none"
    for tool in body.get("tools") or ():
        request.add(tool)
        if tool["type"] == "function":
            request.tools.append((tool["name"], tool.get("parameters") or {}))
    request.add({"instructions": body.get("instructions")})
    items = body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]  # fmt: skip
    before = ""
    for item in items:
        request.add(item)
        kind = item.get("type") or "message"
        if kind == "message" and item["role"] == "user":
            request.begin_turn()
        elif kind == "reasoning" and item.get("encrypted_content"):
            request.states.append(item["encrypted_content"])
        elif kind == "function_call_output":
            request.results.append(_text(item["output"]))
        elif kind == "function_call" and before != "function_call":
            request.rounds += 1
        before = kind


def _messages(body: Json, request: ParsedRequest) -> None:
    if (body.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        request.effort = (body.get("output_config") or {}).get("effort") or "high"
    for tool in body.get("tools") or ():
        request.add(tool)
        if "input_schema" in tool:
            request.tools.append((tool["name"], tool["input_schema"]))
    for block in _blocks(body.get("system") or ()):
        request.add(block)
    for message in body["messages"]:
        blocks = list(_blocks(message["content"]))
        results = [block for block in blocks if block["type"] == "tool_result"]
        if message["role"] == "user" and not results:
            request.begin_turn()
        request.results += [_text(block.get("content") or "") for block in results]
        request.rounds += any(block["type"] == "tool_use" for block in blocks)
        request.states += [block["signature"] for block in blocks if block["type"] == "thinking"]
        for block in blocks:
            request.add({**block, "role": message["role"]})


def _gemini(body: Json, request: ParsedRequest) -> None:
    config = (body.get("generationConfig") or {}).get("thinkingConfig") or {}
    level = str(config.get("thinkingLevel") or "none").lower()
    request.effort = "low" if config.get("thinkingBudget", 0) > 0 else level
    for tool in body.get("tools") or ():
        for declaration in tool.get("functionDeclarations") or ():
            # Google's APIs accept the names of members in both spellings, and its SDK uses both.
            names = ("parametersJsonSchema", "parameters_json_schema", "parameters")
            schema: Json = next((declaration[name] for name in names if name in declaration), {})
            request.add(declaration)
            request.tools.append((declaration["name"], schema))
    request.add(body.get("systemInstruction"))
    for content in body["contents"]:
        parts = content["parts"]
        given = [part["functionResponse"] for part in parts if "functionResponse" in part]
        if content.get("role", "user") == "user" and not given:
            request.begin_turn()
        request.results += [orjson.dumps(declaration["response"]).decode() for declaration in given]
        request.rounds += any("functionCall" in part for part in parts)
        # Google's SDK writes bytes in the URL-safe alphabet of base64, its API in the standard one.
        request.states += [
            part["thoughtSignature"].replace("-", "+").replace("_", "/")
            for part in parts
            if "thoughtSignature" in part
        ]
        for part in parts:
            request.add({**part, "role": content.get("role")})


_PARSE = {CHAT: _chat, RESPONSES: _responses, MESSAGES: _messages, GEMINI: _gemini}


def _blocks(content: Json) -> Iterator[Json]:
    """Yield content as blocks; a text is one block."""
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    else:
        yield from content


def _text(content: Json) -> str:
    """Return the text of a tool's result."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content)


def arguments(schema: Json, word: str) -> Json:
    """Make arguments for a function: the word for each text, 2 for each number."""
    made = {}
    for name, property_schema in schema.get("properties", {}).items():
        numeric = str(property_schema.get("type")).lower() in ("integer", "number")
        made[name] = 2 if numeric else word
    return made


def inputs(dialect: str, body: Json) -> Sequence[str]:
    """List the texts that a request wants vectors of."""
    if dialect == CHAT:
        return [body["input"]] if isinstance(body["input"], str) else list(body["input"])
    requests = body.get("requests") or [body]
    return ["".join(part["text"] for part in request["content"]["parts"]) for request in requests]
