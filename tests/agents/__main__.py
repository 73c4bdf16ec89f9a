"""`make agents`: hundreds of conversations through each strategy, and what they cost."""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.agents.judge import Sum, judge
from tests.agents.place import ABROAD, STRATEGIES, Place, key
from tests.agents.run import Door, Play
from tests.agents.story import story
from tests.e2e.world import Loop

CAREFUL = ("sticky", "ratchet-up", "cost-aware")
LEAST = 0.95
HOME = "at home"
MARKING = ("claude-code", "codex", "opencode")
"""Clients whose prompts are kept at labs of other dialects: by marks, by a key, in a tool loop."""


def play(place: Place, seeds: Iterable[int]) -> dict[str, Sum]:
    """Each conversation, alone and through each strategy; the sums by name."""
    sums = {name: Sum() for name in ("direct", *STRATEGIES, HOME, ABROAD)}
    for seed in seeds:
        doors = {"direct": Door(place.upstream.url, place.host, "d")}
        doors |= {name: Door(place.url, place.host, name[0], key(name)) for name in STRATEGIES}
        if story(seed).client in MARKING:
            doors[ABROAD] = Door(place.url, place.host, "a", key(ABROAD), abroad=True)
        for name, door in doors.items():
            Play(story(seed), seed, door, place.wait).play()
            sums[name].add(door.calls)
            door.close()
        direct = doors["direct"].calls
        for name in STRATEGIES:
            sums[name].wrong += judge(seed, doors[name].calls, direct, moves=name == "turn")
        if ABROAD in doors:
            sums[HOME].add(direct)
            sums[ABROAD].wrong += judge(seed, doors[ABROAD].calls)
        place.forget()
    for name, cost in place.costs().items():
        billed = sums[name].usd + sums[name].titles
        if cost != billed:
            sums[name].wrong.append(f"the ledger has {cost}, the provider billed {billed}")
    return sums


def kept(sums: dict[str, Sum]) -> list[str]:
    """The strategies that are made for the cache and keep less than 95% of what one model has."""
    return [name for name in (*CAREFUL, ABROAD) if sums[name].hits < LEAST * alone(sums, name).hits]


def alone(sums: dict[str, Sum], name: str) -> Sum:
    """What the same conversations have with one model that is asked directly."""
    return sums[HOME if name == ABROAD else "direct"]


def table(sums: dict[str, Sum]) -> str:
    """What was measured, a line for each."""
    lines = [f"{'':11}{'calls':>7}{'turns':>7}{'decided':>9}{'moves':>7}{'hits':>8}{'of direct':>11}{'USD':>10}{'titles':>9}"]  # fmt: skip
    for name, one in sums.items():
        lines.append(
            f"{name:11}{one.calls:7}{one.turns:7}{one.decided:9}{one.moves:7}{one.hits:8.2%}{one.hits / alone(sums, name).hits:11.2%}{one.usd:10.4f}{one.titles:9.5f}"
        )  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Play so many; 1 where something is wrong."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
    loop = Loop()
    with tempfile.TemporaryDirectory(prefix="agents-") as folder:
        place = Place(loop, Path(folder))
        try:
            sums = play(place, seeds)
        finally:
            place.close()
            loop.close()
    print(table(sums))
    wrong = [f"{name}: {what}" for name, one in sums.items() for what in one.wrong]
    few = [f"{name} keeps too little of the cache" for name in kept(sums)]
    print("\n".join([*wrong[:40], *few]))
    return 1 if wrong or few else 0


if __name__ == "__main__":
    sys.exit(main())
