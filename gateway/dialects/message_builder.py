"""Turns as messages whose roles alternate, for dialects that want a result right after each call.

Neighbouring turns of one role become one message. All results of one assistant message come first
in the user message that follows. A tool call without a result gets one that says so. Later system
turns become text of the user. Ids of calls are plain, and none occurs twice. A subclass writes the
blocks of its dialect.
"""

from abc import ABC, abstractmethod
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
)
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import reasoning_state, tool_ids
from gateway.dialects.body_patch import LossAction

type Object = dict[str, Json]

JSON_INSTRUCTION = (
    "Answer with one JSON object and nothing else: no text before or after it, and no code fence."
)
"""Replaces a JSON mode without a schema, which these dialects lack. The gateway puts it behind the
client's own instructions. It never changes, so that the prompt cache works as without it."""
CUSTOM_TOOL_SCHEMA = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The parameters of the function that replaces a custom tool."""
NO_CONTENT = "(no content)"
"""Fills an empty message, which the providers refuse."""
NO_RESULT = "No result provided"
"""The result of a tool call that has none."""
TOOL_PREFIX = "tool_"
"""The start of the name of a tool whose own name the providers refuse; see tool_ids."""
_SYSTEM_ROLES = ("system", "developer")


class MessageDraft:
    """A message in the making: neighbouring turns of one role."""

    __slots__ = ("blocks", "results", "role", "uses")

    def __init__(self, role: str) -> None:
        self.role = role
        self.blocks: list[Object] = []
        self.results: list[ToolResult] = []
        self.uses: list[tuple[str, str]] = []
        """For each tool call of an assistant: the client's id, and the id that the target gets."""


class MessageBuilder(ABC):
    """The system prompt and messages that one target gets, built from the turns of a request."""

    __slots__ = (
        "_call_prefix",
        "_dialect_name",
        "_drafts",
        "_losses",
        "_maker",
        "_sent_ids",
        "_turns_name",
        "messages",
        "system",
    )

    def __init__(
        self, request: CanonicalRequest, target: Target, *, dialect_name: str, call_prefix: str
    ) -> None:
        """`call_prefix` begins the id of a call whose own id the provider refuses."""
        self._dialect_name, self._call_prefix = dialect_name, call_prefix
        self._turns_name = request.names.get("turns", "messages")
        self._maker = reasoning_state.hash_maker(target, dialect_name)
        self._losses: dict[Loss, None] = {}
        self._drafts: list[MessageDraft] = []
        self._sent_ids: set[str] = set()
        turns = request.turns
        lead = next((at for at, it in enumerate(turns) if it.role not in _SYSTEM_ROLES), len(turns))
        alone = 0 < lead == len(turns)
        if alone:
            lead -= 1
            self._record_loss("", "approximated", "needs a user turn: the system turn becomes one")
        self.system = [block for turn in turns[:lead] for block in self._write_parts(turn.parts)]
        for turn in turns[lead:]:
            if turn.role == "assistant":
                self._add_assistant_turn(turn)
            else:
                self._add_user_turn(turn, later=turn.role in _SYSTEM_ROLES and not alone)
        self.messages = self._join_drafts()

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Losses beyond the rules of dialects.compatibility."""
        return tuple(self._losses)

    @abstractmethod
    def _write_text(self, part: Text) -> list[Object]:
        """Return the blocks of a text; none for blank text."""

    @abstractmethod
    def _write_media(self, part: Media) -> list[Object]:
        """Return the blocks of an image or a document; none for other media."""

    @abstractmethod
    def _write_call(self, id: str, name: str, arguments: Object) -> Object:
        """Return the block of a tool call."""

    @abstractmethod
    def _write_own_thought(self, state: str, part: Thought) -> Object:
        """Return the block of reasoning that the target itself made."""

    @abstractmethod
    def _write_result(
        self, id: str, result: ToolResult | None, blocks: list[Object]
    ) -> tuple[list[Object], list[Object]]:
        """Return the blocks of a result, and further blocks to put behind all results.

        Without a `result` the client has sent none.
        """

    @abstractmethod
    def _write_messages(
        self, role: str, results: list[Object], blocks: list[Object]
    ) -> list[Object]:
        """Return the message of a draft; several if its parts must stand apart."""

    @abstractmethod
    def _trim_prefill(self, message: Object) -> None:
        """Change an answer that the client began to a form that the provider continues."""

    def _record_loss(self, member: str, action: LossAction, why: str) -> None:
        field = f"{self._turns_name}.{member}" if member else self._turns_name
        self._losses[Loss(field, action, f"{self._dialect_name} {why}")] = None

    def _take_draft(self, role: str) -> MessageDraft:
        if not self._drafts or self._drafts[-1].role != role:
            self._drafts.append(MessageDraft(role))
        return self._drafts[-1]

    def _add_user_turn(self, turn: CanonicalTurn, *, later: bool) -> None:
        """Add a user turn, or a later system turn, which becomes text of the user."""
        draft = self._take_draft("user")
        draft.results += [part for part in turn.parts if isinstance(part, ToolResult)]
        blocks = self._write_parts(part for part in turn.parts if not isinstance(part, ToolResult))
        for block in blocks if later else ():
            if "text" in block:
                block["text"] = f"<system>\n{block['text']}\n</system>"
        draft.blocks += blocks

    def _add_assistant_turn(self, turn: CanonicalTurn) -> None:
        for part in turn.parts:
            blocks: list[Object] = []
            match part:
                case Text() | Refused():
                    cached = part.cache if isinstance(part, Text) else None
                    blocks = self._write_text(Text(text=part.text, cache=cached))
                case ToolUse():
                    blocks = [self._write_tool_use(part)]
                case Thought():
                    blocks = self._write_thought(part)
                case _:
                    self._record_dropped_part(part)
            if blocks:
                self._take_draft("assistant").blocks += blocks

    def _write_tool_use(self, part: ToolUse) -> Object:
        sent = tool_ids.make_plain_id(part.id, self._call_prefix)
        if sent in self._sent_ids:  # a client that counts anew in each turn
            sent = tool_ids.make_plain_id(f"{sent} {len(self._sent_ids)}", self._call_prefix)
        self._sent_ids.add(sent)
        self._take_draft("assistant").uses.append((part.id, sent))
        if part.state is not None:
            self._record_foreign_reasoning()
        name = tool_ids.make_plain_id(part.name, TOOL_PREFIX)
        return self._write_call(sent, name, self._read_arguments(part))

    def _read_arguments(self, part: ToolUse) -> Object:
        """Return the arguments of a call as an object; text that is no object goes into `_raw`."""
        if part.custom:
            return {"input": part.arguments}
        if part.arguments.strip() in ("", "null"):  # some hosts write null where there are none
            return {}
        try:
            value = jsonio.loads_text(part.arguments)
        except jsonio.JsonError:
            value = None
        if isinstance(value, dict):
            return value
        self._record_loss(
            "arguments",
            "approximated",
            "needs an object as input: the gateway puts the text in _raw",
        )
        return {"_raw": part.arguments}

    def _write_thought(self, part: Thought) -> list[Object]:
        """Return the block of a thought; none for reasoning that another model made."""
        if part.state is None or part.maker != self._maker:
            self._record_foreign_reasoning()
            return []
        return [self._write_own_thought(part.state, part)]

    def _record_foreign_reasoning(self) -> None:
        why = "gets no reasoning of another model"
        self._record_loss("reasoning", "dropped", why)

    def _record_dropped_part(self, part: Part) -> None:
        kind = part.kind if isinstance(part, Media) else type(part).__name__
        self._record_loss(kind.lower(), "dropped", "has no such part in this place")

    def _write_parts(self, parts: Iterable[Part]) -> list[Object]:
        """Return text, images and documents as blocks, without blank text."""
        written: list[Object] = []
        for part in parts:
            blocks = self._write_media(part) if isinstance(part, Media) else []
            if isinstance(part, Text):
                blocks = self._write_text(part)
            elif not blocks:
                self._record_dropped_part(part)
            written += blocks
        return written

    def _join_drafts(self) -> list[Object]:
        """Return the messages; each tool call has its result in the next message."""
        messages: list[Object] = []
        uses: list[tuple[str, str]] = []
        drafts = self._drafts
        if drafts and drafts[0].role == "assistant":
            drafts = [MessageDraft("user"), *drafts]
        if drafts and drafts[-1].uses:
            drafts = [*drafts, MessageDraft("user")]
        for draft in drafts:
            results: list[Object] = []
            blocks = draft.blocks
            if draft.role == "user":
                results, behind = self._write_results(uses, draft.results)
                blocks = [*behind, *draft.blocks]
            if not results and not blocks:
                blocks = self._write_text(Text(text=NO_CONTENT))
            messages += self._write_messages(draft.role, results, blocks)
            uses = draft.uses
        if messages and drafts[-1].role == "assistant":
            self._trim_prefill(messages[-1])
        return messages

    def _write_results(
        self, uses: list[tuple[str, str]], results: list[ToolResult]
    ) -> tuple[list[Object], list[Object]]:
        """Return one result for each tool call, and the blocks that a result may not hold."""
        open_uses = list(uses)
        written: list[Object] = []
        behind: list[Object] = []
        for result in results:
            use = next((it for it in open_uses if it[0] == result.id), None)
            blocks = self._write_parts(result.parts)
            if use is None:
                self._record_loss(
                    "tool_result", "approximated", "gets a result without its call as text"
                )
                behind += blocks
                continue
            open_uses.remove(use)
            result_blocks, more = self._write_result(use[1], result, blocks)
            written += result_blocks
            behind += more
        for _, sent in open_uses:
            written += self._write_result(sent, None, [])[0]
        return written, behind
