"""The place of a call in its conversation, from its headers and from how its body begins."""

import functools
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from gateway.core.call import Key, RequestOptions
from gateway.core.conversation import CallKind, ConversationTurn
from gateway.core.prompt import Prompt
from gateway.dialects.conversation_start import EMPTY_START, ConversationStart
from gateway.routing import client_detection

_CONVERSATION_HEADERS = (
    "x-claude-code-session-id", "thread-id", "session-id", "session_id", "conversation_id",
    "x-session-id", "x-session-affinity", "x-grok-conv-id", "x-openwebui-chat-id",
    "x-conversation-id",
)  # fmt: skip
"""Headers that name a conversation, in order of precedence: those of Claude Code, Codex, opencode
and others. Codex's thread belongs to one agent, its session to all of them."""
_CONVERSATION_HEADER_SET = frozenset(_CONVERSATION_HEADERS)
_AGENT_HEADER = "x-claude-code-agent-id"
_KINDS_BY_REQUEST_CLASS: Mapping[str, tuple[CallKind, str]] = {
    "subagent": ("agent", "sub-agent"),
    "workflow": ("agent", "sub-agent"),
    "compaction": ("side", "compaction"),
    "auxiliary": ("side", ""),
    "side_reply": ("side", "question"),
}
"""The kind and task for each of Claude Code's request classes."""
_KINDS_BY_CODEX_SOURCE: Mapping[str, tuple[CallKind, str]] = {
    "compact": ("side", "compaction"),
    "memory_consolidation": ("side", "memory"),
    "guardian": ("side", "review"),
}
"""The kind and task for values of Codex's `x-openai-subagent`; all other values are agents."""
_KIND_HEADERS = frozenset({
    _AGENT_HEADER, "x-claude-code-request-class", "x-openai-subagent", "x-codex-guardian",
    "x-openai-memgen-request", "x-parent-session-id", "x-codex-parent-thread-id",
})  # fmt: skip
"""Headers that tell the kind of a call."""
_REVIEW_MODEL = "codex-auto-review"
_BILLING_PREFIX = "x-anthropic-billing-header"
_SUBAGENT_MARK = "cc_is_subagent=true"
"""The mark of a sub-agent in Claude Code's first block of instructions, which is not for the
model."""
_MAX_CACHED_CHARS = 32_768
"""The maximum number of characters of instructions and tool names for which the gateway caches
their facts and hashes."""
_HASH_BYTES = 16
_MAX_PROBE_CHARS = 16
"""The maximum number of characters of a probe."""
_TITLE_SEARCH_CHARS = 400
"""The number of characters to search for a request to write a title."""


class _SystemFacts(msgspec.Struct, frozen=True, gc=False):
    """The facts of instructions, which many calls of an application share."""

    marks: tuple[client_detection.ClientMark, ...]
    is_subagent: bool
    """True if the instructions are a sub-agent's, by Claude Code's own mark."""
    asks_for_title: bool
    model_texts: tuple[str, ...]
    """The instructions that are for the model."""
    is_plain: bool
    """True if the instructions have no mark and are no sub-agent's."""


def read(
    prompt: Prompt,
    conversation_start: ConversationStart | None,
    key: Key,
    options: RequestOptions,
    hints: Mapping[str, str],
) -> ConversationTurn:
    """Return the turn of a call; without `conversation_start` only the headers and prompt count."""
    start = EMPTY_START if conversation_start is None else conversation_start
    client = _detect_client(hints.get("user-agent", ""), hints.get("x-title", ""))
    system, user, tools = start.system, start.user, prompt.tools
    char_count = len(user)
    for text in system:
        char_count += len(text)
    system_facts = (_read_system if char_count <= _MAX_CACHED_CHARS else _read_system.__wrapped__)(
        system
    )
    kind, task, in_conversation, marked_client = _classify_call(prompt, system_facts, hints)
    first_hash = (
        _hash_text(start.first_text, _start_owner_hash(key.tenant, key.name))
        if start.first_text
        else ""
    )
    name = _find_conversation_name(options, hints, start)
    if name is not None:
        agent_name = ""
        if kind == "agent":
            agent_name = (
                hints.get(_AGENT_HEADER) or f"{first_hash} {_hash_texts(system_facts.model_texts)}"
            )
        conversation = _hash_texts(
            ("named", name[0], agent_name), _start_owner_hash(key.tenant, key.name)
        )
    elif first_hash or system_facts.model_texts:
        # The last part is the conversation's own; calls of one application share what stands before
        # it.
        if tools:
            char_count += sum(map(len, tools))
        start_hash = (
            _start_application_hash
            if char_count <= _MAX_CACHED_CHARS
            else _start_application_hash.__wrapped__
        )
        conversation = _hash_text(
            first_hash, start_hash(key.tenant, key.name, user, tools, system_facts.model_texts)
        )
    else:
        conversation = ""
    loop = (prompt.tool_loop or bool(prompt.injected_text)) and (kind != "side" or in_conversation)
    client = client or marked_client
    if name is None and kind == "main" and not (loop or task or client):  # the usual case
        return ConversationTurn(conversation=conversation, first=first_hash[:_HASH_BYTES])
    return ConversationTurn(
        conversation=conversation,
        explicit=name is not None,
        first=first_hash[:_HASH_BYTES],
        kind=kind,
        task=task,
        loop=loop,
        client=client,
        by="" if name is None else name[1],
    )


def _classify_call(
    prompt: Prompt, system_facts: _SystemFacts, hints: Mapping[str, str]
) -> tuple[CallKind, str, bool, str]:
    """Return the kind and task, True if the client asks inside the conversation, and the client."""
    last_mark = client_detection.find_mark(
        prompt.injected_text or prompt.user, client_detection.USER_MARK_INDEX
    )
    has_kind_headers = not _KIND_HEADERS.isdisjoint(hints)
    if last_mark is None and system_facts.is_plain and not has_kind_headers:  # the usual case
        kind, task = _classify_plain_call(prompt, system_facts)
        return kind, task, False, ""
    in_conversation = bool(prompt.injected_text)
    header_kind = _read_kind_headers(hints) if has_kind_headers else None
    marks = system_facts.marks if last_mark is None else (*system_facts.marks, last_mark)
    client = next((mark.client for mark in marks if mark.client), "")
    if header_kind is not None:
        kind, task = header_kind
        return (
            kind,
            task or (last_mark.task if last_mark is not None else ""),
            in_conversation,
            client,
        )
    mark = next((mark for mark in marks if mark.kind != "main"), None)
    if mark is not None:
        return mark.kind, mark.task, in_conversation and mark is last_mark, client
    if system_facts.is_subagent:
        return "agent", "sub-agent", False, client
    kind, task = _classify_plain_call(prompt, system_facts)
    return kind, task, False, client


def _classify_plain_call(prompt: Prompt, system_facts: _SystemFacts) -> tuple[CallKind, str]:
    """Return the kind and the task of a call without a mark or a header."""
    if prompt.model == _REVIEW_MODEL:
        return "side", "review"
    if not (prompt.tools or prompt.tool_loop):
        if prompt.max_output == 1 and len(prompt.user) <= _MAX_PROBE_CHARS:
            return "side", "probe"
        if system_facts.asks_for_title or _asks_for_title(prompt.user):
            return "side", "title"
    return "main", ""


def _read_kind_headers(hints: Mapping[str, str]) -> tuple[CallKind, str] | None:
    """Return the kind and task by the headers that name them; None without such a header."""
    if (
        kind_and_task := _KINDS_BY_REQUEST_CLASS.get(hints.get("x-claude-code-request-class", ""))
    ) is not None:
        return kind_and_task[0], kind_and_task[1] or hints.get("x-claude-code-auxiliary-type", "")
    if _AGENT_HEADER in hints:
        return "agent", "sub-agent"
    if (source := hints.get("x-openai-subagent")) is not None:
        return _KINDS_BY_CODEX_SOURCE.get(source, ("agent", source))
    if "x-codex-guardian" in hints:
        return "side", "review"
    if "x-openai-memgen-request" in hints:
        return "side", "memory"
    if "x-parent-session-id" in hints or "x-codex-parent-thread-id" in hints:
        return "agent", "sub-agent"
    return None


@functools.lru_cache(64)
def _read_system(system: tuple[str, ...]) -> _SystemFacts:
    found_marks = [
        client_detection.find_mark(text, client_detection.SYSTEM_MARK_INDEX) for text in system
    ]
    marks = tuple(mark for mark in found_marks if mark is not None)
    is_subagent = any(
        text.startswith(_BILLING_PREFIX) and _SUBAGENT_MARK in text for text in system
    )
    return _SystemFacts(
        marks=marks,
        is_subagent=is_subagent,
        is_plain=not (marks or is_subagent),
        asks_for_title=any(map(_asks_for_title, system)),
        model_texts=tuple(text for text in system if not text.startswith(_BILLING_PREFIX)),
    )


def _asks_for_title(text: str) -> bool:
    """True if a text asks for a title."""
    return (
        text.find("itle", 0, _TITLE_SEARCH_CHARS) >= 0
        and client_detection.TITLE_REQUEST.search(text[:_TITLE_SEARCH_CHARS]) is not None
    )


def _find_conversation_name(
    options: RequestOptions, hints: Mapping[str, str], conversation_start: ConversationStart
) -> tuple[str, str] | None:
    """Return the conversation's name, and the header or member that has it; None without a name."""
    if options.conversation is not None:
        return options.conversation, "x-tiergate-conversation"
    if not _CONVERSATION_HEADER_SET.isdisjoint(hints):
        for header in _CONVERSATION_HEADERS:
            if value := hints.get(header):
                return value, header
    return conversation_start.name_and_member


_EMPTY_HASH = blake2b(digest_size=_HASH_BYTES)


@functools.lru_cache(256)
def _start_owner_hash(tenant: str, name: str) -> blake2b:
    """Return a hash that has read the tenant and the key; callers extend a copy of it."""
    owner_hash = _EMPTY_HASH.copy()
    owner_hash.update(_encode_texts((tenant, name)))
    return owner_hash


@functools.lru_cache(64)
def _start_application_hash(
    tenant: str, name: str, user: str, tools: tuple[str, ...], model_texts: tuple[str, ...]
) -> blake2b:
    """Return the owner's hash, extended by how conversations of one application begin."""
    application_hash = _start_owner_hash(tenant, name).copy()
    application_hash.update(_encode_texts(("begun", user, *tools, "", *model_texts)))
    return application_hash


def _hash_text(text: str, base_hash: blake2b) -> str:
    """Return the hash of one text, as `_hash_texts` does."""
    digest = base_hash.copy()  # a copy is cheaper than a new hash
    if text.isascii():
        digest.update(f"{len(text)}:{text}".encode())
    else:
        digest.update(_encode_texts((text,)))
    return digest.hexdigest()


def _hash_texts(parts: Sequence[str], base_hash: blake2b = _EMPTY_HASH) -> str:
    """Return a hash of strings, after those of `base_hash`; a client's own words end here."""
    digest = base_hash.copy()
    digest.update(_encode_texts(parts))
    return digest.hexdigest()


def _encode_texts(parts: Sequence[str]) -> bytes:
    """Return strings as bytes with their lengths, so that each is distinct from the next."""
    encoded_texts = [part.encode("utf-8", "replace") for part in parts]
    return b"".join([b"%d:%b" % (len(encoded), encoded) for encoded in encoded_texts])


@functools.lru_cache(256)
def _detect_client(user_agent: str, title: str) -> str:
    for text in (user_agent.lower(), title.lower()):
        for prefix, name in client_detection.USER_AGENT_PREFIXES:
            if text.startswith(prefix):
                return name
    return ""
