"""Golden prompts: what should be decided for each, and whether it is."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, cast

import msgspec

from gateway.core.call import Key, RequestOptions
from gateway.core.decision import Decision, Plan
from gateway.core.decision_context import NOTHING, DecisionContext, Session
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.core.prompt_cache import kept
from gateway.core.target import TIERS, Tier
from gateway.dialects import Dialect
from gateway.evaluation.sample_call import OUTPUT, Said, named, question
from gateway.routing.affinity_verdict import following
from gateway.routing.features import Features, tokens
from gateway.routing.router import Router, decide
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, Path, written
from gateway.settings.schema.base import span

type Spoken = Literal["openai-chat", "openai-responses", "anthropic-messages", "gemini"]
_DECIDES = ("pin", "rule", "classifier", "default", "embed")
_MOVES = ("guard", "budget", "constraint", "share")
"""Steps that may change what another one has decided."""


class GoldenTurn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One user turn of a conversation, or a call beside it, and the tier it should get."""

    prompt: str
    tier: Tier | None = None
    """None leaves open what it gets."""
    lab: str | None = None
    loop: int = 0
    """Calls of a tool loop that follow before the model has answered; they should get the same."""
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
        span(self.idle)
        if self.loop < 0 or (self.cached or 0) < 0:
            raise ValueError("`loop` and `cached` are 0 or more")
        if (self.side or self.agent) and (self.loop or self.compaction or self.cached):
            raise ValueError("a call beside the conversation has no `loop`, `compaction`, `cached`")


class GoldenPrompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt and the tier it should get, or a conversation of several turns."""

    prompt: str = ""
    tier: Tier | None = None
    turns: tuple[GoldenTurn, ...] = ()
    """The turns of a conversation, in place of a prompt and a tier."""
    lab: str | None = None
    """The lab that should serve it, where that matters."""
    model: str = "auto"
    key: str | None = None
    """The name of the client's key."""
    tags: tuple[str, ...] = ()
    dialect: Spoken = "openai-chat"
    why: str = ""


class GoldenResult(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on one golden prompt, or on one turn of a conversation."""

    golden: GoldenPrompt
    """With the prompt, the tier and the lab of the turn, where it is one of several."""
    turn: str = ""
    """Which turn of its conversation it is: `turn 2`, or `turn 2, tool loop 1`."""
    lab: str
    tier: str
    source: str
    why: str
    """The line of the trace that decided, or the reason that nothing was."""
    moved: tuple[str, ...] = ()
    """The lines that moved it from there: `guard support never pays: at most smart`."""

    @property
    def name(self) -> str:
        """What it is called: its prompt, behind the turn of its conversation."""
        text = self.golden.prompt
        return f"{self.turn}: {text}" if self.turn else text

    @property
    def passed(self) -> bool:
        """Whether it was decided as it should be."""
        wanted = self.golden
        return wanted.tier in (None, self.tier) and wanted.lab in (None, self.lab)


def read(document: yaml.YamlDocument) -> list[GoldenPrompt]:
    """Read a file, `prompts: [{prompt:, tier:, ...}, {turns: [...]}]`. Raises ConfigError."""
    try:
        prompts = msgspec.convert(document.value, _File).prompts
    except msgspec.ValidationError as error:
        raise ConfigError([_mistake(document, str(error))]) from None
    if not prompts:
        raise ConfigError([Mistake(file=document.file, message="names no prompts.")])
    value = document.value["prompts"] if isinstance(document.value, dict) else []
    wrong = [
        _mistake(document, f"{why} - at `$.prompts[{at}]`")
        for at, item in enumerate(value if isinstance(value, list) else [])
        if isinstance(item, dict) and (why := _lacks(item))
    ]
    if wrong:
        raise ConfigError(wrong)
    return prompts


def _lacks(item: Mapping[str, Json]) -> str:
    """Return what an entry lacks, or has too much of; empty where nothing is wrong."""
    if "turns" in item:
        if not item["turns"]:
            return "`turns` is empty"
        both = [name for name in ("prompt", "tier", "lab") if name in item]
        return f"`{both[0]}` stands beside `turns`: write it to a turn" if both else ""
    missing = next((name for name in ("prompt", "tier") if name not in item), None)
    return f"Object missing required field `{missing}`" if missing else ""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    prompts: list[GoldenPrompt]


def _mistake(document: yaml.YamlDocument, said: str) -> Mistake:
    """A finding of msgspec, "what is wrong - at `$.prompts[0].tier`", with its line."""
    message, _, place = said.partition(" - at `$")
    words = re.findall(r"[^.\[\]`]+", place)
    path: Path = tuple(int(word) if word.isdigit() else word for word in words)
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
        file=document.file, line=line, path=written(path), message=f"{message}.", hint=hint
    )


def run(
    router: Router,
    prompts: Iterable[GoldenPrompt],
    keys: Mapping[str, Key] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[GoldenResult]:
    """Decide every prompt as the request path would; `tick` is called behind each."""
    found: list[GoldenResult] = []
    for golden in prompts:
        key = named(golden.key, keys or {})
        if golden.turns:
            found += GoldenConversation(router, golden, key).play()
        else:
            call, dialect = question(
                router,
                golden.prompt,
                model=golden.model,
                key=key,
                steer=RequestOptions(tags=golden.tags),
                dialect=golden.dialect,
            )
            found.append(_verdict(golden, _decided(router, call, dialect, NOTHING)))
        tick()
    return found


type Decided = tuple[Decision, Plan] | Problem


def _decided(
    router: Router, call: Features, dialect: Dialect, evidence: DecisionContext
) -> Decided:
    try:
        return decide(router, call, dialect, evidence)
    except ProblemError as error:
        return error.problem


def _verdict(golden: GoldenPrompt, decided: Decided, turn: str = "") -> GoldenResult:
    if isinstance(decided, Problem):
        why = decided.for_operator
        return GoldenResult(golden=golden, turn=turn, lab="", tier="", source="refused", why=why)
    decision, _ = decided
    trace = [step for step in decision.trace if step.matched]
    decides = ("seat",) if decision.source == "seat" else _DECIDES
    step = next((s for s in reversed(trace) if s.step in decides), decision.trace[-1])
    return GoldenResult(
        golden=golden,
        turn=turn,
        lab=decision.lab,
        tier=decision.tier or "",
        source=decision.source,
        why=step.why,
        moved=tuple(f"{s.step}: {s.why}: {s.effect}" for s in trace if s.step in _MOVES),
    )


_PAUSE = 5.0
"""Seconds from one turn of a conversation to the next."""
_NAME = "golden"


class GoldenConversation:
    """A conversation of a golden file: its session is in memory, and the model always answers.

    An answer has the usual length of its tier. Of the prompt its provider caches what it would of
    the text alone, or as much as a turn says.
    """

    def __init__(self, router: Router, golden: GoldenPrompt, key: Key) -> None:
        self._router, self._golden, self._key = router, golden, key
        self._talk: list[Said] = []
        self._seats: dict[str, Session] = {}
        self._at = 0.0

    def play(self) -> list[GoldenResult]:
        """Decide all turns, in their order."""
        found: list[GoldenResult] = []
        for number, turn in enumerate(self._golden.turns, 1):
            self._at += _PAUSE + cast("float", span(turn.idle))
            name = f"turn {number}"
            if turn.side or turn.agent:
                found.append(self._take(turn, [("user", turn.prompt)], name))
                continue
            if turn.compaction:
                self._talk.clear()
            self._talk.append(("user", turn.prompt))
            found.append(self._take(turn, self._talk, name))
            for step in range(1, turn.loop + 1):
                self._talk.append(("tool", "done"))
                found.append(self._take(turn, self._talk, f"{name}, tool loop {step}"))
            self._talk.append(("answer", "Yes."))
        return found

    def _take(self, turn: GoldenTurn, talk: Sequence[Said], name: str) -> GoldenResult:
        case = self._golden
        call, dialect = question(
            self._router,
            talk,
            model=case.model,
            key=self._key,
            steer=RequestOptions(tags=case.tags, conversation=_NAME),
            dialect=case.dialect,
            hints=_hints(turn),
        )
        place = call.turn.conversation
        seat = self._seats.get(place)
        if seat is not None and turn.cached is not None:
            seat = msgspec.structs.replace(seat, tokens=turn.cached)
        decided = _decided(self._router, call, dialect, DecisionContext(at=self._at, seat=seat))
        if not isinstance(decided, Problem) and call.turn.kind != "side":
            decision, plan = decided
            if decision.tier is not None:
                self._seats[place] = self._seat(seat, call, decision, decision.tier, plan)
        wanted = msgspec.structs.replace(
            case, prompt=turn.prompt, tier=turn.tier, lab=turn.lab, turns=()
        )
        return _verdict(wanted, decided, name)

    def _seat(
        self, before: Session | None, call: Features, decision: Decision, tier: Tier, plan: Plan
    ) -> Session:
        target = plan.targets[0]
        price = None if target.price is None else target.price.on(self._at)
        cached = kept(price, tokens(call.prompt), None, None)
        if before is not None and before.turns <= call.prompt.user_turns:
            cached = max(cached, before.tokens)
        seat = Session(
            lab=decision.lab,
            tier=tier,
            target=target.name,
            model=decision.model,
            tokens=cached,
            turns=call.prompt.user_turns,
            first=call.turn.first,
            calls=1,
            output=OUTPUT[tier],
            turns_below=decision.turns_below,
            keeps=target.provider.prompt_cache,
            at=self._at,
        )
        return following(before, seat)


def _hints(turn: GoldenTurn) -> Mapping[str, str]:
    """Return the headers by which a client tells what is no call of the conversation itself."""
    if turn.agent:
        return {"x-claude-code-agent-id": "agent"}
    if not turn.side:
        return {}
    task = {"x-claude-code-auxiliary-type": turn.side} if isinstance(turn.side, str) else {}
    return {"x-claude-code-request-class": "auxiliary", **task}
