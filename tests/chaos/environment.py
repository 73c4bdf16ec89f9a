"""An environment for rows: a provider, gateways before it, and the audit once the rows are over."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow, IntentRow
from tests.chaos.gateway import CANARIES, PROVIDER_KEY, ChaosGateway, Pulse
from tests.chaos.provider import FaultProvider
from tests.chaos.row import Cell
from tests.e2e.child import until
from tests.e2e.four_labs import CHAT, DIALECTS, GEMINI, MESSAGES
from tests.e2e.world import Config, Loop

PROMISED = 0.1
"""Seconds within which /health answers 19 times of 20, whatever else happens."""
_AUTH = {CHAT: "bearer", MESSAGES: "x-api-key", GEMINI: "x-goog-api-key"}
_SLACK = 4
"""Descriptors and tasks that may be added, for example by the feed of the ledger store."""


def add_lab(
    value: Config,
    environment: "ChaosEnvironment",
    cell: Cell,
    spare: int = 0,
    tiers: Sequence[str] = ("smart",),
    **more: object,
) -> None:
    """Add the lab of a cell: one target, `spare` good targets after it;

    `more` is for its provider.
    """
    targets = []
    for number in range(spare + 1):
        name = cell.name if number == 0 else f"{cell.name}-spare{number}"
        value["providers"][name] = make_provider(environment, name, cell.spoken) | (
            more if number == 0 else {}
        )
        value["models"][f"m-{name}"] = make_model()
        targets.append({"model": f"m-{name}", "provider": name})
    value["labs"][cell.name] = dict.fromkeys(tiers, targets)


def make_provider(environment: "ChaosEnvironment", name: str, dialect: str) -> Config:
    """Return a provider whose address is that of the environment's provider."""
    return {
        "base_url": f"http://127.0.0.1:{environment.provider.port}/{name}",
        "dialects": {dialect: f"/{dialect}"},
        "auth": _AUTH.get(dialect, "bearer"),
        "accounts": {"main": PROVIDER_KEY},
    }


def make_model() -> Config:
    """Return a model of known price and size."""
    return {"price": {"input": 1, "output": 4}, "context": 100_000, "max_output": 1000}


def make_config(environment: "ChaosEnvironment") -> Config:
    """Return a configuration with a good provider for each dialect, a key, a budget and a cache.

    The budget only warns: without Redis the gateway refuses calls under a hard one.
    """
    value: Config = {
        "version": 1,
        "default": {"lab": CHAT, "tier": "smart"},
        "routing": {"classifier": "prior"},
        "cache": {"default": "on", "ttl": "1h"},
        "metrics": {"open": True},
        "budgets": [{"name": "all", "usd": 1000, "every": "total", "hard": False}],
        "providers": {name: make_provider(environment, name, name) for name in DIALECTS},
        "labs": {name: {"smart": [{"model": f"m-{name}"}]} for name in DIALECTS},
        "models": {f"m-{name}": make_model() for name in DIALECTS},
    }
    return value


@dataclass
class _Started:
    gateway: ChaosGateway
    pulse: Pulse
    descriptors: int = 0
    tasks: int = 0
    resident: int = 0
    audited: bool = False
    spare: int = _SLACK
    """Descriptors that the gateway may have more than at first."""
    promised: float = PROMISED
    """Seconds within which /health answers 19 times of 20."""

    def measure(self) -> None:
        self.descriptors = self.gateway.child.open_files
        self.tasks = self.gateway.open_resources()["tasks"]
        self.resident = self.gateway.child.resident


@dataclass
class ChaosEnvironment:
    """One act: the rows that share an environment."""

    folder: Path
    loop: Loop
    strict: bool = True
    """True if promises about time are checked; false if the tests share the machine."""
    provider: FaultProvider = field(default_factory=FaultProvider)
    _started: list[_Started] = field(default_factory=list)
    at_close: list[Callable[[], object]] = field(default_factory=list)
    """Ends what a row has started, after the act."""
    observations: dict[str, Any] = field(default_factory=dict)
    """Observations of rows that are played once for all their cells; guarded by `turn`."""
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.loop.run(self.provider.start())

    @property
    def gateway(self) -> ChaosGateway:
        """Return the gateway that was started first."""
        return self._started[0].gateway

    def config(self, cells: Iterable[Cell]) -> Config:
        """Return a configuration with what all cells need."""
        value = make_config(self)
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
    ) -> ChaosGateway:
        """Start a gateway; it is audited when the act is over.

        With `warm` each dialect is used once. `before` are the words of a program that runs the
        command. `spare` are descriptors that the gateway may have more in the end, for example to a
        server of its own. `promised` are the seconds for /health if the tests' own clients are busy
        too.
        """
        folder = self.folder / f"gateway{len(self._started)}"
        gateway = ChaosGateway(folder, value, *options, before=before, **environ)
        started = _Started(gateway, Pulse(gateway), spare=spare, promised=promised)
        self._started.append(started)
        if warm:
            self.warm(gateway)
        else:
            started.measure()
        return gateway

    def warm(self, gateway: ChaosGateway) -> None:
        """Use each dialect once, and measure: the gateway may have as much in the end."""
        for dialect in DIALECTS:
            for stream in (False, True):
                reply = gateway.ask(dialect, f"{dialect}/smart", stream=stream)
                assert reply.status == 200, reply
                gateway.entry(reply.id)
        next(it for it in self._started if it.gateway is gateway).measure()

    def audit(
        self, gateway: ChaosGateway, *, calls: bool = True, growth: int = 20_000_000
    ) -> tuple[str, list[str]]:
        """Return figures of a running gateway, and a list of its faults.

        With `calls` all its calls were made through it, so that each row of its ledger is known.
        `growth` are the bytes of memory that it may have more than at first.
        """
        started = next(it for it in self._started if it.gateway is gateway)
        started.audited = True
        p95 = started.pulse.stop()
        wrong = list(started.pulse.wrong)
        if self.strict and p95 > started.promised and not busy():
            wrong.append(f"/health took {p95 * 1000:.0f} ms")
        self.loop.run(self.provider.drop())
        try:
            until(lambda: _is_idle(started), "nothing in resources", 20)
        except AssertionError:
            wrong.append(
                f"still in resources: {gateway.open_resources()}, {gateway.child.open_files} files, at first {started}"
            )
        resources, files = gateway.open_resources(), gateway.child.open_files
        grown = gateway.child.resident - started.resident
        if grown > growth:
            wrong.append(f"{grown / 1e6:.0f} MB more memory")
        wrong += _check_rows(gateway) if calls else []
        wrong += _check_providers(gateway)
        figures = gateway.get("/metrics").body
        wrong += _list_bugs(gateway)
        gateway.terminate()
        wrong += _check_secrets(gateway, figures)
        summary = (
            f"{len(gateway.replies)} calls, files {started.descriptors} -> {files}, "
            f"tasks {started.tasks} -> {resources['tasks']}, held {resources['reservations']}, "
            f"memory {grown / 1e6:+.1f} MB, /health p95 {p95 * 1000:.0f} ms{busy()}"
        )
        return summary, wrong

    def list_unaudited(self) -> list[ChaosGateway]:
        """List gateways that run and were not audited."""
        return [started.gateway for started in self._started if not started.audited]

    def close(self) -> None:
        """End all that was started."""
        for end in reversed(self.at_close):
            end()
        for started in self._started:
            started.pulse.stop()
            started.gateway.stop()
        self.loop.run(self.provider.stop())


def _is_idle(started: _Started) -> bool:
    """True if the gateway has no more than at first: no call, no reservation, no connection."""
    resources = started.gateway.open_resources()
    few = (
        resources["tasks"] <= started.tasks + _SLACK
        and started.gateway.child.open_files <= started.descriptors + started.spare
    )
    return few and not resources["reservations"] and not resources["busy_connections"]


def busy() -> str:
    """Return a note if the machine is so busy that times mean nothing: a run has a core or two."""
    load = os.getloadavg()[0]
    return f" (load {load:.0f}: not judged)" if load > 2 * (os.cpu_count() or 1) else ""


def _check_rows(gateway: ChaosGateway) -> list[str]:
    """Exactly one final row exists for each call, and an intent for each of its attempts."""
    ids = {reply.id for reply in gateway.replies if reply.id} | gateway.unreported_calls
    rows = gateway.all()
    wrong = [f"{id} has no row" for id in ids - set(rows)]
    wrong += [f"a row of {id}, which nobody asked" for id in set(rows) - ids]
    for id, call_rows in rows.items():
        finals = [row for row in call_rows if isinstance(row, FinalRow)]
        # A segment begins with the rows of open calls, which the one before has too.
        intents = {row.attempt for row in call_rows if isinstance(row, IntentRow)}
        if len(finals) != 1:
            wrong.append(f"{id} has {len(finals)} final rows")
        elif finals[0].attempts != len(intents):
            wrong.append(f"{id}: {finals[0].attempts} attempts, {len(intents)} intents")
    return wrong


def _check_providers(gateway: ChaosGateway) -> list[str]:
    """No healthy provider has an open circuit breaker, and no request to a provider is running."""
    reply = gateway.get("/admin/health")
    if reply.status != 200:  # the gateway requires an admin key
        return []
    wrong = []
    for target in jsonio.loads(reply.body)["targets"]:
        name, state = target["provider"], target["state"]
        if state != "closed" and (name in DIALECTS or "-spare" in name):
            wrong.append(f"{name} is {state}: {target['cause']}")
        if target["in_flight"]:
            wrong.append(f"{name} has {target['in_flight']} in flight")
    return wrong


def _list_bugs(gateway: ChaosGateway) -> list[str]:
    return [str(row)[:500] for row in gateway.log() if row["event"] in ("bug", "library")]


def _check_secrets(gateway: ChaosGateway, figures: bytes) -> list[str]:
    """No key and no prompt stands in the gateway's output, metrics, log or files."""
    texts = {
        "metrics": figures,
        "out": gateway.child.out.encode(),
        "err": gateway.child.err.encode(),
    }
    data = gateway.folder / "data"
    for path in data.rglob("*"):
        if path.is_file() and "content" not in path.relative_to(data).parts:
            texts[path.name] = path.read_bytes()
    for reply in gateway.replies:
        texts[f"reply {reply.id}"] = reply.body + repr(reply.headers).encode()
    return [
        f"{canary!r} in {name}"
        for name, text in texts.items()
        for canary in CANARIES
        if canary.encode() in text
    ]
