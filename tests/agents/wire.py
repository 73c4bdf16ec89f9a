"""Write a conversation as four clients do, with the headers and bodies seen on the wire.

Claude Code 2.1.331 moves its one cache mark to the last block of each request. Codex 0.169 and
opencode 1.18.33 name their session in headers. The application is a chat that names nothing.
"""

from dataclasses import dataclass, field
from typing import Any

from tests.agents.story import words
from tests.e2e.four_labs import CHAT, MESSAGES, RESPONSES

type Json = dict[str, Any]

DIALECTS = {"claude-code": MESSAGES, "codex": RESPONSES, "opencode": CHAT, "application": CHAT}
PATHS = {MESSAGES: "/v1/messages", RESPONSES: "/v1/responses", CHAT: "/v1/chat/completions"}
REMINDER = (
    "<system-reminder>\nThe list of tasks is empty. Do not tell the user.\n</system-reminder>"
)
_MARK = {"cache_control": {"type": "ephemeral"}}
COMPACT = {
    "claude-code": "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\n\nYour task is to create a summary.",
    "codex": "You are performing a CONTEXT CHECKPOINT COMPACTION. Create a handoff summary for another LLM.",
}  # fmt: skip
"""Prompts that summarise a conversation inside it; other clients use a separate prompt."""
CONTINUED = "This session is being continued from a previous conversation that ran out of context. "
SUGGEST = "[SUGGESTION MODE: Suggest what the user might naturally type next into Claude Code.]"


@dataclass
class ThreadMessage:
    """One side's message: a user's texts, an answer, or tool results by the ids of their calls."""

    texts: list[str] = field(default_factory=list)
    calls: list[Json] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)
    answer: bool = False


@dataclass
class Thread:
    """One conversation in progress."""

    client: str
    ref: str
    session: str
    instructions: str
    tools: int
    stream: bool
    agent: str = ""
    """The sub-agent's own id; empty in the main conversation."""
    parent: str = ""
    history: list[ThreadMessage] = field(default_factory=list)

    @property
    def dialect(self) -> str:
        return DIALECTS[self.client]

    def headers(self) -> dict[str, str]:
        """Return the headers that identify the client."""
        if self.client == "claude-code":
            agent = {"x-claude-code-agent-id": self.agent} if self.agent else {}
            return {"user-agent": "claude-cli/2.1.331 (external, cli)", "x-claude-code-session-id": self.session, **agent}  # fmt: skip
        if self.client == "codex":
            own = {"x-openai-subagent": "collab_spawn", "x-codex-parent-thread-id": self.session} if self.agent else {}  # fmt: skip
            thread = self.agent or self.session
            return {"user-agent": "codex_cli_rs/0.169.0", "session-id": self.session, "thread-id": thread, **own}  # fmt: skip
        if self.client == "opencode":
            id = self.agent or self.session
            own = {"x-parent-session-id": self.session} if self.agent else {}
            return {"user-agent": "opencode/1.18.33", "x-session-id": id, "x-session-affinity": id, **own}  # fmt: skip
        return {"user-agent": "python-httpx/1"}

    def body(self, model: str, more: ThreadMessage | None = None) -> Json:
        """Write the next request, or a side request that also asks `more`."""
        history = [*self.history, *([more] if more is not None else [])]
        write = {MESSAGES: self._messages, RESPONSES: self._responses, CHAT: self._chat}
        return {"model": model, "stream": self.stream, **write[self.dialect](history)}

    def _offered(self) -> list[tuple[str, str, Json]]:
        schema = {"type": "object", "properties": {"command": {"type": "string"}}}
        ref = f"(ref {self.ref})"
        return [(f"tool_{at}", f"{ref} {words(40, at)}", schema) for at in range(self.tools)]

    def _messages(self, history: list[ThreadMessage]) -> Json:
        messages: list[Json] = []
        for turn in history:
            if turn.answer:
                texts = [{"type": "text", "text": text} for text in turn.texts]
                uses = [{"type": "tool_use", "id": it["id"], "name": it["name"], "input": it["input"]} for it in turn.calls]  # fmt: skip
                messages.append({"role": "assistant", "content": [*texts, *uses]})
                continue
            parts: list[Json] = [{"type": "tool_result", "tool_use_id": id, "content": text} for id, text in turn.results]  # fmt: skip
            parts += [{"type": "text", "text": text} for text in turn.texts]
            messages.append({"role": "user", "content": parts})
        last = messages[-1]["content"]
        last[-1] = {**last[-1], **_MARK}
        sub = " cc_is_subagent=true;" if self.agent else ""
        system = [
            {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.331.115; cc_entrypoint=cli;{sub}"},
            {"type": "text", "text": self.instructions, **_MARK},
        ]  # fmt: skip
        tools = [{"name": name, "description": text, "input_schema": schema} for name, text, schema in self._offered()]  # fmt: skip
        return {"max_tokens": 32_000, "system": system, "tools": tools, "messages": messages}

    def _responses(self, history: list[ThreadMessage]) -> Json:
        items: list[Json] = [_item("developer", "input_text", self.instructions)]
        items.append(_item("user", "input_text", "<environment_context>\n  <cwd>/work</cwd>\n</environment_context>"))  # fmt: skip
        for turn in history:
            items += [{"type": "function_call_output", "call_id": id, "output": text} for id, text in turn.results]  # fmt: skip
            role, kind = ("assistant", "output_text") if turn.answer else ("user", "input_text")
            items += [_item(role, kind, text) for text in turn.texts]
            items += [{"type": "function_call", "call_id": it["id"], "name": it["name"], "arguments": it["arguments"]} for it in turn.calls]  # fmt: skip
        tools = [{"type": "function", "name": name, "description": text, "parameters": schema} for name, text, schema in self._offered()]  # fmt: skip
        return {"store": False, "prompt_cache_key": self.session, "tools": tools, "input": items}

    def _chat(self, history: list[ThreadMessage]) -> Json:
        messages: list[Json] = [{"role": "system", "content": self.instructions}]
        for turn in history:
            messages += [{"role": "tool", "tool_call_id": id, "content": text} for id, text in turn.results]  # fmt: skip
            if turn.answer:
                calls = [{"id": it["id"], "type": "function", "function": {"name": it["name"], "arguments": it["arguments"]}} for it in turn.calls]  # fmt: skip
                more = {"tool_calls": calls} if calls else {}
                messages.append({"role": "assistant", "content": "\n".join(turn.texts) or None, **more})  # fmt: skip
            elif turn.texts:
                messages.append({"role": "user", "content": "\n".join(turn.texts)})
        tools = [{"type": "function", "function": {"name": name, "description": text, "parameters": schema}} for name, text, schema in self._offered()]  # fmt: skip
        return {"messages": messages, **({"tools": tools} if tools else {})}


def _item(role: str, kind: str, text: str) -> Json:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def side(client: str, ref: str, text: str, *, stream: bool) -> Json:
    """Write a title request, as each client sends it."""
    instructions = {
        "claude-code": f"You are coming up with a succinct title (ref {ref})",
        "opencode": f"You are a title generator. You output ONLY a thread title. (ref {ref})",
    }  # fmt: skip
    if client == "claude-code":
        system = [{"type": "text", "text": instructions[client]}]
        return {"model": "auto", "max_tokens": 512, "stream": stream, "system": system, "messages": [{"role": "user", "content": text}]}  # fmt: skip
    if client == "opencode":
        begin = {"role": "user", "content": "Generate a title for this conversation:\n"}
        messages = [{"role": "system", "content": instructions[client]}, begin, {"role": "user", "content": text}]  # fmt: skip
        return {"model": "auto", "stream": stream, "messages": messages}
    order = f"### Task:\nGenerate a concise, 3-5 word title with an emoji. (ref {ref})\n{text}"
    if client == "codex":
        order = f"Generate a concise, single-line task title of at most 36 characters. (ref {ref})\n{text}"  # fmt: skip
        return {"model": "auto", "store": False, "stream": stream, "input": [_item("user", "input_text", order)]}  # fmt: skip
    return {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": order}]}
