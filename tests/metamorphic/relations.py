"""Changes to an easy prompt that do not make it harder; each has a seed of its own.

    python -m tests.metamorphic

prints the share of easy prompts that each change moves above the fast tier, and its bound.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from gateway.core.target import TIERS, Tier
from gateway.evaluation.sample_call import build_features
from gateway.routing.router import Router, decide
from gateway.runtime.build import build_config
from tests.config import shipped
from tests.metamorphic.prompts import EASY, LANGUAGES
from tests.metamorphic.snippets import CODE

SEED = 20_261_126
TODAY = datetime(2026, 11, 24, tzinfo=UTC)

type Change = Callable[[str, random.Random], str]


def upper(text: str, _: random.Random) -> str:
    return text.upper()


def lower(text: str, _: random.Random) -> str:
    return text.lower()


def mixed(text: str, draw: random.Random) -> str:
    return "".join(sign.upper() if draw.random() < 0.5 else sign.lower() for sign in text)


def typos(text: str, draw: random.Random) -> str:
    """Drop, double or swap one in twelve characters, and at least one."""
    signs = list(text)
    for _ in range(max(1, len(signs) // 12)):
        index = draw.randrange(len(signs) - 1)
        kind = draw.randrange(3)
        if kind == 0:
            del signs[index]
        elif kind == 1:
            signs.insert(index, signs[index])
        else:
            signs[index], signs[index + 1] = signs[index + 1], signs[index]
    return "".join(signs)


def bare(text: str, _: random.Random) -> str:
    """Type as people in a hurry do: no capitals and no punctuation."""
    return "".join(sign for sign in text.lower() if sign.isalnum() or sign.isspace())


def spaces(text: str, draw: random.Random) -> str:
    gaps = [" " * draw.randrange(1, 5) for _ in text.split(" ")]
    words = "".join(word + gap for word, gap in zip(text.split(" "), gaps, strict=True))
    return "\n" * draw.randrange(1, 8) + words + "\n" * draw.randrange(1, 8)


_BEFORE = (
    "Hi! ",
    "Hello there, ",
    "Hey, quick one: ",
    "Sorry to bother you again. ",
    "Good evening. ",
    "One more: ",
)
_BEHIND = (" Thanks!", " Thank you so much in advance.", " Please.", "\n\nBest,\nAnna", " :)", "\n\nSent from my phone", " Cheers")  # fmt: skip


def polite(text: str, draw: random.Random) -> str:
    return draw.choice(_BEFORE) + text + draw.choice(_BEHIND)


_LOG_MESSAGES = ("request done in {n} ms", "{n} jobs waiting", "connection {n} opened", "cache hit for {n}", "user {n} signed in")  # fmt: skip
_LINES = (
    "2026-11-{day} {hour}:{minute}:07,{n} {level} web: {said}",
    "2026-11-{day}T{hour}:{minute}:07.{n}Z store {said}",
    "[{hour}:{minute}:07] [{level}] {said}",
    "Nov {day} {hour}:{minute}:07 host{n} queue[{n}]: {said}",
    '10.0.0.{day} - - [{day}/Nov/2026:{hour}:{minute}:07 +0000] "GET /items/{n} HTTP/1.1" 200 {n}',
    '{{"time":"2026-11-{day}T{hour}:{minute}:07Z","level":"{level}","msg":"{said}"}}',
    "{level}: {said}",
)
_LISTING = (
    "pod-{n}-x{day}f   1/1   Running   {hour}   {day}d   node-{minute}",
    "-rw-r--r-- 1 app app {n} backup-{day}-{hour}.tar",
    "app   {n}   0.{day}   1.{hour}   worker --queue mail --slot {minute}",
)


def pasted(forms: tuple[str, ...], lines: int) -> Change:
    """Append so many lines of one form to the prompt, as if pasted."""

    def change(text: str, draw: random.Random) -> str:
        form = draw.choice(forms)
        rows = (
            form.format(
                day=draw.randrange(10, 27),
                hour=draw.randrange(10, 24),
                minute=draw.randrange(10, 60),
                n=draw.randrange(100, 1000),
                level=draw.choice(("INFO", "DEBUG", "WARN")),
                said=draw.choice(_LOG_MESSAGES).format(n=draw.randrange(9000)),
            )
            for _ in range(lines)
        )
        return f"{text}\n\n" + "\n".join(rows)

    return change


def pasted_code(lines: int) -> Change:
    """Append so many lines of code in one form to the prompt, as if pasted."""

    def change(text: str, draw: random.Random) -> str:
        form, rows = draw.choice(CODE), list[str]()
        while len(rows) < lines:
            numbers = {"n": draw.randrange(100, 1000), "day": draw.randrange(10, 27)}
            rows += [*form.format(**numbers).splitlines(), ""]
        return f"{text}\n\n" + "\n".join(rows[:lines])

    return change


def fenced(change: Change) -> Change:
    """Put the pasted text in a fence."""
    return lambda text, draw: "\n\n```\n".join(change(text, draw).split("\n\n", 1)) + "\n```"


def quoted(change: Change) -> Change:
    """Quote the pasted text, line by line."""

    def put(text: str, draw: random.Random) -> str:
        question, pasted_text = change(text, draw).split("\n\n", 1)
        return f"{question}\n\n> " + pasted_text.replace("\n", "\n> ")

    return put


def placed_before(change: Change) -> Change:
    """Put the pasted text before the prompt."""
    return lambda text, draw: "\n\n".join(reversed(change(text, draw).split("\n\n", 1)))


class Relation(NamedTuple):
    """One change, and the largest shares of easy prompts that it may move up."""

    name: str
    change: Change
    up: float
    """The largest share that may leave the fast tier."""
    reasoned: float = 0.0
    """The largest share that may get to reasoning."""


RELATIONS = (
    Relation("all capitals", upper, 0.05),
    Relation("no capitals", lower, 0.05),
    Relation("capitals at random", mixed, 0.05),
    Relation("typos", typos, 0.10, 0.02),
    Relation("no punctuation", bare, 0.10),
    Relation("spaces and empty lines", spaces, 0.05),
    Relation("politeness around it", polite, 0.10),
    Relation("5 lines of a pasted log", pasted(_LINES, 5), 0.05),
    Relation("40 lines of a pasted log", pasted(_LINES, 40), 0.10),
    Relation("40 lines of a fenced log", fenced(pasted(_LINES, 40)), 0.10),
    Relation("40 lines of a quoted log", quoted(pasted(_LINES, 40)), 0.10),
    Relation("200 lines of a log before it", placed_before(pasted(_LINES, 200)), 0.20),
    Relation("40 lines of pasted code", pasted_code(40), 0.20),
    Relation("40 lines of fenced code", fenced(pasted_code(40)), 0.20),
    Relation("40 lines of quoted code", quoted(pasted_code(40)), 0.20),
    Relation("40 lines of code before it", placed_before(pasted_code(40)), 0.20),
    Relation("200 lines of pasted code", pasted_code(200), 0.20),
    Relation("200 lines of code before it", placed_before(pasted_code(200)), 0.20),
    # The pasted text is too short to tell it from the subject of the question.
    Relation("5 lines of pasted code", pasted_code(5), 1.0, 0.4),
    Relation("5 lines of a listing", pasted(_LISTING, 5), 1.0, 0.1),
    Relation("40 lines of a listing", pasted(_LISTING, 40), 0.20),
)
TRANSLATED = 0.10
"""The largest share of the translations of an easy English prompt that leave the fast tier."""


class Moved(NamedTuple):
    """The result of one change."""

    name: str
    prompts: int
    up: float
    reasoned: float
    example: str
    """The first prompt that moved up."""


def router() -> Router:
    """Return the shipped router: its rules and its classifier, with every lab on."""
    return build_config(shipped.source(shipped.ALL_SET), TODAY).router


def tier_of(shipped_router: Router, text: str) -> Tier:
    """Return the tier that a prompt gets."""
    call, dialect = build_features(shipped_router, text)
    tier = decide(shipped_router, call, dialect)[0].tier
    assert tier is not None
    return tier


def easy(shipped_router: Router) -> list[str]:
    """Return the prompts of all languages that get fast unchanged."""
    return [text for line in EASY for text in line if tier_of(shipped_router, text) == "fast"]


def measure(shipped_router: Router, relation: Relation, texts: list[str], times: int = 1) -> Moved:
    """Measure a change of every prompt, so many times."""
    draw = random.Random(f"{SEED} {relation.name}")
    changed_texts = [relation.change(text, draw) for _ in range(times) for text in texts]
    return _moved(relation.name, shipped_router, changed_texts)


def translated(shipped_router: Router) -> Iterator[Moved]:
    """Measure by language the translations of English prompts that get fast."""
    lines = [line for line in EASY if tier_of(shipped_router, line[0]) == "fast"]
    for index, language in enumerate(LANGUAGES[1:], 1):
        yield _moved(f"in {language}", shipped_router, [line[index] for line in lines])


def _moved(name: str, shipped_router: Router, texts: list[str]) -> Moved:
    tiers = [tier_of(shipped_router, text) for text in texts]
    up = [text for text, tier in zip(texts, tiers, strict=True) if tier != TIERS[0]]
    reasoned = sum(tier == TIERS[-1] for tier in tiers)
    return Moved(name, len(texts), len(up) / len(texts), reasoned / len(texts), next(iter(up), ""))
