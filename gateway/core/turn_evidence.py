"""Evidence against the model's last answer, as plain values."""

from typing import Literal, get_args

import msgspec

type EvidenceName = Literal["repeated_failure", "asked_again", "refusal", "invalid_json"]
"""The kind of evidence.

`repeated_failure`: a tool fails again. `asked_again`: the user asks again. `refusal`: the model
refuses. `invalid_json`: the answer is not the JSON that the client asked for.
"""
EVIDENCE_NAMES: tuple[EvidenceName, ...] = get_args(EvidenceName.__value__)


class TurnEvidence(msgspec.Struct, frozen=True):
    """One piece of evidence against the last answer, with nothing of the text."""

    name: EvidenceName
    reason: str
    """The reason in words, for the trace: `the same tool call failed 2 times`."""


class EvidenceRise(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rise by a conversation's last evidence, for as long as it keeps the tier."""

    chars: int
    """The characters of the prompt with the evidence; a repeated call has as many."""
    turns: int = 0
    """The number of user turns since then."""
