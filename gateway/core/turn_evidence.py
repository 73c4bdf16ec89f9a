"""Evidence against the model's last answer, as plain values."""

from typing import Literal, get_args

import msgspec

type EvidenceName = Literal["repeated_failure", "asked_again", "refusal", "invalid_json"]
"""A tool that fails again, a user who asks again, a refusal, an answer that is not the JSON that
was asked for."""
EVIDENCE_NAMES: tuple[EvidenceName, ...] = get_args(EvidenceName.__value__)


class TurnEvidence(msgspec.Struct, frozen=True):
    """One thing that speaks against the last answer; nothing of the text is in it."""

    name: EvidenceName
    reason: str
    """In words, for the trace: `the same tool call failed 2 times`."""


class EvidenceRise(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last evidence of a conversation, for as long as it keeps its tier."""

    chars: int
    """Characters of the prompt that showed it: a call that is sent again has as many."""
    turns: int = 0
    """User turns since."""
