"""The trial of a fleet: gateways behind nginx on one Redis Cluster and one PostgreSQL, under load.

`python -m tests.e2e.scale_trial SECONDS [SEED]` prints its findings; it takes a minute more. In the
middle, one gateway is killed with its workers and restarted. Then the workers of another are
replaced. The ledger is compared with a provider that bills by its own count.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.e2e.budget_audit import RATES
from tests.e2e.budget_provider import Asked, Ended, read
from tests.e2e.kill_audit import books
from tests.e2e.kill_trial import Gateway
from tests.e2e.scale_fleet import BUDGET, KEYS, PLACES, RATE, Fleet, fleet, missing

GATEWAYS = 3
CLIENTS = 24
_PATIENCE = 120.0
_TRIES = 4
"""Conversations for each two gateways."""
_MILLION = Decimal(1_000_000)
_HARD = "Prove by induction, step by step, that the sum of the first n odd numbers is n squared."
_REFUSED = {"ann": (402, 403, 429), "bob": (429,), "cat": (429,), "dan": ()}
"""Statuses with which the gateway may refuse a key."""


@dataclass
class Told:
    """The outcome of one call as its client saw it."""

    key: str
    began: float
    ended: float = 0.0
    status: int = 0
    """0 if the connection was lost."""
    whole: bool = False


@dataclass
class Found:
    """The records of a trial."""

    told: dict[str, Told] = field(default_factory=dict)
    """Outcomes by the marker of each call."""
    killed: tuple[float, float] = (0.0, 0.0)
    """The start and end of killing a gateway."""
    rolled: float = 0.0
    """Seconds that replacing workers took."""
    rows: int = 0
    states: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Times that a worker got no answer from Redis in time, and counted limits alone meanwhile.

    Then calls may exceed limits, as docs/operating.md says, but no budget.
    """
    peak: int = 0
    """Calls of `cat` at the provider at one time."""
    seats: int = 0
    """Conversations that kept their model when they went on at another gateway."""
    hits: int = 0
    """Answers that one gateway served from the cache of another."""
    spent: Decimal = Decimal(0)
    """USD billed for `ann`."""
    billed: Decimal = Decimal(0)
    """USD billed for all keys."""
    wrong: list[str] = field(default_factory=list)
    """Disagreements, one a line."""

    @property
    def hurt(self) -> list[Told]:
        """Calls that failed although their keys may make them."""
        return [
            one
            for one in self.told.values()
            if not one.whole
            and one.status not in _REFUSED[one.key]
            # While Redis cannot count, the gateway refuses calls that a budget bounds.
            and not (self.lost and one.key == "ann" and one.status == 503)
        ]


def trial(folder: Path, seconds: float, seed: str) -> Found:
    """Load the fleet for at least some seconds, and compare all its records."""
    found = Found()
    with fleet(folder, GATEWAYS, seed) as place:
        asyncio.run(_run(place, found, seconds, seed))
        found.wrong += [] if all(one.stop() == 0 for one in place.gateways) else ["it did not stop"]
        asked, ended = read(place.book)
        found.lost = sum(
            line.count(b'"event":"limits","text":"refused"')
            for one in place.gateways
            for line in (one.folder / "log").read_bytes().splitlines()
        )
        _limits(found, asked, ended)
        _ledger(place, found, asked)
        for one in place.gateways:
            lines = (one.folder / "log").read_text().splitlines()
            found.wrong += [line for line in lines if "Traceback" in line or '"bug"' in line]
    return found


async def _run(place: Fleet, found: Found, seconds: float, seed: str) -> None:
    over = asyncio.Event()
    load = [
        asyncio.create_task(_client(place.url, found, number, seed, over))
        for number in range(CLIENTS)
    ]
    try:
        await asyncio.sleep(seconds / 3)
        await asyncio.to_thread(_kill, place.gateways[0], found)
        await asyncio.sleep(seconds / 3)
        await _roll(place.gateways[1], found)
        await asyncio.sleep(seconds / 3)
    finally:
        over.set()
        await asyncio.gather(*load)
    await _shared(place, found)


def _kill(one: Gateway, found: Found) -> None:
    """Send SIGKILL to all processes of a gateway, and start it again."""
    began = time.monotonic()
    workers = one.workers()
    os.kill(one.supervisor, signal.SIGSTOP)  # so that it replaces none
    one.kill(*workers)
    one.kill_supervisor()
    found.killed = began, time.monotonic()
    one.start()


async def _roll(one: Gateway, found: Found) -> None:
    began = time.monotonic()
    os.kill(one.supervisor, signal.SIGUSR2)
    while '"event":"restart","text":"done"' not in one.log():
        if time.monotonic() - began > _PATIENCE:
            raise TimeoutError("workers are not replaced")
        await asyncio.sleep(0.1)
    found.rolled = time.monotonic() - began


def _at(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        timeout=_PATIENCE,
        trust_env=False,
        verify=False,  # noqa: S501 - plain HTTP, and certificates take long to read
    )


async def _client(url: str, found: Found, number: int, seed: str, over: asyncio.Event) -> None:
    chance = random.Random(f"{seed} {number}")
    names, count = list(KEYS), 0
    async with _at(url) as client:
        while not over.is_set():
            count += 1
            marker, key = f"m{number}-{count}", names[number % len(names)]
            found.told[marker] = told = Told(key, time.monotonic())
            stream = chance.random() < 0.5
            try:
                answer = await _ask(client, key, marker, f"{marker} say hello", stream=stream)
            except httpx.TransportError:
                pass
            else:
                told.status = answer.status_code
                end = b"data: [DONE]\n\n" if stream else b"}"
                told.whole = told.status == 200 and answer.content.endswith(end)
            told.ended = time.monotonic()
            if not told.whole:
                await asyncio.sleep(0.05)


async def _ask(
    client: httpx.AsyncClient, key: str, tag: str, *texts: str, stream: bool = False, model: str = "smart"
) -> httpx.Response:  # fmt: skip
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "stream": stream,
        "max_tokens": 60,
    }
    ways = {"authorization": f"Bearer {KEYS[key]}", "x-tiergate-tags": tag}
    return await client.post("/v1/chat/completions", json=body, headers=ways)


async def _shared(place: Fleet, found: Found) -> None:
    """Check that conversations go on and cached answers are found at every gateway."""
    for at, one in enumerate(place.gateways):
        other = place.gateways[(at + 1) % len(place.gateways)]
        async with (
            _at(f"http://127.0.0.1:{one.port}") as first,
            _at(f"http://127.0.0.1:{other.port}") as second,
        ):
            # The gateway writes after the answer, and Redis may take 100 ms: a call may miss.
            names = [f"{at}x{number}" for number in range(_TRIES)]
            seats = [await _seat(first, second, name) for name in names]
            if ["large", "large", "small"] not in seats:
                found.wrong.append(f"conversations went to {seats}")
            found.seats += seats.count(["large", "large", "small"])
            hits = [await _hit(first, second, name) for name in names]
            if ["miss", "hit"] not in hits:
                found.wrong.append(f"the cache said {hits}")
            found.hits += hits.count(["miss", "hit"])


async def _hit(first: httpx.AsyncClient, second: httpx.AsyncClient, name: str) -> list[str]:
    """Return what the cache says of a prompt at one gateway, then at the other."""
    said = []
    for number, client in enumerate((first, second), 1):
        kept = await _ask(client, "dan", f"hit{name}-{number}", f"hit{name} again and again")
        said.append(kept.headers["x-tiergate-cache"])
    return said


async def _seat(first: httpx.AsyncClient, second: httpx.AsyncClient, name: str) -> list[str]:
    """Return the models that serve a hard question, thanks for its answer, and thanks alone."""
    hard = f"seat{name} {_HARD}"
    begun = await _ask(first, "dan", f"seat{name}-1", hard, model="auto")
    said = begun.json()["choices"][0]["message"]["content"]
    after = await _ask(second, "dan", f"seat{name}-2", hard, said, "Thanks!", model="auto")
    alone = await _ask(second, "dan", f"alone{name}-1", f"alone{name} Thanks!", model="auto")
    return [one.headers["x-tiergate-model"] for one in (begun, after, alone)]


def _limits(found: Found, asked: list[Asked], ended: dict[str, Ended]) -> None:
    """Check by the provider's record that no key passed its limit or budget."""
    of = {bill.id: found.told[bill.marker].key for bill in asked if bill.marker in found.told}
    found.spent = sum((_cost(bill) for bill in asked if of.get(bill.id) == "ann"), Decimal(0))
    if found.spent > Decimal(BUDGET):
        found.wrong.append(f"ann was billed {found.spent} of {BUDGET}")
    times = [bill.at for bill in asked if of.get(bill.id) == "bob"]
    most = RATE + (max(times) - min(times)) * RATE / 60 + 1
    if len(times) > most and not found.lost:
        found.wrong.append(f"bob made {len(times)} calls, and may make {most:.0f}")
    moves = [(bill.at, bill.id) for bill in asked if of.get(bill.id) == "cat"]
    moves += [(end.at, id) for id, end in ended.items() if of.get(id) == "cat"]
    running: set[str] = set()
    peak: set[str] = set()
    for _, id in sorted(moves):
        running ^= {id}
        peak = max(peak, {*running}, key=len)
    found.peak = len(peak)
    if found.peak > PLACES and not found.lost:
        # A busy provider notices a client's leaving late: it may not have run at all.
        left = sum(ended[id].left for id in peak if id in ended)
        found.wrong.append(
            f"cat ran {found.peak} calls, and may run {PLACES}; the gateway left {left} of them"
        )
    if not all(any(of.get(bill.id) == key for bill in asked) for key in KEYS):
        found.wrong.append("a key made no call")
    found.wrong += [
        f"{one.key} got {one.status} {one.began - found.killed[0]:.2f} s after the kill"
        for one in found.hurt
        if not (one.began <= found.killed[1] and one.ended >= found.killed[0])
    ]


def _ledger(place: Fleet, found: Found, asked: list[Asked]) -> None:
    """Check that PostgreSQL has the rows of the journals, and that both equal the bills."""
    finals = [id for one in place.gateways for id, rows in books(one.ledger).finals.items() for _ in rows]  # fmt: skip
    columns = "id, state, cache, tags[1], input, cache_read, output, cost, wasted"
    with psycopg.connect(place.store.url()) as base:
        rows = base.execute(f"SELECT {columns} FROM entries".encode()).fetchall()  # noqa: S608
    found.rows = len(rows)
    if sorted(finals) != sorted(row[0] for row in rows):
        found.wrong.append(f"{len(finals)} final rows in the journals, {len(rows)} in the store")
    billed: dict[str, list[Asked]] = defaultdict(list)
    for bill in asked:
        billed[_tag(bill)].append(bill)
        found.billed += _cost(bill)
    for id, state, cache, tag, *tokens, cost, wasted in rows:
        found.states["hit" if cache == "hit" else state] += 1
        bills = billed.pop(tag, [])
        if state == "unknown_crash":
            told = found.told[tag]
            if told.whole or cost is not None:
                found.wrong.append(f"{tag} {id} is closed as crashed, and its client has it")
            continue
        told_by = [sum(getattr(bill, name) for bill in bills) for name in ("input", "cached", "output")]  # fmt: skip
        if bills and ([one or 0 for one in tokens] != told_by or cost != sum(map(_cost, bills)) or wasted):  # fmt: skip
            found.wrong.append(f"{tag} {id} {state}: {tokens} {cost}, billed {told_by}")
        if not bills and cost:
            found.wrong.append(f"{tag} {id} {state} costs {cost}, and was not billed")
    if lost := list(billed):
        found.wrong.append(f"billed, and not in the ledger: {lost[:5]}")
    tags = Counter(row[3] for row in rows)
    found.wrong += [f"{tag} has {count} rows" for tag, count in tags.items() if count > 1]


def _tag(bill: Asked) -> str:
    """Return the tag of the billed call."""
    return bill.marker if bill.marker.startswith("m") else f"{bill.marker}-{bill.number}"


def _cost(bill: Asked) -> Decimal:
    told = {"input": bill.input, "cache_read": bill.cached, "output": bill.output}
    return sum((RATES[name] * count for name, count in told.items()), Decimal(0)) / _MILLION


def main(seconds: float, seed: str) -> int:
    """Run the trial, and return the exit status."""
    if absent := missing():
        print(f"missing: {', '.join(absent)}. apt-get install {' '.join(absent)}")
        return 2
    with tempfile.TemporaryDirectory(prefix="tiergate-scale-") as folder:
        found = trial(Path(folder), seconds, seed)
    calls = len(found.told)
    span = max(one.ended for one in found.told.values()) - min(one.began for one in found.told.values())  # fmt: skip
    told = [
        ("calls through nginx", f"{calls:,} in {span:.0f} s"),
        ("answered whole", f"{sum(one.whole for one in found.told.values()):,}"),
        ("refused by limits and budgets", f"{sum(one.status in _REFUSED[one.key] for one in found.told.values()):,}"),
        ("lost with the gateway that was killed", f"{len(found.hurt)}"),
        ("seconds to replace the workers of another", f"{found.rolled:.1f}"),
        ("times that Redis was too late", f"{found.lost}"),
        ("ann was billed", f"{found.spent} of {BUDGET}"),
        ("cat ran at a time, at most", f"{found.peak} of {PLACES}"),
        ("conversations that went on at another", f"{found.seats} of {GATEWAYS * _TRIES}"),
        ("answers that another one had kept", f"{found.hits} of {GATEWAYS * _TRIES}"),
        ("rows in PostgreSQL", f"{found.rows:,}"),
        *((f"rows, {state}", f"{count:,}") for state, count in sorted(found.states.items())),
        ("billed, USD", f"{found.billed}"),
    ]  # fmt: skip
    print(f"seed {seed}: {GATEWAYS} gateways of 2 workers, {CLIENTS} clients")
    print("\n".join(f"{what:<44}{value}" for what, value in told))
    print("\n".join([f"{len(found.wrong)} disagreements", *found.wrong[:40]]))
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
