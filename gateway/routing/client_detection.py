"""Detects applications by their headers and prompts, and their calls that are no conversation.

The texts are those of Claude Code 2.1.331, Codex 0.169, opencode 1.18.33 and Gemini CLI 0.61.0, as
seen on the wire or in the programs. Those of Open WebUI, LibreChat, aider, Zed, Goose and Crush are
as they are known. A new version may word such a call in another way: then the call counts as part
of the conversation.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from gateway.core.conversation import CallKind

USER_AGENT_PREFIXES = (
    ("claude-cli/", "claude-code"),
    ("codex", "codex"),
    ("opencode/", "opencode"),
    ("geminicli", "gemini-cli"),
    ("qwencode", "qwen-code"),
    ("cline", "cline"),
    ("roo", "roo-code"),
    ("kilo", "kilo-code"),
    ("continue", "continue"),
    ("aider", "aider"),
    ("openwebui", "open-webui"),
    ("open webui", "open-webui"),
    ("open-webui", "open-webui"),
    ("librechat", "librechat"),
    ("zed/", "zed"),
    ("cursor/", "cursor"),
    ("goose/", "goose"),
    ("crush/", "crush"),
    ("charm", "crush"),
    ("githubcopilot", "copilot"),
    ("factory-cli", "factory"),
)
"""The beginning of a `user-agent` or an `x-title`, in lower case, and the application's name."""


class ClientMark(NamedTuple):
    """The kind, task and client of a call that has a text with this beginning."""

    prefix: str
    kind: CallKind
    task: str
    client: str = ""


SYSTEM_MARKS = (
    # Claude Code: its main prompts only name the client.
    ClientMark("You are Claude Code, Anthropic's official CLI", "main", "", "claude-code"),
    ClientMark("You are a Claude agent, built on", "main", "", "claude-code"),
    ClientMark("You are an agent for Claude Code", "agent", "sub-agent", "claude-code"),
    ClientMark(
        "You are a file search specialist for Claude Code", "agent", "sub-agent", "claude-code",
    ),
    ClientMark("You are evaluating a hook in Claude Code", "side", "hook", "claude-code"),
    ClientMark("You are evaluating a stop-condition hook", "side", "hook", "claude-code"),
    ClientMark("You are a helpful AI assistant tasked with summariz", "side", "summary"),
    ClientMark("Analyze if this message indicates a new conversation topic", "side", "topic"),
    ClientMark("Summarize this coding conversation", "side", "title", "claude-code"),
    ClientMark("You are coming up with a succinct title", "side", "title", "claude-code"),
    ClientMark("You are a security monitor for autonomous AI coding agents", "side", "review"),
    # Codex
    ClientMark("You are judging one planned coding-agent action.", "side", "review", "codex"),
    ClientMark("## Memory Writing Agent", "side", "memory", "codex"),
    ClientMark("# Review guidelines:", "agent", "review", "codex"),
    # opencode and Crush
    ClientMark("You are opencode", "main", "", "opencode"),
    ClientMark("You are a title generator.", "side", "title", "opencode"),
    ClientMark("You are an anchored context summarization", "side", "compaction", "opencode"),
    ClientMark("Summarize what was done in this conversation.", "side", "summary", "opencode"),
    ClientMark("you will generate a short title", "side", "title", "crush"),
    # Gemini CLI and its kin
    ClientMark("You are a specialized Task Routing AI.", "side", "routing"),
    ClientMark("You are a sophisticated AI diagnostic agent", "side", "routing"),
    ClientMark("You are a specialized system component responsible for dist", "side", "compaction"),
    ClientMark(
        "You are an interactive CLI agent specializing in software", "main", "", "gemini-cli",
    ),
    # Editors and chat applications
    ClientMark("You are Cline,", "main", "", "cline"),
    ClientMark("You are Roo,", "main", "", "roo-code"),
    ClientMark("You are an expert software engineer that generates concise, one", "side", "commit"),
    ClientMark("*Briefly* summarize this partial conversation", "side", "summary", "aider"),
    ClientMark("You are a professional conversation summarizer", "side", "title"),
    ClientMark("You are an expert in crafting pithy titles", "side", "title", "copilot"),
)  # fmt: skip
"""The marks at the beginning of a block of instructions."""

USER_MARKS = (
    ClientMark("Please write a 5-10 word title", "side", "title", "claude-code"),
    ClientMark("Web page content:\n---", "side", "fetch", "claude-code"),
    ClientMark("Perform a web search for the query:", "side", "search", "claude-code"),
    ClientMark("Generate a short kebab-case name", "side", "title", "claude-code"),
    ClientMark("CRITICAL: Respond with TEXT ONLY.", "side", "compaction", "claude-code"),
    ClientMark("Your task is to create a detailed summary of th", "side", "compaction"),
    ClientMark("[SUGGESTION MODE: ", "side", "suggestion", "claude-code"),
    ClientMark("The user stepped away and is coming back.", "side", "summary", "claude-code"),
    ClientMark("You are now acting as the memory extraction", "side", "memory", "claude-code"),
    ClientMark("You are performing a CONTEXT CHECKPOINT COMPACTION", "side", "compaction", "codex"),
    ClientMark("The following is the Codex agent history", "side", "review", "codex"),
    ClientMark("Generate a concise, single-line task title", "side", "title", "codex"),
    ClientMark("Generate a title for this conversation", "side", "title", "opencode"),
    ClientMark("Analyze *only* the content and structure of your immediately", "side", "routing"),
    ClientMark(
        "Summarize the user's primary intent or goal in this conv", "side", "title", "gemini-cli",
    ),
    ClientMark(
        "Summarize the following tool output to be a maximum of", "side", "summary", "gemini-cli",
    ),
    ClientMark("### Task:\nGenerate a concise, 3-5 word title", "side", "title", "open-webui"),
    ClientMark("### Task:\nGenerate 1-3 broad tags", "side", "title", "open-webui"),
    ClientMark("### Task:\nSuggest 3-5 relevant follow-up", "side", "suggestion", "open-webui"),
    ClientMark("### Task:\nAnalyze the chat history to determine", "side", "routing", "open-webui"),
    ClientMark("### Task:\nYou are an autocompletion system", "side", "suggestion", "open-webui"),
    ClientMark("### Task:\n", "side", "", "open-webui"),
    ClientMark("Provide a concise, 5-word-or-less title", "side", "title", "librechat"),
    ClientMark("Please generate a concise, 5-word-or-less title", "side", "title", "librechat"),
    ClientMark("Generate a concise 3-7 word title for this conversation", "side", "title", "zed"),
    ClientMark(
        "Based on the conversation so far, provide a concise desc", "side", "title", "goose",
    ),
)  # fmt: skip
"""The marks at the beginning of a user's last words, as the client sent them."""

TITLE_REQUEST = re.compile(
    r"\b(?:generate|write|create|suggest|give|provide|reply with|come up with)\b[^\n]{0,80}"
    r"\b(?:title|headline)\b[^\n]{0,80}\b(?:chat|conversation|session|thread|discussion)\b",
    re.IGNORECASE,
)
"""The pattern of a request for a title, for applications without a mark."""

CLIENT_NAMES = frozenset(
    {name for _, name in USER_AGENT_PREFIXES}
    | {m.client for m in (*SYSTEM_MARKS, *USER_MARKS) if m.client}
)
"""The names of all applications that the gateway detects."""

type MarkIndex = Mapping[str, tuple[tuple[str, ...], tuple[ClientMark, ...]]]
"""Marks by their first character, with their beginnings: few texts begin like any mark."""


def find_mark(text: str, index: MarkIndex) -> ClientMark | None:
    """Return the mark at the beginning of a text; None if there is none."""
    text = text.lstrip()
    prefixes, candidates = index.get(text[:1], _NO_MARKS)
    if prefixes and text.startswith(prefixes):
        return next(mark for mark in candidates if text.startswith(mark.prefix))
    return None


def _index_by_first_char(marks: tuple[ClientMark, ...]) -> MarkIndex:
    first_chars = {mark.prefix[0] for mark in marks}
    marks_by_char = {
        char: tuple(mark for mark in marks if mark.prefix[0] == char) for char in first_chars
    }
    return {
        char: (tuple(mark.prefix for mark in group), group) for char, group in marks_by_char.items()
    }


_NO_MARKS: tuple[tuple[str, ...], tuple[ClientMark, ...]] = (), ()
SYSTEM_MARK_INDEX = _index_by_first_char(SYSTEM_MARKS)
"""The marks of blocks of instructions."""
USER_MARK_INDEX = _index_by_first_char(USER_MARKS)
"""The marks of a user's last words."""
