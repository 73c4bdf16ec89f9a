"""The provider, and a gateway in a process of its own whose clock the test moves."""

import hashlib
import struct
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from gateway.core import jsonio
from tests.agents.host import PRICES, CachingHost
from tests.e2e.child import GatewayChild
from tests.e2e.upstream import PATIENCE, Upstream
from tests.e2e.world import Loop

STRATEGIES = ("sticky", "ratchet-up", "cost-aware", "turn")
ABROAD = "abroad"
"""The client whose conversations go to labs of other dialects, and are translated."""
START = 1_795_700_000.0
"""Time at which the test begins, in seconds since the epoch."""


def key(strategy: str) -> str:
    """Return the secret of the client whose conversations use a strategy."""
    return f"tg-{strategy}-of-a-test"


class AgentPlace:
    """The provider and the gateway. `wait` moves their clock; nothing else does."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        self._loop, self._now = loop, START
        self._clock = folder / "clock"
        self.host = CachingHost(lambda: self._now)
        self.wait(0)
        self.upstream = Upstream()
        self.upstream.on("/clay/v1/messages", self.host.clay)
        self.upstream.on("/oak/v1/chat", self.host.chat)
        self.upstream.on("/oak/v1/responses", self.host.responses)
        loop.run(self.upstream.start())
        (folder / "gateway.yaml").write_bytes(jsonio.dumps(_config(self.upstream.url)))
        (folder / "keys.yaml").write_bytes(jsonio.dumps(_keys()))
        program = (sys.executable, "-m", "tests.agents.clocked", str(self._clock))
        self._child = GatewayChild(folder / "gateway.yaml", program=program)
        self.url = self._child.url

    def wait(self, seconds: float) -> None:
        self._now += seconds
        if not self._clock.exists():
            self._clock.write_bytes(struct.pack("d", self._now))
        with self._clock.open("r+b") as file:
            file.write(struct.pack("d", self._now))

    def costs(self) -> dict[str, Decimal]:
        """Return the ledger's cost of each key's calls, in USD."""
        reply = httpx.get(
            f"{self.url}/admin/costs?by=key", timeout=PATIENCE, trust_env=False
        ).json()
        return {group["key"]: Decimal(group["cost"]) for group in reply["groups"]}

    def forget(self) -> None:
        """Drop the requests that the provider recorded: they are large."""
        self.upstream.requests.clear()
        while not self.upstream._arrived.empty():
            self.upstream._arrived.get()
        self.host.forget()

    def close(self) -> None:
        self._child.stop()
        self._loop.run(self.upstream.stop())


def _config(url: str) -> dict[str, Any]:
    effort = {"style": "reasoning_effort", "accepts": ["none", "low", "high"], "default": "none"}
    models = {}
    for name, (fresh, read, write, output) in PRICES.items():
        written = {} if write is None else {"cache_write": write, "cache_write_by": {"5m": write}}
        price = {"input": fresh, "cache_read": read, **written, "output": output}
        own = {"effort": effort} if name.startswith("oak") else {}
        models[name] = {"price": price, "tools": True, "context": 1_000_000, **own}
    return {
        "version": 1,
        "default": {"lab": "clay", "tier": "smart"},
        # Texts come from short lists, so equal prompts are chance; evidence would take them for
        # repeats.
        "routing": {"classifier": "prior", "evidence": "off"},
        "keys": "keys.yaml",
        "cache": {"ttl": "0s"},
        "responses": {"ttl": "0s"},
        "providers": {
            "clay": {"base_url": f"{url}/clay", "dialects": {"anthropic-messages": "/v1/messages"}, "auth": "x-api-key", "accounts": {"one": "clay-one", "two": "clay-two"}},
            "oak": {"base_url": f"{url}/oak", "dialects": {"openai-chat": "/v1/chat/completions", "openai-responses": "/v1/responses"}, "accounts": {"one": "oak-one", "two": "oak-two"}},
        },
        "labs": {
            "clay": {tier: [{"model": f"clay-{name}"}] for tier, name in (("fast", "fast"), ("smart", "smart"), ("reasoning", "deep"))},
            "oak": {
                "fast": [{"model": "oak-mini", "effort": "none"}], "smart": [{"model": "oak-big", "effort": "low"}],
                "reasoning": [{"model": "oak-big", "effort": "high"}],
            },
        },
        "choices": [{"name": "side calls are cheap", "when": {"kind": "side"}, "tier": "fast"}],
        "models": models,
    }  # fmt: skip


def _keys() -> dict[str, Any]:
    named = {**{strategy: strategy for strategy in STRATEGIES}, ABROAD: "sticky"}
    return {
        name: {"sha256": hashlib.sha256(key(name).encode()).hexdigest(), "conversation": strategy}
        for name, strategy in named.items()
    }
