"""One long-lived `tiergate serve` with the shipped configuration; clients reach it through a wire tap."""

import hashlib
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.applications.apps.application import Application
from tests.applications.provider.hosts import CREDENTIALS
from tests.applications.provider.prices import PriceList
from tests.applications.provider.provider import Provider
from tests.e2e.child import Child, GatewayChild, until
from tests.e2e.recording_proxy import Exchange, Tap
from tests.e2e.upstream import PATIENCE, Upstream
from tests.e2e.world import Loop

type Row = dict[str, Any]

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
_PROVIDER = re.compile(r"  ([\w-]+):")
_BASE_URL = re.compile(r"(    base_url: )https?://[^/\s]+(\S*)")

PLACEHOLDERS = ("sk-placeholder", "none", "x")
"""Keys that applications send to a gateway that needs none."""
TENANTS = {
    "acme": "tg-acme-4f1d2c", "globex": "tg-globex-9b8a7c", "initech": "sk-placeholder-of-initech",
}  # fmt: skip
"""Secrets of clients by the tenant that owns each."""
_BUDGETS = "budgets: [{name: each tenant, per: tenant, usd: 1000, every: year, hard: false}]\n"


def copy_config(folder: Path, url: str, second_url: str = "", equals: Collection[str] = ()) -> Path:
    """Copy the shipped configuration; each provider's base URL becomes a path of this URL.

    The providers in `equals` get a replica at each of both URLs.
    """
    shutil.copytree(CONFIG, folder)
    for file in sorted((folder / "labs").glob("*.yaml")):
        name, lines = "", []
        for line in file.read_text("utf-8").splitlines(keepends=True):
            begins = _PROVIDER.match(line)
            name = begins[1] if begins else name
            if name in equals and line.startswith("    realtime:"):
                continue  # a provider with replicas has no sessions
            base_url = _BASE_URL.match(line)
            if base_url is not None and name in equals:
                places = ", ".join(f"{item}/{name}{base_url[2]}" for item in (url, second_url))
                lines.append(f"    replicas: [{places}]\n")
            else:
                lines.append(_BASE_URL.sub(rf"\g<1>{url}/{name}\g<2>", line))
        file.write_text("".join(lines), "utf-8")
    return folder / "gateway.yaml"


@dataclass
class Gateway:
    """The gateway's process, its provider, and the traffic between clients and gateway."""

    child: Child
    provider: Provider
    tap: Tap
    data: Path
    address: str
    """The gateway's own URL. Applications use `url`."""
    keys: tuple[str, ...]
    """Keys that clients may send."""
    applications: list[Application] = field(default_factory=list)
    """Applications that ran."""
    _cursor: str = ""
    _rows: dict[str, Row] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The base URL of applications: the wire tap."""
        return self.tap.url

    def exchanges(self) -> list[Exchange]:
        """List all calls so far; requests for lists of models do not count."""
        return [it for it in self.tap.exchanges() if it.request.method == "POST"]

    def ask(self, path: str) -> httpx.Response:
        """Ask the gateway itself, beside the wire tap."""
        return httpx.get(self.address + path, timeout=PATIENCE, trust_env=False)

    def rows(self, calls: int) -> dict[str, Row]:
        """Wait until the ledger has this many calls; give its rows by id."""

        def enough() -> bool:
            path = f"/admin/entries?limit=10000&after={self._cursor}"
            answer = self.ask(path)
            for line in answer.content.splitlines():
                row = orjson.loads(line)
                self._rows[row["id"]] = row
                self._cursor = row["cursor"]
            if len(self._rows) < calls:
                time.sleep(0.1)  # a pause between two questions to a real gateway
            return len(self._rows) >= calls

        until(enough, f"{calls} calls are in the ledger, which has {len(self._rows)}")
        return self._rows


@contextmanager
def running(
    loop: Loop,
    folder: Path,
    *,
    tenants: bool = False,
    provider: Provider | None = None,
    command: Sequence[str] = (str(ROOT / ".venv/bin/tiergate"),),
    equals: Collection[str] = (),
    **environ: str,
) -> Iterator[Gateway]:
    """Run the gateway until the block ends; with `tenants`, it requires their keys.

    The providers in `equals` have two replicas.
    """
    provider = provider or Provider(PriceList(CONFIG))
    upstream, second_upstream = upstreams = Upstream(), Upstream()
    for item in upstreams:
        item.on("/", provider.answer)
        loop.run(item.start())
    file = copy_config(folder / "config", upstream.url, second_upstream.url, equals)
    if tenants:
        _ask_for_keys(file)
    data = folder / "data"
    child = GatewayChild(
        file, program=command, stem=folder / "gateway",
        **{"TIERGATE_DATA": str(data), **_credentials(upstream.url), **environ},
    )  # fmt: skip
    tap = None
    try:
        tap = Tap(loop, child.port)
        keys = tuple(TENANTS.values()) if tenants else PLACEHOLDERS
        yield Gateway(child, provider, tap, data, child.url, keys)
    finally:
        if tap is not None:
            tap.close()
        child.stop()
        for item in upstreams:
            loop.run(item.stop())


def _credentials(url: str) -> Mapping[str, str]:
    """Write the environment of an operator who has these accounts."""
    credentials = {f"{name.upper()}_API_KEY": secret for name, secret in CREDENTIALS.items()}
    return {**credentials, "OLLAMA_BASE_URL": f"{url}/ollama/v1"}


def _ask_for_keys(file: Path) -> None:
    """Write each tenant's key to a file beside the configuration, and give each a budget."""
    text = file.read_text("utf-8")
    assert "\nkeys: open\n" in text
    text = text.replace("\nkeys: open\n", "\nkeys: keys.yaml\n")
    file.write_text(f"{text}\n{_BUDGETS}", "utf-8")
    keys = {
        name: {"sha256": hashlib.sha256(secret.encode()).hexdigest(), "tenant": name}
        for name, secret in TENANTS.items()
    }
    file.with_name("keys.yaml").write_bytes(orjson.dumps(keys))
