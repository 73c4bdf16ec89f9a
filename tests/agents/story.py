"""Conversations as agents have them, made from a seed: texts, tool calls and pauses of each."""

import random
from dataclasses import dataclass

CLIENTS = ("claude-code", "codex", "opencode", "application")
PARTS = {"mixed": 1, "steady": 3, "turns easy": 3, "turns hard": 1}
"""Kinds of conversations, and how many of each there are among eight.

Nobody has measured these shares. They assume that most people state their task first, or stay with
the task that they began with. `mixed` changes at random. `steady` stays easy, middling or hard. In
the other two kinds, one half of the turns is easy and the other half hard.
"""
KINDS = tuple(PARTS)
OF_A_KIND = 10_000
"""Distance between the first seeds of two kinds: the second kind begins here, the third at twice it."""

_EASY = (
    "Thanks, go on.", "Hi!", "Rename it to count.", "Which file was that?", "List the tests.", "Yes, do that.",
)  # fmt: skip
_HARD = (
    "Prove rigorously that the scheduler cannot starve a task, and derive the tightest bound on its wait.",
    "Find out why the parser fails on nested comments, and write a new one with tests for each case of the grammar.",
    "Derive the running time of merge step by step, prove that it is optimal, then write the program for it.",
    'The build breaks: Traceback (most recent call last): File "a.py", line 3, in f. Explain the reason and fix it.',
)  # fmt: skip
_MIDDLE = (
    "Add a flag that prints the version and write it down in the readme.",
    "Write a function that merges two sorted lists, with a docstring.",
    "Move the settings into a module of their own and update all imports.",
)
_WORDS = [
    "the",
    "list",
    "of",
    "files",
    "was",
    "read",
    "and",
    "each",
    "line",
    "that",
    "has",
    "changed",
    "is",
    "kept",
    "in",
    "order",
    "so",
    "that",
    "the",
    "next",
    "pass",
    "finds",
    "it",
    "again",
    "while",
    "tests",
    "run",
    "beside",
    "the",
    "server",
    "and",
    "report",
    "what",
    "they",
    "saw",
    "before",
    "anything",
    "else",
    "is",
    "written",
    "to",
    "the",
    "log",
    "of",
    "the",
    "day",
]


@dataclass(frozen=True)
class Step:
    """The model calls tools and reads their results."""

    sizes: tuple[int, ...]
    """Number of words in each result."""
    remind: bool = False
    """True if the client adds text of its own to the results."""
    agent: "tuple[Step, ...] | None" = None
    """Steps of a sub-agent; its words are the tool result."""


@dataclass(frozen=True)
class StoryTurn:
    """A person speaks, and the model answers."""

    text: str
    steps: tuple[Step, ...]
    answer: int
    """Number of words in the last answer."""
    gap: bool = False
    """True if the turn comes after the prompt cache has expired."""
    compact: bool = False
    """True if the client summarises the conversation before the turn."""
    suggest: bool = False
    """True if the client asks for suggested replies after the turn."""


@dataclass(frozen=True)
class AgentStory:
    """One conversation."""

    client: str
    system: int
    """Number of words in the instructions."""
    tools: int
    title: bool
    """True if the client asks for a title first."""
    stream: bool
    turns: tuple[StoryTurn, ...]


def words(count: int, seed: object) -> str:
    """Return this many words, always the same for one seed."""
    chance = random.Random(str(seed))
    return " ".join(chance.choices(_WORDS, k=count))


def seeds(kind: str, many: int) -> range:
    """Return the seeds of a kind of conversations, out of `many` conversations of all kinds."""
    first = KINDS.index(kind) * OF_A_KIND
    return range(first, first + max(1, many * PARTS[kind] // sum(PARTS.values())))


def kind_of(seed: int) -> str:
    """Return the kind of conversation that a seed makes."""
    return KINDS[seed // OF_A_KIND]


def story(seed: int) -> AgentStory:
    """Return the conversation of a seed; the seeds go through all clients in turn."""
    chance = random.Random(seed)
    client, kind = CLIENTS[seed % len(CLIENTS)], kind_of(seed)
    many = chance.randint(2, 7) if kind == "mixed" else chance.randint(6, 14)
    turns = tuple(
        _turn(chance, number, client, _texts(chance, kind, seed, number / many))
        for number in range(many)
    )
    return AgentStory(
        client=client,
        system=chance.randint(300, 3_000),
        tools=chance.randint(3, 14),
        title=chance.random() < 0.7,
        stream=chance.random() < 0.5,
        turns=turns,
    )


def _texts(chance: random.Random, kind: str, seed: int, part: float) -> tuple[str, ...]:
    """Return the texts that a turn may have; `part` is the share of the conversation before it, 0 to 1."""
    if kind == "mixed":
        return chance.choice((_EASY, _MIDDLE, _HARD))
    if kind == "steady":
        return (_EASY, _MIDDLE, _HARD)[seed // len(CLIENTS) % 3]
    return _HARD if (part < 0.5) == (kind == "turns easy") else _EASY


def _turn(chance: random.Random, number: int, client: str, texts: tuple[str, ...]) -> StoryTurn:
    text = chance.choice(texts)
    agent = client != "application"
    steps = tuple(_step(chance, agent=agent) for _ in range(_many(chance))) if agent else ()
    return StoryTurn(
        text=text,
        steps=steps,
        answer=chance.randint(10, 200),
        gap=number > 0 and chance.random() < 0.15,
        compact=number > 1 and agent and chance.random() < 0.12,
        suggest=client == "claude-code" and chance.random() < 0.4,
    )


def _many(chance: random.Random) -> int:
    """Draw the number of steps of a loop: mostly few, at times up to 20."""
    return chance.randint(0, 3) if chance.random() < 0.5 else chance.randint(1, 20)


def _step(chance: random.Random, *, agent: bool) -> Step:
    sizes = tuple(chance.randint(10, 900) for _ in range(chance.choice((1, 1, 1, 2, 3, 4))))
    sub = agent and chance.random() < 0.08
    inner = tuple(_step(chance, agent=False) for _ in range(chance.randint(1, 5))) if sub else None
    return Step(sizes=sizes, remind=chance.random() < 0.25, agent=inner)
