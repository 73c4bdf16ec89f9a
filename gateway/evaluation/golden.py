"""Golden prompts: what should be decided for each, and whether it is."""

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
"""Steps that may change what another one has decided."""


class GoldenStep(SampleTool, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of a tool loop: what the model called and what that gave, and what should follow."""

    tier: Tier | None = None
    """The tier of the call that has the result; None expects that of the call before."""


class GoldenTurn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One user turn of a conversation, or a call beside it, and the tier it should get."""

    prompt: str
    tier: Tier | None = None
    """None leaves open what it gets."""
    lab: str | None = None
    loop: int = 0
    """Calls of a tool loop that follow before the model has answered; they should get the same."""
    tools: tuple[GoldenStep, ...] = ()
    """The steps of such a loop, where it matters what they were."""
    answer: str = "Yes."
    """The answer of the model."""
    side: bool | str = False
    """True if this is a side call, as for a title; or the task of one."""
    agent: bool = False
    """True if this is a call of a sub-agent."""
    idle: str | float = 0.0
    """Time that nobody says anything before it, as `10m`."""
    compaction: bool = False
    """True if the client sums the conversation up before this turn."""
    cached: int | None = None
    """Tokens of the conversation that its provider has in its prompt cache; None estimates them."""

    def __post_init__(self) -> None:
        """Refuse what cannot be. Raises ValueError, which msgspec tells with its place."""
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
    """False if nobody remembers where the conversation was, as without Redis."""
    json: AnswerForm = False
    """True if answers are to be JSON; or the schema that they follow."""
    lab: str | None = None
    """The lab that should serve it, where that matters."""
    model: str = "auto"
    key: str | None = None
    """The name of the client's key."""
    tags: tuple[str, ...] = ()
    dialect: DialectName = "openai-chat"
    client: str = ""
    """The application that calls, as rules name it; or its user agent."""
    at: str = ""
    """When it comes, as `2026-12-24 18:00 Europe/Berlin`; a Wednesday at noon where left out."""
    why: str = ""

    def __post_init__(self) -> None:
        """Refuse a time that is none. Raises ValueError, which msgspec tells with its place."""
        _ = self.time

    @property
    def time(self) -> float:
        """When it comes, in seconds since the epoch. Raises ValueError."""
        return parse_moment(self.at) if self.at else USUAL_TIME


class GoldenResult(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on one golden prompt, or on one turn of a conversation."""

    golden: GoldenPrompt
    """With the prompt, the tier and the lab of the turn, where it is one of several."""
    turn: str = ""
    """Which turn of its conversation it is: `turn 2`, or `turn 2, tool loop 1`."""
    lab: str
    tier: str
    source: str
    worth: Worth | None = None
    """What each tier is worth by the classifier; None if none was asked."""
    reason: str
    """The line of the trace that decided, or the reason that nothing was."""
    changes: tuple[str, ...] = ()
    """The lines that moved it from there: `guard support never pays: at most smart`."""

    @property
    def name(self) -> str:
        """What it is called: its prompt, behind the turn of its conversation."""
        text = self.golden.prompt
        return f"{self.turn}: {text}" if self.turn else text

    @property
    def passed(self) -> bool:
        """Whether it was decided as it should be."""
        expected = self.golden
        return expected.tier in (None, self.tier) and expected.lab in (None, self.lab)


def read_prompts(document: yaml.YamlDocument) -> list[GoldenPrompt]:
    """Read a file, `prompts: [{prompt:, tier:, ...}, {turns: [...]}]`. Raises ConfigError."""
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
    """Return what an entry lacks, or has too much of; empty where nothing is wrong."""
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
    """A finding of msgspec, "what is wrong - at `$.prompts[0].tier`", with its line."""
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
    """Decide every prompt as the request path would; `tick` is called behind each.

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
"""Seconds from one turn of a conversation to the next."""
_CONVERSATION_NAME = "golden"


class GoldenConversation:
    """A conversation of a golden file: its session is in memory, and the model always answers.

    An answer has the usual length of its tier. Of the prompt its provider caches what it would of
    the text alone, or as much as a turn says.
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
        """Decide all turns, in their order."""
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
    """Return the headers by which a client tells what is no call of the conversation itself."""
    if turn.agent:
        return {"x-claude-code-agent-id": "agent"}
    if not turn.side:
        return {}
    task_hints = {"x-claude-code-auxiliary-type": turn.side} if isinstance(turn.side, str) else {}
    return {"x-claude-code-request-class": "auxiliary", **task_hints}
