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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg

from gateway.core import jsonio
from tests.e2e.budget_audit import RATES, count_redis_losses
from tests.e2e.budget_provider import BilledRequest, Ended, read
from tests.e2e.kill_audit import books
from tests.e2e.kill_trial import ROOT, KilledGateway
from tests.e2e.scale_fleet import BUDGET, KEYS, PLACES, RATE, Fleet, fleet, missing

GATEWAYS = 3
CLIENTS = 24
_PATIENCE = 120.0
_TRIES = 4
"""Conversations for each two gateways."""
_SHOWN = 200
"""Characters of a failed answer that the findings show."""
_MILLION = Decimal(1_000_000)
_HARD = "Prove by induction, step by step, that the sum of the first n odd numbers is n squared."
_REFUSED = {"ann": (402, 403, 429), "bob": (429,), "cat": (429,), "dan": ()}
"""Statuses with which the gateway may refuse a key."""


type Disturbance = Callable[[Fleet, ScaleTrialResult, float], Awaitable[None]]
"""What happens to the fleet under load, within so many seconds or more."""


@dataclass
class ScaleOutcome:
    """The outcome of one call as its client saw it."""

    key: str
    began: float
    ended: float = 0.0
    status: int = 0
    """0 if the connection was lost."""
    whole: bool = False
    error: str = ""
    """The first bytes of an answer that is not whole."""


@dataclass
class ScaleTrialResult:
    """The records of a trial."""

    outcomes: dict[str, ScaleOutcome] = field(default_factory=dict)
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
    sessions: int = 0
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
    def hurt(self) -> list[ScaleOutcome]:
        """Calls that failed although their keys may make them."""
        return [
            outcome
            for outcome in self.outcomes.values()
            if not outcome.whole
            and outcome.status not in _REFUSED[outcome.key]
            # While Redis cannot count, the gateway refuses calls that a budget bounds.
            and not (self.lost and outcome.key == "ann" and outcome.status == 503)
        ]


async def kill_and_roll(place: Fleet, result: ScaleTrialResult, seconds: float) -> None:
    """Kill one gateway under load, and replace the workers of another."""
    await asyncio.sleep(seconds / 3)
    await asyncio.to_thread(_kill, place.gateways[0], result)
    await asyncio.sleep(seconds / 3)
    await roll(place.gateways[1], result)
    await asyncio.sleep(seconds / 3)


def trial(
    folder: Path,
    seconds: float,
    seed: str,
    disturb: Disturbance = kill_and_roll,
    tree: Path = ROOT,
    *,
    lb_delay: int = 0,
    clients: int = CLIENTS,
) -> ScaleTrialResult:
    """Load a fleet of a tree for at least some seconds while something happens to it.

    Compare all its records.
    """
    result = ScaleTrialResult()
    with fleet(folder, GATEWAYS, seed, tree, lb_delay) as place:
        asyncio.run(_run(place, result, seconds, seed, disturb, clients))
        result.wrong += (
            [] if all(gateway.stop() == 0 for gateway in place.gateways) else ["it did not stop"]
        )
        bills, ended = read(place.book)
        log: list[Any] = [
            jsonio.loads(line)
            for gateway in place.gateways
            for line in (gateway.folder / "log").read_bytes().splitlines()
            if line.startswith(b"{")
        ]
        result.lost = count_redis_losses(log)
        _limits(result, bills, ended)
        _ledger(place, result, bills)
        for gateway in place.gateways:
            lines = (gateway.folder / "log").read_text().splitlines()
            marks = ("Traceback", '"bug"', "StoreError", '"event":"ledger","error"')
            result.wrong += [line for line in lines if any(mark in line for mark in marks)]
    return result


async def _run(
    place: Fleet,
    result: ScaleTrialResult,
    seconds: float,
    seed: str,
    disturb: Disturbance,
    clients: int,
) -> None:
    over = asyncio.Event()
    load = [
        asyncio.create_task(_client(place.url, result, number, seed, over))
        for number in range(clients)
    ]
    try:
        await disturb(place, result, seconds)
    finally:
        over.set()
        await asyncio.gather(*load)
    await _shared(place, result)


def _kill(gateway: KilledGateway, result: ScaleTrialResult) -> None:
    """Send SIGKILL to all processes of a gateway, and start it again."""
    began = time.monotonic()
    workers = gateway.workers()
    os.kill(gateway.supervisor, signal.SIGSTOP)  # so that it replaces none
    gateway.kill(*workers)
    gateway.kill_supervisor()
    result.killed = began, time.monotonic()
    gateway.start()


async def roll(gateway: KilledGateway, result: ScaleTrialResult) -> None:
    """Replace the workers of a gateway, with the program that is installed now."""
    began = time.monotonic()
    os.kill(gateway.supervisor, signal.SIGUSR2)
    while '"event":"restart","text":"done"' not in gateway.log():
        if time.monotonic() - began > _PATIENCE:
            raise TimeoutError("workers are not replaced")
        await asyncio.sleep(0.1)
    result.rolled = time.monotonic() - began


def _at(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        timeout=_PATIENCE,
        trust_env=False,
        verify=False,  # noqa: S501 - plain HTTP, and certificates take long to read
    )


async def _client(
    url: str, result: ScaleTrialResult, number: int, seed: str, over: asyncio.Event
) -> None:
    chance = random.Random(f"{seed} {number}")
    names, count = list(KEYS), 0
    async with _at(url) as client:
        while not over.is_set():
            count += 1
            marker, key = f"m{number}-{count}", names[number % len(names)]
            result.outcomes[marker] = outcome = ScaleOutcome(key, time.monotonic())
            stream = chance.random() < 0.5
            try:
                answer = await _ask(client, key, marker, f"{marker} say hello", stream=stream)
            except httpx.TransportError:
                pass
            else:
                outcome.status = answer.status_code
                end = b"data: [DONE]\n\n" if stream else b"}"
                outcome.whole = outcome.status == 200 and answer.content.endswith(end)
                outcome.error = "" if outcome.whole else answer.text[:_SHOWN]
            outcome.ended = time.monotonic()
            if not outcome.whole:
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


async def _shared(place: Fleet, result: ScaleTrialResult) -> None:
    """Check that conversations go on and cached answers are found at every gateway."""
    for at, gateway in enumerate(place.gateways):
        other = place.gateways[(at + 1) % len(place.gateways)]
        async with (
            _at(f"http://127.0.0.1:{gateway.port}") as first,
            _at(f"http://127.0.0.1:{other.port}") as second,
        ):
            # The gateway writes after the answer, and Redis may take 100 ms: a call may miss.
            names = [f"{at}x{number}" for number in range(_TRIES)]
            sessions = [await _session_models(first, second, name) for name in names]
            if ["large", "large", "small"] not in sessions:
                result.wrong.append(f"conversations went to {sessions}")
            result.sessions += sessions.count(["large", "large", "small"])
            hits = [await _hit(first, second, name) for name in names]
            if ["miss", "hit"] not in hits:
                result.wrong.append(f"the cache said {hits}")
            result.hits += hits.count(["miss", "hit"])


async def _hit(first: httpx.AsyncClient, second: httpx.AsyncClient, name: str) -> list[str]:
    """Return what the cache says of a prompt at one gateway, then at the other."""
    replies = []
    for number, client in enumerate((first, second), 1):
        cached = await _ask(client, "dan", f"hit{name}-{number}", f"hit{name} again and again")
        replies.append(cached.headers["x-tiergate-cache"])
    return replies


async def _session_models(
    first: httpx.AsyncClient, second: httpx.AsyncClient, name: str
) -> list[str]:
    """Return the models that serve a hard question, thanks for its answer, and thanks alone."""
    hard = f"seat{name} {_HARD}"
    begun = await _ask(first, "dan", f"seat{name}-1", hard, model="auto")
    content = begun.json()["choices"][0]["message"]["content"]
    after = await _ask(second, "dan", f"seat{name}-2", hard, content, "Thanks!", model="auto")
    alone = await _ask(second, "dan", f"alone{name}-1", f"alone{name} Thanks!", model="auto")
    return [reply.headers["x-tiergate-model"] for reply in (begun, after, alone)]


def _limits(result: ScaleTrialResult, bills: list[BilledRequest], ended: dict[str, Ended]) -> None:
    """Check by the provider's record that no key passed its limit or budget."""
    of = {
        bill.id: result.outcomes[bill.marker].key
        for bill in bills
        if bill.marker in result.outcomes
    }
    result.spent = sum((_cost(bill) for bill in bills if of.get(bill.id) == "ann"), Decimal(0))
    if result.spent > Decimal(BUDGET):
        result.wrong.append(f"ann was billed {result.spent} of {BUDGET}")
    bob = [bill for bill in bills if of.get(bill.id) == "bob"]
    # A busy machine may take seconds from the gateway's counting to the provider.
    began = min(result.outcomes[bill.marker].began for bill in bob)
    most = RATE + (max(bill.at for bill in bob) - began) * RATE / 60 + 1
    if len(bob) > most and not result.lost:
        result.wrong.append(f"bob made {len(bob)} calls, and may make {most:.0f}")
    moves = [(bill.at, bill.id) for bill in bills if of.get(bill.id) == "cat"]
    moves += [(end.at, id) for id, end in ended.items() if of.get(id) == "cat"]
    running: set[str] = set()
    peak: set[str] = set()
    for _, id in sorted(moves):
        running ^= {id}
        peak = max(peak, {*running}, key=len)
    result.peak = len(peak)
    if result.peak > PLACES and not result.lost:
        # A busy provider notices a client's leaving late: it may not have run at all.
        left_count = sum(ended[id].left for id in peak if id in ended)
        result.wrong.append(
            f"cat ran {result.peak} calls, and may run {PLACES}; the gateway left {left_count} of them"
        )
    if not all(any(of.get(bill.id) == key for bill in bills) for key in KEYS):
        result.wrong.append("a key made no call")
    start, start_name = result.killed[0], "the kill"
    if not start:
        start = min(outcome.began for outcome in result.outcomes.values())
        start_name = "the first call"
    result.wrong += [
        f"{outcome.key} got {outcome.status} {outcome.began - start:.2f} s after {start_name}: {outcome.error}"
        for outcome in result.hurt
        if not (outcome.began <= result.killed[1] and outcome.ended >= result.killed[0])
    ]


def _ledger(place: Fleet, result: ScaleTrialResult, requests: list[BilledRequest]) -> None:
    """Check that PostgreSQL has the rows of the journals, and that both equal the bills."""
    finals = [id for item in place.gateways for id, rows in books(item.ledger).finals.items() for _ in rows]  # fmt: skip
    columns = "id, state, cache, tags[1], input, cache_read, output, cost, wasted"
    with psycopg.connect(place.store.url()) as base:
        rows = base.execute(f"SELECT {columns} FROM entries".encode()).fetchall()  # noqa: S608
    result.rows = len(rows)
    if sorted(finals) != sorted(row[0] for row in rows):
        result.wrong.append(f"{len(finals)} final rows in the journals, {len(rows)} in the store")
    billed: dict[str, list[BilledRequest]] = defaultdict(list)
    for bill in requests:
        billed[_tag(bill)].append(bill)
        result.billed += _cost(bill)
    for id, state, cache, tag, *tokens, cost, wasted in rows:
        result.states["hit" if cache == "hit" else state] += 1
        bills = billed.pop(tag, [])
        if state == "unknown_crash":
            outcome = result.outcomes[tag]
            if outcome.whole or cost is not None:
                result.wrong.append(f"{tag} {id} is closed as crashed, and its client has it")
            continue
        reported = [sum(getattr(bill, name) for bill in bills) for name in ("input", "cached", "output")]  # fmt: skip
        if bills and ([item or 0 for item in tokens] != reported or cost != sum(map(_cost, bills)) or wasted):  # fmt: skip
            result.wrong.append(f"{tag} {id} {state}: {tokens} {cost}, billed {reported}")
        if not bills and cost:
            result.wrong.append(f"{tag} {id} {state} costs {cost}, and was not billed")
    if lost := list(billed):
        result.wrong.append(f"billed, and not in the ledger: {lost[:5]}")
    tags = Counter(row[3] for row in rows)
    result.wrong += [f"{tag} has {count} rows" for tag, count in tags.items() if count > 1]


def _tag(bill: BilledRequest) -> str:
    """Return the tag of the billed call."""
    return bill.marker if bill.marker.startswith("m") else f"{bill.marker}-{bill.number}"


def _cost(bill: BilledRequest) -> Decimal:
    tokens_by_kind = {"input": bill.input, "cache_read": bill.cached, "output": bill.output}
    return (
        sum((RATES[name] * count for name, count in tokens_by_kind.items()), Decimal(0)) / _MILLION
    )


def main(seconds: float, seed: str) -> int:
    """Run the trial, and return the exit status."""
    if absent := missing():
        print(f"missing: {', '.join(absent)}. apt-get install {' '.join(absent)}")
        return 2
    with tempfile.TemporaryDirectory(prefix="tiergate-scale-") as folder:
        result = trial(Path(folder), seconds, seed)
    calls = len(result.outcomes)
    span = max(outcome.ended for outcome in result.outcomes.values()) - min(outcome.began for outcome in result.outcomes.values())  # fmt: skip
    rows = [
        ("calls through nginx", f"{calls:,} in {span:.0f} s"),
        ("answered whole", f"{sum(outcome.whole for outcome in result.outcomes.values()):,}"),
        ("refused by limits and budgets", f"{sum(outcome.status in _REFUSED[outcome.key] for outcome in result.outcomes.values()):,}"),
        ("lost with the gateway that was killed", f"{len(result.hurt)}"),
        ("seconds to replace the workers of another", f"{result.rolled:.1f}"),
        ("times that Redis was too late", f"{result.lost}"),
        ("ann was billed", f"{result.spent} of {BUDGET}"),
        ("cat ran at a time, at most", f"{result.peak} of {PLACES}"),
        ("conversations that went on at another", f"{result.sessions} of {GATEWAYS * _TRIES}"),
        ("answers that another one had kept", f"{result.hits} of {GATEWAYS * _TRIES}"),
        ("rows in PostgreSQL", f"{result.rows:,}"),
        *((f"rows, {state}", f"{count:,}") for state, count in sorted(result.states.items())),
        ("billed, USD", f"{result.billed}"),
    ]  # fmt: skip
    print(f"seed {seed}: {GATEWAYS} gateways of 2 workers, {CLIENTS} clients")
    print("\n".join(f"{name:<44}{value}" for name, value in rows))
    print("\n".join([f"{len(result.wrong)} disagreements", *result.wrong[:40]]))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *(sys.argv[2:3] or [f"{time.time_ns()}"])))
