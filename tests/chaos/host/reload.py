"""P-06, P-07: the configuration changes while calls run, to a valid or an invalid one."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from tests.chaos.all_clients import AllClients, Form, shared_row
from tests.chaos.environment import ChaosEnvironment, make_config
from tests.chaos.gateway import Gateway
from tests.chaos.host.process import BAD
from tests.chaos.row import Expected, Row, Seen
from tests.e2e.child import until
from tests.e2e.world import Config

_PATIENCE = 20.0
_LARGE = 60_000_000
"""Bytes that threads keep after the gateway refused an alias bomb; a second bomb reuses them."""
_TIMES = 20
"""Number of configurations while calls run."""
_UNNOTICED = Expected(200, "answer", None, "settled")


def _file(gateway: Gateway) -> Path:
    return gateway.folder / "gateway.yaml"


def _write(gateway: Gateway, data: bytes) -> None:
    """Replace the configuration file, and send SIGHUP."""
    scratch = _file(gateway).with_suffix(".new")
    scratch.write_bytes(data)
    scratch.replace(_file(gateway))
    gateway.child.signal(signal.SIGHUP)


def _list_reloads(gateway: Gateway, what: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log() if line["event"] == "config" and what in line]


def _state(gateway: Gateway) -> dict[str, Any]:
    config: dict[str, Any] = jsonio.loads(gateway.get("/admin/config").body)
    return config


def _folder(file: Path) -> None:
    file.mkdir()


def _gigabyte(file: Path) -> None:
    file.write_bytes(b"version: 1\n")
    os.truncate(file, 1_000_000_000)


_ODD: tuple[Callable[[Path], None], ...] = (_folder, _gigabyte)
"""Other things that may stand in place of the file; it may also be missing."""


def _broken(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """The gateway logs each invalid configuration and uses none; calls do not notice."""
    gateway = environment.start(make_config(environment))
    clients, wrong = AllClients(gateway), list[str]()
    good, version = _file(gateway).read_bytes(), _state(gateway)["version"]
    kept = _file(gateway).with_suffix(".kept")

    def refused(name: str, lines: int) -> None:
        until(
            lambda: len(_list_reloads(gateway, "error")) > lines, f"it tells of {name}", _PATIENCE
        )
        clients.call(1)
        state = _state(gateway)
        if state["version"] != version or not state["last_error"]:
            wrong.append(f"{name}: {state}")

    for name, data in BAD.items():
        lines = len(_list_reloads(gateway, "error"))
        _write(gateway, data)
        refused(name, lines)
        if _list_reloads(gateway, "error")[-1].get("file") != str(_file(gateway)):
            wrong.append(f"{name}: {_list_reloads(gateway, 'error')[-1]}")
    for make in _ODD:
        lines = len(_list_reloads(gateway, "error"))
        _file(gateway).rename(kept)
        make(_file(gateway))
        gateway.child.signal(signal.SIGHUP)
        refused(make.__name__, lines)
        _file(gateway).rename(_file(gateway).with_suffix(f".{make.__name__}"))
        kept.rename(_file(gateway))
    lines = len(_list_reloads(gateway, "error"))
    _file(gateway).unlink()
    gateway.child.signal(signal.SIGHUP)
    refused("nothing", lines)
    failures = gateway.metric("tiergate_config_reload_failures_total")
    wrong += [] if failures >= len(BAD) + len(_ODD) + 1 else [f"{failures} failures are counted"]
    _write(gateway, good)
    until(lambda: not _state(gateway)["last_error"], "it is as it was", _PATIENCE)
    state = _state(gateway)
    wrong += [] if (state["version"], state["reloads"]) == (version, 0) else [f"at the end {state}"]
    return clients.seen(wrong=wrong)


def _in_force(gateway: Gateway, times: int) -> bool:
    return len(_list_reloads(gateway, "version")) == times


def _priced(value: Config, number: int) -> Config:
    for model in value["models"].values():
        model["price"] = {"input": 1 + number, "output": 4 + number}
    return value


def _prices(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Prices change again and again while calls run: each row has one version, and its price."""
    value = make_config(environment)
    gateway = environment.start(_priced(value, 0))
    clients, kinds = AllClients(gateway), {_state(gateway)["version"]: 0}
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(lambda: [clients.call(1) for _ in range(_TIMES)])
        for number in range(1, _TIMES + 1):
            _write(gateway, jsonio.dumps(_priced(value, number)))
            until(partial(_in_force, gateway, number), "it is in force", _PATIENCE)
            kinds[_list_reloads(gateway, "version")[-1]["version"]] = number
        going.result()
    wrong = []
    ids = {reply.id for replies in clients.replies.values() for reply in replies}
    rows = [
        it for call_rows in gateway.all().values() for it in call_rows if isinstance(it, FinalRow)
    ]
    for entry in [it for it in rows if it.id in ids]:
        if entry.config not in kinds:
            wrong.append(f"{entry.id} has the version {entry.config}")
            continue
        number = kinds[entry.config]
        used = Decimal((entry.input or 0) * (1 + number) + (entry.output or 0) * (4 + number))
        if entry.cost != used / 1_000_000:
            wrong.append(f"{entry.id} of {number} cost {entry.cost}")
    return clients.seen(wrong=wrong[:5])


def _rows() -> Iterator[Row]:
    yield shared_row("P-06", "the configuration with mistakes, under calls", "process", _broken, _UNNOTICED,
              growth=_LARGE)  # fmt: skip
    yield shared_row("P-07", "other prices while calls run", "process", _prices, _UNNOTICED)


ROWS = tuple(_rows())
