"""A fleet on this machine: a Redis Cluster, PostgreSQL, several gateways, and nginx before them."""

import hashlib
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.free_port import find_free_port
from gateway.core import jsonio
from tests.conftest import redis_program
from tests.e2e import load_balancer
from tests.e2e.budget_audit import RATES
from tests.e2e.budget_provider import MOST
from tests.e2e.child import Child, until
from tests.e2e.kill_trial import ROOT, KilledGateway
from tests.ledger import postgres
from tests.state.redis_groups import Nodes

KEYS = {name: f"tg-{hashlib.sha256(name.encode()).hexdigest()}" for name in ("ann", "bob", "cat", "dan")}  # fmt: skip
BUDGET = "0.02"
"""USD that `ann` may spend."""
RATE = 30
"""Calls a minute that `bob` may make."""
PLACES = 4
"""Calls at a time that `cat` may have; `dan` has no limit."""


@dataclass
class Fleet:
    """The running parts of the fleet."""

    nodes: Nodes
    store: postgres.PostgresServer
    gateways: list[KilledGateway]
    url: str
    """The URL of nginx."""
    book: Path
    """The file with the provider's bills."""


def missing() -> list[str]:
    """Return the programs that this machine lacks for a fleet."""
    names = [] if _program() else ["nginx"]
    names += [] if redis_program() else ["redis-server"]
    return names + ([] if postgres.programs() else ["postgresql"])


@contextmanager
def fleet(
    folder: Path, gateways: int, seed: str, tree: Path = ROOT, lb_delay: int = 0
) -> Iterator[Fleet]:
    """Start the fleet with the gateways of a tree, and stop it at the end of the block.

    Each gateway runs what the link `program` in its folder leads to. One that stops still takes
    calls for `lb_delay` seconds.
    """
    program, book = redis_program(), folder / "book"
    assert program is not None
    book.touch()
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.e2e.budget_provider", str(book), seed]
        provider = Child([*command, "answer", "slow"], folder / "provider", PYTHONPATH=str(ROOT))
        stack.callback(provider.stop)
        (folder / "redis").mkdir()
        nodes = stack.enter_context(Nodes(program, folder / "redis"))
        store = stack.enter_context(postgres.server())
        address = until(lambda: provider.out.strip(), "its address")  # noqa: PLW0108 - read anew
        secret, parts, started = secrets.token_hex(32), _parts(folder, address, store.url()), []
        for number in range(gateways):
            data_folder = folder / f"gateway{number}"
            data_folder.mkdir()
            gateway = KilledGateway(data_folder, address, **parts)
            link_program(gateway, tree)
            gateway.environ |= {"REDIS_URL": nodes.url, "TIERGATE_SECRET": secret}
            gateway.environ["TIERGATE_SERVER__LB_DELAY"] = str(lb_delay)
            stack.callback(gateway.close)
            gateway.start()
            started.append(gateway)
        yield Fleet(nodes, store, started, _nginx(stack, folder, started), book)


def link_program(gateway: KilledGateway, tree: Path) -> None:
    """Install the gateway of a tree: the next start or replacement of workers runs it."""
    link = gateway.folder / "program"
    gateway.environ["PYTHONPATH"] = str(link)
    link.unlink(missing_ok=True)
    link.symlink_to(tree)


def _nginx(stack: ExitStack, folder: Path, gateways: list[KilledGateway]) -> str:
    """Start nginx before the gateways, with the shipped file except for the addresses."""
    port = find_free_port()
    child = load_balancer.start(
        "nginx", folder / "nginx", port, [gateway.port for gateway in gateways]
    )
    stack.callback(child.stop)
    return f"http://127.0.0.1:{port}"


def _program() -> str:
    """Return the path of nginx, or an empty string if it is missing."""
    try:
        return machine.find("nginx")
    except machine.Missing:
        return ""


def _parts(folder: Path, provider: str, store: str) -> dict[str, Any]:
    """Return the one configuration that all gateways share."""

    def tier(name: str) -> list[dict[str, str]]:
        return [{"model": name}]

    price = {name: str(rate) for name, rate in RATES.items()}
    names = {"fast": "small", "smart": "middle", "reasoning": "large"}
    limits: dict[str, dict[str, Any]] = {
        "ann": {"budgets": [{"usd": BUDGET, "every": "total"}]},
        "bob": {"limits": {"requests": f"{RATE}/m"}},
        "cat": {"limits": {"concurrency": PLACES}},
        "dan": {},
    }
    keys = {
        name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), **limits[name]}
        for name, key in KEYS.items()
    }
    (folder / "keys.yaml").write_bytes(jsonio.dumps(keys))
    dialects = {"openai-chat": "/chat/completions"}
    return {
        "keys": str(folder / "keys.yaml"),
        "cache": {"default": "on"},
        "providers": {"acme": {"base_url": provider, "dialects": dialects, "auth": "none"}},
        "labs": {"acme": {name: tier(model) for name, model in names.items()}},
        "models": {
            model_name: {"price": price, "max_output": MOST} for model_name in names.values()
        },
        # A Redis that is too slow for a moment does not permit overspending.
        "on_redis_loss": "closed",
        "ledger": {"store": store},
    }
