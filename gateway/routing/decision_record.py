"""What a decision rested on, written down once nobody waits: from the call to its row."""

from collections.abc import Callable
from contextlib import suppress
from itertools import compress
from operator import attrgetter

from msgspec.structs import astuple, replace

from gateway.core.call import NO_STEER, OPEN, Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import NOTHING, DecisionContext, Score
from gateway.core.decision_record import DecisionRecord, RecordedOptions, RecordedScope
from gateway.core.prompt import Prompt
from gateway.core.target import Tier
from gateway.dialects import Dialect
from gateway.routing.classifier.heuristic import reads
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.errors import ScoreError
from gateway.routing.features import Features
from gateway.routing.router import Router, decide
from gateway.routing.rules.context import RuleContext

MOST_NAMES = 64
MOST_SIGNS = 1_000
"""Of the names of tools on a row, and of all of them together."""

_PLAIN = ConversationTurn()
_UNSAID = RecordedOptions()
_SCOPED: Callable[[Key | RecordedScope], tuple[object, ...]] = attrgetter(
    *RecordedScope.__struct_fields__
)
_UNSCOPED = _SCOPED(RecordedScope())
_SEEN: Callable[[DecisionContext], tuple[object, ...]] = attrgetter(
    *(name for name in DecisionContext.__struct_fields__ if name != "at")
)
_UNSEEN = _SEEN(NOTHING)
_SIGNS = TextSignals.__struct_fields__
type _Told = tuple[
    dict[str, int | float | bool] | None,
    str | None,
    str | None,
    str,
    str | None,
    Score | None,
    str | None,
]
"""Signals, language, patterns and those of them that the text has, the classifier, its score, and
why it has none."""
_MOSTLY = DecisionRecord().operation


class DecisionRecorder:
    """One call that is decided, with its evidence; called, it is the basis that its row keeps."""

    __slots__ = (
        "_call", "_decision", "_dialect", "_evidence", "_known", "_plan", "_router", "_ways",
    )  # fmt: skip

    def __init__(
        self, router: Router, call: Features, dialect: Dialect, evidence: DecisionContext
    ) -> None:
        self._router = router
        self._call = call
        self._dialect = dialect
        self._evidence = evidence
        self._decision: Decision | None = None
        self._plan: Plan | None = None
        self._ways: list[tuple[Decision, Plan, DecisionContext]] = []
        self._known: DecisionRecord | None = None

    def decide(self, named: DecisionCache | None = None) -> tuple[Decision, Plan]:
        """As `decide` of the room; `named` knows those of its router. Raises ProblemError."""
        if named is not None:
            decision, plan = named.decide(self._call, self._dialect, self._evidence)
        else:
            decision, plan = decide(self._router, self._call, self._dialect, self._evidence)
        self._decision, self._plan = decision, plan
        return decision, plan

    def under(self, ceiling: Tier) -> tuple[Decision, Plan]:
        """What is decided where a budget leaves it no more than a tier. Raises ProblemError."""
        evidence = replace(self._evidence, ceiling=ceiling)
        decision, plan = decide(self._router, self._call, self._dialect, evidence)
        self._ways.append((decision, plan, evidence))
        return decision, plan

    def take(self, decision: Decision) -> None:
        """Take the way under a ceiling that the call goes, by its decision."""
        self._decision, self._plan, self._evidence = next(
            way for way in self._ways if way[0] is decision
        )
        self._known = None

    def ready(self) -> None:
        """Do already what will be needed: for a moment in which the call waits.

        What the row keeps is found out, but not where rules read the text itself, whose outcomes
        are known when it is over. The request for who comes first in the plan is written. Of a call
        that names what it wants, whose row says of the text what was read, it is found out where in
        its conversation it stands; its request is on its way.
        """
        decision, plan, asked = self._decision, self._plan, self._call.asked
        if decision is not None and decision.source == "pin":
            with suppress(Exception):  # it is read again, and its row told
                _ = self._call.turn
            return
        if decision is not None and not self._router.rules.textual:
            self()
        if plan is not None and plan.doors[0] == self._dialect.name and asked is not None:
            with suppress(Exception):  # it is written again, and raises it there
                asked.begin(plan.targets[0])

    @property
    def call(self) -> Features:
        """The features of the call."""
        return self._call

    def __call__(self) -> DecisionRecord | None:
        """What the row keeps; None where it cannot be told, for a row is written whatever it is."""
        if self._known is None:
            try:
                self._known = self._basis()
            except Exception:  # noqa: BLE001 - as above
                return None
        return self._known

    def _basis(self) -> DecisionRecord:
        call, plan, decision, dialect = self._call, self._plan, self._decision, self._dialect
        prompt, turn, evidence = call.prompt, call.turn, self._evidence
        basis = DecisionRecord(
            user_tokens=call.user_tokens,
            chars=prompt.chars,
            turns=prompt.user_turns,
            turn=None if turn == _PLAIN else turn,
            max_output=prompt.max_output,
            sampled=prompt.sampled,
            doors=call.doors,
            target=None if plan is None else plan.targets[0].name,
        )
        features, members = dialect.features, prompt.members
        if not features.isdisjoint(members):
            basis = replace(basis, members=tuple(sorted(members & features)))
        failed = None
        if (chosen := decision is not None and decision.source != "pin") or not call.unread:
            signals, language, patterns, hits, classifier, score, failed = self._read(chosen=chosen)
            basis = replace(
                basis,
                signals=signals,
                language=language,
                patterns=patterns,
                hits=hits,
                classifier=classifier,
                score=score,
            )
        said = None if call.steer is NO_STEER else _said(call.steer)
        scope = None if call.key is OPEN else _scope(call.key)
        seen = None if _SEEN(evidence) == _UNSEEN else replace(evidence, at=0.0)
        kept = said or scope or seen or failed is not None or call.outcomes
        if kept or dialect.operation != _MOSTLY:  # of few calls
            basis = replace(
                basis,
                operation=dialect.operation,
                said=said,
                scope=scope,
                evidence=seen,
                failed=failed,
                outcomes=call.outcomes,
            )
        return basis if prompt.plain else _more(basis, prompt)

    def _view(self) -> RuleContext:
        view = self._router.rules.view(self._call, self._evidence)
        view.tags = frozenset(self._decision.tags if self._decision is not None else ())
        return view

    def _read(self, *, chosen: bool) -> _Told:
        """What the text gives away.

        Mostly it was read before; of a call that names its model or tier, which is not `chosen`,
        it is read no further.
        """
        call, rules = self._call, self._router.rules
        signals: dict[str, int | float | bool] | None = None
        language = known = version = failed = None
        hits, score = "", None
        if chosen or call.scanned:
            values = astuple(call.signals)
            signals = dict(compress(zip(_SIGNS, values, strict=True), values))
        if call.has_text and (chosen or call.detected):
            language = call.language
        if (patterns := rules.patterns) is not None and (chosen or call.searched):
            known, hits = patterns.known, patterns.told(call.hits(patterns))
        if chosen and rules.textual:
            for rule in rules.textual:
                if rule.hash not in call.outcomes:
                    rule.test(self._view())
        if call.scored or (chosen and call.has_text and call.turn.fresh):
            classifier = self._router.scorer(call.key)
            if classifier is not None and reads(classifier):
                version = classifier.version
                try:
                    score = call.score(classifier)
                except ScoreError as error:
                    failed = str(error)
        return signals, language, known, hits, version, score, failed


def _more(basis: DecisionRecord, prompt: Prompt) -> DecisionRecord:
    """What few calls ask for."""
    tools, more = _names(prompt.tools) if prompt.tools else ((), 0)
    return replace(
        basis,
        tool_loop=prompt.tool_loop,
        tools=tools,
        more_tools=more,
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
        logprobs=prompt.logprobs,
    )


def _names(tools: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """As many names as a row has room for, and how many there are more."""
    names = tuple(dict.fromkeys(tools))
    if len(names) > MOST_NAMES or sum(map(len, names)) > MOST_SIGNS:
        kept, room = [], MOST_SIGNS
        for name in names[:MOST_NAMES]:
            room -= len(name)
            if room < 0:
                break
            kept.append(name)
        return tuple(kept), len(names) - len(kept)
    return names, 0


def _scope(key: Key) -> RecordedScope | None:
    if _SCOPED(key) == _UNSCOPED:
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
        conversation=key.conversation,
    )


def _said(steer: RequestOptions) -> RecordedOptions | None:
    said = RecordedOptions(lab=steer.lab, tier=steer.tier, tags=steer.tags, complete=steer.complete)
    return None if said == _UNSAID else said
