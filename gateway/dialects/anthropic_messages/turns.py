"""Turns in no dialect as a system prompt and messages that alternate between user and assistant.

Neighbours of one role are one message. All results of one assistant's message stand first in the
user's message that follows; a use without a result gets one that says so. Later system turns are
text of the user. Sources: Anthropic's API reference, and what the API refuses: blank text, images
in results that are errors, ids that are not plain or stand twice, a first message of the assistant.
"""

from collections.abc import Iterable

from gateway.core import jsonio
from gateway.core.canonical_request import (
    CanonicalRequest,
    CanonicalTurn,
    Media,
    Part,
    Refused,
    Text,
    Thought,
    ToolResult,
    ToolUse,
)  # fmt: skip
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.anthropic_messages import media
from gateway.dialects.body_patch import LossAction

type Object = dict[str, Json]

_NOTHING = "(no content)"
"""Stands where a user said nothing and the API wants something."""
_SYSTEM = ("system", "developer")


class _Run:
    """One message: neighbouring turns of one role."""

    __slots__ = ("blocks", "results", "role", "uses")

    def __init__(self, role: str) -> None:
        self.role = role
        self.blocks: list[Object] = []
        self.results: list[ToolResult] = []
        self.uses: list[tuple[str, str]] = []
        """Of an assistant: the client's id of each use of a tool, and the one that is sent."""


class Turns:
    """The turns of one request as one target gets them."""

    __slots__ = ("_losses", "_maker", "_runs", "_sent", "_word", "messages", "system")

    def __init__(self, request: CanonicalRequest, target: Target) -> None:
        self._word = request.names.get("turns", "messages")
        self._maker = reasoning_state.hash_maker(target, "anthropic-messages")
        self._losses: dict[Loss, None] = {}
        self._runs: list[_Run] = []
        self._sent: set[str] = set()
        turns = request.turns
        lead = next((at for at, it in enumerate(turns) if it.role not in _SYSTEM), len(turns))
        alone = 0 < lead == len(turns)
        if alone:
            lead -= 1
            self._lose("", "approximated", "a system turn alone is said by the user")
        self.system = [block for turn in turns[:lead] for block in self._plain(turn.parts)]
        for turn in turns[lead:]:
            if turn.role == "assistant":
                self._assistant(turn)
            else:
                self._user(turn, later=turn.role in _SYSTEM and not alone)
        self.messages = self._joined()

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What could not be said, beyond the rules of dialects.compatibility."""
        return tuple(self._losses)

    def _lose(self, member: str, action: LossAction, why: str) -> None:
        field = f"{self._word}.{member}" if member else self._word
        self._losses[Loss(field, action, why)] = None

    def _run(self, role: str) -> _Run:
        if not self._runs or self._runs[-1].role != role:
            self._runs.append(_Run(role))
        return self._runs[-1]

    def _user(self, turn: CanonicalTurn, *, later: bool) -> None:
        """A user's turn, or a later one of the system, which may not stand where it stood."""
        run = self._run("user")
        run.results += [part for part in turn.parts if isinstance(part, ToolResult)]
        blocks = self._plain(part for part in turn.parts if not isinstance(part, ToolResult))
        for block in blocks if later else ():
            if block["type"] == "text":
                block["text"] = f"<system>\n{block['text']}\n</system>"
        run.blocks += blocks

    def _assistant(self, turn: CanonicalTurn) -> None:
        for part in turn.parts:
            match part:
                case Text() | Refused():
                    cached = part.cache if isinstance(part, Text) else None
                    block = media.text(Text(text=part.text, cache=cached))
                case ToolUse():
                    block = self._use(part)
                case Thought():
                    block = self._thought(part)
                case _:
                    self._none(part)
                    block = None
            if block is not None:
                self._run("assistant").blocks.append(block)

    def _use(self, part: ToolUse) -> Object:
        sent = tool_ids.make_plain_id(part.id, "toolu_")
        if sent in self._sent:  # a client that counts anew in each turn
            sent = tool_ids.make_plain_id(f"{sent} {len(self._sent)}", "toolu_")
        self._sent.add(sent)
        self._run("assistant").uses.append((part.id, sent))
        if part.state is not None:
            self._other_model()
        name = tool_ids.make_plain_id(part.name, "tool_")
        return {"type": "tool_use", "id": sent, "name": name, "input": self._input(part)}

    def _input(self, part: ToolUse) -> Json:
        """The input as an object, what the model wrote else where it is one."""
        if part.custom:
            return {"input": part.arguments}
        if part.arguments.strip() in ("", "null"):  # some hosts write null where there are none
            return {}
        try:
            value = jsonio.loads(part.arguments.encode())
        except jsonio.JsonError:
            value = None
        if isinstance(value, dict):
            return value
        self._lose("arguments", "approximated", "an input must be an object: it is in _raw")
        return {"_raw": part.arguments}

    def _thought(self, part: Thought) -> Object | None:
        """Reasoning goes to the model that made it, and to no other."""
        if part.state is None or part.maker != self._maker:
            self._other_model()
            return None
        if part.redacted:
            return {"type": "redacted_thinking", "data": part.state}
        return {"type": "thinking", "thinking": part.text, "signature": part.state}

    def _other_model(self) -> None:
        why = "reasoning of another model is for that model alone"
        self._lose("reasoning", "dropped", why)

    def _none(self, part: Part) -> None:
        kind = part.kind if isinstance(part, Media) else type(part).__name__
        self._lose(kind.lower(), "dropped", "anthropic-messages has no such part there")

    def _plain(self, parts: Iterable[Part]) -> list[Object]:
        """Text, images and documents; blank text is left out."""
        blocks: list[Object | None] = []
        for part in parts:
            block = media.block(part) if isinstance(part, Media) else None
            if isinstance(part, Text):
                blocks.append(media.text(part))
            elif block is not None:
                blocks.append(block)
            else:
                self._none(part)
        return [block for block in blocks if block is not None]

    def _joined(self) -> list[Object]:
        """The messages, every use of a tool with its result in the next."""
        messages: list[Object] = []
        uses: list[tuple[str, str]] = []
        runs = self._runs
        if runs and runs[0].role == "assistant":
            runs = [_Run("user"), *runs]
        if runs and runs[-1].uses:
            runs = [*runs, _Run("user")]
        for run in runs:
            content = run.blocks
            if run.role == "user":
                content = [*self._answered(uses, run.results), *run.blocks]
            messages.append({"role": run.role, "content": content or [_text(_NOTHING)]})
            uses = run.uses
        if messages and runs[-1].role == "assistant":
            self._prefill(messages[-1]["content"][-1])
        return messages

    def _prefill(self, block: Object) -> None:
        """The end of an answer that was begun: the API refuses a space there."""
        if block["type"] == "text" and block["text"] != block["text"].rstrip():
            block["text"] = block["text"].rstrip()
            self._lose("", "approximated", "a begun answer may not end in a space")

    def _answered(self, uses: list[tuple[str, str]], results: list[ToolResult]) -> list[Object]:
        """The results of uses, then what may not stand in them; none for a use is one too."""
        open_, said, behind = list(uses), list[Object](), list[Object]()
        for result in results:
            use = next((it for it in open_ if it[0] == result.id), None)
            blocks = self._plain(result.parts)
            if use is None:
                self._lose("tool_result", "approximated", "a result of no use is said as text")
                behind += blocks
                continue
            open_.remove(use)
            block: Object = {"type": "tool_result", "tool_use_id": use[1]}
            if result.error:
                behind += [it for it in blocks if it["type"] != "text"]
                blocks = [it for it in blocks if it["type"] == "text"] or [_text("Error")]
                block["is_error"] = True
            if blocks:
                block["content"] = blocks
            said.append({**block, **media.cache(result.cache)})
        for _, sent in open_:
            none = [_text("No result provided")]
            said.append(
                {"type": "tool_result", "tool_use_id": sent, "is_error": True, "content": none}
            )
        return said + behind


def _text(text: str) -> Object:
    return {"type": "text", "text": text}
