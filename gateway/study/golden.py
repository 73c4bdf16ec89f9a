"""Golden prompts: what should be decided for each, and whether it is."""

import re
from collections.abc import Iterable

import msgspec

from gateway.core.call import NO_STEER, OPEN
from gateway.core.problem import ProblemError
from gateway.core.prompt import Prompt
from gateway.core.target import TIERS, Tier
from gateway.dialects import OPENAI_CHAT
from gateway.routing import features
from gateway.routing.decide import Router, decide
from gateway.settings import yaml
from gateway.settings.mistake import ConfigError, Mistake, Path, written


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt and the tier it should get."""

    prompt: str
    tier: Tier
    lab: str | None = None
    """The lab that should serve it, where that matters."""
    model: str = "auto"
    why: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one golden prompt."""

    golden: Golden
    lab: str
    tier: str
    source: str
    why: str
    """The line of the trace that decided, or the reason that nothing was."""

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


def run(router: Router, prompts: Iterable[Golden]) -> list[Verdict]:
    """Decide every prompt as the request path would."""
    return [_one(router, golden) for golden in prompts]


def _one(router: Router, golden: Golden) -> Verdict:
    prompt = Prompt(model=golden.model, user=golden.prompt, user_turns=1, chars=len(golden.prompt))
    seen = features.read(prompt, OPENAI_CHAT.name, OPEN, NO_STEER)
    try:
        decision, _ = decide(router, seen, OPENAI_CHAT)
    except ProblemError as error:
        return Verdict(golden=golden, lab="", tier="", source="refused", why=error.problem.message)
    step = next(
        (s for s in reversed(decision.trace) if s.step in ("pin", "rule", "classifier", "default")),
        decision.trace[-1],
    )
    return Verdict(
        golden=golden,
        lab=decision.lab,
        tier=decision.tier or "",
        source=decision.source,
        why=step.why,
    )
