"""A gateway process with the shipped configuration, before the scripted APIs of three providers."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
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
HOSTS = {
    "MISTRAL_API_KEY": "key-of-mistral", "TOGETHER_API_KEY": "key-of-together",
    "OPENROUTER_API_KEY": "key-of-openrouter", "GROQ_API_KEY": "key-of-groq",
    "CO_API_KEY": "key-of-cohere",
}  # fmt: skip
"""Credentials of hosts that have some of these endpoints, too."""
_COHERE = "https://api.cohere.com/v2"


@dataclass
class EndpointGateway:
    """The gateway's process, and its rows in the order of their calls."""

    child: Child
    url: str
    _taken: set[str] = field(default_factory=set)

    def take_rows(self, are_priced: Sequence[bool]) -> list[Row]:
        """Wait until the ledger has so many more calls, and return their rows, oldest first.

        `are_priced` says which of them have a cost, at last: that of a batch comes after its end.
        """

        def has_all() -> list[Row]:
            headers = {"authorization": f"Bearer {ADMIN_KEY}"}
            url = f"{self.url}/admin/entries?limit=1000"
            answer = httpx.get(url, headers=headers, timeout=PATIENCE, trust_env=False)
            assert answer.status_code == 200, answer.text
            rows = [orjson.loads(line) for line in answer.content.splitlines()]
            new_rows = {row["id"]: row for row in rows if row["id"] not in self._taken}
            rows = sorted(new_rows.values(), key=lambda row: row["at"])
            is_whole = len(rows) == len(are_priced) and all(
                row["cost"] is not None or not is_priced
                for row, is_priced in zip(rows, are_priced, strict=True)
            )
            if is_whole:
                return rows
            time.sleep(0.1)  # a pause between two questions to a real gateway
            return []

        rows = until(has_all, f"{len(are_priced)} calls are in the ledger, with their costs")
        self._taken.update(row["id"] for row in rows)
        return rows


@contextmanager
def running(
    loop: Loop, upstream: Upstream, folder: Path, **environ: str
) -> Iterator[EndpointGateway]:
    """Run a gateway before a provider on loopback until the block ends."""
    file = copy_config(folder / "config", upstream.url)
    cohere = file.with_name("labs") / "cohere.yaml"
    text = cohere.read_text("utf-8")
    assert _COHERE in text
    other_origin = upstream.url.replace("127.0.0.1", "localhost")  # endpoints of another host
    cohere.write_text(text.replace(_COHERE, f"{other_origin}/cohere/v2"), "utf-8")
    _write_keys(file)
    child = GatewayChild(
        file,
        stem=folder / "gateway",
        **{"TIERGATE_DATA": str(folder / "data"), **_list_credentials(), **HOSTS, **environ},
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
