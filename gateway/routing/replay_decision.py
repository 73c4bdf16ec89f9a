"""Decides a call again from its ledger row, without the text.

If the row lacks something, or another configuration decided it, the gateway describes what the row
keeps.
"""

from collections.abc import Container, Iterator
from functools import cached_property
from typing import Any

import msgspec

from gateway.core.call import CompleteMode, Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext, Score
from gateway.core.decision_record import (
    DecisionRecord,
    RecordedComplete,
    RecordedOptions,
    RecordedScope,
)
from gateway.core.errors import ProblemError
from gateway.core.jsonio import Json
from gateway.core.ledger_rows import FinalRow, ReplayRow
from gateway.core.owned_object import ObjectPlace
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.turn_evidence import TurnEvidence
from gateway.dialects import OPERATIONS, TargetDialect, can_translate
from gateway.dialects.request_facts import RequestFacts
from gateway.routing import escalation, explain, quality_dial
from gateway.routing.classifier.heuristic import Classifier, reads_text
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.errors import MissingFeatureError, ScoreError
from gateway.routing.features import Features
from gateway.routing.quality_dial import Worth
from gateway.routing.router import Router, decide
from gateway.routing.rules.patterns import Patterns, split_digests
from gateway.settings.schema.rules import LANGUAGES, Language

_MISSING_TEXT = "the text of the last user turn"
_MISSING_FACTS = "the system prompt, temperature, metadata and user of the request"
_MISSING_HISTORY = "signs in its history that the last answer was bad"
_SIGNAL_NAMES = frozenset(TextSignals.__struct_fields__)


class RecordedFeatures(Features):
    """The features in a row. Raises MissingFeatureError if a decision needs what the row lacks."""

    def __init__(self, row: FinalRow | ReplayRow, record: DecisionRecord) -> None:
        """`record` is that of `row`.

        Raises MissingFeatureError if no dialect has the row's operation.
        """
        client_dialect = OPERATIONS.get((row.dialect, record.operation))
        if client_dialect is None:
            raise MissingFeatureError(f"a call of {row.dialect}, {record.operation}")
        scope, recorded_options = record.scope or RecordedScope(), record.said or RecordedOptions()
        key = Key(
            name=row.key,
            tenant=row.tenant,
            lab=scope.lab,
            tags=scope.tags,
            allowed_tags=scope.allowed_tags,
            labs=scope.labs,
            tiers=scope.tiers,
            models=scope.models,
            regions=scope.regions,
            complete=_read_complete(scope.complete),
            escalate=scope.escalate,
            quality=scope.quality,
            max_quality=scope.max_quality,
            conversation=scope.conversation,
        )
        options = RequestOptions(
            lab=recorded_options.lab,
            tier=recorded_options.tier,
            tags=recorded_options.tags,
            complete=_read_complete(recorded_options.complete),
            escalate=recorded_options.escalate,
            quality=recorded_options.quality,
        )
        super().__init__(_make_prompt(row, record), row.dialect, key, options)
        self.object_place = _read_place(record.objects)
        self.record = record
        self.client_dialect = client_dialect
        self.assumes_translation = False
        """True if the replay assumed, without trying it, that a target can serve a translated
        call."""
        self.has_text = record.user_tokens > 0
        self.user_tokens = record.user_tokens
        self.turn = record.turn or ConversationTurn()
        self.translation_checks = dict(record.doors)
        if record.signals is not None:
            signals = {n: v for n, v in record.signals.items() if n in _SIGNAL_NAMES}
            self.signals = TextSignals(**signals)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """Empty if the last user turn had no text; otherwise raises MissingFeatureError."""
        if self.has_text:
            raise MissingFeatureError(_MISSING_TEXT)
        return ""

    @property
    def facts(self) -> RequestFacts:
        """Raises MissingFeatureError: a row keeps only the outcomes of rules that read facts."""
        raise MissingFeatureError(_MISSING_FACTS)

    @property
    def language(self) -> Language:
        """The recorded language. Raises MissingFeatureError if nothing detected it."""
        if not self.has_text:
            return "unknown"
        language = next(
            (candidate for candidate in LANGUAGES if candidate == self.record.language), None
        )
        if language is None:
            raise MissingFeatureError(_MISSING_TEXT)
        return language

    @property
    def evidence(self) -> tuple[TurnEvidence, ...]:
        """The recorded evidence; none if nothing looked for it, for then none raised the call."""
        return self.record.history or ()

    @property
    def evidence_names(self) -> frozenset[str]:
        """The names of the recorded evidence.

        Raises MissingFeatureError if nothing looked for it.
        """
        if self.has_history and self.record.history is None:
            raise MissingFeatureError(_MISSING_HISTORY)
        return super().evidence_names

    @property
    def tools(self) -> int:
        """The number of offered tools with different names."""
        return len(self.record.tools) + self.record.more_tools

    def find_outcome(self, rule: str) -> bool | None:
        """Return the recorded outcome of a rule, by its hash; None if the row has none."""
        return self.record.outcomes.get(rule)

    @cached_property
    def signals(self) -> TextSignals:
        """The recorded signals. Raises MissingFeatureError if the row has none."""
        raise MissingFeatureError(_MISSING_TEXT)

    def match_patterns(self, patterns: Patterns) -> Container[int]:
        """Return the recorded patterns of the text; raises for a pattern that was not searched."""
        return _RecordedHits(self.record, patterns)

    def score(self, classifier: Classifier) -> Score:
        """Return the recorded score, or a new one from a classifier that reads only signals.

        Raises ScoreError if the recorded classifier failed, and MissingFeatureError if another
        classifier needs the text.
        """
        record = self.record
        if record.classifier == classifier.version:
            if record.score is None:
                raise ScoreError(record.failed)
            return record.score
        if reads_text(classifier):
            raise MissingFeatureError(f"{_MISSING_TEXT}, for the classifier {classifier.version}")
        return classifier.score("", self.signals)

    def can_translate_to(self, dialect: TargetDialect) -> bool:
        """True if the call can be translated to another dialect."""
        return can_translate(self.client_dialect, dialect)

    def translate_prompt(self, dialect: TargetDialect, target: Target) -> Prompt | str:
        """Return the prompt for a target of another dialect that the decision did not try.

        Raises MissingFeatureError if the call has anything that some dialect cannot express.
        """
        record = self.record
        if not {*record.members} <= _UNIVERSAL_MEMBERS or _has_special_content(record):
            raise MissingFeatureError(
                f"the members that tell if {target.name} can serve it in {dialect.name}"
            )
        self.assumes_translation = True
        return msgspec.structs.replace(self.prompt, model=target.model, members=frozenset())

    def find_media_problem(self, target: Target) -> str:
        """Raise MissingFeatureError, because a row keeps no URLs of media."""
        raise MissingFeatureError(f"the media at URLs, for {target.provider.name}")


_UNIVERSAL_MEMBERS = frozenset(
    {"tools", "tool_choice", "system", "instructions", "systemInstruction", "toolConfig"}
)
"""Members that every dialect can express."""


def estimate_recorded_worth(record: DecisionRecord) -> Worth | None:
    """Return the worth of each tier for a recorded call; None if it has no score."""
    return None if record.score is None else quality_dial.estimate_worth(record.score)


def _read_place(recorded: str | None) -> ObjectPlace | None:
    return None if recorded is None else ObjectPlace(*recorded.split("/", 1))


def _read_complete(recorded: RecordedComplete | None) -> CompleteMode | None:
    """Return the current meaning of a recorded `complete`: the gateway no longer serves `live`."""
    return "hold" if recorded == "live" else recorded


def _has_special_content(record: DecisionRecord) -> bool:
    """True if a call asks for something that some dialect cannot express."""
    return bool(
        record.images
        or record.files
        or record.audio
        or record.hosted_tools
        or record.stored
        or record.logprobs
        or record.choices > 1
    )


class _RecordedHits:
    """The numbers of the patterns that a text has, as far as its row keeps them."""

    def __init__(self, record: DecisionRecord, patterns: Patterns) -> None:
        self._digests = patterns.digests
        self._hit_digests = split_digests(record.hits)
        self._has_all_patterns = record.patterns == patterns.all_digests
        self._searched_digests = (
            frozenset[str]() if self._has_all_patterns else split_digests(record.patterns or "")
        )

    def __contains__(self, index: Any) -> bool:
        digest = self._digests[index]
        if digest in self._hit_digests:
            return True
        if not self._has_all_patterns and digest not in self._searched_digests:
            raise MissingFeatureError(f"{_MISSING_TEXT}, for a new pattern")
        return False


class _PartialNames(tuple[str, ...]):
    """Names of tools, not all of them kept.

    Raises MissingFeatureError when a search reaches the end.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        raise MissingFeatureError("the names of all tools")


def read_context(row: FinalRow | ReplayRow, record: DecisionRecord) -> DecisionContext:
    """Return the decision context of a row."""
    return msgspec.structs.replace(record.evidence or EMPTY_CONTEXT, at=row.at)


def decide_again(router: Router, row: FinalRow | ReplayRow) -> tuple[Decision, Plan]:
    """Decide the call of a row again.

    Raises MissingFeatureError for what the row does not keep, and ProblemError as `decide` does.
    """
    if row.basis is None:
        raise MissingFeatureError("the inputs of the decision")
    call = RecordedFeatures(row, row.basis)
    return decide(router, call, call.client_dialect, read_context(row, row.basis))


def _make_prompt(row: FinalRow | ReplayRow, record: DecisionRecord) -> Prompt:
    return Prompt(
        model=row.asked or "",
        stream=row.stream,
        user_turns=record.turns,
        chars=record.chars,
        tool_loop=record.tool_loop,
        tools=_PartialNames(record.tools) if record.more_tools else record.tools,
        forced_tool=record.forced_tool,
        images=record.images,
        files=record.files,
        audio=record.audio,
        json_schema=record.json_schema,
        effort=record.effort,
        max_output=record.max_output,
        choices=record.choices,
        service=record.service,
        hosted_tools=record.hosted_tools,
        stored=record.stored,
        continuation_member=record.continuation_member,
        sampled=record.sampled,
        logprobs=record.logprobs,
        members=frozenset(record.members),
    )


_ROW_FIELDS = ("id", "config", "lab", "tier", "source", "rule", "confidence", "tags")


def find_decision(router: Router, row: FinalRow) -> tuple[Decision, Plan] | str:
    """Return the decision if this configuration made it, else why its steps are not known.

    Raises ProblemError if the call was refused.
    """
    if row.config != router.catalogue.version:
        return f"Another configuration, {row.config}, decided it, so its steps are unknown now."
    try:
        decision, plan = decide_again(router, row)
    except MissingFeatureError as error:
        return f"Its steps are unknown: the ledger does not have {error}."
    step = escalation.describe_check(row)
    if step is not None:
        decision = msgspec.structs.replace(decision, trace=(*decision.trace, step))
    return decision, plan


def describe_row(row: FinalRow, reason: str) -> dict[str, Json]:
    """Return what a row keeps of its decision; `reason` says why the steps are not known."""
    fields = {name: getattr(row, name) for name in _ROW_FIELDS}
    return {**fields, "why": reason, "trace": None, "basis": row.basis}


def describe(router: Router, row: FinalRow) -> dict[str, Json]:
    """Return the decision of a row as `explain` describes it, or else what the row keeps of it."""
    try:
        outcome = find_decision(router, row)
    except ProblemError as error:
        return describe_row(row, f"The gateway refused it: {error.problem.message}")
    if isinstance(outcome, str):
        return describe_row(row, outcome)
    decision, plan = outcome
    return explain.describe(decision, plan, [None] * len(plan.targets), row.at)
