"""A call as its row keeps it: the features of a decision that is made again without the text.

What was decided for a call of the ledger, and why: decided again, or what its row keeps.
"""

from collections.abc import Container, Iterator
from typing import Any

import msgspec

from gateway.core.call import Complete, Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import NOTHING, DecisionContext, Score
from gateway.core.decision_record import (
    DecisionRecord,
    RecordedComplete,
    RecordedOptions,
    RecordedScope,
)
from gateway.core.errors import ProblemError
from gateway.core.jsonio import Json
from gateway.core.ledger_rows import FinalRow, ReplayRow
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.dialects import OPERATIONS, Dialect, sayable
from gateway.routing import explain
from gateway.routing.classifier.heuristic import Classifier, reads
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.errors import MissingFeatureError, ScoreError
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from gateway.routing.rules.patterns import Patterns, split
from gateway.settings.schema.rules import LANGUAGES, Language

_TEXT = "the text of the last user turn"
_SIGNALS = frozenset(TextSignals.__struct_fields__)


class RecordedFeatures(Features):
    """Features of a row. Raises MissingFeatureError when a decision asks for what it lacks."""

    __slots__ = ("assumed", "basis", "client")

    def __init__(self, entry: FinalRow | ReplayRow, basis: DecisionRecord) -> None:
        """`basis` is that of `entry`. Raises MissingFeatureError if the row is of no decision."""
        client = OPERATIONS.get((entry.dialect, basis.operation))
        if client is None:
            raise MissingFeatureError(f"a call of {entry.dialect}, {basis.operation}")
        scope, said = basis.scope or RecordedScope(), basis.said or RecordedOptions()
        key = Key(
            name=entry.key,
            tenant=entry.tenant,
            lab=scope.lab,
            tags=scope.tags,
            allowed_tags=scope.allowed_tags,
            labs=scope.labs,
            tiers=scope.tiers,
            models=scope.models,
            regions=scope.regions,
            complete=_complete(scope.complete),
            conversation=scope.conversation,
        )
        steer = RequestOptions(
            lab=said.lab, tier=said.tier, tags=said.tags, complete=_complete(said.complete)
        )
        super().__init__(_prompt(entry, basis), entry.dialect, key, steer)
        self.basis = basis
        self.client = client
        self.assumed = False
        """It was taken that a target can be asked in another dialect, which was not tried."""
        self.turn = basis.turn or ConversationTurn()
        self.doors = dict(basis.doors)
        if basis.signals is not None:
            self._signals = TextSignals(**{n: v for n, v in basis.signals.items() if n in _SIGNALS})  # type: ignore[arg-type]

    @property
    def has_text(self) -> bool:
        """As Features has it."""
        return self.basis.user_tokens > 0

    @property
    def text(self) -> str:
        """As Features has it."""
        if self.has_text:
            raise MissingFeatureError(_TEXT)
        return ""

    @property
    def language(self) -> Language:
        """As Features has it."""
        if not self.has_text:
            return "unknown"
        known = next((one for one in LANGUAGES if one == self.basis.language), None)
        if known is None:
            raise MissingFeatureError(_TEXT)
        return known

    @property
    def tools(self) -> int:
        """As Features has it."""
        return len(self.basis.tools) + self.basis.more_tools

    @property
    def user_tokens(self) -> int:
        """As Features has it."""
        return self.basis.user_tokens

    def outcome(self, rule: str) -> bool | None:
        """As Features has it."""
        return self.basis.outcomes.get(rule)

    @property
    def scan(self) -> TextSignals:
        """As Features has it."""
        return self.signals

    @property
    def signals(self) -> TextSignals:
        """As Features has it."""
        if self._signals is None:
            raise MissingFeatureError(_TEXT)
        return self._signals

    def hits(self, patterns: Patterns) -> Container[int]:
        """As Features has it; to ask for a pattern that the text was not searched for raises."""
        return _Hits(self.basis, patterns)

    def score(self, classifier: Classifier) -> Score:
        """As Features has it."""
        basis = self.basis
        if basis.classifier == classifier.version:
            if basis.score is None:
                raise ScoreError(basis.failed)
            return basis.score
        if reads(classifier):
            raise MissingFeatureError(f"{_TEXT}, for the classifier {classifier.version}")
        return classifier.score("", self.signals)

    def speaks(self, door: Dialect) -> bool:
        """As Features has it."""
        return sayable(self.client, door)

    def prompt_at(self, door: Dialect, target: Target) -> Prompt | str:
        """As Features has it: what was not tried is only taken for granted of plain calls."""
        basis = self.basis
        if not {*basis.members} <= _PLAIN or _special(basis):
            raise MissingFeatureError(f"whether {target.name} can be asked in {door.name}")
        self.assumed = True
        return msgspec.structs.replace(self.prompt, model=target.model, members=frozenset())

    def closed(self, target: Target) -> str:
        """As Features has it."""
        raise MissingFeatureError(f"whether {target.provider.name} can be given what stood at URLs")


_PLAIN = frozenset(
    {"tools", "tool_choice", "system", "instructions", "systemInstruction", "toolConfig"}
)
"""Members that every dialect has a word for."""


def _complete(recorded: RecordedComplete | None) -> Complete | None:
    """Return what a recorded `complete` means now: `live` is no longer served."""
    return "hold" if recorded == "live" else recorded


def _special(basis: DecisionRecord) -> bool:
    """Whether a call asks for what some dialect cannot say."""
    return bool(
        basis.images
        or basis.files
        or basis.audio
        or basis.hosted_tools
        or basis.stored
        or basis.logprobs
        or basis.choices > 1
    )


class _Hits:
    """The numbers of patterns that a text has, as far as its row knows."""

    def __init__(self, basis: DecisionRecord, patterns: Patterns) -> None:
        self._digests = patterns.digests
        self._hits = split(basis.hits)
        self._whole = basis.patterns == patterns.known
        self._known = frozenset[str]() if self._whole else split(basis.patterns or "")

    def __contains__(self, number: Any) -> bool:
        digest = self._digests[number]
        if digest in self._hits:
            return True
        if not self._whole and digest not in self._known:
            raise MissingFeatureError(f"{_TEXT}, for a new pattern")
        return False


class _Names(tuple[str, ...]):
    """Names of tools of which not all are kept: to look for another raises MissingFeatureError."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        raise MissingFeatureError("the names of all tools")


def evidence(entry: FinalRow | ReplayRow, basis: DecisionRecord) -> DecisionContext:
    """The evidence of a row's decision."""
    return msgspec.structs.replace(basis.evidence or NOTHING, at=entry.at)


def again(router: Router, entry: FinalRow | ReplayRow) -> tuple[Decision, Plan]:
    """What a router decides for the call of a row.

    Raises MissingFeatureError for what the row does not keep, and ProblemError as `decide` does.
    """
    if entry.basis is None:
        raise MissingFeatureError("what it was decided on")
    call = RecordedFeatures(entry, entry.basis)
    return decide(router, call, call.client, evidence(entry, entry.basis))


def _prompt(entry: FinalRow | ReplayRow, basis: DecisionRecord) -> Prompt:
    return Prompt(
        model=entry.asked or "",
        stream=entry.stream,
        user_turns=basis.turns,
        chars=basis.chars,
        tool_loop=basis.tool_loop,
        tools=_Names(basis.tools) if basis.more_tools else basis.tools,
        forced_tool=basis.forced_tool,
        images=basis.images,
        files=basis.files,
        audio=basis.audio,
        json_schema=basis.json_schema,
        effort=basis.effort,
        max_output=basis.max_output,
        choices=basis.choices,
        service=basis.service,
        hosted_tools=basis.hosted_tools,
        stored=basis.stored,
        sampled=basis.sampled,
        logprobs=basis.logprobs,
        members=frozenset(basis.members),
    )


_KEPT = ("id", "config", "lab", "tier", "source", "rule", "confidence", "tags")


def recall(router: Router, row: FinalRow) -> tuple[Decision, Plan] | str:
    """The decision where this configuration made it, else why its steps are not known.

    Raises ProblemError where the call was refused.
    """
    if row.config != router.catalogue.version:
        return f"Another configuration decided it, {row.config}: its steps are not known any more."
    try:
        return again(router, row)
    except MissingFeatureError as error:
        return f"Its steps are not known: the ledger does not have {error}."


def kept(row: FinalRow, why: str) -> dict[str, Json]:
    """What a row says of its decision, where its steps are not known; `why` they are not."""
    told = {name: getattr(row, name) for name in _KEPT}
    return {**told, "why": why, "trace": None, "basis": row.basis}


def view(router: Router, row: FinalRow) -> dict[str, Json]:
    """The decision of a row as `explain` has it, or what is kept of it."""
    try:
        found = recall(router, row)
    except ProblemError as error:
        return kept(row, f"It was refused: {error.problem.message}")
    if isinstance(found, str):
        return kept(row, found)
    decision, plan = found
    return explain.view(decision, plan, [None] * len(plan.targets), row.at)
