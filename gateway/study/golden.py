"""Golden prompts: what should be decided for each, and whether it is."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from gateway.core.call import Key
from gateway.core.problem import ProblemError
from gateway.core.target import TIERS, Tier
from gateway.routing.decide import Router, decide
from gateway.settings import yaml
from gateway.settings.mistake import ConfigError, Mistake, Path, written
from gateway.study.question import named, question

type Spoken = Literal["openai-chat", "openai-responses", "anthropic-messages", "gemini"]
_DECIDES = ("pin", "rule", "classifier", "default", "embed")
_MOVES = ("guard", "budget", "constraint", "share")
"""Steps that may change what another one has decided."""


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt and the tier it should get."""

    prompt: str
    tier: Tier
    lab: str | None = None
    """The lab that should serve it, where that matters."""
    model: str = "auto"
    key: str | None = None
    """The name of the client's key."""
    tags: tuple[str, ...] = ()
    dialect: Spoken = "openai-chat"
    why: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one golden prompt."""

    golden: Golden
    lab: str
    tier: str
    source: str
    why: str
    """The line of the trace that decided, or the reason that nothing was."""
    moved: tuple[str, ...] = ()
    """The lines that moved it from there: `guard support never pays: at most smart`."""

    @property
    def passed(self) -> bool:
        """Whether it was decided as it should be."""
        wanted = self.golden
        return self.tier == wanted.tier and wanted.lab in (None, self.lab)


def read(document: yaml.Document) -> list[Golden]:
    """Read a file, `prompts: [{prompt:, tier:, ...}]`. Raises ConfigError."""
    try:
        prompts = msgspec.convert(document.value, _File).prompts
    except msgspec.ValidationError as error:
        raise ConfigError([_mistake(document, str(error))]) from None
    if not prompts:
        raise ConfigError([Mistake(file=document.file, message="names no prompts.")])
    return prompts


class _File(msgspec.Struct, forbid_unknown_fields=True):
    prompts: list[Golden]


def _mistake(document: yaml.Document, said: str) -> Mistake:
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
    prompts: Iterable[Golden],
    keys: Mapping[str, Key] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[Verdict]:
    """Decide every prompt as the request path would; `tick` is called behind each."""
    found = []
    for golden in prompts:
        found.append(_one(router, golden, keys or {}))
        tick()
    return found


def _one(router: Router, golden: Golden, keys: Mapping[str, Key]) -> Verdict:
    call, dialect = question(
        router,
        golden.prompt,
        model=golden.model,
        key=named(golden.key, keys),
        tags=golden.tags,
        dialect=golden.dialect,
    )
    try:
        decision, _ = decide(router, call, dialect)
    except ProblemError as error:
        return Verdict(
            golden=golden, lab="", tier="", source="refused", why=error.problem.for_operator
        )
    trace = [step for step in decision.trace if step.matched]
    step = next((s for s in reversed(trace) if s.step in _DECIDES), decision.trace[-1])
    return Verdict(
        golden=golden,
        lab=decision.lab,
        tier=decision.tier or "",
        source=decision.source,
        why=step.why,
        moved=tuple(f"{s.step}: {s.why}: {s.effect}" for s in trace if s.step in _MOVES),
    )
