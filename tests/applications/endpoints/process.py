"""A gateway process with the shipped configuration, before the scripted APIs of three providers."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.applications.process import copy_config
from tests.applications.provider.hosts import CREDENTIALS
from tests.e2e.child import Child, GatewayChild, until
from tests.e2e.upstream import PATIENCE, Upstream
from tests.e2e.world import Loop

type Row = dict[str, Any]

KEY, ADMIN_KEY = "tg-app-4f1d2c", "tg-admin-9b8a7c"
"""The key of the application, and that of the operator who reads the ledger."""


@dataclass
class EndpointGateway:
    """The gateway's process, and its rows in the order of their calls."""

    child: Child
    url: str
    _cursor: str = ""
    _rows: list[Row] = field(default_factory=list)

    def take_rows(self, calls: int) -> list[Row]:
        """Wait until the ledger has this many more calls, and return their rows, oldest first."""

        def has_all() -> bool:
            url = f"{self.url}/admin/entries?limit=1000&after={self._cursor}"
            headers = {"authorization": f"Bearer {ADMIN_KEY}"}
            answer = httpx.get(url, headers=headers, timeout=PATIENCE, trust_env=False)
            assert answer.status_code == 200, answer.text
            for line in answer.content.splitlines():
                row = orjson.loads(line)
                self._rows.append(row)
                self._cursor = row["cursor"]
            if len(self._rows) < calls:
                time.sleep(0.1)  # a pause between two questions to a real gateway
            return len(self._rows) >= calls

        until(has_all, f"{calls} calls are in the ledger, which has {len(self._rows)}")
        rows, self._rows = self._rows, []
        return rows


@contextmanager
def running(
    loop: Loop, upstream: Upstream, folder: Path, **environ: str
) -> Iterator[EndpointGateway]:
    """Run a gateway before a provider on loopback until the block ends."""
    file = copy_config(folder / "config", upstream.url)
    _write_keys(file)
    child = GatewayChild(
        file,
        stem=folder / "gateway",
        **{"TIERGATE_DATA": str(folder / "data"), **_list_credentials(), **environ},
    )
    try:
        yield EndpointGateway(child, child.url)
    finally:
        child.stop()


def _write_keys(file: Path) -> None:
    """Write a file of keys beside the configuration, which asks for it."""
    text = file.read_text("utf-8")
    assert "\nkeys: open\n" in text
    file.write_text(text.replace("\nkeys: open\n", "\nkeys: keys.yaml\n"), "utf-8")
    hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in (("app", KEY), ("admin", ADMIN_KEY))}  # fmt: skip
    lines = (f"app: {{sha256: {hashes['app']}}}\n", f"admin: {{sha256: {hashes['admin']}, admin: true}}\n")  # fmt: skip
    file.with_name("keys.yaml").write_text("".join(lines), "utf-8")


def _list_credentials() -> Mapping[str, str]:
    """Return the environment of an operator who has accounts at these three."""
    return {f"{name.upper()}_API_KEY": CREDENTIALS[name] for name in ("openai", "anthropic", "gemini")}  # fmt: skip
