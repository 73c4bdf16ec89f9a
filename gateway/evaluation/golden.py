"""Golden prompts: the tier and lab that each should get, compared with the decision."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, cast

import msgspec

from gateway.core.call import Key, RequestOptions
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.core.prompt_cache import count_cached_tokens
from gateway.core.target import TIERS, Tier
from gateway.dialects import Dialect
from gateway.evaluation.sample_call import (
    USUAL_TIME,
    AnswerForm,
    SampleMessage,
    SampleTool,
    build_features,
    describe_client,
    find_key,
)
from gateway.routing import quality_dial
from gateway.routing.affinity_verdict import accumulate_session
from gateway.routing.features import Features, estimate_tokens
from gateway.routing.quality_dial import EXPECTED_OUTPUT_TOKENS, Worth
from gateway.routing.router import Router, decide
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, Path, format_path
from gateway.settings.schema.base import parse_duration
from gateway.settings.schema.schedule import parse_moment

type DialectName = Literal["openai-chat", "openai-responses", "anthropic-messages", "gemini"]
_DECIDING_STEPS = ("pin", "rule", "classifier", "default", "embed")
_MOVING_STEPS = ("guard", "budget", "constraint", "dial", "share", "evidence")
"""Steps of the trace that may change what an earlier step has decided."""


class GoldenStep(SampleTool, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of a tool loop: the tool that the model called, its result, and the expected tier."""

    tier: Tier | None = None
    """The expected tier of the call that carries the result; None expects the tier before it."""


class GoldenTurn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One user turn of a conversation, or a call beside it, and the tier it should get."""

    prompt: str
    tier: Tier | None = None
    """The expected tier; None accepts any."""
    lab: str | None = None
    loop: int = 0
    """The number of tool-loop calls before the model answers; they should get the same tier."""
    tools: tuple[GoldenStep, ...] = ()
    """The steps of such a loop, for tests that depend on the tools or their results."""
    answer: str = "Yes."
    """The answer of the model."""
    side: bool | str = False
    """True if this is a side call, for example for a title; or the name of its task."""
    agent: bool = False
    """True if this is a call of a sub-agent."""
    idle: str | float = 0.0
    """The time without a call before this turn, such as `10m`."""
    compaction: bool = False
    """True if the client replaces the conversation by a summary before this turn."""
    cached: int | None = None
    """Tokens of the conversation in the provider's prompt cache; None lets the gateway estimate."""

    def __post_init__(self) -> None:
        """Check the fields together. Raises ValueError, which msgspec reports with its path."""
        parse_duration(self.idle)
        if self.loop < 0 or (self.cached or 0) < 0:
            raise ValueError("`loop` and `cached` are 0 or more")
        if self.loop and self.tools:
            raise ValueError("a tool loop has `loop` steps, or those of `tools`")
        has_loop = self.loop or self.tools
        if (self.side or self.agent) and (has_loop or self.compaction or self.cached):
            raise ValueError(
                "a call beside the conversation has no `loop`, `tools`, `compaction`, `cached`"
            )


class GoldenPrompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt and the tier it should get, or a conversation of several turns."""

    prompt: str = ""
    tier: Tier | None = None
    turns: tuple[GoldenTurn, ...] = ()
    """The turns of a conversation, in place of a prompt and a tier."""
    remembered: bool = True
    """False if the gateway keeps no session of the conversation, as without Redis."""
    json: AnswerForm = False
    """True if answers must be JSON; or the schema that they must follow."""
    lab: str | None = None
    """The lab that should serve it; None accepts any."""
    model: str = "auto"
    key: str | None = None
    """The name of the client's key."""
    tags: tuple[str, ...] = ()
    dialect: DialectName = "openai-chat"
    client: str = ""
    """The application that calls, by the name that rules use, or by its user agent."""
    at: str = ""
    """The time of the call, such as `2026-12-24 18:00 Europe/Berlin`; by default a Wednesday
    at noon in UTC."""
    why: str = ""

    def __post_init__(self) -> None:
        """Check the time. Raises ValueError, which msgspec reports with its path."""
        _ = self.time

    @property
    def time(self) -> float:
        """The time of the call, in seconds since the epoch. Raises ValueError."""
        return parse_moment(self.at) if self.at else USUAL_TIME


class GoldenResult(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on one golden prompt, or on one turn of a conversation."""

    golden: GoldenPrompt
    """The golden prompt; in a conversation, with the prompt, tier and lab of the turn."""
    turn: str = ""
    """The turn of a conversation: `turn 2`, or `turn 2, tool loop 1`; else empty."""
    lab: str
    tier: str
    source: str
    worth: Worth | None = None
    """The worth of each tier by the classifier's score; None if no classifier scored the call."""
    reason: str
    """The line of the trace that decided; for a refusal, the message to the operator."""
    changes: tuple[str, ...] = ()
    """The lines that changed it after that: `guard: support never pays: at most smart`."""

    @property
    def name(self) -> str:
        """The name in reports: the turn of the conversation, if any, and the prompt."""
        text = self.golden.prompt
        return f"{self.turn}: {text}" if self.turn else text

    @property
    def passed(self) -> bool:
        """True if the decision has the expected tier and lab."""
        expected = self.golden
        return expected.tier in (None, self.tier) and expected.lab in (None, self.lab)


def read_prompts(document: yaml.YamlDocument) -> list[GoldenPrompt]:
    """Read a golden file, `prompts: [{prompt:, tier:, ...}, {turns: [...]}]`.

    Raises ConfigError.
    """
    try:
        prompts = msgspec.convert(document.value, _GoldenFile).prompts
    except msgspec.ValidationError as error:
        raise ConfigError([_make_mistake(document, str(error))]) from None
    if not prompts:
        raise ConfigError([Mistake(file=document.file, message="names no prompts.")])
    value = document.value["prompts"] if isinstance(document.value, dict) else []
    mistakes = [
        _make_mistake(document, f"{why} - at `$.prompts[{index}]`")
        for index, item in enumerate(value if isinstance(value, list) else [])
        if isinstance(item, dict) and (why := _find_entry_mistake(item))
    ]
    if mistakes:
        raise ConfigError(mistakes)
    return prompts


def _find_entry_mistake(item: Mapping[str, Json]) -> str:
    """Return the text about a missing or misplaced field of an entry; empty if all is right."""
    if "turns" in item:
        if not item["turns"]:
            return "`turns` is empty"
        misplaced = [name for name in ("prompt", "tier", "lab") if name in item]
        return f"`{misplaced[0]}` stands beside `turns`: write it to a turn" if misplaced else ""
    missing = next((name for name in ("prompt", "tier") if name not in item), None)
    return f"Object missing required field `{missing}`" if missing else ""


class _GoldenFile(msgspec.Struct, forbid_unknown_fields=True):
    prompts: list[GoldenPrompt]


def _make_mistake(document: yaml.YamlDocument, finding: str) -> Mistake:
    """Return a mistake, with its line, from an msgspec finding.

    The finding has the form "message - at `$.prompts[0].tier`".
    """
    message, _, path_text = finding.partition(" - at `$")
    steps = re.findall(r"[^.\[\]`]+", path_text)
    path: Path = tuple(int(step) if step.isdigit() else step for step in steps)
    line = next(
        (
            document.lines[path[:end]]
            for end in range(len(path), 0, -1)
            if path[:end] in document.lines
        ),
        1,
    )
    hint = f"A tier is {', '.join(TIERS)}." if path[-1:] == ("tier",) else ""
    return Mistake(
        file=document.file, line=line, path=format_path(path), message=f"{message}.", hint=hint
    )


def decide_prompts(
    router: Router,
    prompts: Iterable[GoldenPrompt],
    keys: Mapping[str, Key] | None = None,
    tick: Callable[[], None] = lambda: None,
    *,
    quality: float | None = None,
) -> list[GoldenResult]:
    """Decide every prompt as the request path would, and call `tick` after each.

    `quality` is the share of quality that each call asks to keep; None asks for none.
    """
    results: list[GoldenResult] = []
    for golden in prompts:
        key = find_key(golden.key, keys or {})
        if golden.turns:
            results += GoldenConversation(router, golden, key, quality).decide_turns()
        else:
            call, dialect = build_features(
                router,
                golden.prompt,
                model=golden.model,
                key=key,
                options=RequestOptions(tags=golden.tags, quality=quality),
                dialect=golden.dialect,
                hints=describe_client(golden.client),
                form=golden.json,
            )
            context = DecisionContext(at=golden.time)
            outcome = _decide(router, call, dialect, context)
            results.append(_make_result(golden, outcome))
        tick()
    return results


type DecisionOutcome = tuple[Decision, Plan] | Problem


def _decide(
    router: Router, call: Features, dialect: Dialect, context: DecisionContext
) -> DecisionOutcome:
    try:
        return decide(router, call, dialect, context)
    except ProblemError as error:
        return error.problem


def _make_result(golden: GoldenPrompt, outcome: DecisionOutcome, turn: str = "") -> GoldenResult:
    if isinstance(outcome, Problem):
        reason = outcome.operator_message
        return GoldenResult(
            golden=golden, turn=turn, lab="", tier="", source="refused", reason=reason
        )
    decision, _ = outcome
    trace = [deciding_step for deciding_step in decision.trace if deciding_step.matched]
    deciding_steps = ("seat",) if decision.source == "seat" else _DECIDING_STEPS
    deciding_step = next(
        (step for step in reversed(trace) if step.step in deciding_steps), decision.trace[-1]
    )
    return GoldenResult(
        golden=golden,
        turn=turn,
        lab=decision.lab,
        tier=decision.tier or "",
        source=decision.source,
        worth=(None if decision.score is None else quality_dial.estimate_worth(decision.score)),
        reason=deciding_step.reason,
        changes=tuple(
            f"{step.step}: {step.reason}: {step.effect}"
            for step in trace
            if step.step in _MOVING_STEPS
        ),
    )


_TURN_PAUSE_SECONDS = 5.0
"""Seconds from one turn of a conversation to the next, beside its `idle` time."""
_CONVERSATION_NAME = "golden"


class GoldenConversation:
    """A conversation of a golden file, with its session in memory. The model always answers.

    An answer has the usual length of its tier. The prompt cache holds as many tokens as the
    provider would keep of the text alone, or as many as the turn says in `cached`.
    """

    def __init__(
        self, router: Router, golden: GoldenPrompt, key: Key, quality: float | None = None
    ) -> None:
        self._router, self._golden, self._key = router, golden, key
        self._quality = quality
        self._messages: list[SampleMessage] = []
        self._sessions: dict[str, Session] = {}
        self._timestamp = golden.time

    def decide_turns(self) -> list[GoldenResult]:
        """Decide all turns and their tool loops, in order."""
        results: list[GoldenResult] = []
        for number, turn in enumerate(self._golden.turns, 1):
            self._timestamp += _TURN_PAUSE_SECONDS + cast("float", parse_duration(turn.idle))
            name = f"turn {number}"
            if turn.side or turn.agent:
                results.append(self._decide_turn(turn, [("user", turn.prompt)], name))
                continue
            if turn.compaction:
                self._messages.clear()
            self._messages.append(("user", turn.prompt))
            results.append(self._decide_turn(turn, self._messages, name))
            tier = turn.tier
            for number_of_step, step in enumerate(turn.tools or (GoldenStep(),) * turn.loop, 1):
                self._messages.append(step)
                tier = step.tier or tier
                expected = msgspec.structs.replace(turn, tier=tier)
                step_name = f"{name}, tool loop {number_of_step}"
                results.append(self._decide_turn(expected, self._messages, step_name))
            self._messages.append(("answer", turn.answer))
        return results

    def _decide_turn(
        self, turn: GoldenTurn, messages: Sequence[SampleMessage], turn_name: str
    ) -> GoldenResult:
        golden = self._golden
        call, dialect = build_features(
            self._router,
            messages,
            model=golden.model,
            key=self._key,
            options=RequestOptions(
                tags=golden.tags, conversation=_CONVERSATION_NAME, quality=self._quality
            ),
            dialect=golden.dialect,
            hints=describe_client(golden.client) | _build_hints(turn),
            form=golden.json,
        )
        conversation = call.turn.conversation
        session = self._sessions.get(conversation)
        if session is not None and turn.cached is not None:
            session = msgspec.structs.replace(session, tokens=turn.cached)
        outcome = _decide(
            self._router, call, dialect, DecisionContext(at=self._timestamp, seat=session)
        )
        is_remembered = golden.remembered and call.turn.kind != "side"
        if not isinstance(outcome, Problem) and is_remembered:
            decision, plan = outcome
            if decision.tier is not None:
                self._sessions[conversation] = self._build_session(
                    session, call, decision, decision.tier, plan
                )
        expected = msgspec.structs.replace(
            golden, prompt=turn.prompt, tier=turn.tier, lab=turn.lab, turns=()
        )
        return _make_result(expected, outcome, turn_name)

    def _build_session(
        self, previous: Session | None, call: Features, decision: Decision, tier: Tier, plan: Plan
    ) -> Session:
        target = plan.targets[0]
        price = None if target.price is None else target.price.find_in_force(self._timestamp)
        cached_tokens = count_cached_tokens(price, estimate_tokens(call.prompt), None, None)
        if previous is not None and previous.turns <= call.prompt.user_turns:
            cached_tokens = max(cached_tokens, previous.tokens)
        session = Session(
            lab=decision.lab,
            tier=tier,
            target=target.name,
            model=decision.model,
            tokens=cached_tokens,
            turns=call.prompt.user_turns,
            first=call.turn.first,
            calls=1,
            output=EXPECTED_OUTPUT_TOKENS[tier],
            turns_below=decision.turns_below,
            rise=decision.rise,
            keeps=target.provider.prompt_cache,
            at=self._timestamp,
        )
        return accumulate_session(previous, session)


def _build_hints(turn: GoldenTurn) -> dict[str, str]:
    """Return the headers with which a client marks a side call or a call of a sub-agent."""
    if turn.agent:
        return {"x-claude-code-agent-id": "agent"}
    if not turn.side:
        return {}
    task_hints = {"x-claude-code-auxiliary-type": turn.side} if isinstance(turn.side, str) else {}
    return {"x-claude-code-request-class": "auxiliary", **task_hints}
