"""A body of Converse read back as a request: the gateway itself only writes such bodies."""

import base64
import json
from typing import Any, Literal

from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Media,
    OutputFormat,
    Part,
    Text,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)

type Object = dict[str, Any]


def read_back(value: Object) -> CanonicalRequest:
    """Return what a body asks for."""
    system = CanonicalTurn(role="system", parts=_read_parts(value.get("system", [])))
    turns = [
        CanonicalTurn(role=message["role"], parts=_read_parts(message["content"]))
        for message in value["messages"]
    ]
    config, fields = value.get("inferenceConfig", {}), value.get("additionalModelRequestFields", {})
    tools = value.get("toolConfig", {})
    thinking = fields.get("reasoningConfig", {})
    off = "none" if thinking.get("type") == "disabled" else None
    return CanonicalRequest(
        turns=(system, *turns),
        tools=tuple(_read_tool(tool["toolSpec"]) for tool in tools.get("tools", [])),
        tool_choice=_read_choice(tools.get("toolChoice")),
        form=_read_form(value.get("outputConfig")),
        max_output=config.get("maxTokens"),
        stop=tuple(config.get("stopSequences", ())),
        temperature=config.get("temperature"),
        top_p=config.get("topP"),
        top_k=fields.get("inferenceConfig", {}).get("topK"),
        effort=thinking.get("maxReasoningEffort", off),
        service_tier=value.get("serviceTier", {}).get("type"),
        stream=value.get("stream", False),
    )


def _read_parts(blocks: list[Object]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for block in blocks:
        ((kind, value),) = block.items()
        match kind:
            case "text":
                parts.append(
                    Text(text=value.removeprefix("<system>\n").removesuffix("\n</system>"))
                )
            case "cachePoint":
                parts.append(Text(text="", cache=""))
            case "image" | "document":
                parts.append(_read_media(kind, value))
            case "toolUse":
                arguments = json.dumps(value["input"], ensure_ascii=False)
                parts.append(
                    ToolUse(id=value["toolUseId"], name=value["name"], arguments=arguments)
                )
            case "toolResult":
                inner = tuple(
                    part for part in _read_parts(value["content"]) if isinstance(part, Text | Media)
                )
                failed = value.get("status") == "error"
                parts.append(ToolResult(id=value["toolUseId"], parts=inner, error=failed))
            case "reasoningContent":
                thought = value.get("reasoningText", {})
                state = thought.get("signature") or value.get("redactedContent")
                parts.append(Thought(text=thought.get("text", ""), state=state))
            case _:
                raise AssertionError(kind)
    return tuple(parts)


def _read_media(kind: str, value: Object) -> Media:
    data = value["source"]["bytes"]
    if kind == "image":
        return Media(kind="image", data=data)
    if value["format"] == "txt":
        return Media(kind="file", text=base64.b64decode(data).decode(), name=value["name"])
    return Media(kind="file", data=data, name=value["name"])


def _read_tool(spec: Object) -> Tool:
    return Tool(
        name=spec["name"],
        description=spec.get("description"),
        parameters=spec["inputSchema"]["json"],
    )


def _read_choice(choice: Object | None) -> ToolChoice | None:
    if choice is None:
        return None
    (kind,) = choice
    modes: dict[str, Literal["required", "tool"]] = {"any": "required", "tool": "tool"}
    return ToolChoice(mode=modes[kind], name=choice[kind].get("name"))


def _read_form(config: Object | None) -> OutputFormat | None:
    if config is None:
        return None
    definition = config["textFormat"]["structure"]["jsonSchema"]
    return OutputFormat(
        schema=json.loads(definition["schema"]),
        name=definition.get("name"),
        description=definition.get("description"),
    )
