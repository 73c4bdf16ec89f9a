"""A native request: read once for routing, written by replacing top-level members only.

The gateway never rewrites `system`, `tools` and `messages`: prompt caches and the signatures of
thinking blocks depend on their bytes. Sources of the headers: Anthropic's API reference (versions,
betas, workspaces) and Claude Code's gateway protocol, which asks gateways to forward every
`anthropic-*` header.
"""

import functools
from collections.abc import Iterator

import msgspec

from gateway.core import jsonio
from gateway.core.errors import invalid_request
from gateway.core.jsonio import Json
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import parse_service_tier
from gateway.dialects import conversation_start
from gateway.dialects.anthropic_messages import effort, reasoning_state
from gateway.dialects.base import RequestBody, WrittenBody
from gateway.dialects.body_patch import BodyPatch, write_model
from gateway.dialects.conversation_start import ConversationStart
from gateway.dialects.json_values import as_number
from gateway.dialects.parse import is_zero, parse, suggest_endpoint
from gateway.dialects.reasoning_state import may_hold_label
from gateway.dialects.request_facts import (
    RequestFacts,
    join_system,
    read_labels,
)
from gateway.dialects.user_text import UserText

NAME = "anthropic-messages"
FORWARDED_HEADERS = frozenset(
    {
        b"anthropic-version", b"anthropic-beta", b"anthropic-workspace-id",
        b"anthropic-user-profile-id", b"anthropic-dangerous-direct-browser-access",
        b"x-claude-code-session-id", b"x-claude-code-agent-id", b"x-claude-code-parent-agent-id",
        b"x-anthropic-additional-protection",
    }
)  # fmt: skip
"""Client headers that providers of this dialect understand, in lower case."""
DEFAULT_HEADERS = {"anthropic-version": "2023-06-01"}
"""Headers that the gateway adds if the client sends none: the API requires a version."""
SAMPLING_MEMBERS = ("temperature", "top_p", "top_k")
"""Members that a thinking model refuses. The gateway drops them and names the loss."""
ESSENTIAL_MEMBERS = frozenset(
    {
        "system", "tools", "tool_choice", "stop_sequences", "output_config", "output_format",
        "mcp_servers", "container",
    }
)  # fmt: skip
"""Members that the gateway never drops: it skips a target that refuses one."""
THREAD = "thread"
"""The member that continues a conversation stored at the provider."""
_NEW_THREAD = {"type": "create"}
_RARE_MEMBERS = frozenset(
    {
        "tools", "tool_choice", "output_config", "output_format", "thinking", "service_tier",
        "speed", "inference_geo", "mcp_servers", "container", "thread",
    }
)  # fmt: skip
"""Members that the gateway reads, and that few requests of chat applications have."""
_CLIENT_TOOL_PREFIXES = ("bash_", "text_editor_", "computer_", "memory_")
"""Prefixes of the dated tool types that the client runs; the provider runs all other types."""
_ROLES = ("user", "assistant")
_HOSTED_TOOL_USES = ("server_tool_use", "mcp_tool_use")
_TEXT_MEMBERS = ("text", "thinking")
"""Members of blocks that hold text for the model."""
_TEXT_SOURCES = ("text", "content")
"""Types of a document's source whose text is in the request."""
_SESSION_MARK = "_session_"
"""Precedes the session id at the end of Claude Code's `user_id`."""


def read(raw: bytes, *, counting: bool = False) -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field.

    A request that only counts tokens needs no cap on them.
    """
    return parse(raw, functools.partial(_read_prompt, counting=counting), "tools")


def _read_prompt(value: dict[str, Json], members: jsonio.Members, *, counting: bool) -> Prompt:
    """Return the summary of a request that routing reads."""
    model, cap, totals = _read_required({"max_tokens": 0, **value} if counting else value)
    user_text, temperature = totals.user_text, value.get("temperature")
    prompt = Prompt(
        model=model,
        stream=value.get("stream") is True,
        user=user_text.text,
        user_turns=user_text.turn_count,
        chars=totals.chars,
        tool_loop=totals.tool_loop,
        injected_text=user_text.injected_text,
        images=totals.images,
        image_bytes=totals.image_bytes,
        files=totals.files,
        is_unsized=totals.is_unsized,
        max_output=cap,
        sampled=isinstance(temperature, int | float) and temperature > 0,
        zero_temperature=is_zero(temperature),
        members=frozenset(value),
    )
    return prompt if _RARE_MEMBERS.isdisjoint(value) else _add_rare_members(prompt, value, members)


def _add_rare_members(prompt: Prompt, value: dict[str, Json], members: jsonio.Members) -> Prompt:
    """Return the prompt with what `_RARE_MEMBERS` add to it."""
    tools, choice = value.get("tools"), value.get("tool_choice")
    definitions = tools if isinstance(tools, list) else []
    hosted_tools = any(map(_is_hosted, definitions)) or bool(value.get("mcp_servers"))
    thread, has_container = value.get(THREAD), value.get("container") is not None
    return msgspec.structs.replace(
        prompt,
        chars=prompt.chars + (len(members["tools"]) if definitions else 0),
        tools=tuple(map(_read_tool_name, definitions)),
        forced_tool=isinstance(choice, dict) and choice.get("type") in ("any", "tool"),
        json_schema=_wants_json_schema(value),
        effort=effort.read(value),
        service=parse_service_tier(
            value.get("service_tier"), value.get("speed"), value.get("inference_geo")
        ),
        hosted_tools=hosted_tools,
        stored=has_container or thread is not None,
        is_unsized=(prompt.is_unsized or hosted_tools or has_container or continues_thread(thread)),
        continuation_member=THREAD if continues_thread(thread) else "",
    )


def continues_thread(thread: Json) -> bool:
    """True if a request goes on from a thread; one that begins a thread has all of its messages."""
    return thread is not None and thread != _NEW_THREAD


def explain_unfit(prompt: Prompt, target: Target) -> str:
    """Return why a target cannot serve this request; empty if it can."""
    refused = target.facts.refused_members | target.provider.refused_members
    return f"refuses {THREAD}" if prompt.continuation_member and THREAD in refused else ""


class MessageTotals:
    """Adds up the system prompt and messages: characters, media, user text, and tool loops."""

    __slots__ = (
        "_ends_in_hosted_tool",
        "_ends_in_tool_result",
        "_last_role",
        "chars",
        "files",
        "image_bytes",
        "images",
        "is_unsized",
        "user_text",
    )

    def __init__(self, system: Json) -> None:
        """`system` is a string or a list of text blocks."""
        self.user_text = UserText()
        self.chars = self.images = self.image_bytes = self.files = 0
        self.is_unsized = False
        """True if a document has not all of its text in the request."""
        self._last_role = ""
        self._ends_in_tool_result = self._ends_in_hosted_tool = False
        self._add_content(system)

    @property
    def tool_loop(self) -> bool:
        """True if the last user turn holds a tool result, or the provider paused its own tools."""
        return self._ends_in_tool_result or (
            self._last_role == "assistant" and self._ends_in_hosted_tool
        )

    def add(self, message: dict[str, Json]) -> None:
        """Add the next message."""
        role, content = message.get("role"), message.get("content")
        if isinstance(content, str) and role in _ROLES:
            self._add_string(content, role)
            return
        blocks = content if isinstance(content, list) else []
        types = [block.get("type") for block in blocks if isinstance(block, dict)]
        kinds = {kind for kind in types if isinstance(kind, str)}
        texts = self._add_content(content)
        if role == "user":
            result = "tool_result" in kinds
            self._ends_in_tool_result = result or (
                self._ends_in_tool_result and self._last_role == "user"
            )
            self.user_text.add_turn(texts, has_tool_result=result)
        elif role == "assistant":
            self.user_text.add_answer()
            self._ends_in_hosted_tool = not kinds.isdisjoint(_HOSTED_TOOL_USES)
        if role in _ROLES:
            self._last_role = role

    def _add_string(self, text: str, role: str) -> None:
        """Add a message whose content is a string."""
        self.chars += len(text)
        if role == "user":
            self._ends_in_tool_result = self._ends_in_tool_result and self._last_role == "user"
            self.user_text.add_text(text)
        else:
            self.user_text.add_answer()
            self._ends_in_hosted_tool = False
        self._last_role = role

    def _add_content(self, content: Json) -> list[str]:
        """Count content of any kind, and return the texts of its top-level blocks."""
        if isinstance(content, str):
            self.chars += len(content)
            return [content]
        texts = []
        for block in content if isinstance(content, list) else ():
            if not isinstance(block, dict):
                continue
            kind, text = block.get("type"), block.get("text")
            if kind == "text" and isinstance(text, str):
                texts.append(text)
            self._add_block(kind, block)
        return texts

    def _add_block(self, kind: Json, block: dict[str, Json]) -> None:
        """Count the text and media of one block, and of the blocks inside it."""
        for name in _TEXT_MEMBERS:
            text = block.get(name)
            self.chars += len(text) if isinstance(text, str) else 0
        source = block.get("source")
        if kind == "image":
            self.images += 1
            data = source.get("data") if isinstance(source, dict) else None
            self.image_bytes += len(data) if isinstance(data, str) else 0
        elif kind == "document":
            self.files += 1
            if isinstance(source, dict):
                text = source.get("data") if source.get("type") == "text" else None
                self._add_content(text or source.get("content"))
            if not isinstance(source, dict) or source.get("type") not in _TEXT_SOURCES:
                self.is_unsized = True
        elif kind == "container_upload":
            self.files += 1
            self.is_unsized = True
        if isinstance(block.get("input"), dict):
            self.chars += len(jsonio.dumps(block["input"]).decode())
        self._add_content(block.get("content"))


def _read_required(value: dict[str, Json]) -> tuple[str, int, MessageTotals]:
    """Return model, `max_tokens` and message totals. Raises ProblemError with the field."""
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request(
            '"model" is required: a model name, a tier, "auto" or "lab/tier".', "model"
        )
    cap = value.get("max_tokens")
    if not isinstance(cap, int) or isinstance(cap, bool) or cap < 0:
        hint = "" if "max_tokens" in value else suggest_endpoint(value, NAME)
        message = f'"max_tokens" is required and must be a whole number.{hint}'
        raise invalid_request(message, "max_tokens")
    messages = value.get("messages")
    if not isinstance(messages, list):
        hint = "" if "messages" in value else suggest_endpoint(value, NAME)
        raise invalid_request(f'"messages" is required and must be a list.{hint}', "messages")
    stream = value.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise invalid_request('"stream" must be true or false.', "stream")
    tools = value.get("tools")
    first = tools[0] if isinstance(tools, list) and tools else None
    if isinstance(first, dict) and first.get("type") == "function":
        hint = suggest_endpoint(value, NAME)
        raise invalid_request(f'"tools[0].type" cannot be "function".{hint}', "tools")
    totals = MessageTotals(value.get("system"))
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            raise invalid_request(f'"messages[{at}]" must be an object.', f"messages[{at}]")
        totals.add(message)
    totals.user_text.close()
    return model, cap, totals


def _read_tool_name(tool: Json) -> str:
    name = tool.get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) else ""


def _is_hosted(tool: Json) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind != "custom" and not kind.startswith(_CLIENT_TOOL_PREFIXES)


def _wants_json_schema(value: dict[str, Json]) -> bool:
    """True if the answer must follow a schema; `output_format` is the older, beta name."""
    config = value.get("output_config")
    forms = (config.get("format") if isinstance(config, dict) else None, value.get("output_format"))
    return any(isinstance(form, dict) and form.get("type") == "json_schema" for form in forms)


def read_start(body: RequestBody) -> ConversationStart:
    """Return how the conversation begins; malformed members count as absent."""
    value = body.outline
    user = read_end_user(value)
    session = _find_session(user)
    return ConversationStart(
        system=conversation_start.cut_system(
            conversation_start.list_texts(value.get("system"), "text")
        ),
        first_text=conversation_start.find_first_text(_list_user_texts(value)),
        name_and_member=(session, "metadata.user_id") if session else None,
        user=user,
    )


def read_facts(body: RequestBody) -> RequestFacts:
    """Return facts that few rules need; malformed members count as absent."""
    value = body.outline
    metadata = read_labels(value.get("metadata"))
    return RequestFacts(
        system=join_system(conversation_start.list_texts(value.get("system"), "text")),
        user=metadata.get("user_id", ""),
        metadata=metadata,
        temperature=as_number(value.get("temperature")),
    )


def read_end_user(value: dict[str, Json]) -> str:
    """Return `metadata.user_id`; empty if it is missing or no text."""
    metadata = value.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    return user if isinstance(user, str) else ""


def _list_user_texts(value: dict[str, Json]) -> Iterator[str | list[str]]:
    """Yield the text of each user message, in order."""
    for message in value["messages"]:
        if message.get("role") == "user":
            yield conversation_start.read_content(message.get("content"), "text")


def _find_session(user: str) -> str:
    """Return the session id that Claude Code puts into `user_id`: in JSON, or at the end."""
    if not user.startswith("{"):
        return user.rpartition(_SESSION_MARK)[2] if _SESSION_MARK in user else ""
    try:
        identity = jsonio.loads_text(user)
    except jsonio.JsonError:
        return ""
    session = identity.get("session_id")
    return session if isinstance(session, str) else ""


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Return the body for one target: the client's bytes, with as few changes as possible."""
    if _as_it_is(body.prompt, target) and not may_hold_label(body):
        return WrittenBody(write_model(body, target.model))
    edit = reasoning_state.edit(body, target)
    body = edit.body
    if body.prompt.model != target.model:
        edit.set_member("model", target.model)
    thinks = effort.write(edit, target, _clamp_max_tokens(edit, target))
    sampling = target.facts.sampling
    if sampling == "never" or (sampling == "effort-none" and thinks):
        for name in SAMPLING_MEMBERS:
            if name in body.prompt.members:
                edit.drop_member(name, f"{target.model} does not accept sampling parameters")
    edit.drop_refused(target)
    return edit.finish()


def _as_it_is(prompt: Prompt, target: Target) -> bool:
    """True if the target takes the request unchanged, apart from the model name."""
    facts, most = target.facts, target.output_limit
    return (
        facts.sampling == "always"
        and (most is None or (prompt.max_output or 0) <= most)
        and (target.effort is None or facts.find_effort_style(NAME) not in effort.STYLES)
        and effort.MEMBERS.isdisjoint(prompt.members)
        and not (facts.refused_members or target.provider.refused_members)
    )


def _clamp_max_tokens(edit: BodyPatch, target: Target) -> int:
    """Lower `max_tokens` to the model's maximum, and return what the target gets."""
    cap, most = edit.body.prompt.max_output or 0, target.output_limit
    if most is not None and cap > most:
        edit.set_member("max_tokens", most)
        edit.record_loss("max_tokens", "clamped", target.explain_output_limit())
        return most
    return cap


def asks_usage(body: RequestBody) -> bool:  # noqa: ARG001 - this dialect always sends it
    """True if the client wants usage in its stream."""
    return True
