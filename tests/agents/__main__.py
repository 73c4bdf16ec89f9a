"""`make agents`: play hundreds of conversations through each strategy, and print the costs."""

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gateway.core.target import TIERS
from tests.agents.judge import StrategySum, judge
from tests.agents.place import ABROAD, STRATEGIES, AgentPlace, key
from tests.agents.run import Door, Play
from tests.agents.story import KINDS, seeds, story
from tests.e2e.world import Loop

type Sums = dict[str, StrategySum]

CAREFUL = ("sticky", "ratchet-up", "cost-aware")
LEAST = 0.95
MOST = 1.10
"""The most that `cost-aware` may cost, in multiples of `sticky`, over all kinds of conversations."""
HOME = "at home"
MARKING = ("claude-code", "codex", "opencode")
"""Clients whose prompts stay cached at labs of other dialects: by marks, by a key, in a tool loop."""


def play(place: AgentPlace, numbers: Iterable[int]) -> Sums:
    """Play each conversation alone and through each strategy; return the sums by name."""
    sums = {name: StrategySum() for name in ("direct", *STRATEGIES, HOME, ABROAD)}
    for seed in numbers:
        doors = {"direct": Door(place.upstream.url, place.host, "d"), **_doors(place, STRATEGIES)}
        if story(seed).client in MARKING:
            doors[ABROAD] = Door(place.url, place.host, "a", key(ABROAD), abroad=True)
        _through(place, seed, doors)
        direct, alone = doors["direct"].calls, doors["turn"].calls
        for name, door in doors.items():
            sums[name].add(door.calls, alone)
        for name in STRATEGIES:
            sums[name].wrong += judge(seed, doors[name].calls, direct, moves=name == "turn")
        if ABROAD in doors:
            sums[HOME].add(direct, alone)
            sums[ABROAD].wrong += judge(seed, doors[ABROAD].calls)
    return sums


def compare(place: AgentPlace, numbers: Iterable[int], names: Sequence[str]) -> Sums:
    """Play each conversation through these strategies, and judge their decisions alone."""
    sums = {name: StrategySum() for name in names}
    for seed in numbers:
        doors = _doors(place, names)
        _through(place, seed, doors)
        for name, door in doors.items():
            sums[name].add(door.calls, door.calls)
            sums[name].wrong += judge(seed, door.calls)
    return sums


def _doors(place: AgentPlace, names: Iterable[str]) -> dict[str, Door]:
    return {name: Door(place.url, place.host, name[0], key(name)) for name in names}


def _through(place: AgentPlace, seed: int, doors: Mapping[str, Door]) -> None:
    for door in doors.values():
        Play(story(seed), seed, door, place.wait).play()
        door.close()
    place.forget()


def total(kinds: Mapping[str, Sums]) -> Sums:
    """Return the sums of all kinds of conversations together."""
    sums_by_name: Sums = {}
    for sums in kinds.values():
        for name, sum_ in sums.items():
            sums_by_name.setdefault(name, StrategySum())
            sums_by_name[name] += sum_
    return sums_by_name


def unbilled(place: AgentPlace, sums: Sums) -> list[str]:
    """Return where the ledger and the provider's own bill differ."""
    wrong = []
    for name, cost in place.costs().items():
        billed = sums[name].usd + sums[name].titles
        if cost != billed:
            wrong.append(f"{name}: the ledger has {cost}, the provider billed {billed}")
    return wrong


def kept(sums: Sums) -> list[str]:
    """List the strategies made for the cache that keep under 95% of one model's cache hits."""
    return [name for name in (*CAREFUL, ABROAD) if sums[name].hits < LEAST * alone(sums, name).hits]


def dear(sums: Sums) -> list[str]:
    """Return an error if the default costs more than `MOST` times `sticky`."""
    default, sticky = sums["cost-aware"].usd, sums["sticky"].usd
    if float(default) <= MOST * float(sticky):
        return []
    return [f"cost-aware costs {default / sticky:.2f} times what sticky does, {MOST:.2f} at most"]


def alone(sums: Sums, name: str) -> StrategySum:
    """Return the sum of the same conversations with one model, asked without the gateway."""
    return sums[HOME if name == ABROAD else "direct"]


def table(sums: Sums) -> str:
    """Format the results, one line for each name; tiers and `under` are shares of user turns."""
    names = ("calls", "turns", "decided", "moves", "hits", "of direct", *TIERS, "under", "USD", "titles", "of sticky")  # fmt: skip
    lines = [f"{'':11}" + "".join(f"{name:>10}" for name in names)]
    for name, sum_ in sums.items():
        if not sum_.calls:
            continue
        tiers = [f"{sum_.tiers[tier] / sum_.turns:.0%}" for tier in TIERS]
        cells = [
            *(sum_.calls, sum_.turns, sum_.decided, sum_.moves),
            *(f"{sum_.hits:.2%}", f"{sum_.hits / alone(sums, name).hits:.2%}"),
            *(
                [*tiers, f"{sum_.under / sum_.turns:.0%}"]
                if name not in ("direct", HOME)
                else [""] * 4
            ),
            *(f"{sum_.usd:.4f}", f"{sum_.titles:.5f}", f"{sum_.usd / sums['sticky'].usd:.2f}"),
        ]
        lines.append(f"{name:11}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


def main() -> int:
    """Play this many conversations; return 1 if something is wrong."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    loop = Loop()
    with tempfile.TemporaryDirectory(prefix="agents-") as folder:
        place = AgentPlace(loop, Path(folder))
        try:
            kinds = {kind: play(place, seeds(kind, many)) for kind in KINDS}
            sums = total(kinds)
            wrong = unbilled(place, sums)
        finally:
            place.close()
            loop.close()
    for kind, own in {**kinds, "all": sums}.items():
        print(f"{kind}\n{table(own)}\n")
    wrong += [f"{name}: {what}" for name, sum_ in sums.items() for what in sum_.wrong]
    few = [f"{name} keeps too little of the cache" for name in kept(sums)]
    print("\n".join([*wrong[:40], *few, *dear(sums)]))
    return 1 if wrong or few or dear(sums) else 0


if __name__ == "__main__":
    sys.exit(main())
