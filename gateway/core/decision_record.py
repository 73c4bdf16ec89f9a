"""What a decision rested on, as a row keeps it: enough to decide again, and nothing of the text.

Only what is not as it mostly is is written. Names, numbers and flags are the call's; of its text
there are the signals, counts and shares, and which patterns of the rules it has.
"""

from typing import Literal

import msgspec

from gateway.core.call import Strategy
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import DecisionContext, Score
from gateway.core.turn_evidence import TurnEvidence

type RecordedComplete = Literal["off", "hold", "live"]
"""A value of `complete` in a row: earlier versions wrote `live` too."""


class RecordedScope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a key bounds a decision, as it was; the names are those of `Key`."""

    lab: str | None = None
    tags: tuple[str, ...] = ()
    allowed_tags: tuple[str, ...] | None = None
    labs: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    complete: RecordedComplete | None = None
    quality: float | None = None
    max_quality: float | None = None
    conversation: Strategy | None = None


class RecordedOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the x-tiergate-* headers asked for; the names are those of `Steer`."""

    lab: str | None = None
    tier: str | None = None
    tags: tuple[str, ...] = ()
    complete: RecordedComplete | None = None
    quality: float | None = None


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a decision rested on beside the configuration and what the row tells anyway."""

    operation: str = "generate"
    user_tokens: int = 0
    """Of the last user turn, estimated; 0 where it has no text."""
    chars: int = 0
    turns: int = 0
    turn: ConversationTurn | None = None
    """Its place in its conversation."""
    tool_loop: bool = False
    tools: tuple[str, ...] = ()
    more_tools: int = 0
    """Tools whose names are not kept."""
    forced_tool: bool = False
    hosted_tools: bool = False
    images: int = 0
    files: int = 0
    audio: int = 0
    json_schema: bool = False
    effort: str | None = None
    """What the client set itself."""
    max_output: int | None = None
    choices: int = 1
    service: str | None = None
    stored: bool = False
    sampled: bool = False
    logprobs: bool = False
    members: tuple[str, ...] = ()
    """Top-level members that a target may refuse."""
    continuation_member: str = ""
    """The member that names an earlier answer, which only its provider has."""
    said: RecordedOptions | None = None
    scope: RecordedScope | None = None
    signals: dict[str, int | float | bool] | None = None
    """Those that are not 0; None where nobody read them."""
    language: str | None = None
    """Of the last user turn; None where it has no text, or where nobody read it."""
    patterns: str | None = None
    """Digests of the patterns that the text was searched for, six signs each; None: of none."""
    hits: str = ""
    """Of those that it has."""
    outcomes: dict[str, bool] = {}
    """Of rules that read the text itself, by the hash of their conditions."""
    classifier: str | None = None
    """The version of a classifier that read the text itself."""
    score: Score | None = None
    failed: str | None = None
    """The kind of error it ended in."""
    doors: dict[str, str] = {}
    """Why a target could not be asked in another dialect, empty where it could, for each tried."""
    evidence: DecisionContext | None = None
    """None where there was none; its `at` is the row's."""
    history: tuple[TurnEvidence, ...] | None = None
    """Evidence against the last answer; None if nobody looked for any, or there is no history."""
    target: str | None = None
    """The first of the plan, as provider/model."""
