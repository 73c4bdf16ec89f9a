"""Which conversation a call belongs to, from the bytes and headers that clients send.

The requests come from Claude Code 2.1.331, Codex 0.169, opencode 1.18.33 and Gemini CLI 0.61.0.
They were recorded against a provider on loopback, and cut to what matters.
"""

import json
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.prompt import Prompt
from gateway.dialects import DIALECTS, TranslatableRequest
from gateway.dialects.conversation_start import ConversationStart
from gateway.routing import features
from gateway.routing.client_detection import SYSTEM_MARKS, USER_MARKS
from gateway.routing.conversation import (
    _hash_text,
    _hash_texts,
    _read_system,
    _start_application_hash,
    _start_owner_hash,
    read,
)
from gateway.server.request_headers import RequestHeaders

CHAT, RESPONSES, MESSAGES, GEMINI = (
    "openai-chat", "openai-responses", "anthropic-messages", "gemini",
)  # fmt: skip
SESSION = "46f56d7d-0edc-4016-93ca-a173b3233853"
THREAD = "01a218df-7670-7c81-ad57-730ccabcfd79"
ANN, BOB = Key(name="ann"), Key(name="bob")


def read_turn(
    dialect: str,
    body: bytes,
    *headers: str,
    key: Key = OPEN_KEY,
    steer: RequestOptions = NO_OPTIONS,
) -> ConversationTurn:
    """Return the turn of a request with these headers, each `name: value`."""
    pairs = [tuple(part.encode() for part in line.split(": ", 1)) for line in headers]
    wire = DIALECTS[dialect]
    head = RequestHeaders([(item[0], item[1]) for item in pairs], wire.forwarded_headers)
    parsed = wire.read(body)
    call = features.read(
        parsed.prompt, dialect, key, steer, TranslatableRequest(wire, parsed), head.hints
    )
    assert call.turn is call.turn
    return call.turn


CLAUDE = ("user-agent: claude-cli/2.1.331 (external, sdk-cli)", "x-app: cli", f"x-claude-code-session-id: {SESSION}")  # fmt: skip
CODEX = ("user-agent: codex_exec/0.169.0 (Debian 13.0.0; x86_64) unknown", f"session-id: {SESSION}", f"thread-id: {SESSION}")  # fmt: skip
OPENCODE = ("user-agent: opencode/1.18.33 ai-sdk/provider-utils/4.0.23", "x-session-affinity: ses_1", "x-session-id: ses_1")  # fmt: skip
GEMINI_CLI = ("user-agent: GeminiCLI-tui/0.61.0/gemini-3.1-pro-preview (linux; x64; terminal)",)

_CLAUDE_HEAD = (
    b'{"model":"claude-opus-5-5","max_tokens":128000,"stream":true,'
    b'"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.331.115; cc_entrypoint=sdk-cli;"},'
    b'{"type":"text","text":"You are a Claude agent, built on Anthropic\'s Claude Agent SDK.","cache_control":{"type":"ephemeral"}},'
    b'{"type":"text","text":"You are an agent working with the user toward their goals."}],'
    b'"tools":[{"name":"Bash","input_schema":{}}],"messages":['
    b'{"role":"user","content":[{"type":"text","text":"<system-reminder>\\nAttribution.\\n</system-reminder>"},{"type":"text","text":"Say hi there"}]},'
    b'{"role":"system","content":"# Environment\\nYou have been invoked in /work"}'
)
_CLAUDE_CALL = (
    b',{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"Bash","input":{}}]}'
    b',{"role":"user","content":[{"tool_use_id":"t","type":"tool_result","content":"hi"}'
)
CLAUDE_FIRST = _CLAUDE_HEAD + b"]}"
CLAUDE_LOOP = _CLAUDE_HEAD + _CLAUDE_CALL + b"]}]}"
CLAUDE_REMINDED = (
    _CLAUDE_HEAD + _CLAUDE_CALL
    + b',{"type":"text","text":"<system-reminder>Todos.</system-reminder>"}]},{"role":"system","content":"Agents: x"}]}'
)  # fmt: skip
_CLAUDE_DONE = _CLAUDE_HEAD + _CLAUDE_CALL + b']},{"role":"assistant","content":"Done."}'
CLAUDE_NEXT = _CLAUDE_DONE + b',{"role":"user","content":"And now prove it."}]}'
CLAUDE_EVENT = (
    _CLAUDE_DONE
    + b',{"role":"user","content":[{"type":"text","text":"<system-reminder>\\n[SYSTEM NOTIFICATION - NOT USER INPUT]\\n</system-reminder>"}]}]}'
)  # fmt: skip
CLAUDE_COMPACTION = (
    _CLAUDE_HEAD + _CLAUDE_CALL
    + b']},{"role":"user","content":[{"type":"text","text":"CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\\n\\nYour task"}]}]}'
)  # fmt: skip
CLAUDE_AGENT = (
    _CLAUDE_HEAD.replace(b"sdk-cli;", b"sdk-cli; cc_is_subagent=true;").replace(b"Say hi there", b"Look around")
    + b"]}"
)  # fmt: skip
CLAUDE_TITLE = (
    b'{"model":"claude-haiku-5-5","max_tokens":512,"system":[{"type":"text","text":"You are coming up with a succinct title"}],'
    b'"messages":[{"role":"user","content":[{"type":"text","text":"Say hi there"}]}]}'
)  # fmt: skip
CLAUDE_PROBE = b'{"model":"claude-haiku-5-5","max_tokens":1,"messages":[{"role":"user","content":"quota"}]}'  # fmt: skip

_CODEX_HEAD = (
    b'{"model":"auto","stream":true,"store":false,"prompt_cache_key":"46f56d7d-0edc-4016-93ca-a173b3233853",'
    b'"tools":[{"type":"function","name":"exec_command"}],"input":['
    b'{"type":"message","role":"developer","content":[{"type":"input_text","text":"You are a coding agent running in the Codex CLI"}]},'
    b'{"type":"message","role":"user","content":[{"type":"input_text","text":"# AGENTS.md instructions for /work\\n\\n<INSTRUCTIONS>\\nBe nice.\\n</INSTRUCTIONS>"}]},'
    b'{"type":"message","role":"user","content":[{"type":"input_text","text":"<environment_context>\\n  <cwd>/work</cwd>\\n</environment_context>"}]},'
    b'{"type":"message","role":"user","content":[{"type":"input_text","text":"Say hi there"}]}'
)
_CODEX_CALL = (
    b',{"type":"function_call","call_id":"c","name":"exec_command","arguments":"{}"}'
    b',{"type":"function_call_output","call_id":"c","output":"hi"}'
)
CODEX_FIRST = _CODEX_HEAD + b"]}"
CODEX_LOOP = _CODEX_HEAD + _CODEX_CALL + b"]}"
CODEX_NOTED = (
    _CODEX_HEAD + _CODEX_CALL
    + b',{"type":"message","role":"user","content":[{"type":"input_text","text":"<subagent_notification>done</subagent_notification>"}]}]}'
)  # fmt: skip
_CODEX_DONE = _CODEX_HEAD + _CODEX_CALL + b',{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Ok."}]}'  # fmt: skip
CODEX_NEXT = _CODEX_DONE + b',{"type":"message","role":"user","content":[{"type":"input_text","text":"More"}]}]}'  # fmt: skip
CODEX_COMPACTION = _CODEX_DONE + b',{"type":"message","role":"user","content":[{"type":"input_text","text":"You are performing a CONTEXT CHECKPOINT COMPACTION. Create"}]}]}'  # fmt: skip
CODEX_REVIEW = CODEX_FIRST.replace(b"You are a coding agent running in the Codex CLI", b"# Review guidelines:\\n\\nYou are")  # fmt: skip

_OPEN_HEAD = (
    b'{"model":"auto","tools":[{"type":"function","function":{"name":"bash"}}],"messages":['
    b'{"role":"system","content":"You are opencode, an interactive CLI tool"},{"role":"user","content":"Say hi there"}'
)
_OPEN_CALL = b',{"role":"assistant","content":"","tool_calls":[{"id":"c","type":"function","function":{"name":"bash","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"hi"}'  # fmt: skip
OPEN_FIRST, OPEN_LOOP = _OPEN_HEAD + b"]}", _OPEN_HEAD + _OPEN_CALL + b"]}"
OPEN_REMINDED = _OPEN_HEAD + _OPEN_CALL + b',{"role":"user","content":"<system-reminder>Plan mode.</system-reminder>"}]}'  # fmt: skip
OPEN_NEXT = _OPEN_HEAD + _OPEN_CALL + b',{"role":"assistant","content":"Ok."},{"role":"user","content":"More"}]}'  # fmt: skip
OPEN_TITLE = (
    b'{"model":"auto","messages":[{"role":"system","content":"You are a title generator. You output ONLY a thread title."},'
    b'{"role":"user","content":"Generate a title for this conversation:\\n"},{"role":"user","content":"Say hi there"}]}'
)  # fmt: skip

_GEMINI_HEAD = (
    b'{"model":"models/auto","systemInstruction":{"parts":[{"text":"You are an interactive CLI agent specializing in software engineering tasks."}]},'
    b'"tools":[{"functionDeclarations":[{"name":"shell"}]}],"contents":['
    b'{"role":"user","parts":[{"text":"<session_context>\\nThis is the Gemini CLI.\\n</session_context>"}]},{"role":"user","parts":[{"text":"Say hi there"}]}'
)  # fmt: skip
_GEMINI_CALL = (
    b',{"role":"model","parts":[{"functionCall":{"name":"shell","args":{}}}]}'
    b',{"role":"user","parts":[{"functionResponse":{"name":"shell","response":{"output":"hi"}}},{"text":"Binary content."}]}'
)  # fmt: skip
GEMINI_FIRST, GEMINI_LOOP = _GEMINI_HEAD + b"]}", _GEMINI_HEAD + _GEMINI_CALL + b"]}"
GEMINI_NEXT = _GEMINI_HEAD + _GEMINI_CALL + b',{"role":"model","parts":[{"text":"Ok."}]},{"role":"user","parts":[{"text":"More"}]}]}'  # fmt: skip
GEMINI_PLEASE = _GEMINI_HEAD + _GEMINI_CALL + b',{"role":"model","parts":[{"text":"Ok."}]},{"role":"user","parts":[{"text":"System: Please continue."}]}]}'  # fmt: skip
GEMINI_ROUTING = _GEMINI_HEAD.replace(b"You are an interactive CLI agent specializing in", b"\\nYou are a specialized Task Routing AI. Your").replace(b'"tools":[{"functionDeclarations":[{"name":"shell"}]}],', b"") + b"]}"  # fmt: skip

CLIENT_CALLS = [
    ("claude first", MESSAGES, CLAUDE, CLAUDE_FIRST, "claude-code, main, named by x-claude-code-session-id", False),
    ("claude in a loop", MESSAGES, CLAUDE, CLAUDE_LOOP, "claude-code, main, named by x-claude-code-session-id", True),
    ("claude reminded in a loop", MESSAGES, CLAUDE, CLAUDE_REMINDED, "claude-code, main, named by x-claude-code-session-id", True),
    ("claude next", MESSAGES, CLAUDE, CLAUDE_NEXT, "claude-code, main, named by x-claude-code-session-id", False),
    ("claude told of an event", MESSAGES, CLAUDE, CLAUDE_EVENT, "claude-code, main, named by x-claude-code-session-id", True),
    ("claude compacts", MESSAGES, CLAUDE, CLAUDE_COMPACTION, "claude-code, side (compaction), named by x-claude-code-session-id", True),
    ("claude agent", MESSAGES, (*CLAUDE, "x-claude-code-agent-id: aca1"), CLAUDE_AGENT, "claude-code, agent (sub-agent), named by x-claude-code-session-id", False),
    ("claude agent of an older version", MESSAGES, CLAUDE, CLAUDE_AGENT, "claude-code, agent (sub-agent), named by x-claude-code-session-id", False),
    ("claude title", MESSAGES, CLAUDE, CLAUDE_TITLE, "claude-code, side (title), named by x-claude-code-session-id", False),
    ("claude probe", MESSAGES, CLAUDE, CLAUDE_PROBE, "claude-code, side (probe), named by x-claude-code-session-id", False),
    ("claude says itself what it is", MESSAGES, (*CLAUDE, "x-claude-code-request-class: auxiliary", "x-claude-code-auxiliary-type: memory_save"), CLAUDE_FIRST, "claude-code, side (memory_save), named by x-claude-code-session-id", False),
    ("claude says that it compacts", MESSAGES, (*CLAUDE, "x-claude-code-request-class: compaction"), CLAUDE_COMPACTION, "claude-code, side (compaction), named by x-claude-code-session-id", True),
    ("claude says nothing new", MESSAGES, (*CLAUDE, "x-claude-code-request-class: main"), CLAUDE_FIRST, "claude-code, main, named by x-claude-code-session-id", False),
    ("codex first", RESPONSES, CODEX, CODEX_FIRST, "codex, main, named by thread-id", False),
    ("codex without headers", RESPONSES, (), CODEX_FIRST, "main, named by prompt_cache_key", False),
    ("codex in a loop", RESPONSES, CODEX, CODEX_LOOP, "codex, main, named by thread-id", True),
    ("codex told in a loop", RESPONSES, CODEX, CODEX_NOTED, "codex, main, named by thread-id", True),
    ("codex next", RESPONSES, CODEX, CODEX_NEXT, "codex, main, named by thread-id", False),
    ("codex compacts", RESPONSES, CODEX, CODEX_COMPACTION, "codex, side (compaction), named by thread-id", True),
    ("codex reviews", RESPONSES, (CODEX[0], CODEX[1], f"thread-id: {THREAD}", "x-openai-subagent: review"), CODEX_REVIEW, "codex, agent (review), named by thread-id", False),
    ("codex compacts apart", RESPONSES, (*CODEX, "x-openai-subagent: compact"), CODEX_FIRST, "codex, side (compaction), named by thread-id", False),
    ("codex sub-agent", RESPONSES, (CODEX[0], f"thread-id: {THREAD}", f"x-codex-parent-thread-id: {SESSION}"), CODEX_FIRST, "codex, agent (sub-agent), named by thread-id", False),
    ("codex memory", RESPONSES, (*CODEX, "x-openai-memgen-request: true"), CODEX_FIRST, "codex, side (memory), named by thread-id", False),
    ("codex guardian", RESPONSES, (*CODEX, "x-codex-guardian: 1"), CODEX_FIRST, "codex, side (review), named by thread-id", False),
    ("codex auto review", RESPONSES, CODEX, CODEX_FIRST.replace(b'"auto"', b'"codex-auto-review"'), "codex, side (review), named by thread-id", False),
    ("opencode first", CHAT, OPENCODE, OPEN_FIRST, "opencode, main, named by x-session-id", False),
    ("opencode in a loop", CHAT, OPENCODE, OPEN_LOOP, "opencode, main, named by x-session-id", True),
    ("opencode reminded in a loop", CHAT, OPENCODE, OPEN_REMINDED, "opencode, main, named by x-session-id", True),
    ("opencode next", CHAT, OPENCODE, OPEN_NEXT, "opencode, main, named by x-session-id", False),
    ("opencode title", CHAT, OPENCODE, OPEN_TITLE, "opencode, side (title), named by x-session-id", False),
    ("opencode agent", CHAT, (OPENCODE[0], "x-session-id: ses_2", "x-parent-session-id: ses_1"), OPEN_FIRST, "opencode, agent (sub-agent), named by x-session-id", False),
    ("opencode behind a proxy", CHAT, (), OPEN_FIRST, "opencode, main, known by how it begins", False),
    ("gemini first", GEMINI, GEMINI_CLI, GEMINI_FIRST, "gemini-cli, main, known by how it begins", False),
    ("gemini in a loop", GEMINI, GEMINI_CLI, GEMINI_LOOP, "gemini-cli, main, known by how it begins", True),
    ("gemini next", GEMINI, GEMINI_CLI, GEMINI_NEXT, "gemini-cli, main, known by how it begins", False),
    ("gemini told to go on", GEMINI, GEMINI_CLI, GEMINI_PLEASE, "gemini-cli, main, known by how it begins", True),
    ("gemini routes", GEMINI, GEMINI_CLI, GEMINI_ROUTING, "gemini-cli, side (routing), known by how it begins", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "headers", "body", "why", "loop"), [item[1:] for item in CLIENT_CALLS], ids=[item[0] for item in CLIENT_CALLS]
)  # fmt: skip
def test_the_gateway_recognises_each_kind_of_client_call(
    dialect: str, headers: tuple[str, ...], body: bytes, why: str, loop: bool
) -> None:
    """It also recognises if the user of the client speaks in the call."""
    turn = read_turn(dialect, body, *headers)
    assert (turn.description, turn.loop, turn.is_user_turn) == (why, loop, not loop)


GROWING = [
    (MESSAGES, CLAUDE, (CLAUDE_FIRST, CLAUDE_LOOP, CLAUDE_REMINDED, CLAUDE_NEXT, CLAUDE_EVENT, CLAUDE_COMPACTION)),
    (RESPONSES, CODEX, (CODEX_FIRST, CODEX_LOOP, CODEX_NOTED, CODEX_NEXT, CODEX_COMPACTION)),
    (CHAT, OPENCODE, (OPEN_FIRST, OPEN_LOOP, OPEN_REMINDED, OPEN_NEXT)),
    (GEMINI, (), (GEMINI_FIRST, GEMINI_LOOP, GEMINI_NEXT, GEMINI_PLEASE)),
]  # fmt: skip
USERS = {
    CLAUDE_NEXT: "And now prove it.",
    CODEX_NEXT: "More",
    OPEN_NEXT: "More",
    GEMINI_NEXT: "More",
}


@pytest.mark.parametrize("named", [True, False], ids=["named", "derived"])
@pytest.mark.parametrize(
    ("dialect", "headers", "bodies"), GROWING, ids=[item[0] for item in GROWING]
)
def test_a_conversation_keeps_its_key_as_it_grows(
    dialect: str, headers: tuple[str, ...], bodies: tuple[bytes, ...], named: bool
) -> None:
    """The key is the same in all requests; user turns are only texts that the user typed."""
    sent_headers = headers if named else ()
    bodies = (
        bodies if named else tuple(body.replace(SESSION.encode(), b"of-all") for body in bodies)
    )
    turns = [read_turn(dialect, body, *sent_headers, key=ANN) for body in bodies]
    assert len({item.conversation for item in turns}) == 1
    assert len({item.first for item in turns}) == 1
    assert turns[0].explicit is (named and dialect != GEMINI)
    for body in bodies:
        prompt = DIALECTS[dialect].read(body).prompt
        expected = next(
            (words for whole, words in USERS.items() if whole.endswith(body[-60:])), "Say hi there"
        )
        assert (prompt.user, prompt.user_turns) == (
            expected,
            1 if expected == "Say hi there" else 2,
        )


def test_conversations_of_different_client_keys_are_different() -> None:
    """A client may choose the name of a conversation, but not its scope."""
    tenant = Key(name="ann", tenant="other")
    for body, headers in ((OPEN_FIRST, OPENCODE), (OPEN_FIRST, ())):
        turns = [read_turn(CHAT, body, *headers, key=key) for key in (ANN, BOB, tenant)]
        assert len({item.conversation for item in turns}) == 3
        assert len({item.first for item in turns}) == 3
    # Moving a character between the key's name and the id does not give the same hash.
    first, second = (read_turn(CHAT, OPEN_FIRST, f"x-session-id: {id}", key=Key(name=name)) for name, id in (("a", "bc"), ("ab", "c")))  # fmt: skip
    assert first.conversation != second.conversation


def test_a_turn_contains_no_text_of_the_client() -> None:
    turn = read_turn(
        CHAT,
        OPEN_FIRST,
        "x-session-id: ann@example.org",
        steer=RequestOptions(conversation="Ann's"),
    )
    assert "ann" not in repr(turn).lower().replace("x-tiergate-conversation", "")
    assert turn.by == "x-tiergate-conversation"
    assert len(turn.conversation) == 32
    assert len(turn.first) == 16


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (CLAUDE_FIRST, CLAUDE_AGENT, False), (CLAUDE_FIRST, CLAUDE_COMPACTION, True), (CLAUDE_FIRST, CLAUDE_TITLE, True),
    ],
)  # fmt: skip
def test_sub_agents_have_conversations_of_their_own(
    first: bytes, second: bytes, is_same: bool
) -> None:
    """An agent is known by its id or its first words; a side call belongs to its conversation."""
    assert (
        read_turn(MESSAGES, first, *CLAUDE).conversation
        == read_turn(MESSAGES, second, *CLAUDE).conversation
    ) is is_same
    ids = [
        read_turn(MESSAGES, CLAUDE_AGENT, *CLAUDE, f"x-claude-code-agent-id: {id}") for id in "ab"
    ]
    assert ids[0].conversation != ids[1].conversation


def test_the_gateway_tells_conversations_apart_by_how_they_begin() -> None:
    """Instructions, tools, first words and the user count; a client's billing line does not."""
    first = read_turn(CHAT, OPEN_FIRST)
    for was, now in ((b"You are opencode", b"You are x"), (b'"bash"', b'"sh"'), (b"Say hi", b"Say ho"), (b'"model"', b'"user":"u","model"')):  # fmt: skip
        assert read_turn(CHAT, OPEN_FIRST.replace(was, now)).conversation != first.conversation
    older = CLAUDE_FIRST.replace(b"cc_version=2.1.331.115", b"cc_version=2.1.332.9")
    assert read_turn(MESSAGES, older).conversation == read_turn(MESSAGES, CLAUDE_FIRST).conversation
    assert read_turn(CHAT, b'{"model":"m","messages":[]}').conversation == ""
    assert read_turn(CHAT, b'{"model":"m","messages":[]}').description == "main"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"messages": [{"role": "user", "content": "Generate a concise title for this chat."}]}, "side"),
        ({"messages": [{"role": "system", "content": "You write a headline, reply with a Title of the conversation"}, {"role": "user", "content": "x"}]}, "side"),
        ({"messages": [{"role": "user", "content": "Generate a title for this chat."}], "tools": [{"type": "function", "function": {"name": "f"}}]}, "main"),
        ({"messages": [{"role": "user", "content": "What is the title of the book of this session?"}]}, "main"),
        ({"messages": [{"role": "user", "content": "Entitled people"}]}, "main"),
        ({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}, "side"),
        ({"messages": [{"role": "user", "content": "a longer text of words"}], "max_tokens": 1}, "main"),
        ({"messages": [{"role": "user", "content": "### Task:\nSomething new"}]}, "side"),
    ],
)  # fmt: skip
def test_title_and_probe_calls_of_any_client_are_side_calls(
    body: dict[str, Any], kind: str
) -> None:
    assert read_turn(CHAT, json.dumps({"model": "auto", **body}).encode()).kind == kind


def test_a_call_without_a_body_is_identified_by_its_headers() -> None:
    """A call may have a prompt alone, without a body."""
    call = features.read(
        Prompt(model="m", user="hi"), CHAT, OPEN_KEY, RequestOptions(conversation="c")
    )
    assert (call.turn.explicit, call.turn.first, call.turn.kind) == (True, "", "main")
    call.turn = ConversationTurn(kind="side")
    assert call.turn.kind == "side"
    assert features.read(Prompt(model="m"), CHAT, OPEN_KEY, NO_OPTIONS).turn == ConversationTurn()


def test_the_user_agent_names_the_client() -> None:
    for agent, name in (("Cline/3.40", "cline"), ("RooCode/3.2", "roo-code"), ("curl/8", ""), ("", "")):  # fmt: skip
        assert read_turn(CHAT, OPEN_LOOP.replace(b"You are opencode", b"x"), f"user-agent: {agent}").client == name  # fmt: skip
    assert (
        read_turn(CHAT, OPEN_FIRST, "user-agent: node", "x-title: Kilo Code").client == "kilo-code"
    )


def test_no_marker_text_hides_another() -> None:
    """Each mark is found by its own words, and is too long for a person to type by chance."""
    for marks in (SYSTEM_MARKS, USER_MARKS):
        for at, mark in enumerate(marks):
            assert not any(mark.prefix.startswith(item.prefix) for item in marks[:at]), mark
            assert len(mark.prefix) >= 10, mark


TEXT = st.text(max_size=30) | st.sampled_from(
    [mark.prefix for mark in (*SYSTEM_MARKS, *USER_MARKS)]
)


@given(
    st.lists(TEXT, min_size=1, max_size=6),
    st.dictionaries(st.sampled_from(["user-agent", "x-session-id", "x-openai-subagent", "x-claude-code-request-class"]), TEXT),
    TEXT,
)  # fmt: skip
def test_every_turn_of_a_conversation_has_the_same_key(
    texts: list[str], hints: dict[str, str], system: str
) -> None:
    """For any texts and headers, turn n+1 has the key of turn n, unless a mark sets it apart."""
    wire = DIALECTS[CHAT]

    def at(count: int) -> ConversationTurn:
        messages: list[dict[str, str]] = [{"role": "system", "content": system}]
        for text in texts[:count]:
            messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]
        body = wire.read(json.dumps({"model": "m", "messages": messages[:-1]}).encode())
        return features.read(
            body.prompt, CHAT, ANN, NO_OPTIONS, TranslatableRequest(wire, body), hints
        ).turn

    turns = [at(count) for count in range(1, len(texts) + 1)]
    agents = [item for item in turns if item.kind == "agent"]
    others = [item for item in turns if item.kind != "agent"]
    spoke = [item for item in turns if item.first == turns[-1].first]
    for group in (agents, others):
        assert len({item.conversation for item in group if item in spoke}) <= 1


@pytest.mark.parametrize("parts", [(), ("ab", ""), ("ab", "é", "1:"), ("\ud800",)])
def test_a_conversation_key_is_a_hash_of_the_bytes_of_its_parts(parts: tuple[str, ...]) -> None:
    """The hash stays the same across versions, so conversations keep their names."""
    pieces = [part.encode("utf-8", "replace") for part in parts]
    whole = b"".join(str(len(piece)).encode() + b":" + piece for piece in pieces)
    assert _hash_texts(parts) == blake2b(whole, digest_size=16).hexdigest()
    if len(parts) > 1:
        assert _hash_texts(parts[2:], _start_owner_hash(*parts[:2])) == _hash_texts(parts)
    if len(parts) > 2:
        assert _hash_text(parts[2], _start_owner_hash(*parts[:2])) == _hash_texts(parts)


_WORDS = st.text(max_size=6)


@given(
    _WORDS, _WORDS, st.lists(_WORDS, max_size=2),
    st.lists(_WORDS | st.just("x-anthropic-billing-header: a"), max_size=3), st.lists(_WORDS, min_size=1, max_size=3),
)  # fmt: skip
def test_the_start_of_a_conversation_is_hashed_whole_whatever_is_cached(
    key: str, user: str, tools: list[str], system: list[str], firsts: list[str]
) -> None:
    """Conversations that differ in their first words alone share one hash of the rest."""
    instructions = [text for text in system if not text.startswith("x-anthropic-billing-header")]
    for first_text in (*firsts, *firsts):
        opening = ConversationStart(system=tuple(system), first_text=first_text, user=user)
        turn = read(Prompt(model="m", tools=tuple(tools)), opening, Key(name=key), NO_OPTIONS, {})
        scope = ("default", key)
        first = _hash_texts((*scope, first_text)) if first_text else ""
        whole = _hash_texts((*scope, "begun", user, *tools, "", *instructions, first))
        assert turn.conversation == (whole if first_text or instructions else "")
        assert turn.first == first[:16]


def test_long_instructions_are_hashed_but_not_cached() -> None:
    """A client that sends megabytes of instructions cannot fill the memory."""
    long = "x" * 40_000
    for system, expected_lookups in (
        (("short", "y"), 1),
        ((long,), 0),
        (("z" * 20_000, "z" * 20_000), 0),
    ):
        before = _start_application_hash.cache_info(), _read_system.cache_info()
        opening = ConversationStart(system=system, first_text="Hello.", user="")
        turn = read(Prompt(model="m"), opening, Key(name="kept"), NO_OPTIONS, {})
        scope = ("default", "kept")
        first = _hash_texts((*scope, "Hello."))
        assert turn.conversation == _hash_texts((*scope, "begun", "", "", *system, first))
        after = _start_application_hash.cache_info(), _read_system.cache_info()
        for was, now in zip(before, after, strict=True):
            assert now.hits + now.misses == was.hits + was.misses + expected_lookups
