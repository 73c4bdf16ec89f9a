"""A body of Converse that the gateway has written: read as routing sees it, and sent.

The path has the model and the method: `/model/us.amazon.nova-micro-v1%3A0/converse-stream`. The
members `model` and `stream` say the same until `write` takes them out.
"""

from collections.abc import Iterator
from urllib.parse import quote

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json, Members
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.dialects.base import RequestBody, WrittenBody
from gateway.dialects.bedrock_converse import effort
from gateway.dialects.bedrock_converse.model_families import find_family
from gateway.dialects.body_patch import BodyPatch
from gateway.dialects.json_values import read_text
from gateway.dialects.parse import parse

NAME = effort.NAME
ADDRESS_MEMBERS = ("model", "stream")
"""Members that the path says."""
ESSENTIAL_MEMBERS = frozenset({"system", "toolConfig", "outputConfig"})
"""Members that the gateway never drops: it skips a target that refuses one."""
_PREFILL = "prefill"
"""Stands among a prompt's members for an answer that the client began."""

type Object = dict[str, Json]


def read(raw: bytes) -> RequestBody:
    """Read a request body that the encoder has written. Raises ProblemError if it is no JSON."""
    return parse(raw, _make_prompt)


def _make_prompt(value: Object, members: Members) -> Prompt:
    """Return what decides if a model takes the request; all else is read of the client's own."""
    messages = _get_list(value, "messages")
    blocks = [*_get_list(value, "system")]
    for message in messages:
        blocks += _get_list(message, "content")
    parts = [part for block in blocks for part in _iterate_parts(block)]
    images = [_get_object(part, "image") for part in parts if "image" in part]
    files = sum("document" in part for part in parts)
    tool_config = _get_object(value, "toolConfig")
    tools = [_get_object(tool, "toolSpec") for tool in _get_list(tool_config, "tools")]
    is_begun = bool(messages) and messages[-1].get("role") == "assistant"
    return Prompt(
        model=read_text(value.get("model")),
        stream=value.get("stream") is True,
        chars=sum(map(_count_chars, parts)) + (len(jsonio.dumps(tools)) if tools else 0),
        tools=tuple(read_text(tool.get("name")) for tool in tools),
        forced_tool="toolChoice" in tool_config,
        images=len(images),
        image_bytes=sum(len(_get_object(it, "source").get("bytes", "")) for it in images),
        files=files,
        is_unsized=files > 0,
        json_schema="outputConfig" in value,
        max_output=_get_object(value, "inferenceConfig").get("maxTokens"),
        members=frozenset({*members, *([_PREFILL] if is_begun else ())}),
    )


def _iterate_parts(block: Object) -> Iterator[Object]:
    """Yield a block, and the blocks in the result of a tool."""
    yield block
    yield from _get_list(_get_object(block, "toolResult"), "content")


def _count_chars(part: Object) -> int:
    call, thought = _get_object(part, "toolUse"), _get_object(part, "reasoningContent")
    texts = (part.get("text"), _get_object(thought, "reasoningText").get("text"))
    size = len(jsonio.dumps(call["input"]).decode()) if call else 0
    return size + sum(len(read_text(text)) for text in texts)


def _get_object(value: Object, name: str) -> Object:
    member = value.get(name)
    return member if isinstance(member, dict) else {}


def _get_list(value: Object, name: str) -> list[Object]:
    member = value.get(name)
    return member if isinstance(member, list) else []


def explain_unfit(prompt: Prompt, target: Target) -> str:
    """Return why a target cannot serve this request; empty if it can."""
    takes_prefill = find_family(target.model).takes_prefill
    if _PREFILL in prompt.members and not takes_prefill:
        return "does not continue an answer that the client began"
    return ""


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Return the body for one target: without the members that the path says."""
    patch = BodyPatch(body)
    for name in ADDRESS_MEMBERS:
        if patch.has(name):
            patch.remove(name)
    patch.drop_refused(target)
    streams = body.prompt.stream and (
        find_family(target.model).streams_tools or not body.prompt.tools
    )
    method = "converse-stream" if streams else "converse"
    suffix = f"/model/{quote(target.model, safe='')}/{method}"
    return msgspec.structs.replace(patch.finish(), url_suffix=suffix)
