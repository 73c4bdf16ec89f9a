"""Where in its conversation a call stands, read from its headers and from how its body begins."""

import functools
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from gateway.core.call import Key, RequestOptions
from gateway.core.conversation import ConversationTurn, Kind
from gateway.core.prompt import Prompt
from gateway.dialects.conversation_start import NOTHING, ConversationStart
from gateway.routing import client_detection

_NAMES = (
    "x-claude-code-session-id", "thread-id", "session-id", "session_id", "conversation_id",
    "x-session-id", "x-session-affinity", "x-grok-conv-id", "x-openwebui-chat-id",
    "x-conversation-id",
)  # fmt: skip
"""Headers that name a conversation, first the one that counts: those of Claude Code, Codex,
opencode and others. Codex's thread is one agent's, its session is of all of them."""
_NAMED = frozenset(_NAMES)
_AGENT = "x-claude-code-agent-id"
_CLASSES: Mapping[str, tuple[Kind, str]] = {
    "subagent": ("agent", "sub-agent"),
    "workflow": ("agent", "sub-agent"),
    "compaction": ("side", "compaction"),
    "auxiliary": ("side", ""),
    "side_reply": ("side", "question"),
}
"""By Claude Code's own word for a request."""
_CODEX: Mapping[str, tuple[Kind, str]] = {
    "compact": ("side", "compaction"),
    "memory_consolidation": ("side", "memory"),
    "guardian": ("side", "review"),
}
"""By Codex's word for who asks; all others are agents."""
_HEADED = frozenset({
    _AGENT, "x-claude-code-request-class", "x-openai-subagent", "x-codex-guardian",
    "x-openai-memgen-request", "x-parent-session-id", "x-codex-parent-thread-id",
})  # fmt: skip
"""Headers that tell the kind of a call."""
_REVIEW = "codex-auto-review"
_BILLING = "x-anthropic-billing-header"
_SUB = "cc_is_subagent=true"
"""In Claude Code's first block of instructions, which is not for the model."""
_SHARED = 32_768
"""Characters of instructions, and of names of tools, up to which what they tell and hash to is kept
for the next call."""
_BYTES = 16
_SHORT = 16
"""Characters of a probe."""
_HEAD = 400
"""Characters in which an order to write a title stands."""


class _Told(msgspec.Struct, frozen=True, gc=False):
    """What instructions tell, which many calls of an application share."""

    marks: tuple[client_detection.ClientMark, ...]
    billed: bool
    """They are a sub-agent's, by Claude Code's own word."""
    titles: bool
    meant: tuple[str, ...]
    """Those of them that are for the model."""
    plain: bool
    """No mark, and no word of a sub-agent."""


def read(
    prompt: Prompt,
    opening: ConversationStart | None,
    key: Key,
    steer: RequestOptions,
    hints: Mapping[str, str],
) -> ConversationTurn:
    """The turn of a call; without an opening it is told by its headers alone."""
    begins = NOTHING if opening is None else opening
    client = _client(hints.get("user-agent", ""), hints.get("x-title", ""))
    system, user, tools = begins.system, begins.user, prompt.tools
    size = len(user)
    for text in system:
        size += len(text)
    told = (_told if size <= _SHARED else _told.__wrapped__)(system)
    kind, task, within, named = _kind(prompt, told, hints)
    first = _hash(begins.first, _scope(key.tenant, key.name)) if begins.first else ""
    name = _name(steer, hints, begins)
    if name is not None:
        apart = ""
        if kind == "agent":
            apart = hints.get(_AGENT) or f"{first} {_hashes(told.meant)}"
        conversation = _hashes(("named", name[0], apart), _scope(key.tenant, key.name))
    elif first or told.meant:
        # Its last part is its own: what stands before it, calls of one application share.
        if tools:
            size += sum(map(len, tools))
        begin = _begun if size <= _SHARED else _begun.__wrapped__
        conversation = _hash(first, begin(key.tenant, key.name, user, tools, told.meant))
    else:
        conversation = ""
    loop = (prompt.tool_loop or bool(prompt.aside)) and (kind != "side" or within)
    client = client or named
    if name is None and kind == "main" and not (loop or task or client):  # as mostly
        return ConversationTurn(conversation=conversation, first=first[:_BYTES])
    return ConversationTurn(
        conversation=conversation,
        explicit=name is not None,
        first=first[:_BYTES],
        kind=kind,
        task=task,
        loop=loop,
        client=client,
        by="" if name is None else name[1],
    )


def named(opening: ConversationStart, steer: RequestOptions, hints: Mapping[str, str]) -> bool:
    """Whether the turn of a call would be of a conversation that its client has named."""
    return _name(steer, hints, opening) is not None


def _kind(prompt: Prompt, told: _Told, hints: Mapping[str, str]) -> tuple[Kind, str, bool, str]:
    """The kind, what it is for, whether it is asked of the conversation itself; the client."""
    last = client_detection.said(prompt.aside or prompt.user)
    headed = not _HEADED.isdisjoint(hints)
    if last is None and told.plain and not headed:  # as mostly
        kind, task = _form(prompt, told)
        return kind, task, False, ""
    within = bool(prompt.aside)
    found = _headed(hints) if headed else None
    marks = told.marks if last is None else (*told.marks, last)
    named = next((mark.client for mark in marks if mark.client), "")
    if found is not None:
        kind, task = found
        return kind, task or (last.task if last is not None else ""), within, named
    mark = next((mark for mark in marks if mark.kind != "main"), None)
    if mark is not None:
        return mark.kind, mark.task, within and mark is last, named
    if told.billed:
        return "agent", "sub-agent", False, named
    kind, task = _form(prompt, told)
    return kind, task, False, named


def _form(prompt: Prompt, told: _Told) -> tuple[Kind, str]:
    """The kind of a call of which nothing else tells it, and what it is for."""
    if prompt.model == _REVIEW:
        return "side", "review"
    if not (prompt.tools or prompt.tool_loop):
        if prompt.max_output == 1 and len(prompt.user) <= _SHORT:
            return "side", "probe"
        if told.titles or _titles(prompt.user):
            return "side", "title"
    return "main", ""


def _headed(hints: Mapping[str, str]) -> tuple[Kind, str] | None:
    """What headers say that are made for this."""
    if (said := _CLASSES.get(hints.get("x-claude-code-request-class", ""))) is not None:
        return said[0], said[1] or hints.get("x-claude-code-auxiliary-type", "")
    if _AGENT in hints:
        return "agent", "sub-agent"
    if (who := hints.get("x-openai-subagent")) is not None:
        return _CODEX.get(who, ("agent", who))
    if "x-codex-guardian" in hints:
        return "side", "review"
    if "x-openai-memgen-request" in hints:
        return "side", "memory"
    if "x-parent-session-id" in hints or "x-codex-parent-thread-id" in hints:
        return "agent", "sub-agent"
    return None


@functools.lru_cache(64)
def _told(system: tuple[str, ...]) -> _Told:
    marks = tuple(
        mark for text in system if (mark := client_detection.instructed(text)) is not None
    )
    billed = any(text.startswith(_BILLING) and _SUB in text for text in system)
    return _Told(
        marks=marks,
        billed=billed,
        plain=not (marks or billed),
        titles=any(map(_titles, system)),
        meant=tuple(text for text in system if not text.startswith(_BILLING)),
    )


def _titles(text: str) -> bool:
    """Whether a text orders a title."""
    return (
        text.find("itle", 0, _HEAD) >= 0 and client_detection.TITLE.search(text[:_HEAD]) is not None
    )


def _name(
    steer: RequestOptions, hints: Mapping[str, str], opening: ConversationStart
) -> tuple[str, str] | None:
    """The conversation's own name, and where it stood."""
    if steer.conversation is not None:
        return steer.conversation, "x-tiergate-conversation"
    if not _NAMED.isdisjoint(hints):
        for header in _NAMES:
            if value := hints.get(header):
                return value, header
    return opening.named


_NOBODY = blake2b(digest_size=_BYTES)


@functools.lru_cache(256)
def _scope(tenant: str, name: str) -> blake2b:
    """A hash that has taken whose calls they are; what is added goes to a copy."""
    scope = _NOBODY.copy()
    scope.update(_bytes((tenant, name)))
    return scope


@functools.lru_cache(64)
def _begun(
    tenant: str, name: str, user: str, tools: tuple[str, ...], meant: tuple[str, ...]
) -> blake2b:
    """The same, with how conversations of one application begin."""
    begun = _scope(tenant, name).copy()
    begun.update(_bytes(("begun", user, *tools, "", *meant)))
    return begun


def _hash(text: str, scope: blake2b) -> str:
    """As `_hashes`, of one."""
    whole = scope.copy()  # cheaper than one that is made anew
    if text.isascii():
        whole.update(f"{len(text)}:{text}".encode())
    else:
        whole.update(_bytes((text,)))
    return whole.hexdigest()


def _hashes(parts: Sequence[str], scope: blake2b = _NOBODY) -> str:
    """A hash of strings behind those of its scope; a client's own words end here."""
    whole = scope.copy()
    whole.update(_bytes(parts))
    return whole.hexdigest()


def _bytes(parts: Sequence[str]) -> bytes:
    """Strings, each told apart from the next."""
    pieces = [part.encode("utf-8", "replace") for part in parts]
    return b"".join([b"%d:%b" % (len(piece), piece) for piece in pieces])


@functools.lru_cache(256)
def _client(agent: str, title: str) -> str:
    for text in (agent.lower(), title.lower()):
        for begins, name in client_detection.AGENTS:
            if text.startswith(begins):
                return name
    return ""
