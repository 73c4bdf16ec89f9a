"""The facts that a decision rested on, as a row keeps them: enough to decide the call again.

A row has only the fields that differ from their defaults. Names, numbers and flags are those of the
call. Of its text there are only signals, counts, shares and the patterns of rules that it matches.
"""

from typing import Literal

import msgspec

from gateway.core.call import EscalateMode, Strategy
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import DecisionContext, Score
from gateway.core.turn_evidence import TurnEvidence

type RecordedComplete = Literal["off", "hold", "live"]
"""A value of `complete` in a row. Earlier versions wrote `live` too."""


class RecordedScope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The settings of a key that bounded the decision then; the names are those of `Key`."""

    lab: str | None = None
    tags: tuple[str, ...] = ()
    allowed_tags: tuple[str, ...] | None = None
    labs: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    complete: RecordedComplete | None = None
    escalate: EscalateMode | None = None
    quality: float | None = None
    max_quality: float | None = None
    conversation: Strategy | None = None


class RecordedOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The wishes in the x-tiergate-* headers; the names are those of `RequestOptions`."""

    lab: str | None = None
    tier: str | None = None
    tags: tuple[str, ...] = ()
    complete: RecordedComplete | None = None
    escalate: EscalateMode | None = None
    quality: float | None = None


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The facts that a decision rested on, beside the configuration and other fields of the row."""

    operation: str = "generate"
    user_tokens: int = 0
    """The estimated tokens of the last user turn; 0 if it has no text."""
    chars: int = 0
    turns: int = 0
    turn: ConversationTurn | None = None
    """The place of the call in its conversation."""
    tool_loop: bool = False
    tools: tuple[str, ...] = ()
    more_tools: int = 0
    """The number of further tools, whose names the row does not keep."""
    forced_tool: bool = False
    hosted_tools: bool = False
    images: int = 0
    files: int = 0
    audio: int = 0
    json_schema: bool = False
    effort: str | None = None
    """The effort that the client itself set."""
    max_output: int | None = None
    choices: int = 1
    service: str | None = None
    stored: bool = False
    sampled: bool = False
    logprobs: bool = False
    members: tuple[str, ...] = ()
    """Top-level members of the request that a target may refuse."""
    continuation_member: str = ""
    """The request member that names an earlier answer, which only its provider has."""
    objects: str | None = None
    """The provider and its account with the objects that the call names, as provider/account."""
    said: RecordedOptions | None = None
    scope: RecordedScope | None = None
    signals: dict[str, int | float | bool] | None = None
    """Text signals that are not 0; None if the gateway did not read them."""
    language: str | None = None
    """The language of the last user turn; None if it has no text, or was not read."""
    patterns: str | None = None
    """Digests of the patterns that rules search for, six characters each; None: no search."""
    hits: str = ""
    """Digests of the patterns that the text matches."""
    outcomes: dict[str, bool] = {}
    """The outcomes of rules that read the text itself, by the hash of their conditions."""
    classifier: str | None = None
    """The version of the classifier that read the text itself."""
    score: Score | None = None
    failed: str | None = None
    """The kind of error with which the classifier failed."""
    doors: dict[str, str] = {}
    """For each tried target: why another dialect cannot reach it, empty if it can."""
    evidence: DecisionContext | None = None
    """The context of the decision, whose `at` is the row's; None if it was empty."""
    history: tuple[TurnEvidence, ...] | None = None
    """Evidence against the last answer; None if the gateway looked for none, or has no history."""
    target: str | None = None
    """The first target of the plan, as provider/model."""
