"""Where rows are played: a provider, gateways before it, and what must be true once they are over."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, IntentRow
from tests.chaos.gateway import CANARIES, PROVIDER_KEY, Gateway, Pulse
from tests.chaos.provider import Provider
from tests.chaos.row import Cell
from tests.e2e.abroad import CHAT, DIALECTS, GEMINI, MESSAGES
from tests.e2e.child import until
from tests.e2e.world import Config, Loop

PROMISED = 0.1
"""Seconds in which /health answers 19 times of 20, whatever happens beside it."""
_AUTH = {CHAT: "bearer", MESSAGES: "x-api-key", GEMINI: "x-goog-api-key"}
_SLACK = 4
"""Descriptors and tasks that may be more than before: a feed of the store, say."""


def lab(
    value: Config,
    stage: "Stage",
    cell: Cell,
    spare: int = 0,
    tiers: Sequence[str] = ("smart",),
    **more: object,
) -> None:
    """The lab of a cell: one target, and `spare` good ones behind it. `more` is of its provider."""
    targets = []
    for number in range(spare + 1):
        name = cell.name if number == 0 else f"{cell.name}-spare{number}"
        value["providers"][name] = provider(stage, name, cell.spoken) | (
            more if number == 0 else {}
        )
        value["models"][f"m-{name}"] = model()
        targets.append({"model": f"m-{name}", "provider": name})
    value["labs"][cell.name] = dict.fromkeys(tiers, targets)


def provider(stage: "Stage", name: str, dialect: str) -> Config:
    """A provider at the stage's."""
    return {
        "base_url": f"http://127.0.0.1:{stage.provider.port}/{name}",
        "dialects": {dialect: f"/{dialect}"},
        "auth": _AUTH.get(dialect, "bearer"),
        "accounts": {"main": PROVIDER_KEY},
    }


def model() -> Config:
    """A model of known price and size."""
    return {"price": {"input": 1, "output": 4}, "context": 100_000, "max_output": 1000}


def base(stage: "Stage") -> Config:
    """A good provider for each dialect; a key with a budget, and a cache."""
    value: Config = {
        "version": 1,
        "default": {"lab": CHAT, "tier": "smart"},
        "routing": {"classifier": "prior"},
        "cache": {"default": "on", "ttl": "1h"},
        "metrics": {"open": True},
        "budgets": [{"name": "all", "usd": 1000, "every": "total"}],
        "providers": {name: provider(stage, name, name) for name in DIALECTS},
        "labs": {name: {"smart": [{"model": f"m-{name}"}]} for name in DIALECTS},
        "models": {f"m-{name}": model() for name in DIALECTS},
    }
    return value


@dataclass
class _Started:
    gateway: Gateway
    pulse: Pulse
    descriptors: int = 0
    tasks: int = 0
    resident: int = 0
    audited: bool = False
    spare: int = _SLACK
    """Descriptors that it may have more than at first."""
    promised: float = PROMISED
    """Seconds of /health, 19 times of 20."""

    def measure(self) -> None:
        self.descriptors = self.gateway.child.sockets
        self.tasks = self.gateway.in_hand()["tasks"]
        self.resident = self.gateway.child.resident


@dataclass
class Stage:
    """One act: the rows that share what they are played on."""

    folder: Path
    loop: Loop
    strict: bool = True
    """Whether promises about time are held to; not where tests share the machine with others."""
    provider: Provider = field(default_factory=Provider)
    _started: list[_Started] = field(default_factory=list)
    at_close: list[Callable[[], object]] = field(default_factory=list)
    """What a row has begun and must be ended after it."""
    said: dict[str, Any] = field(default_factory=dict)
    """What rows saw that are played once for all their cells; under `turn`."""
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.loop.run(self.provider.start())

    @property
    def gateway(self) -> Gateway:
        """The one that was started first."""
        return self._started[0].gateway

    def config(self, cells: Iterable[Cell]) -> Config:
        """What cells need, put together."""
        value = base(self)
        for cell in cells:
            cell.row.prepare(value, self, cell)
        return value

    def start(
        self,
        value: Config,
        *options: str,
        warm: bool = True,
        before: Sequence[str] = (),
        spare: int = _SLACK,
        promised: float = PROMISED,
        **environ: str,
    ) -> Gateway:
        """A gateway that is audited when the act is over.

        `warm`: each dialect has been used once. `before` runs the program. `spare` are descriptors
        that it may have more in the end, as to a server of its own, `promised`
        the seconds of /health where the tests' own clients are busy too.
        """
        folder = self.folder / f"gateway{len(self._started)}"
        gateway = Gateway(folder, value, *options, before=before, **environ)
        one = _Started(gateway, Pulse(gateway), spare=spare, promised=promised)
        self._started.append(one)
        if warm:
            self.warm(gateway)
        else:
            one.measure()
        return gateway

    def warm(self, gateway: Gateway) -> None:
        """Use each dialect once; what it has then is what it may have in the end."""
        for dialect in DIALECTS:
            for stream in (False, True):
                reply = gateway.ask(dialect, f"{dialect}/smart", stream=stream)
                assert reply.status == 200, reply
                gateway.entry(reply.id)
        next(it for it in self._started if it.gateway is gateway).measure()

    def audit(
        self, gateway: Gateway, *, calls: bool = True, growth: int = 20_000_000
    ) -> tuple[str, list[str]]:
        """Figures of a gateway that still runs, and what is wrong with it.

        `calls`: all its calls were made through it, so that each row of its ledger is known.
        `growth`: bytes of memory that it may have more than at first.
        """
        one = next(it for it in self._started if it.gateway is gateway)
        one.audited = True
        p95 = one.pulse.stop()
        wrong = list(one.pulse.wrong)
        if self.strict and p95 > one.promised and not busy():
            wrong.append(f"/health took {p95 * 1000:.0f} ms")
        self.loop.run(self.provider.drop())
        try:
            until(lambda: _idle(one), "nothing in hand", 20)
        except AssertionError:
            wrong.append(
                f"still in hand: {gateway.in_hand()}, {gateway.child.sockets} files, at first {one}"
            )
        hand, files = gateway.in_hand(), gateway.child.sockets
        grown = gateway.child.resident - one.resident
        if grown > growth:
            wrong.append(f"{grown / 1e6:.0f} MB more memory")
        wrong += _calls(gateway) if calls else []
        wrong += _fit(gateway)
        figures = gateway.get("/metrics").body
        wrong += _bugs(gateway)
        gateway.terminate()
        wrong += _silent(gateway, figures)
        told = (
            f"{len(gateway.replies)} calls, files {one.descriptors} -> {files}, "
            f"tasks {one.tasks} -> {hand['tasks']}, held {hand['held']}, "
            f"memory {grown / 1e6:+.1f} MB, /health p95 {p95 * 1000:.0f} ms{busy()}"
        )
        return told, wrong

    def ended(self, gateway: Gateway, *, calls: bool = True) -> list[str]:
        """What is wrong with what a gateway has left behind that a row has ended."""
        one = next(it for it in self._started if it.gateway is gateway)
        one.audited = True
        one.pulse.stop()
        return [*(_calls(gateway) if calls else []), *_bugs(gateway), *_silent(gateway, b"")]

    def unaudited(self) -> list[Gateway]:
        """Gateways that run and were not looked at."""
        return [one.gateway for one in self._started if not one.audited]

    def close(self) -> None:
        """End all that was started."""
        for end in reversed(self.at_close):
            end()
        for one in self._started:
            one.pulse.stop()
            one.gateway.stop()
        self.loop.run(self.provider.stop())


def _idle(one: _Started) -> bool:
    """Whether it has no more than at first: no call, no hold, no connection."""
    hand = one.gateway.in_hand()
    few = (
        hand["tasks"] <= one.tasks + _SLACK
        and one.gateway.child.sockets <= one.descriptors + one.spare
    )
    return few and not hand["held"] and not hand["lent"]


def busy() -> str:
    """Whether others keep this machine so busy that times say nothing: a run has a core or two."""
    load = os.getloadavg()[0]
    return f" (load {load:.0f}: not judged)" if load > 2 * (os.cpu_count() or 1) else ""


def _calls(gateway: Gateway) -> list[str]:
    """Exactly one final row for each call, and an intent for each attempt of it."""
    asked = {reply.id for reply in gateway.replies if reply.id} | gateway.found
    rows = gateway.all()
    wrong = [f"{id} has no row" for id in asked - set(rows)]
    wrong += [f"a row of {id}, which nobody asked" for id in set(rows) - asked]
    for id, found in rows.items():
        finals = [row for row in found if isinstance(row, FinalRow)]
        # A segment begins with the rows of calls that are open, which the one before has too.
        intents = {row.attempt for row in found if isinstance(row, IntentRow)}
        if len(finals) != 1:
            wrong.append(f"{id} has {len(finals)} final rows")
        elif finals[0].attempts != len(intents):
            wrong.append(f"{id}: {finals[0].attempts} attempts, {len(intents)} intents")
    return wrong


def _fit(gateway: Gateway) -> list[str]:
    """Who did nothing wrong is asked in its turn, and nobody is being asked."""
    reply = gateway.get("/admin/health")
    if reply.status != 200:  # it asks for an admin's key
        return []
    wrong = []
    for one in jsonio.loads(reply.body)["targets"]:
        name, state = one["provider"], one["state"]
        if state != "closed" and (name in DIALECTS or "-spare" in name):
            wrong.append(f"{name} is {state}: {one['cause']}")
        if one["in_flight"]:
            wrong.append(f"{name} has {one['in_flight']} in flight")
    return wrong


def _bugs(gateway: Gateway) -> list[str]:
    return [str(row)[:500] for row in gateway.log() if row["event"] in ("bug", "library")]


def _silent(gateway: Gateway, figures: bytes) -> list[str]:
    """No key and no prompt stands in what it said and left behind."""
    told = {
        "metrics": figures,
        "out": gateway.child.out.encode(),
        "err": gateway.child.err.encode(),
    }
    data = gateway.folder / "data"
    for path in data.rglob("*"):
        if path.is_file() and "content" not in path.relative_to(data).parts:
            told[path.name] = path.read_bytes()
    for reply in gateway.replies:
        told[f"reply {reply.id}"] = reply.body + repr(reply.headers).encode()
    return [
        f"{canary!r} in {name}"
        for name, said in told.items()
        for canary in CANARIES
        if canary.encode() in said
    ]
