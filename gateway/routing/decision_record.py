"""The record of a decision's inputs, made after the client has its answer, for the row."""

from collections.abc import Callable
from itertools import compress
from operator import attrgetter

import msgspec
from msgspec.structs import astuple, replace

from gateway.core.call import NO_OPTIONS, OPEN_KEY, Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import EMPTY_CONTEXT, DecisionContext
from gateway.core.decision_record import DecisionRecord, RecordedOptions, RecordedScope
from gateway.core.prompt import Prompt
from gateway.core.target import Tier
from gateway.dialects import Dialect
from gateway.routing import escalation
from gateway.routing.classifier.heuristic import reads_text
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.errors import ScoreError
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from gateway.routing.rules.context import RuleContext
from gateway.routing.rules.guards import evaluate_guards

MAX_TOOL_NAMES = 64
MAX_TOOL_NAME_CHARS = 1_000
"""The maximum number of tool names in a row, and of characters of all of them together."""

_PLAIN_TURN = ConversationTurn()
_NO_OPTIONS = RecordedOptions()
_SCOPE_FIELDS: Callable[[Key | RecordedScope], tuple[object, ...]] = attrgetter(
    *RecordedScope.__struct_fields__
)
_EMPTY_SCOPE = _SCOPE_FIELDS(RecordedScope())
_CONTEXT_FIELDS: Callable[[DecisionContext], tuple[object, ...]] = attrgetter(
    *(name for name in DecisionContext.__struct_fields__ if name != "at")
)
_EMPTY_CONTEXT = _CONTEXT_FIELDS(EMPTY_CONTEXT)
_SIGNAL_NAMES = TextSignals.__struct_fields__


class DecisionRecorder(msgspec.Struct):
    """One call to decide, with its context. Calling it returns the record that its row keeps."""

    router: Router
    call: Features
    dialect: Dialect
    context: DecisionContext
    _decision: Decision | None = None
    _plan: Plan | None = None
    _lowered_decisions: list[tuple[Decision, Plan, DecisionContext]] = []
    _record: DecisionRecord | None = None

    def decide(self, cache: DecisionCache | None = None) -> tuple[Decision, Plan]:
        """Decide the call, through `cache` if there is one. Raises ProblemError."""
        if cache is not None:
            decision, plan = cache.decide(self.call, self.dialect, self.context)
        else:
            decision, plan = decide(self.router, self.call, self.dialect, self.context)
        self._decision, self._plan = decision, plan
        return decision, plan

    def list_guards(self) -> tuple[str, ...]:
        """List the guards that match a call that the gateway refuses without a decision."""
        return evaluate_guards(self.router.rules, self._make_rule_context()).names

    def decide_under(self, ceiling: Tier) -> tuple[Decision, Plan]:
        """Decide the call under a budget that allows no tier above `ceiling`.

        Raises ProblemError.
        """
        context = replace(self.context, ceiling=ceiling)
        decision, plan = decide(self.router, self.call, self.dialect, context)
        self._lowered_decisions.append((decision, plan, context))
        return decision, plan

    def decide_above(self) -> tuple[Decision, Plan]:
        """Decide the call for the tier above its own, without an effect on the record.

        Raises ProblemError if nothing there may serve it.
        """
        router, call, ceiling = self.router, self.call, self.context.ceiling
        bounds = evaluate_guards(router.rules, self._make_rule_context())
        if ceiling is not None:
            bounds = bounds.with_ceiling(ceiling)
        return escalation.decide_above(router.catalogue, call, self.dialect, bounds, self.decision)

    def adopt(self, decision: Decision) -> None:
        """Record the decision under a ceiling that the call follows."""
        self._decision, self._plan, self.context = next(
            lowered for lowered in self._lowered_decisions if lowered[0] is decision
        )
        self._record = None

    @property
    def decision(self) -> Decision:
        """The decision that the call follows. Raises RuntimeError before there is one."""
        if self._decision is None:
            raise RuntimeError("the call is not decided yet")
        return self._decision

    def __call__(self) -> DecisionRecord | None:
        """Return the record for the row; None if making it fails: the row is written anyway."""
        if self._record is None:
            try:
                self._record = self._make_record()
            except Exception:  # noqa: BLE001 - as above
                return None
        return self._record

    def _make_record(self) -> DecisionRecord:
        call, plan, decision, dialect = self.call, self._plan, self._decision, self.dialect
        prompt, turn = call.prompt, call.turn
        is_tier_decided = decision is not None and decision.source != "pin"
        has_shown_history = call.has_history and (
            call.is_history_read or decision is None or is_tier_decided
        )
        members = dialect.essential_members & prompt.members
        record = DecisionRecord(
            operation=dialect.operation,
            user_tokens=call.user_tokens,
            chars=prompt.chars,
            turns=prompt.user_turns,
            turn=None if turn == _PLAIN_TURN else turn,
            max_output=prompt.max_output,
            sampled=prompt.sampled,
            members=tuple(sorted(members)) if members else (),
            objects=None if call.object_place is None else "/".join(call.object_place),
            said=None if call.options is NO_OPTIONS else _record_options(call.options),
            scope=None if call.key is OPEN_KEY else _record_scope(call.key),
            doors=call.translation_checks,
            evidence=_record_context(self.context, decision),
            history=call.evidence if has_shown_history else None,
            target=None if plan is None else plan.targets[0].name,
        )
        if is_tier_decided or not call.is_unread:
            record = self._add_text_findings(record, is_tier_decided=is_tier_decided)
        return record if prompt.is_plain_text else _add_rare_fields(record, prompt)

    def _make_rule_context(self) -> RuleContext:
        router, call = self.router, self.call
        classifier = router.find_classifier(call.key)
        return RuleContext(call, router.rules.patterns, self.context, classifier)

    def _add_text_findings(
        self, record: DecisionRecord, *, is_tier_decided: bool
    ) -> DecisionRecord:
        """Add what the text shows.

        Mostly the decision has read the text before. If a call names its model or tier, nothing
        decides the tier, and this method reads no further than the decision did.
        """
        call, rules = self.call, self.router.rules
        signals: dict[str, int | float | bool] | None = None
        language = pattern_digests = version = failure = None
        hits, score = "", None
        if is_tier_decided or call.is_scanned:
            values = astuple(call.signals)
            signals = dict(compress(zip(_SIGNAL_NAMES, values, strict=True), values))
        if call.has_text and (is_tier_decided or call.is_language_detected):
            language = call.language
        if (patterns := rules.patterns) is not None and (is_tier_decided or call.is_searched):
            pattern_digests = patterns.all_digests
            hits = patterns.format_hits(call.match_patterns(patterns))
        if is_tier_decided and rules.text_rules:
            for rule in rules.text_rules:
                if rule.hash not in call.outcomes:
                    rule_context = self._make_rule_context()
                    tags = () if self._decision is None else self._decision.tags
                    rule_context.tags = frozenset(tags)
                    rule.test(rule_context)
        is_classified = is_tier_decided and call.has_text and call.turn.is_user_turn
        if is_classified or call.classifier_result is not None:
            classifier = self.router.find_classifier(call.key)
            if classifier is not None and reads_text(classifier):
                version = classifier.version
                try:
                    score = call.score(classifier)
                except ScoreError as error:
                    failure = str(error)
        return replace(
            record,
            signals=signals,
            language=language,
            patterns=pattern_digests,
            hits=hits,
            outcomes=call.outcomes,
            classifier=version,
            score=score,
            failed=failure,
        )


def _add_rare_fields(record: DecisionRecord, prompt: Prompt) -> DecisionRecord:
    """Add the fields that only few calls have."""
    if prompt.tools:
        tools, omitted_count = _fit_names(prompt.tools)
        record = replace(record, tools=tools, more_tools=omitted_count)
    return replace(
        record,
        tool_loop=prompt.tool_loop,
        forced_tool=prompt.forced_tool,
        hosted_tools=prompt.hosted_tools,
        images=prompt.images,
        files=prompt.files,
        audio=prompt.audio,
        json_schema=prompt.json_schema,
        effort=prompt.effort,
        choices=prompt.choices,
        service=prompt.service,
        stored=prompt.stored,
        continuation_member=prompt.continuation_member,
        logprobs=prompt.logprobs,
    )


def _fit_names(tools: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Return as many names as a row has room for, and the number of omitted ones."""
    names = tuple(dict.fromkeys(tools))
    if len(names) > MAX_TOOL_NAMES or sum(map(len, names)) > MAX_TOOL_NAME_CHARS:
        fitting_names, chars_left = [], MAX_TOOL_NAME_CHARS
        for name in names[:MAX_TOOL_NAMES]:
            chars_left -= len(name)
            if chars_left < 0:
                break
            fitting_names.append(name)
        return tuple(fitting_names), len(names) - len(fitting_names)
    return names, 0


def _record_context(context: DecisionContext, decision: Decision | None) -> DecisionContext | None:
    """Return the context without its time, with the terms of the dial; None if nothing is left."""
    if decision is not None and decision.dial_terms is not None:
        return replace(context, at=0.0, dial=decision.dial_terms)
    return None if _CONTEXT_FIELDS(context) == _EMPTY_CONTEXT else replace(context, at=0.0)


def _record_scope(key: Key) -> RecordedScope | None:
    if _SCOPE_FIELDS(key) == _EMPTY_SCOPE:
        return None
    return RecordedScope(
        lab=key.lab,
        tags=key.tags,
        allowed_tags=key.allowed_tags,
        labs=key.labs,
        tiers=key.tiers,
        models=key.models,
        regions=key.regions,
        complete=key.complete,
        escalate=key.escalate,
        quality=key.quality,
        max_quality=key.max_quality,
        conversation=key.conversation,
    )


def _record_options(options: RequestOptions) -> RecordedOptions | None:
    recorded_options = RecordedOptions(
        lab=options.lab,
        tier=options.tier,
        tags=options.tags,
        complete=options.complete,
        escalate=options.escalate,
        quality=options.quality,
    )
    return None if recorded_options == _NO_OPTIONS else recorded_options
